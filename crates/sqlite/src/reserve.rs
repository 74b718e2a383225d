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
/// What a write gets of it at a time: whatever filled the disk would take the rest at once.
const SLICE: u64 = 512 << 10;
/// What must be free beside it before anything else is written again, so that it does not begin and end with each
/// write.
const MARGIN: u64 = 1 << 20;

/// The reserve, wherever it is. All of it blocks.
pub(crate) trait Reserve: Send {
    /// Makes the reserve, unless it is there. False: there is no room for it, or for anything beside it.
    fn keep(&mut self, connection: &Connection) -> bool;
    /// Gives a slice of it to the next write. False: there is none left.
    fn release(&mut self, connection: &Connection) -> bool;
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
        let left = file.metadata()?.len().min(RESERVE);
        let allocated = allocated(&file, 0, RESERVE).and_then(|()| allocated(&file, RESERVE, MARGIN));
        file.set_len(if allocated.is_ok() { RESERVE } else { left })?;
        allocated
    }

    fn give_slice(&self) -> io::Result<bool> {
        let file = OpenOptions::new().write(true).open(&self.0)?;
        let left = file.metadata()?.len();
        file.set_len(left.saturating_sub(SLICE))?;
        Ok(left > 0)
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
        tracing::warn!(%error, path = %self.0.display(), "cannot reserve disk space for revocations");
        true
    }

    fn release(&mut self, _: &Connection) -> bool {
        let given = self.give_slice();
        match &given {
            Ok(true) => {
                tracing::warn!(path = %self.0.display(), "the disk is full; using the reserve for revocations")
            }
            Ok(false) => {
                tracing::error!(path = %self.0.display(), "the disk is full, and the reserve is used up")
            }
            Err(error) => tracing::error!(%error, path = %self.0.display(), "the reserve cannot be released"),
        }
        given.unwrap_or(false)
    }
}

/// For tests: a disk of so many pages, some of which are the reserve.
#[cfg(test)]
pub(crate) struct ReservePages {
    pub(crate) disk: std::sync::Arc<std::sync::atomic::AtomicU32>,
    pub(crate) reserve: u32,
    /// Of the reserve.
    pub(crate) left: u32,
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
            self.left = self.reserve;
            Self::limit(connection, self.disk() - self.left);
        }
        fits
    }

    fn release(&mut self, connection: &Connection) -> bool {
        let given = self.left.min(4);
        self.left -= given;
        Self::limit(connection, self.disk() - self.left);
        given > 0
    }
}

#[cfg(test)]
mod tests {
    use std::os::{fd::AsRawFd, unix::fs::MetadataExt};

    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

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
            for given in 1..=RESERVE / SLICE {
                assert!(reserve.release(&connection));
                let left = RESERVE - given * SLICE;
                assert!((left..left + MARGIN).contains(&blocks()), "{given}: {}", blocks());
            }
            assert!(!reserve.release(&connection));
        }
    }

    #[test]
    fn what_is_left_is_not_given_away_when_there_is_no_room_for_more() {
        let connection = Connection::open_in_memory().unwrap();
        let file = File::from(memfd_create("reserve", MemfdFlags::ALLOW_SEALING).unwrap());
        file.set_len(3 * SLICE).unwrap();
        fcntl_add_seals(&file, SealFlags::GROW).unwrap();
        let mut reserve = ReserveFile(format!("/proc/self/fd/{}", file.as_raw_fd()).into());
        reserve.keep(&connection);
        assert_eq!(file.metadata().unwrap().len(), 3 * SLICE);
    }

    #[test]
    fn where_no_file_can_be_made_writes_go_on() {
        let connection = Connection::open_in_memory().unwrap();
        let mut reserve = ReserveFile::beside(Path::new("/dev/null/store"));
        assert!(reserve.keep(&connection));
        assert!(!reserve.release(&connection));
    }
}
