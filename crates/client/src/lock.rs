//! One at a time: two processes that renew from one certificate look to the control plane like a copied key.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use crate::{atomic_dir::make_folder, credentials::CredentialsError};

/// The right to renew or to enroll, until it is dropped. The kernel takes it back when its process ends, however it
/// ends.
#[derive(Debug)]
pub struct StorageLock(#[expect(dead_code, reason = "held, not read")] Option<File>);

impl StorageLock {
    /// For a storage that no other process sees.
    pub const fn of_one_process() -> Self {
        Self(None)
    }

    /// Takes the lock (`flock`) of the file at `path`, which is made (0600) when it is missing, its folder (0700) too.
    /// `None`: another process, or another part of this one, has it.
    pub fn try_take(path: &Path) -> Result<Option<Self>, CredentialsError> {
        let failed = |error: io::Error| CredentialsError::File {
            action: "lock",
            path: path.display().to_string(),
            reason: error.to_string(),
        };
        if let Some(folder) = path.parent() {
            make_folder(folder, 0o700).map_err(failed)?;
        }
        let file =
            OpenOptions::new().create(true).write(true).truncate(false).mode(0o600).open(path).map_err(failed)?;
        let bits = file.metadata().map_err(failed)?.permissions().mode();
        if bits & 0o600 != 0o600 {
            // Made under a umask that forbids even us to open it again.
            file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(failed)?;
        }
        match file.try_lock() {
            // Who removed the file meanwhile made room for a second lock.
            Ok(()) if !is_still_there(path, &file).map_err(failed)? => Ok(None),
            Ok(()) => Ok(Some(Self(Some(file)))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

fn is_still_there(path: &Path, file: &File) -> io::Result<bool> {
    let held = file.metadata()?;
    match fs::metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (held.dev(), held.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
