//! Certificates in files, for programs that read files: the agent's storage is what it publishes. It keeps no other copy
//! of a key: after a restart the key comes from the PEM folder or the combined file, or there is a new enrollment.

mod pkcs12;

use std::{
    fs,
    path::{Path, PathBuf},
};

use signet_client::{
    Access, AtomicDir, Bundle, CA_FILE, CERT_FILE, Credentials, CredentialsError, KEY_FILE, NewFile, Notes, Storage,
    read_notes, replace_file, write_notes,
};
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::config::{FileConfig, IdentityConfig, PemConfig};

/// The tenant's CAs, beside the certificate.
pub(crate) const BUNDLE_FILE: &str = "bundle.pem";
const FOLDER: Access = Access::mode(0o755);
const PUBLIC: Access = Access::mode(0o644);

/// One identity's files.
#[derive(Debug)]
pub(crate) struct Published {
    config: IdentityConfig,
    notes: PathBuf,
    written: watch::Sender<Option<Notes>>,
}

impl Published {
    /// With the notes in `state_dir`.
    pub(crate) fn new(config: IdentityConfig, state_dir: &Path) -> Self {
        let notes = state_dir.join(format!("{}.json", config.name));
        Self { config, notes, written: watch::channel(None).0 }
    }

    /// Every file that programs may read.
    pub(crate) fn files(&self) -> Vec<(&'static str, PathBuf)> {
        let mut files = Vec::new();
        if let Some(pem) = &self.config.pem {
            let names = [
                ("SIGNET_CERT_FILE", CERT_FILE),
                ("SIGNET_KEY_FILE", KEY_FILE),
                ("SIGNET_CA_FILE", CA_FILE),
                ("SIGNET_BUNDLE_FILE", BUNDLE_FILE),
            ];
            files.extend(names.map(|(variable, name)| (variable, pem.directory.join(name))));
        }
        files.extend(self.config.combined.as_ref().map(|combined| ("SIGNET_COMBINED_FILE", combined.file.clone())));
        files.extend(self.config.pkcs12.as_ref().map(|pkcs12| ("SIGNET_PKCS12_FILE", pkcs12.file.file.clone())));
        files
    }

    fn publish(&self, credentials: &Credentials, bundle: &Bundle) -> Result<(), CredentialsError> {
        if let Some(pkcs12) = &self.config.pkcs12 {
            replace_file(&pkcs12.file.file, &pkcs12::encode(pkcs12, credentials)?, pkcs12.file.access)?;
        }
        if let Some(combined) = &self.config.combined {
            replace_file(&combined.file, combine(credentials).as_bytes(), combined.access)?;
        }
        // Last: what is there after a crash is what a restart takes up, and publishes everywhere.
        match &self.config.pem {
            Some(pem) => write_pem(pem, credentials, bundle),
            None => Ok(()),
        }
    }

    fn write_notes(&self, notes: &Notes) -> Result<(), CredentialsError> {
        write_notes(&self.notes, notes)?;
        self.written.send_replace(Some(notes.clone()));
        Ok(())
    }

    /// Whether there is a place for every file, and the password for one of them: asked before a proof is used up.
    pub(crate) fn prepare(&self) -> Result<(), CredentialsError> {
        let folder = |file: &FileConfig| file.file.parent().map(Path::to_owned);
        let pem = self.config.pem.as_ref().map(|pem| pem.directory.clone());
        let combined = self.config.combined.as_ref().and_then(folder);
        let pkcs12 = self.config.pkcs12.as_ref();
        pkcs12.map_or(Ok(()), |pkcs12| pkcs12::password(pkcs12).map(drop))?;
        let folders = [pem, combined, pkcs12.and_then(|pkcs12| folder(&pkcs12.file))];
        folders.into_iter().flatten().try_for_each(|folder| {
            let probe = folder.join(".signet-agent");
            replace_file(&probe, b"", Access::mode(0o600))?;
            fs::remove_file(&probe).map_err(|error| CredentialsError::File {
                action: "remove",
                path: probe.display().to_string(),
                reason: error.to_string(),
            })
        })
    }

    /// What all files hold, now and from now on.
    pub(crate) fn written(&self) -> watch::Receiver<Option<Notes>> {
        self.written.subscribe()
    }

    fn read(&self) -> Result<Option<Credentials>, CredentialsError> {
        if let Some(pem) = &self.config.pem {
            return match fs::exists(pem.directory.join(CERT_FILE)) {
                Ok(false) => Ok(None),
                _ => AtomicDir::new(&pem.directory, FOLDER).read(Credentials::load).map(Some),
            };
        }
        match &self.config.combined {
            Some(combined) => read_combined(combined),
            None => Ok(None),
        }
    }
}

impl Storage for Published {
    fn load(&self) -> Result<Option<(Credentials, Option<Notes>)>, CredentialsError> {
        let Some(credentials) = self.read()? else { return Ok(None) };
        let notes = read_notes(&self.notes, &credentials);
        Ok(Some((credentials, notes)))
    }

    fn save(&self, credentials: &Credentials, notes: &Notes) -> Result<(), CredentialsError> {
        self.publish(credentials, &notes.bundle)?;
        self.write_notes(notes)
    }

    fn note(&self, credentials: &Credentials, notes: &Notes) -> Result<(), CredentialsError> {
        let bundle_is_new = self.written.borrow().as_ref().is_none_or(|written| written.bundle != notes.bundle);
        if let Some(pem) = self.config.pem.as_ref().filter(|_| bundle_is_new) {
            write_pem(pem, credentials, &notes.bundle)?;
        }
        self.write_notes(notes)
    }
}

fn write_pem(pem: &PemConfig, credentials: &Credentials, bundle: &Bundle) -> Result<(), CredentialsError> {
    let (key, chain, root) = (credentials.key_pem(), credentials.chain_pem(), credentials.root_pem());
    let files = [
        NewFile { name: KEY_FILE, bytes: key.as_bytes(), access: pem.key },
        NewFile { name: CERT_FILE, bytes: chain.as_bytes(), access: PUBLIC },
        NewFile { name: CA_FILE, bytes: root.as_bytes(), access: PUBLIC },
        NewFile { name: BUNDLE_FILE, bytes: bundle.anchors_pem.as_bytes(), access: PUBLIC },
    ];
    AtomicDir::new(&pem.directory, FOLDER).replace(&credentials.facts().serial_number, &files)
}

/// Key, chain, root: the order that HAProxy and others take, and [`read_combined`] finds again. The root is last.
pub(crate) fn combine(credentials: &Credentials) -> Zeroizing<String> {
    let (key, chain, root) = (credentials.key_pem(), credentials.chain_pem(), credentials.root_pem());
    let mut text = Zeroizing::new(String::with_capacity(key.len() + chain.len() + root.len()));
    text.push_str(&key);
    text.push_str(&chain);
    text.push_str(&root);
    text
}

fn read_combined(combined: &FileConfig) -> Result<Option<Credentials>, CredentialsError> {
    let text = match fs::read_to_string(&combined.file) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let path = combined.file.display().to_string();
            return Err(CredentialsError::File { action: "read", path, reason: error.to_string() });
        }
    };
    let bad = || CredentialsError::Certificates("the combined file");
    let (key, certificates) = text.split_once("-----BEGIN CERTIFICATE-----").ok_or_else(bad)?;
    let at = certificates.rfind("-----BEGIN CERTIFICATE-----").ok_or_else(bad)?;
    let (chain, root) = certificates.split_at(at);
    Credentials::from_pem(&format!("-----BEGIN CERTIFICATE-----{chain}"), key, root).map(Some)
}
