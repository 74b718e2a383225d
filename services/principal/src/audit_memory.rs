//! What `audit verify` saw the last time, kept beside a context's credentials: the audit key, and how far the chain of
//! checkpoints went. A log whose end was cut off since then, or another key, is noticed by it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use signet_core::audit::checkpoint::Head;

use crate::{context::private, failure::Failure};

/// See the module's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditMemory {
    /// SHA-256 of the audit key's SubjectPublicKeyInfo.
    pub key_sha256: String,
    /// The end of the chain.
    pub head: Head,
}

/// The memory's file in a context's directory.
pub fn file(directory: &Path) -> PathBuf {
    directory.join("audit-head.json")
}

impl AuditMemory {
    /// Reads it; `None`: nothing was verified yet.
    pub fn load(path: &Path) -> Result<Option<Self>, Failure> {
        match std::fs::read(path) {
            Ok(bytes) => parse(path, &bytes).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::file(path, &error)),
        }
    }

    /// Writes it.
    pub fn save(&self, path: &Path) -> Result<(), Failure> {
        private::write(path, &serde_json::to_vec(self).map_err(Failure::other)?)
    }
}

/// Reads a head that was published or noted.
pub fn load_head(path: &Path) -> Result<Head, Failure> {
    parse(path, &std::fs::read(path).map_err(|error| Failure::file(path, &error))?)
}

fn parse<T: for<'a> Deserialize<'a>>(path: &Path, bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}
