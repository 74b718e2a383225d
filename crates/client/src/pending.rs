//! An enrollment whose outcome is not known yet: its key and request id are kept before they are sent, so that whoever
//! is stopped in between asks for the same certificate again instead of using up a second proof.

use std::{fmt, fs, io, path::Path};

use aws_lc_rs::digest::{Context, SHA256};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use signet_proto::v1::enroll_request::Proof;
use signet_x509::{KeyPair, csr};
use zeroize::Zeroizing;

use crate::{
    atomic_dir::{Access, replace_file},
    credentials::{Credentials, CredentialsError},
    enrollment::Enrollment,
    error::ClientError,
    retry::request_id,
};

/// See the module's words. The key is overwritten when dropped and never printed.
pub struct Pending {
    request_id: String,
    key: KeyPair,
    /// SHA-256 of what it is for: with another token it would be another request.
    purpose: String,
}

#[derive(Serialize, Deserialize)]
struct Written<'a> {
    request_id: &'a str,
    purpose: &'a str,
    #[serde(borrow)]
    key_base64: &'a str,
}

impl Pending {
    pub(crate) fn generate() -> Result<Self, ClientError> {
        let key = KeyPair::generate().map_err(CredentialsError::Key)?;
        Ok(Self { request_id: request_id(), key, purpose: String::new() })
    }

    /// For this enrollment with this proof.
    pub(crate) fn serving(self, enrollment: &Enrollment, proof: &Proof) -> Self {
        Self { purpose: purpose(enrollment, proof), ..self }
    }

    pub(crate) fn serves(&self, enrollment: &Enrollment, proof: &Proof) -> bool {
        self.purpose == purpose(enrollment, proof)
    }

    pub(crate) fn request_id(&self) -> &str {
        &self.request_id
    }

    pub(crate) fn key(&self) -> &KeyPair {
        &self.key
    }

    /// The public key that was asked for: SubjectPublicKeyInfo, DER.
    pub fn spki_der(&self) -> Vec<u8> {
        self.key.public_key().spki_der().to_vec()
    }

    /// With the certificate that was issued for it after all (leaf first, DER), and what verifies the control plane
    /// (DER).
    pub fn certified(self, chain_der: Vec<Vec<u8>>, root_der: Vec<Vec<u8>>) -> Result<Credentials, CredentialsError> {
        Credentials::new(chain_der, root_der, self.key)
    }

    pub(crate) fn into_key(self) -> KeyPair {
        self.key
    }

    pub(crate) fn csr_der(&self) -> Result<Vec<u8>, ClientError> {
        Ok(csr::create(&self.key).map_err(CredentialsError::Key)?)
    }

    /// Keeps it in a file (0600) that is on disk when this returns.
    pub fn write(&self, path: &Path) -> Result<(), CredentialsError> {
        let key_base64 = Zeroizing::new(BASE64_STANDARD.encode(self.key.pkcs8_der().as_slice()));
        let written = Written { request_id: &self.request_id, purpose: &self.purpose, key_base64: &key_base64 };
        let text = serde_json::to_vec(&written).map(Zeroizing::new);
        replace_file(path, &text.map_err(|error| failed("write", path, &error))?, Access::mode(0o600))
    }

    /// Reads a file of [`Self::write`]; `None` when there is none. One that is damaged was never sent: it is told and
    /// left out.
    pub fn read(path: &Path) -> Result<Option<Self>, CredentialsError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read", path, &error)),
        };
        let found = serde_json::from_slice::<Written<'_>>(&bytes).ok().and_then(|written| {
            let key = Zeroizing::new(BASE64_STANDARD.decode(written.key_base64).ok()?);
            let key = KeyPair::from_pkcs8_der(&key).ok()?;
            Some(Self { request_id: written.request_id.into(), key, purpose: written.purpose.into() })
        });
        if found.is_none() {
            tracing::warn!(path = %path.display(), "the pending enrollment is damaged: starting a new one");
        }
        Ok(found)
    }

    /// Removes the file, if it is there.
    pub fn remove(path: &Path) -> Result<(), CredentialsError> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, &error)),
            _ => Ok(()),
        }
    }
}

/// A proof that is bound to the key is made anew for each attempt; the control plane knows its repetition by the key.
fn purpose(enrollment: &Enrollment, proof: &Proof) -> String {
    let proof = match proof {
        Proof::JoinToken(token) => token.as_str(),
        Proof::AwsIam(_) => "aws_iam",
        Proof::OidcToken(_) => "oidc",
        Proof::X509(_) => "x509",
    };
    let mut digest = Context::new(&SHA256);
    for part in [Some(proof), enrollment.tenant_id.as_deref(), enrollment.principal_id.as_deref()] {
        let part = part.unwrap_or_default();
        digest.update(part.as_bytes());
        // No id and no token holds it.
        digest.update(&[0]);
    }
    hex::encode(digest.finish())
}

fn failed(action: &'static str, path: &Path, reason: &dyn fmt::Display) -> CredentialsError {
    CredentialsError::File { action, path: path.display().to_string(), reason: reason.to_string() }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("request_id", &self.request_id).finish_non_exhaustive()
    }
}
