//! Whether the file at the store's path still is the one that was opened: a connection goes on with a file that was
//! moved or removed, and what it writes then nobody finds again.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use signet_core::StoreError;

use crate::error::OpenError;

/// The file that was opened.
#[derive(Clone, Debug)]
pub(crate) struct Original {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Original {
    /// The file that is at `path` now.
    pub(crate) fn at(path: &Path) -> Result<Self, OpenError> {
        let file = fs::metadata(path).map_err(OpenError::io(path))?;
        Ok(Self { path: path.to_owned(), device: file.dev(), inode: file.ino() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// An error if another file is at the path, or none.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        match fs::metadata(&self.path) {
            Ok(file) if (file.dev(), file.ino()) == (self.device, self.inode) => Ok(()),
            Ok(_) => Err(self.replaced("another file has replaced it")),
            Err(error) => Err(self.replaced(&error.to_string())),
        }
    }

    fn replaced(&self, why: &str) -> StoreError {
        let path = self.path.display();
        StoreError::Unavailable(format!("{path}: the store's file was replaced or is gone: restart signetd ({why})"))
    }
}
