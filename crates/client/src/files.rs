//! Credentials in a directory: `cert.pem` (chain), `key.pem` (0600) and `ca.pem` (root), replaced so that no crash leaves
//! a key without its certificate.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use zeroize::Zeroizing;

use crate::credentials::{Credentials, CredentialsError};

/// The chain's file name.
pub const CERT_FILE: &str = "cert.pem";
/// The key's file name.
pub const KEY_FILE: &str = "key.pem";
/// The root's file name.
pub const CA_FILE: &str = "ca.pem";

const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;
/// Ending of a file that is whole but not in its place yet.
const NEXT: &str = "next";

impl Credentials {
    /// Reads the three files. A replacement that was cut off half-way is understood: the new key then still goes with
    /// the new certificate beside it.
    pub fn load(directory: &Path) -> Result<Self, CredentialsError> {
        let path = |name: &str| directory.join(name);
        let read = |path: &Path| fs::read_to_string(path).map_err(|error| failed("read", path, &error));
        warn_if_open(&path(KEY_FILE));
        let key = Zeroizing::new(read(&path(KEY_FILE))?);
        let root = read(&path(CA_FILE))?;
        match Self::from_pem(&read(&path(CERT_FILE))?, &key, &root) {
            Err(CredentialsError::Mismatch) => {
                let next = path(CERT_FILE).with_added_extension(NEXT);
                let chain = read(&next).map_err(|_| CredentialsError::Mismatch)?;
                Self::from_pem(&chain, &key, &root)
            }
            other => other,
        }
    }

    /// Writes the three files; the directory is made (0700) if it is missing. All are on disk before the first is
    /// renamed into its place, the key first.
    pub fn save(&self, directory: &Path) -> Result<(), CredentialsError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|error| failed("create", directory, &error))?;
        let (key, chain, root) = (self.key_pem(), self.chain_pem(), self.root_pem());
        let files = [
            (KEY_FILE, key.as_bytes(), SECRET),
            (CERT_FILE, chain.as_bytes(), PUBLIC),
            (CA_FILE, root.as_bytes(), PUBLIC),
        ];
        for (name, bytes, mode) in files {
            let next = directory.join(name).with_added_extension(NEXT);
            write(&next, bytes, mode).map_err(|error| failed("write", &next, &error))?;
        }
        for (name, ..) in files {
            let path = directory.join(name);
            let renamed = fs::rename(path.with_added_extension(NEXT), &path);
            renamed.map_err(|error| failed("replace", &path, &error))?;
        }
        File::open(directory).and_then(|dir| dir.sync_all()).map_err(|error| failed("sync", directory, &error))
    }
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // What an earlier attempt left may have other permissions, and an open file keeps its own.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn warn_if_open(path: &Path) {
    let others = fs::metadata(path).map(|meta| meta.permissions().mode() & 0o077).unwrap_or(0);
    if others != 0 {
        tracing::warn!(path = %path.display(), "other users may read this private key: chmod 600");
    }
}

fn failed(action: &'static str, path: &Path, error: &io::Error) -> CredentialsError {
    CredentialsError::File { action, path: path.display().to_string(), reason: error.to_string() }
}
