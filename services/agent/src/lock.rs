//! One agent per state folder: two would renew each other's certificates and look like a copied key.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

/// Held until dropped; the kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "held, not read")] File);

impl Lock {
    /// Makes the folder (0700) and takes its lock.
    pub(crate) fn take(state_dir: &Path) -> Result<Self, String> {
        let failed = |error: std::io::Error| {
            format!("state_dir = {:?} cannot be used: {error}", state_dir.display().to_string())
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(state_dir).map_err(failed)?;
        let path = state_dir.join("lock");
        let file =
            OpenOptions::new().create(true).write(true).truncate(false).mode(0o600).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(fs::TryLockError::WouldBlock) => {
                Err(format!("another signet-agent runs on {}; stop it first", state_dir.display()))
            }
            Err(fs::TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}
