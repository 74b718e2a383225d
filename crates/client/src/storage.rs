//! Where an identity is kept between two runs of its program.

use std::{fmt, fs, io, path::PathBuf, sync::Mutex};

use serde::{Deserialize, Serialize};
use signet_core::certificates::renewal::Schedule;
use zeroize::Zeroizing;

use crate::{
    atomic_dir::{Access, AtomicDir, NewFile, replace_file},
    bundle::Bundle,
    credentials::{Credentials, CredentialsError},
    files::{CA_FILE, CERT_FILE, KEY_FILE},
    lock::StorageLock,
    pending::Pending,
};

/// File name of the notes.
const NOTES_FILE: &str = "signet.json";
/// File name of the lock. The agent takes the same one.
pub const LOCK_FILE: &str = ".signet.lock";
/// File name of an enrollment under way.
const PENDING_FILE: &str = ".signet.enrolling";

/// What is remembered with a certificate; no secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notes {
    /// The certificate that they are about.
    pub serial_number: String,
    /// When it is renewed: drawn once.
    pub schedule: Schedule,
    /// Whether the control plane was told that it is stored.
    #[serde(default)]
    pub confirmed: bool,
    /// What the tenant's verifiers trust.
    pub bundle: Bundle,
}

/// Keeps one identity: its certificate, its key and the notes. Calls come one at a time, from a thread that may block.
pub trait Storage: Send + Sync + fmt::Debug {
    /// What is kept, if anything. Notes that are damaged or another certificate's are left out: they are made anew.
    fn load(&self) -> Result<Option<(Credentials, Option<Notes>)>, CredentialsError>;

    /// Replaces the certificate with its key, and the notes. When it fails, the ones before are still there; a reader
    /// never finds one's key with the other's certificate.
    fn save(&self, credentials: &Credentials, notes: &Notes) -> Result<(), CredentialsError>;

    /// Replaces the notes alone.
    fn note(&self, credentials: &Credentials, notes: &Notes) -> Result<(), CredentialsError>;

    /// The right to renew or to enroll; `None`: another process has it. Held from the look at what is kept until that
    /// is replaced.
    fn try_lock(&self) -> Result<Option<StorageLock>, CredentialsError> {
        Ok(Some(StorageLock::of_one_process()))
    }

    /// The enrollment that was under way when the program ended, if any.
    fn pending(&self) -> Result<Option<Pending>, CredentialsError> {
        Ok(None)
    }

    /// Keeps an enrollment that is about to be sent: its key, too.
    fn keep_pending(&self, _: &Pending) -> Result<(), CredentialsError> {
        Ok(())
    }

    /// Its outcome is known and stored.
    fn forget_pending(&self) -> Result<(), CredentialsError> {
        Ok(())
    }
}

/// Keeps nothing beyond the program's life: the key is in memory only, and the next run enrolls again.
#[derive(Debug, Default)]
pub struct InMemory;

impl Storage for InMemory {
    fn load(&self) -> Result<Option<(Credentials, Option<Notes>)>, CredentialsError> {
        Ok(None)
    }
    fn save(&self, _: &Credentials, _: &Notes) -> Result<(), CredentialsError> {
        Ok(())
    }
    fn note(&self, _: &Credentials, _: &Notes) -> Result<(), CredentialsError> {
        Ok(())
    }
}

/// A folder with `cert.pem`, `key.pem` (0600), `ca.pem` and `signet.json`; also one that `principal enroll --out`
/// wrote. The three are replaced at once, see [`AtomicDir`]. Several processes may share it: one of them renews, under
/// the folder's lock, and the others take up what it wrote.
#[derive(Debug)]
pub struct Directory {
    files: AtomicDir,
    noted: Mutex<Option<Notes>>,
}

impl Directory {
    /// The folder at `path`; made (0700) when it is missing.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { files: AtomicDir::new(path, Access::mode(0o700)), noted: Mutex::new(None) }
    }

    fn write_notes(&self, notes: &Notes) -> Result<(), CredentialsError> {
        let mut noted = self.noted.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if noted.as_ref() == Some(notes) {
            return Ok(());
        }
        write_notes(&self.files.path().join(NOTES_FILE), notes)?;
        *noted = Some(notes.clone());
        Ok(())
    }
}

impl Storage for Directory {
    fn load(&self) -> Result<Option<(Credentials, Option<Notes>)>, CredentialsError> {
        match fs::exists(self.files.path().join(CERT_FILE)) {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) => {
                let path = self.files.path().display().to_string();
                return Err(CredentialsError::File { action: "read", path, reason: error.to_string() });
            }
        }
        let credentials = self.files.read(Credentials::load)?;
        let notes = read_notes(&self.files.path().join(NOTES_FILE), &credentials);
        Ok(Some((credentials, notes)))
    }

    fn save(&self, credentials: &Credentials, notes: &Notes) -> Result<(), CredentialsError> {
        let (key, chain, root): (Zeroizing<String>, _, _) =
            (credentials.key_pem(), credentials.chain_pem(), credentials.root_pem());
        let file = |name, bytes, mode| NewFile { name, bytes, access: Access::mode(mode) };
        let files = [
            file(KEY_FILE, key.as_bytes(), 0o600),
            file(CERT_FILE, chain.as_bytes(), 0o644),
            file(CA_FILE, root.as_bytes(), 0o644),
        ];
        self.files.replace(&credentials.facts().serial_number, &files)?;
        self.write_notes(notes)
    }

    fn note(&self, _: &Credentials, notes: &Notes) -> Result<(), CredentialsError> {
        self.write_notes(notes)
    }

    fn try_lock(&self) -> Result<Option<StorageLock>, CredentialsError> {
        StorageLock::try_take(&self.files.path().join(LOCK_FILE))
    }

    fn pending(&self) -> Result<Option<Pending>, CredentialsError> {
        Pending::read(&self.files.path().join(PENDING_FILE))
    }

    fn keep_pending(&self, pending: &Pending) -> Result<(), CredentialsError> {
        pending.write(&self.files.path().join(PENDING_FILE))
    }

    fn forget_pending(&self) -> Result<(), CredentialsError> {
        Pending::remove(&self.files.path().join(PENDING_FILE))
    }
}

/// Writes notes to a file of their own.
pub fn write_notes(path: &std::path::Path, notes: &Notes) -> Result<(), CredentialsError> {
    let failed = |reason: String| CredentialsError::File { action: "write", path: path.display().to_string(), reason };
    let text = serde_json::to_string_pretty(notes).map_err(|error| failed(error.to_string()))?;
    replace_file(path, text.as_bytes(), Access::mode(0o644))
}

/// Notes about `credentials` from a file of their own; `None` when they are missing, damaged, or another certificate's.
pub fn read_notes(path: &std::path::Path, credentials: &Credentials) -> Option<Notes> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the renewal state cannot be read: choosing a new renewal time");
            return None;
        }
    };
    match serde_json::from_str::<Notes>(&text) {
        Ok(notes) => (notes.serial_number == credentials.facts().serial_number).then_some(notes),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the renewal state is damaged: choosing a new renewal time");
            None
        }
    }
}

/// Work on disk, off the runtime's threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CredentialsError> + Send + 'static,
) -> Result<T, CredentialsError> {
    let lost = |error: tokio::task::JoinError| CredentialsError::File {
        action: "store",
        path: String::new(),
        reason: error.to_string(),
    };
    tokio::task::spawn_blocking(work).await.map_err(lost)?
}
