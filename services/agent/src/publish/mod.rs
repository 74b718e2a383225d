//! Certificates in files, for programs that read files: the agent's storage is what it publishes. It keeps no other
//! copy of a key: after a restart the key comes from the PEM folder or the combined file, or there is a new enrollment.

mod pkcs12;

use std::{
    fs,
    path::{Path, PathBuf},
};

use signet_client::{
    Access, AtomicDir, BUNDLE_FILE, Bundle, CA_FILE, CERT_FILE, Credentials, CredentialsError, KEY_FILE, LOCK_FILE,
    Notes, Pending, RevocationLists, Storage, StorageLock, can_replace, fits, read_notes, replace_file, write_notes,
};
use signet_core::Time;
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::config::{IdentityConfig, PemConfig};

/// The revocation lists of the anchors.
pub(crate) const CRL_FILE: &str = "crl.pem";
const FOLDER: Access = Access::mode(0o755);
const PUBLIC: Access = Access::mode(0o644);

/// One identity's files.
#[derive(Debug)]
pub(crate) struct Published {
    config: IdentityConfig,
    notes: PathBuf,
    /// An enrollment under way, with its key.
    pending: PathBuf,
    /// The certificate before the present one, with its key, where a canary is wanted.
    previous: PathBuf,
    written: watch::Sender<Option<Notes>>,
}

impl Published {
    /// With the notes in `state_dir`.
    pub(crate) fn new(config: IdentityConfig, state_dir: &Path) -> Self {
        let notes = state_dir.join(format!("{}.json", config.name));
        let pending = state_dir.join(format!("{}.enrolling", config.name));
        let previous = state_dir.join(format!("{}.canary", config.name));
        Self { config, notes, pending, previous, written: watch::channel(None).0 }
    }

    /// The certificate before the present one, as far as it was kept.
    pub(crate) fn previous(&self) -> Result<Option<Credentials>, CredentialsError> {
        read_combined(&self.previous)
    }

    /// Nobody needs its key any more.
    pub(crate) fn forget_previous(&self) {
        let _ = fs::remove_file(&self.previous);
    }

