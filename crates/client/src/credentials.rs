//! A certificate with its key, and the root to check the control plane against.

use std::fmt;

use signet_core::Time;
use signet_x509::{CertificateView, KeyPair, pem};
use thiserror::Error;
use zeroize::Zeroizing;

/// Why credentials cannot be used. Texts never hold key material.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CredentialsError {
    /// Not certificates.
    #[error("{0} does not hold certificates in PEM or DER")]
    Certificates(&'static str),
    /// Somebody else's certificate, or a placeholder.
    #[error("the certificate is not one of Signet's")]
    Foreign,
    /// Not a private key of ours.
    #[error("the private key cannot be used: {0}")]
    Key(#[from] signet_x509::UnusableKey),
    /// Another certificate's key.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
    /// It would be refused by everybody whose clock is as this machine's.
    #[error(
        "the new certificate is not valid for another {seconds} s by this machine's clock: that or the server's is wrong; \
         the present certificate stays in use"
    )]
    Premature {
        /// How long.
        seconds: i64,
    },
    /// Somebody else's turn.
    #[error("another process is renewing or enrolling this identity, and has not ended within {seconds} s")]
    Busy {
        /// How long it was waited for.
        seconds: u64,
    },
    /// A file.
    #[error("cannot {action} {path}: {reason}")]
    File {
        /// What was tried.
        action: &'static str,
        /// The path.
        path: String,
        /// What the operating system said.
        reason: String,
    },
}

/// A principal's certificate chain, its private key and the environment's root. The key is overwritten when dropped and
/// never printed.
pub struct Credentials {
    chain_der: Vec<Vec<u8>>,
    root_der: Vec<Vec<u8>>,
    key: KeyPair,
    facts: CertificateFacts,
}

/// What the leaf says, for deciding when to renew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Subject, as RFC 4514 writes it.
    pub subject: String,
    /// Serial number, hexadecimal.
    pub serial_number: String,
    /// Start of validity, milliseconds since the Unix epoch.
    pub not_before_unix_millis: i64,
    /// End of validity, milliseconds since the Unix epoch.
    pub not_after_unix_millis: i64,
}

/// How far two clocks may be apart without anybody's notice, milliseconds.
const CLOCK_SKEW: i64 = 5 * 60 * 1000;

impl CertificateFacts {
    /// Whether this certificate may take the place of `held` at `now`. One from a server whose clock is ahead may not,
    /// as long as the present one does its work. In the last sixth of that one's life it may: the server has the
    /// last word on time.
    pub fn may_replace(&self, held: &Self, now: Time) -> Result<(), CredentialsError> {
        let now = now.unix_millis();
        let (start, end) = (held.not_before_unix_millis, held.not_after_unix_millis);
        let early = self.not_before_unix_millis.saturating_sub(now);
        let needed_from = end.saturating_sub(end.saturating_sub(start) / 6);
        if early > CLOCK_SKEW && start <= now && self.not_before_unix_millis < needed_from {
            return Err(CredentialsError::Premature { seconds: early / 1000 });
        }
        Ok(())
    }
}

impl Credentials {
    /// Joins a chain (leaf first, DER), the roots (DER) and the leaf's key, and checks that they belong together.
    pub fn new(chain_der: Vec<Vec<u8>>, root_der: Vec<Vec<u8>>, key: KeyPair) -> Result<Self, CredentialsError> {
        let leaf = chain_der.first().ok_or(CredentialsError::Certificates("the chain"))?;
        let leaf = CertificateView::from_der(leaf).map_err(|_| CredentialsError::Certificates("the chain"))?;
        if leaf.spki_der != key.public_key().spki_der() {
            return Err(CredentialsError::Mismatch);
        }
        if root_der.is_empty() || root_der.iter().any(|root| CertificateView::from_der(root).is_err()) {
            return Err(CredentialsError::Certificates("the root"));
        }
        let facts = CertificateFacts {
            subject: leaf.subject_text(),
            serial_number: hex::encode(leaf.serial),
            not_before_unix_millis: leaf.not_before.unix_millis(),
            not_after_unix_millis: leaf.not_after.unix_millis(),
        };
        Ok(Self { chain_der, root_der, key, facts })
    }

    /// From PEM texts: the chain (leaf first), the key (PKCS#8) and the roots.
    pub fn from_pem(chain: &str, key: &str, root: &str) -> Result<Self, CredentialsError> {
        let chain = pem::decode_certificates(chain).ok_or(CredentialsError::Certificates("the chain"))?;
        let root = pem::decode_certificates(root).ok_or(CredentialsError::Certificates("the root"))?;
        Self::new(chain, root, KeyPair::from_pkcs8_pem(key)?)
    }

    /// The certificate, then the CA that signed it; DER.
    pub fn chain_der(&self) -> &[Vec<u8>] {
        &self.chain_der
    }

    /// The environment's roots, DER.
    pub fn root_der(&self) -> &[Vec<u8>] {
        &self.root_der
    }

    /// The private key.
    pub fn key(&self) -> &KeyPair {
        &self.key
    }

    /// What the certificate says.
    pub fn facts(&self) -> &CertificateFacts {
        &self.facts
    }

    /// PEM: the leaf first, then what is between it and the root.
    pub fn chain_pem(&self) -> String {
        self.chain_der.iter().map(|der| pem::encode_certificate(der)).collect()
    }

    /// PEM of each root that the environment has now; two during its rotation.
    pub fn root_pem(&self) -> String {
        self.root_der.iter().map(|der| pem::encode_certificate(der)).collect()
    }

    /// The private key as PEM (PKCS#8). Secret.
    pub fn key_pem(&self) -> Zeroizing<String> {
        self.key.to_pkcs8_pem()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("facts", &self.facts).finish_non_exhaustive()
    }
}
