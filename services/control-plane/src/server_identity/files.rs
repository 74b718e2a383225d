//! PEM files in one folder, readable by their owner only.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use super::port::{PublicMaterial, ServerCredentials, ServerIdentityError, ServerIdentityStore};
use crate::pem;

/// Key and chain in one file, so that one rename replaces both.
const SERVER: &str = "server.pem";

/// See the module's words.
#[derive(Clone, Debug)]
pub struct FileServerIdentity {
    dir: PathBuf,
}

impl FileServerIdentity {
    /// Makes the folder if it is missing.
    pub fn open(dir: &Path) -> Result<Self, ServerIdentityError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|error| unavailable(dir, &error))?;
        Ok(Self { dir: dir.to_owned() })
    }

    fn public(&self, what: PublicMaterial) -> PathBuf {
        self.dir.join(match what {
            PublicMaterial::Root => "root.pem",
            PublicMaterial::AdminChain => "admin-chain.pem",
        })
    }
}

fn unavailable(path: &Path, error: &io::Error) -> ServerIdentityError {
    ServerIdentityError::Unavailable { place: path.display().to_string(), problem: error.to_string() }
}

fn read(path: &Path) -> Result<Option<Zeroizing<String>>, ServerIdentityError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unavailable(path, &error)),
    }
}

/// Writes beside the file, then renames: whoever reads sees the old text or the new one.
fn replace(path: &Path, text: &str) -> Result<(), ServerIdentityError> {
    let beside = path.with_extension("pem.new");
    let written = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    };
    written().map_err(|error| unavailable(path, &error))
}

#[async_trait]
impl ServerIdentityStore for FileServerIdentity {
    async fn get(&self) -> Result<Option<ServerCredentials>, ServerIdentityError> {
        let path = self.dir.join(SERVER);
        let Some(text) = read(&path)? else { return Ok(None) };
        let split = pem::split_key(&text).map_err(|problem| ServerIdentityError::Damaged {
            place: path.display().to_string(),
            problem: format!("{problem}; remove it and run `principal bootstrap` again"),
        })?;
        Ok(Some(split))
    }

    async fn put(&self, credentials: &ServerCredentials) -> Result<(), ServerIdentityError> {
        let text = Zeroizing::new(format!("{}{}", credentials.key_pem.expose_secret(), credentials.chain_pem));
        replace(&self.dir.join(SERVER), &text)
    }

    async fn get_public(&self, what: PublicMaterial) -> Result<Option<String>, ServerIdentityError> {
        Ok(read(&self.public(what))?.map(|text| text.to_string()))
    }

    async fn put_public(&self, what: PublicMaterial, pem: &str) -> Result<(), ServerIdentityError> {
        replace(&self.public(what), pem)
    }

    fn renewed_by_server(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use secrecy::SecretString;

    use super::*;

    #[tokio::test]
    async fn credentials_come_back_whole_and_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let store = FileServerIdentity::open(&dir.path().join("server")).unwrap();
        assert!(store.get().await.unwrap().is_none());
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let chain = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let credentials = ServerCredentials { chain_pem: chain.into(), key_pem: SecretString::from(key) };
        store.put(&credentials).await.unwrap();
        let found = store.get().await.unwrap().unwrap();
        assert_eq!((found.chain_pem.as_str(), found.key_pem.expose_secret()), (chain, key));
        let mode = fs::metadata(dir.path().join("server/server.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!format!("{found:?}").contains("PRIVATE"));
    }
}