    /// Before `next` replaces the present one. A canary less is no reason not to.
    fn keep_previous(&self, next: &Credentials) {
        if self.config.pem.as_ref().is_none_or(|pem| pem.canary.is_none()) {
            return self.forget_previous();
        }
        let Ok(Some(present)) = self.read() else { return };
        let (one, other) = (present.facts(), next.facts());
        if one.serial_number == other.serial_number || one.subject != other.subject {
            return;
        }
        if let Err(error) = replace_file(&self.previous, combine(&present).as_bytes(), Access::mode(0o600)) {
            tracing::warn!(identity = %self.config.name, %error, "no canary until the next renewal");
        }
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
            files.extend(self.crl_file().map(|path| ("SIGNET_CRL_FILE", path)));
        }
        files.extend(self.config.combined.as_ref().map(|combined| ("SIGNET_COMBINED_FILE", combined.file.clone())));
        files.extend(self.config.pkcs12.as_ref().map(|pkcs12| ("SIGNET_PKCS12_FILE", pkcs12.file.clone())));
        files
    }

    fn publish(&self, credentials: &Credentials, bundle: &Bundle) -> Result<(), CredentialsError> {
        // First what a restart takes up, and then publishes everywhere: nothing that fails after it costs the key.
        if let Some(pem) = &self.config.pem {
            write_pem(pem, credentials, bundle)?;
        }
        if let Some(combined) = &self.config.combined {
            replace_file(&combined.file, combine(credentials).as_bytes(), combined.access)?;
        }
        match &self.config.pkcs12 {
            Some(pkcs12) => replace_file(&pkcs12.file, &pkcs12::encode(pkcs12, credentials)?, pkcs12.access),
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
        if let Some(pkcs12) = &self.config.pkcs12 {
            pkcs12::password(pkcs12)?;
        }
        if let Some(pem) = &self.config.pem {
            AtomicDir::new(&pem.directory, FOLDER).make()?;
        }
        self.places().try_for_each(|path| can_replace(&path))
    }

    /// The same without writing anything: what of it can be known.
    pub(crate) fn misplaced(&self) -> Vec<CredentialsError> {
        self.places().filter_map(|path| fits(&path).err()).collect()
    }

    /// Every file that will be replaced, one way or the other.
    fn places(&self) -> impl Iterator<Item = PathBuf> {
        let names = [KEY_FILE, CERT_FILE, CA_FILE, BUNDLE_FILE];
        let pem = self.config.pem.iter().flat_map(move |pem| names.map(|name| pem.directory.join(name)));
        let combined = self.config.combined.iter().map(|combined| combined.file.clone());
        let pkcs12 = self.config.pkcs12.iter().map(|pkcs12| pkcs12.file.clone());
        pem.chain(self.crl_file()).chain(combined).chain(pkcs12)
    }

    /// Where revocation lists are written, if anywhere.
    pub(crate) fn crl_file(&self) -> Option<PathBuf> {
        self.config.pem.as_ref().filter(|pem| pem.crl).map(|pem| pem.directory.join(CRL_FILE))
    }

    /// Writes the lists if all anchors have one: with fewer, OpenSSL refuses whom the others signed, and Mosquitto,
    /// given a file that it cannot read, accepts everybody. Returns what stands there then; `None`: nothing yet.
    pub(crate) fn write_lists(&self, lists: &RevocationLists, now: Time) -> Result<Option<String>, CredentialsError> {
        let Some(path) = self.crl_file() else { return Ok(None) };
        let Some(bundle) = self.written.borrow().as_ref().map(|notes| notes.bundle.clone()) else { return Ok(None) };
        // What stands there may be damaged, or over.
        let is_good =
            |text: &String| RevocationLists::from_pem(&bundle, text, now).is_ok_and(|found| found.cover(&bundle, now));
        let there = fs::read_to_string(&path).ok().filter(is_good);
        let new = lists.cover(&bundle, now).then(|| lists.within(&bundle).to_pem());
        match new {
            Some(new) if there.as_ref() != Some(&new) => {
                replace_file(&path, new.as_bytes(), PUBLIC)?;
                Ok(Some(new))
            }
            _ => Ok(there),
        }
    }

    /// What all files hold, now and from now on.
    pub(crate) fn written(&self) -> watch::Receiver<Option<Notes>> {
        self.written.subscribe()
    }

    fn read(&self) -> Result<Option<Credentials>, CredentialsError> {
        if let Some(pem) = &self.config.pem {
            if !has_both_halves(&pem.directory) {
                return Ok(None);
            }
            let load = |folder: &Path| Credentials::load_with(folder, pem.key.mode);
            return AtomicDir::new(&pem.directory, FOLDER).read(load).map(Some);
        }
        match &self.config.combined {
            Some(combined) => read_combined(&combined.file),
            None => Ok(None),
        }
    }

    /// Where the processes that write these files meet; the SDK's in a PEM folder.
    fn lock_file(&self) -> PathBuf {
        match (&self.config.pem, &self.config.combined) {
            (Some(pem), _) => pem.directory.join(LOCK_FILE),
            (None, Some(combined)) => {
                let name = combined.file.file_name().unwrap_or_default().to_string_lossy();
                combined.file.with_file_name(format!(".{name}.lock"))
            }
            (None, None) => self.notes.with_extension("lock"),
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
        self.keep_previous(credentials);
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

    fn try_lock(&self) -> Result<Option<StorageLock>, CredentialsError> {
        // Made here, since the lock would make it for us alone.
        match (&self.config.pem, &self.config.combined) {
            (Some(pem), _) => AtomicDir::new(&pem.directory, FOLDER).make()?,
            (None, Some(combined)) => {
                let folder = combined.file.parent().unwrap_or(Path::new("."));
                AtomicDir::new(folder, FOLDER).make()?;
            }
            (None, None) => {}
        }
        StorageLock::try_take(&self.lock_file())
    }

    fn pending(&self) -> Result<Option<Pending>, CredentialsError> {
        Pending::read(&self.pending)
    }

    /// Only where the key goes to a file anyway.
    fn keep_pending(&self, pending: &Pending) -> Result<(), CredentialsError> {
        if self.config.keeps_its_key() { pending.write(&self.pending) } else { Ok(()) }
    }

    fn forget_pending(&self) -> Result<(), CredentialsError> {
        Pending::remove(&self.pending)
    }
}

/// Whether there may be an identity: of a certificate without its key, or the other way round, nothing can be lost.
fn has_both_halves(folder: &Path) -> bool {
    let is_empty = |name| fs::metadata(folder.join(name)).is_ok_and(|meta| meta.is_file() && meta.len() == 0);
    let is_missing = |name| matches!(fs::exists(folder.join(name)), Ok(false));
    ![CERT_FILE, KEY_FILE].into_iter().any(|name| is_missing(name) || is_empty(name))
}

fn write_pem(pem: &PemConfig, credentials: &Credentials, bundle: &Bundle) -> Result<(), CredentialsError> {
    credentials.publish(&AtomicDir::new(&pem.directory, FOLDER), pem.key, &bundle.anchors_pem)
}

/// Label of what verifies the control plane in a combined file, so that whoever reads certificates takes key and chain
/// only: GnuTLS refuses a peer that sends more.
const SERVER_TRUST: &str = "SIGNET SERVER TRUST";

/// Key, chain, and what [`read_combined`] needs besides.
pub(crate) fn combine(credentials: &Credentials) -> Zeroizing<String> {
    let (key, chain) = (credentials.key_pem(), credentials.chain_pem());
    let trusted = credentials.root_pem().replace(" CERTIFICATE-----", &format!(" {SERVER_TRUST}-----"));
    let mut text = Zeroizing::new(String::with_capacity(key.len() + chain.len() + trusted.len()));
    text.push_str(&key);
    text.push_str(&chain);
    text.push_str(&trusted);
    text
}

fn read_combined(file: &Path) -> Result<Option<Credentials>, CredentialsError> {
    let text = match fs::read_to_string(file) {
        Ok(text) if text.trim().is_empty() => return Ok(None),
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let path = file.display().to_string();
            return Err(CredentialsError::File { action: "read", path, reason: error.to_string() });
        }
    };
    let bad = || CredentialsError::Certificates("the combined file");
    let (key, certificates) = text.split_once("-----BEGIN CERTIFICATE-----").ok_or_else(bad)?;
    let trusted = certificates.find(&format!("-----BEGIN {SERVER_TRUST}-----"));
    // Release 0.1 wrote one more certificate, the root.
    let at = trusted.or_else(|| certificates.rfind("-----BEGIN CERTIFICATE-----")).ok_or_else(bad)?;
    let (chain, trusted) = certificates.split_at(at);
    let trusted = trusted.replace(SERVER_TRUST, "CERTIFICATE");
    Credentials::from_pem(&format!("-----BEGIN CERTIFICATE-----{chain}"), key, &trusted).map(Some)
}

#[cfg(test)]
mod tests {
    use signet_core::{Lifetime, certificates::renewal::Schedule};
    use signet_testkit::{
        fixtures::NOW,
        pki::{Authority, Pki},
    };
    use signet_x509::{IssuerCert, crl::prepare_crl, pem};

    use super::*;

    fn bundle(cas: &[&Authority]) -> Bundle {
        let anchors_pem = cas.iter().map(|ca| pem::encode_certificate(&ca.ca.anchor_der)).collect();
        Bundle { tenant: "acme".parse().unwrap(), anchors_pem }
    }

    fn list(ca: &Authority) -> Vec<u8> {
        let issuer = IssuerCert::from_der(&ca.ca.anchor_der).unwrap();
        let prepared = prepare_crl(&issuer, 1, NOW, NOW.plus(Lifetime::hours(48)), &[]).unwrap();
        let signature = ca.key.sign(prepared.tbs_der()).unwrap();
        prepared.finish(&signature).unwrap()
    }

    #[test]
    fn the_list_of_a_ca_goes_with_the_ca_and_not_with_the_next_list() {
        let folder = tempfile::tempdir().unwrap();
        let text = "name = \"web\"\nenroll = { join_token_file = \"t\" }\npem = { directory = \"tls\", crl = true }";
        let read = figment::Figment::from(<figment::providers::Toml as figment::providers::Format>::string(text));
        let mut config: IdentityConfig = read.extract().unwrap();
        config.pem.as_mut().unwrap().directory = folder.path().to_owned();
        let published = Published::new(config, folder.path());
        let pki = Pki::new(NOW);
        let (old, new) = (pki.tenant_ca("acme", 1), pki.tenant_ca("acme", 2));
        let both = bundle(&[&old, &new]);
        let lists = RevocationLists::default().with(&both, list(&old), NOW).unwrap();
        let lists = lists.with(&both, list(&new), NOW).unwrap();
        let written = |bundle: Bundle| {
            let schedule = Schedule::new(NOW, NOW.plus(Lifetime::days(1)), NOW, 0);
            let notes = Notes { serial_number: String::new(), schedule, confirmed: true, bundle };
            published.written.send_replace(Some(notes));
            let told = published.write_lists(&lists, NOW).unwrap().unwrap();
            assert_eq!(told, fs::read_to_string(folder.path().join(CRL_FILE)).unwrap());
            told.matches("BEGIN X509 CRL").count()
        };
        assert_eq!((written(both), written(bundle(&[&new]))), (2, 1));
    }
}
