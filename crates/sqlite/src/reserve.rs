//! Room that is kept for writes which suspend or revoke: a full disk must not keep an intruder in.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rusqlite::Connection;
use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};

/// What is kept: some hundred suspensions, each of a few pages in the log and in the file.
const RESERVE: u64 = 16 << 20;
/// What must be free beside it before anything else is written again, so that it does not begin and end with each write.
const MARGIN: u64 = 1 << 20;

/// The reserve, wherever it is. All of it blocks.
pub(crate) trait Reserve: Send {
    /// Makes the reserve, unless it is there. False: there is no room for it, or for anything beside it.
    fn keep(&mut self, connection: &Connection) -> bool;
    /// Gives the reserve to the next write.
    fn release(&mut self, connection: &Connection);
}

/// A file beside the store that only takes room.
pub(crate) struct ReserveFile(PathBuf);

impl ReserveFile {
    /// For the store at `path`; nothing is made yet.
    pub(crate) fn beside(path: &Path) -> Self {
        let mut name = path.as_os_str().to_owned();
        name.push("-reserve");
        Self(name.into())
    }

    fn allocate(&self) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&self.0)?;
        let allocated = allocated(&file, 0, RESERVE).and_then(|()| allocated(&file, RESERVE, MARGIN));
        file.set_len(if allocated.is_ok() { RESERVE } else { 0 })?;
        allocated
    }
}

fn allocated(file: &File, offset: u64, length: u64) -> io::Result<()> {
    Ok(fallocate(file, FallocateFlags::empty(), offset, length)?)
}

impl Reserve for ReserveFile {
    fn keep(&mut self, _: &Connection) -> bool {
        let Err(error) = self.allocate() else { return true };
        if [Errno::NOSPC, Errno::DQUOT].into_iter().any(|full| error.raw_os_error() == Some(full.raw_os_error())) {
            return false;
        }
        // Nothing is known about the room, so that the writes themselves must find out.
        tracing::warn!(%error, path = %self.0.display(), "no room can be kept for revocations on a full disk");
        true
    }

    fn release(&mut self, _: &Connection) {
        match OpenOptions::new().write(true).open(&self.0).and_then(|file| file.set_len(0)) {
            Ok(()) => tracing::warn!(path = %self.0.display(), "the disk is full; the reserve is used for revocations"),
            Err(error) => tracing::error!(%error, path = %self.0.display(), "the reserve cannot be given up"),
        }
    }
}

/// For tests: a disk of so many pages, some of which are the reserve.
#[cfg(test)]
pub(crate) struct ReservePages {
    pub(crate) disk: std::sync::Arc<std::sync::atomic::AtomicU32>,
    pub(crate) reserve: u32,
    pub(crate) margin: u32,
}

#[cfg(test)]
impl ReservePages {
    fn disk(&self) -> u32 {
        self.disk.load(std::sync::atomic::Ordering::Acquire)
    }

    fn limit(connection: &Connection, pages: u32) {
        connection.pragma_update(None, "max_page_count", pages).unwrap();
    }
}

#[cfg(test)]
impl Reserve for ReservePages {
    fn keep(&mut self, connection: &Connection) -> bool {
        let count = |name| connection.pragma_query_value(None, name, |row| row.get::<_, u32>(0)).unwrap();
        let used = count("page_count") - count("freelist_count");
        let fits = used + self.reserve + self.margin <= self.disk();
        if fits {
            Self::limit(connection, self.disk() - self.reserve);
        }
        fits
    }

    fn release(&mut self, connection: &Connection) {
        Self::limit(connection, self.disk());
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn the_file_takes_room_and_gives_it_back() {
        let folder = tempfile::tempdir().unwrap();
        let connection = Connection::open_in_memory().unwrap();
        let mut reserve = ReserveFile::beside(&folder.path().join("store"));
        let blocks = || folder.path().join("store-reserve").metadata().map(|file| file.blocks() * 512).unwrap();
        for _ in 0..2 {
            assert!(reserve.keep(&connection));
            assert!((RESERVE..RESERVE + MARGIN).contains(&blocks()), "{}", blocks());
            reserve.release(&connection);
            assert_eq!(blocks(), 0);
        }
    }

    #[test]
    fn where_no_file_can_be_made_writes_go_on() {
        let connection = Connection::open_in_memory().unwrap();
        let mut reserve = ReserveFile::beside(Path::new("/nonexistent/store"));
        assert!(reserve.keep(&connection));
        reserve.release(&connection);
    }
}
