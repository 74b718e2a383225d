//! The server's own certificate, swapped while connections come in.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use signet_core::{Serial, Time};
use signet_x509::CertificateView;
use thiserror::Error;

/// Why a certificate cannot be served. Texts never hold key material.
#[derive(Debug, Error)]
pub enum ServerCertificateError {
    /// No certificate in the chain's PEM, or a damaged one.
    #[error("the server's certificate chain is not PEM with certificates, leaf first")]
    Chain,
    /// No private key in the key's PEM, or a damaged one.
    #[error("the server's key is not a PEM private key (PKCS#8)")]
    Key,
    /// The key is another certificate's.
    #[error("the server's key does not belong to the first certificate of its chain")]
    Mismatch,
    /// The crypto library does not take it.
    #[error("the server's certificate cannot be used: {0}")]
    Unusable(rustls::Error),
}

/// A chain and the key of its leaf, checked to belong together.
pub struct ServerIdentity {
    key: Arc<CertifiedKey>,
    /// The leaf's serial number, if it is one of ours in form.
    pub serial: Option<Serial>,
    /// Start of the leaf's validity.
    pub not_before: Time,
    /// End of the leaf's validity.
    pub not_after: Time,
}

impl ServerIdentity {
    /// Reads a chain (leaf first) and the leaf's private key (PKCS#8), both PEM.
    pub fn from_pem(chain: &str, key: &[u8], provider: &CryptoProvider) -> Result<Self, ServerCertificateError> {
        use ServerCertificateError::{Chain, Key, Mismatch, Unusable};
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>().map_err(|_| Chain)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| Key)?;
        let leaf = CertificateView::from_der(chain.first().ok_or(Chain)?).map_err(|_| Chain)?;
        let (serial, not_before, not_after) = (leaf.serial(), leaf.not_before, leaf.not_after);
        let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => Mismatch,
            other => Unusable(other),
        })?;
        Ok(Self { key: Arc::new(key), serial, not_before, not_after })
    }
}

impl ServerIdentity {
    /// Whether both show the same chain.
    pub fn shows_the_same(&self, other: &Self) -> bool {
        self.key.cert == other.key.cert
    }
}

impl fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerIdentity")
            .field("serial", &self.serial)
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// The certificate that new handshakes get; those under way keep theirs.
#[derive(Debug)]
pub struct ServerCertificate(ArcSwap<ServerIdentity>);

impl ServerCertificate {
    /// Serves `identity` until the next [`Self::swap`].
    pub fn new(identity: ServerIdentity) -> Arc<Self> {
        Arc::new(Self(ArcSwap::from_pointee(identity)))
    }

    /// Serves `identity` from now on.
    pub fn swap(&self, identity: ServerIdentity) {
        self.0.store(Arc::new(identity));
    }

    /// What is served now; its `not_after` belongs into health answers.
    pub fn current(&self) -> Arc<ServerIdentity> {
        self.0.load_full()
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.load().key))
    }
}
