//! Sockets of this machine: opened without taking anything from anybody, and taken away only if they are still ours.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use tokio::net::UnixListener;

/// A socket's place, with the file that we put there.
#[derive(Debug)]
pub(crate) struct Place {
    path: PathBuf,
    file: Identity,
}

/// Device, inode and time of the last change: the number of a file that is gone is given to the next one.
type Identity = (u64, u64, i64, i64);

fn identity(meta: &fs::Metadata) -> Identity {
    (meta.dev(), meta.ino(), meta.ctime(), meta.ctime_nsec())
}

/// Opens a socket. What a crash left there is replaced; a file of another kind, or a socket at which somebody answers,
/// is not. The error says what to do.
pub(crate) fn open(path: &Path, mode: u32) -> Result<(UnixListener, Place), String> {
    let failed = |error: io::Error| format!("the socket {} cannot be opened: {error}", path.display());
    vacate(path)?;
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)?;
    let file = fs::symlink_metadata(path).map_err(failed)?;
    Ok((listener, Place { path: path.to_owned(), file: identity(&file) }))
}

/// Whether there is something in the way.
pub(crate) fn problem(path: &Path) -> Option<String> {
    let meta = fs::symlink_metadata(path).ok()?;
    let is_socket = meta.file_type().is_socket();
    (!is_socket).then(|| format!("{} is not a socket: remove it, or name another path", path.display()))
}

fn vacate(path: &Path) -> Result<(), String> {
    if let Some(problem) = problem(path) {
        return Err(problem);
    }
    if UnixStream::connect(path).is_ok() {
        return Err(format!("{} is in use: another agent answers there", path.display()));
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(format!("the socket {} cannot be replaced: {error}", path.display()))
        }
        _ => Ok(()),
    }
}

impl Place {
    /// Removes the socket, so that it is not in the way of the next one; what somebody else has put there stays.
    pub(crate) fn leave(&self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::open;

    #[tokio::test]
    async fn a_socket_takes_the_place_of_a_leftover_and_of_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        fs::write(&path, "precious").unwrap();
        assert!(open(&path, 0o660).unwrap_err().contains("not a socket"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        assert!(open(&path, 0o660).unwrap_err().contains("not a socket"));
        fs::remove_file(&path).unwrap();

        let (first, place) = open(&path, 0o660).unwrap();
        assert!(open(&path, 0o660).unwrap_err().contains("another agent"));
        drop(first);
        // As after a crash.
        let (_second, newer) = open(&path, 0o660).unwrap();
        place.leave();
        assert!(path.exists(), "it is another one's now");
        newer.leave();
        assert!(!path.exists());
    }
}
