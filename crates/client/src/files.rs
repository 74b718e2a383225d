//! Credentials in a directory: `cert.pem` (chain), `key.pem` (0600) and `ca.pem` (root), replaced so that no crash
//! leaves a key without its certificate.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use zeroize::Zeroizing;

use crate::{
    atomic_dir::{Access, AtomicDir, NewFile, make_folder},
    credentials::{Credentials, CredentialsError},
};

/// The chain's file name.
pub const CERT_FILE: &str = "cert.pem";
/// The key's file name.
pub const KEY_FILE: &str = "key.pem";
/// The root's file name.
pub const CA_FILE: &str = "ca.pem";
/// The file name of the tenant's anchors, which its programs check each other by.
pub const BUNDLE_FILE: &str = "bundle.pem";

const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;
/// Ending of a file that is whole but not in its place yet.
const NEXT: &str = "next";

impl Credentials {
    /// Reads the three files. A replacement that was cut off half-way is understood: the new key then still goes with
    /// the new certificate beside it.
    pub fn load(directory: &Path) -> Result<Self, CredentialsError> {
        Self::load_with(directory, SECRET)
    }

    /// The same, for a key file that may have the permission bits `key_mode`: more of them are warned of.
    pub fn load_with(directory: &Path, key_mode: u32) -> Result<Self, CredentialsError> {
        let path = |name: &str| directory.join(name);
        let next = |name: &str| path(name).with_added_extension(NEXT);
        // Cut off for the first time, there is no old file in its place.
        let read = |name: &str| match fs::read_to_string(path(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::read_to_string(next(name)).map_err(|_| failed("read", &path(name), &error))
            }
            read => read.map_err(|error| failed("read", &path(name), &error)),
        };
        warn_if_open(&path(KEY_FILE), key_mode);
        let key = Zeroizing::new(read(KEY_FILE)?);
        let root = read(CA_FILE)?;
        match Self::from_pem(&read(CERT_FILE)?, &key, &root) {
            Err(CredentialsError::Mismatch) => {
                let chain = fs::read_to_string(next(CERT_FILE)).map_err(|_| CredentialsError::Mismatch)?;
                Self::from_pem(&chain, &key, &root)
            }
            other => other,
        }
    }

    /// Writes the three files; the directory is made (0700) if it is missing. All are on disk before the first is
    /// renamed into its place, the key first.
    pub fn save(&self, directory: &Path) -> Result<(), CredentialsError> {
        make_folder(directory, 0o700).map_err(|error| failed("create", directory, &error))?;
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

    /// Replaces the files that programs read, at once: the three, and `bundle.pem` with the tenant's anchors. So the
    /// agent keeps them, and takes up what somebody else wrote. `key`: who may read the key.
    pub fn publish(&self, folder: &AtomicDir, key: Access, anchors_pem: &str) -> Result<(), CredentialsError> {
        let (key_pem, chain, root) = (self.key_pem(), self.chain_pem(), self.root_pem());
        let public = |name, bytes| NewFile { name, bytes, access: Access::mode(PUBLIC) };
        let files = [
            NewFile { name: KEY_FILE, bytes: key_pem.as_bytes(), access: key },
            public(CERT_FILE, chain.as_bytes()),
            public(CA_FILE, root.as_bytes()),
            public(BUNDLE_FILE, anchors_pem.as_bytes()),
        ];
        folder.replace(&self.facts().serial_number, &files)
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
    // Explicitly, since the umask takes from the mode that a file is made with.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()
}

fn warn_if_open(path: &Path, mode: u32) {
    let more = fs::metadata(path).map(|meta| meta.permissions().mode() & 0o077 & !mode).unwrap_or(0);
    if more != 0 {
        tracing::warn!(path = %path.display(), "other users can read this private key: chmod {mode:o}");
    }
}

fn failed(action: &'static str, path: &Path, error: &io::Error) -> CredentialsError {
    CredentialsError::File { action, path: path.display().to_string(), reason: error.to_string() }
}
