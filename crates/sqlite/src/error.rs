//! What went wrong, and what to do.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use signet_core::StoreError;
use thiserror::Error;

/// Why the store could not be opened.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub enum OpenError {
    /// The file or its folder.
    #[error("the store {path} cannot be opened: its folder must exist and be writable by this user")]
    Io { path: PathBuf, source: std::io::Error },
    /// A newer release wrote it.
    #[error("the store {path} has schema {found}, this release supports up to {known}: run the newer release")]
    Newer {
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema that this release knows.
        known: i64,
    },
    /// Some other program's database.
    #[error("{path} is a SQLite database, but not a Signet store: choose another path")]
    Foreign { path: PathBuf },
    /// SQLite refuses.
    #[error("the store {path} cannot be opened: {reason}")]
    Sqlite {
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// Its bytes are not all there, or are others.
    #[error("the store {path} cannot be opened: {reason}")]
    Damaged {
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// A copy of it.
    #[error("the store {path} cannot be copied to {copy}: {reason}")]
    Copy {
        path: PathBuf,
        /// The new one.
        copy: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
}

impl OpenError {
    pub(crate) fn io(path: &Path) -> impl Fn(std::io::Error) -> Self {
        |source| Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn copy(path: &Path, copy: &Path, reason: impl ToString) -> Self {
        Self::Copy { path: path.to_owned(), copy: copy.to_owned(), reason: reason.to_string() }
    }

    pub(crate) fn sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        let (path, reason) = (path.to_owned(), advice(error));
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged { path, reason },
            _ => Self::Sqlite { path, reason },
        }
    }
}

/// For reads.
pub(crate) fn store_error(path: &Path, error: &rusqlite::Error) -> StoreError {
    let problem = format!("{}: {}", path.display(), advice(error));
    match error.sqlite_error_code() {
        // The whole file and not a record: nobody but its operator can do anything, and no caller learns where it is.
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Misconfigured(problem),
        _ => StoreError::Unavailable(problem),
    }
}

/// For writes: after an I/O error during the commit its frames may or may not be on disk.
pub(crate) fn write_error(path: &Path, error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::SystemIoFailure) => StoreError::Unknown(format!("{}: {}", path.display(), advice(error))),
        _ => store_error(path, error),
    }
}

/// For writes that have to wait until there is room again.
pub(crate) fn store_full(path: &Path) -> StoreError {
    let path = path.display();
    StoreError::Unavailable(format!(
        "{path}: its disk is full, and the rest is reserved for suspensions and revocations; free some disk space"
    ))
}

pub(crate) fn advice(error: &rusqlite::Error) -> String {
    let advice = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "free some disk space",
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            "this user must be able to write the file and its folder"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another process has held the write lock for too long: find out which one has the file open"
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            "the file is damaged, or the `-wal` next to it belongs to another file, left from before a restore: stop every \
             process that uses it, move all three files (it, `-wal`, `-shm`) away and restore a backup"
        }
        Some(ErrorCode::NotADatabase) => "the file is not a SQLite database: choose another path or restore a backup",
        Some(ErrorCode::SystemIoFailure) => "the disk failed: see the system log",
        _ => return error.to_string(),
    };
    format!("{error}; {advice}")
}
