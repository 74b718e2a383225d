//! The certificate that a context holds, as far as this machine can read it.

use std::{fs, path::Path};

use jiff::Timestamp;
use signet_client::{CERT_FILE, KEY_FILE};
use signet_core::{Time, audit::sha256_hex};
use signet_x509::{CertificateView, Csr, KeyPair, pem};
use zeroize::Zeroizing;

use crate::failure::Failure;

/// What a certificate file says. Nothing is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its URI name.
    pub spiffe_id: Option<String>,
    /// Serial number, hexadecimal.
    pub serial: String,
    /// When it was made; its validity starts a minute earlier.
    pub made_at: Timestamp,
    /// Start of validity.
    pub not_before: Timestamp,
    /// End of validity.
    pub not_after: Timestamp,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub spki_sha256: String,
    /// The leaf, DER.
    pub der: Vec<u8>,
}

impl Held {
    /// Reads the certificate in `directory`.
    pub fn load(directory: &Path) -> Result<Self, Failure> {
        let path = directory.join(CERT_FILE);
        let text = fs::read_to_string(&path).map_err(|error| Failure::file(&path, &error))?;
        let damaged = || Failure::other(format!("{} has no certificate", path.display()));
        let der = pem::decode_certificates(&text).and_then(|all| all.into_iter().next()).ok_or_else(damaged)?;
        Self::from_der(der).ok_or_else(damaged)
    }

    /// Reads a certificate.
    pub fn from_der(der: Vec<u8>) -> Option<Self> {
        let view = CertificateView::from_der(&der).ok()?;
        Some(Self {
            spiffe_id: uri(&view),
            serial: view.serial().map_or_else(|| hex::encode(view.serial), |serial| serial.to_string()),
            made_at: timestamp(view.serial().and_then(|serial| serial.uuid_time()).unwrap_or(view.not_before))?,
            not_before: timestamp(view.not_before)?,
            not_after: timestamp(view.not_after)?,
            spki_sha256: sha256_hex(view.spki_der),
            der,
        })
    }

    /// `valid`, `expired` or `not yet valid`.
    pub fn state(&self, now: Timestamp) -> &'static str {
        match () {
            () if now >= self.not_after => "expired",
            () if now < self.not_before => "not yet valid",
            () => "valid",
        }
    }

    /// The ids in its URI name.
    pub fn tenant_and_principal(&self) -> Option<(&str, &str)> {
        let (domain, path) = self.spiffe_id.as_deref()?.strip_prefix("spiffe://")?.split_once('/')?;
        Some((domain.split('.').next()?, path.rsplit('/').next()?))
    }

    /// How its holder gets another when it is over.
    pub fn way_back(&self) -> &'static str {
        let operator = self.spiffe_id.as_deref().is_some_and(|id| id.starts_with("spiffe://system."));
        if operator {
            "get a new one with `principal bootstrap` where the environment was created, or from another administrator"
        } else {
            "get a new one with a join token: `principal enroll --replace --save-context NAME`"
        }
    }
}

/// The key in `directory`.
pub fn load_key(directory: &Path) -> Result<KeyPair, Failure> {
    let path = directory.join(KEY_FILE);
    let text = fs::read_to_string(&path).map(Zeroizing::new).map_err(|error| Failure::file(&path, &error))?;
    KeyPair::from_pkcs8_pem(&text).map_err(|error| Failure::other(format!("{}: {error}", path.display())))
}

fn timestamp(time: Time) -> Option<Timestamp> {
    Timestamp::from_millisecond(time.unix_millis()).ok()
}

/// The first URI name (RFC 5280 section 4.2.1.6: context tag 6); enough for showing our own certificates.
fn uri(view: &CertificateView<'_>) -> Option<String> {
    const SUBJECT_ALT_NAME: &str = "2.5.29.17";
    let names = view.extensions.iter().find(|extension| extension.oid.to_string() == SUBJECT_ALT_NAME)?.value;
    let start = names.windows(9).position(|part| part == b"spiffe://")?;
    let length = usize::from(*names.get(start.checked_sub(1)?)?);
    let text = names.get(start..start.checked_add(length)?)?;
    String::from_utf8(text.to_vec()).ok()
}

/// A certificate request as the API takes it, from PEM or DER. Checked here already, so that a mistake is told before
/// anything is sent.
pub fn csr_der(path: &Path, bytes: &[u8]) -> Result<Vec<u8>, Failure> {
    let refused = |error: signet_x509::CsrError| Failure::usage(format!("{}: {error}", path.display()));
    Csr::from_pem_or_der(bytes).map_err(refused)?;
    Ok(pem::decode_request(bytes).unwrap_or_else(|_| bytes.to_vec()))
}
