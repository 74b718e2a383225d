//! One program at a time: what is read, changed and written back under a lock is lost to nobody. It is the lock that an
//! agent or an SDK takes in the same folder.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
    time::Duration,
};

use signet_client::LOCK_FILE;

use super::private;
use crate::{exit::Exit, failure::Failure, output::Printer};

/// How often somebody who waits looks again.
const PAUSE: Duration = Duration::from_millis(50);

/// A folder that no other `principal` changes until this is dropped or the process ends.
#[derive(Debug)]
#[must_use = "the lock ends when this is dropped"]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Locks `dir`, which is made if it is missing. For changes that wait for nobody: it is awaited without limit.
    pub fn take(dir: &Path) -> Result<Self, Failure> {
        loop {
            let file = open(dir)?;
            file.lock().map_err(|error| cannot(dir, &error))?;
            if is_there(&file, dir) {
                return Ok(Self { _file: file });
            }
        }
    }

    /// Locks `dir`, which is made if it is missing, for work that waits for a server; gives up after `patience`.
    pub async fn wait(dir: &Path, patience: Duration, printer: &Printer) -> Result<Self, Failure> {
        let wanted = async {
            let mut told = false;
            loop {
                let file = open(dir)?;
                match file.try_lock() {
                    Ok(()) if is_there(&file, dir) => return Ok(Self { _file: file }),
                    Ok(()) => {}
                    Err(TryLockError::Error(error)) => return Err(cannot(dir, &error)),
                    Err(TryLockError::WouldBlock) => {
                        if !std::mem::replace(&mut told, true) {
                            printer.note(&format!("waiting for another program that is changing {}", dir.display()));
                        }
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        };
        tokio::time::timeout(patience, wanted).await.unwrap_or_else(|_| {
            let message = format!("another program has been changing {} for {patience:?}", dir.display());
            Err(Failure::new(Exit::Unavailable, message).hint("try again when it is done; --timeout waits longer"))
        })
    }
}

fn open(dir: &Path) -> Result<File, Failure> {
    private::make_dir(dir)?;
    let path = dir.join(LOCK_FILE);
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    opened.map_err(|error| Failure::file(&path, &error))
}

/// A folder that was removed meanwhile, or made again, has another lock.
fn is_there(file: &File, dir: &Path) -> bool {
    let inode = |meta: io::Result<fs::Metadata>| meta.ok().map(|meta| (meta.dev(), meta.ino()));
    let there = inode(fs::metadata(dir.join(LOCK_FILE)));
    there.is_some() && there == inode(file.metadata())
}

fn cannot(dir: &Path, error: &io::Error) -> Failure {
    Failure::other(format!("cannot lock {}: {error}", dir.display()))
        .hint("set SIGNET_HOME to a folder on a file system with locks")
}
