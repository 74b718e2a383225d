//! A device's folder: what stands in it, and how that is replaced.

use std::{path::Path, sync::Arc};

use signet_client::{
    Access, AtomicDir, BUNDLE_FILE, CA_FILE, CERT_FILE, Credentials, CredentialsError, Directory, KEY_FILE, Pending,
    Storage,
};

use crate::{certificate::Held, failure::Failure};

const FILES: [&str; 4] = [CERT_FILE, KEY_FILE, CA_FILE, BUNDLE_FILE];

/// What stands in a folder.
pub(super) enum Found {
    Nothing,
    Identity(Box<HeldIdentity>),
    /// Files that are no identity, and why not.
    Unusable(String),
}

/// A certificate with its key.
pub(super) struct HeldIdentity {
    pub(super) held: Held,
    pub(super) credentials: Credentials,
    /// Whether all files are there.
    pub(super) is_complete: bool,
}

/// A device's folder, in the form that the agent and the SDK keep.
pub(super) struct Place {
    folder: AtomicDir,
    /// What it has of an enrollment under way.
    pub(super) storage: Arc<dyn Storage>,
}

impl Place {
    pub(super) fn new(directory: &Path) -> Self {
        // Keys are in it: nobody else looks in.
        let folder = AtomicDir::new(directory, Access::mode(0o700));
        Self { folder, storage: Arc::new(Directory::new(directory)) }
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What stands here. A replacement that was cut off counts as far as it came.
    pub(super) fn look(&self) -> Found {
        let is_there = |name: &&str| self.path().join(name).symlink_metadata().is_ok();
        match self.folder.read(Credentials::load) {
            Ok(credentials) => match credentials.chain_der().first().cloned().and_then(Held::from_der) {
                Some(held) => {
                    let is_complete = FILES.iter().all(|name| self.path().join(name).is_file());
                    Found::Identity(Box::new(HeldIdentity { held, credentials, is_complete }))
                }
                None => Found::Unusable("its certificate cannot be read".into()),
            },
            Err(_) if !FILES.iter().any(is_there) => Found::Nothing,
            Err(error) => Found::Unusable(error.to_string()),
        }
    }

    /// An enrollment whose outcome no run has seen.
    pub(super) fn pending(&self) -> Result<Option<Pending>, Failure> {
        self.storage.pending().map_err(Failure::other)
    }

    /// Puts the files into their place, all at once; what was under way is over then.
    pub(super) fn publish(&self, credentials: &Credentials, anchors_pem: &str) -> Result<(), Failure> {
        let write = || -> Result<(), CredentialsError> {
            credentials.publish(&self.folder, Access::mode(0o600), anchors_pem)?;
            self.storage.forget_pending()
        };
        // Each file is on disk when it returns: others go on meanwhile.
        tokio::task::block_in_place(write).map_err(Failure::other)
    }
}
