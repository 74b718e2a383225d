//! One agent per state folder: two would renew each other's certificates and look like a copied key.

use std::path::Path;

use signet_client::{StorageLock, make_folder};

/// Held until dropped; the kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "held, not read")] StorageLock);

impl Lock {
    /// Makes the folder (0700) and takes its lock.
    pub(crate) fn take(state_dir: &Path) -> Result<Self, String> {
        let failed = |reason: &dyn std::fmt::Display| {
            format!("state_dir = {:?} cannot be used: {reason}", state_dir.display().to_string())
        };
        make_folder(state_dir, 0o700).map_err(|error| failed(&error))?;
        let lock = StorageLock::try_take(&state_dir.join("lock")).map_err(|error| failed(&error))?;
        lock.map(Self).ok_or_else(|| format!("another signet-agent is using {}; stop it first", state_dir.display()))
    }
}
