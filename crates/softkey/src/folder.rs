//! The folder of key files: who may read it, and how a file appears in it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use signet_core::{KeyError, KeyRef, authorities::signer};
use zeroize::Zeroizing;

use crate::OsEntropy;

#[derive(Clone, Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Makes the folder if it is missing.
    pub(crate) fn open(path: &Path) -> Result<Self, KeyError> {
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed(path))?;
        check_private(path, fs::metadata(path).map_err(failed(path))?.permissions().mode())?;
        Ok(Self(path.to_owned()))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.pem"))
    }

    pub(crate) fn has(&self, name: &str) -> Result<bool, KeyError> {
        let path = self.path(name);
        path.try_exists().map_err(failed(&path))
    }

    /// The text of a key's file.
    pub(crate) fn read(&self, name: &str, reference: &KeyRef) -> Result<Zeroizing<String>, KeyError> {
        let path = self.path(name);
        let mut file = File::open(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => KeyError::NotFound(reference.to_string()),
            _ => failed(&path)(error),
        })?;
        check_private(&path, file.metadata().map_err(failed(&path))?.permissions().mode())?;
        let mut text = Zeroizing::new(String::new());
        file.read_to_string(&mut text).map_err(failed(&path))?;
        Ok(text)
    }

    /// Puts a key's file there, whole and durable, or leaves the one that another process has put there meanwhile.
    pub(crate) fn create(&self, name: &str, text: &str) -> Result<(), KeyError> {
        let path = self.path(name);
        let unfinished = self.0.join(format!(".{name}.{:032x}", u128::from_ne_bytes(signer::random(&OsEntropy))));
        let put = || {
            write_synced(&unfinished, text)?;
            // A link, not a rename: it never replaces a key.
            match fs::hard_link(&unfinished, &path) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
                _ => File::open(&self.0)?.sync_all(),
            }
        };
        let outcome = put().map_err(failed(&path));
        // It may not even have been made; what it holds is encrypted.
        let _ = fs::remove_file(&unfinished);
        outcome
    }

    /// Removes a key's file durably. One that is not there is fine.
    pub(crate) fn remove(&self, name: &str) -> Result<(), KeyError> {
        let path = self.path(name);
        let removed = match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => File::open(&self.0).and_then(|folder| folder.sync_all()),
        };
        removed.map_err(failed(&path))
    }
}

fn write_synced(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn check_private(path: &Path, mode: u32) -> Result<(), KeyError> {
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let key = path.display().to_string();
    let reason = format!("others may read it (mode {:03o}): run `chmod go= {key}`", mode & 0o777);
    Err(KeyError::Unusable { key, reason })
}

fn failed(path: &Path) -> impl Fn(io::Error) -> KeyError {
    let path = path.display().to_string();
    move |error| match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => KeyError::Denied {
            key: path.clone(),
            reason: format!("{error}: this user must own the folder and its files"),
        },
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            KeyError::Unavailable(format!("{path}: {error}: free some disk space"))
        }
        _ => KeyError::Unavailable(format!("{path}: {error}")),
    }
}
