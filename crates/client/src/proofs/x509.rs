//! A certificate of another CA, e.g. a device's from its maker, and a signature with its key.

use std::{fmt, sync::Arc};

use futures::future::BoxFuture;
use rustls::{
    SignatureScheme,
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::{CertifiedKey, SigningKey},
};
use signet_core::enrollment::attestation::Challenge;
use signet_proto::v1::{X509Proof, enroll_request::Proof};
use signet_x509::{KeyPair, pem};

use super::{Binding, ProofError, key_sha256};
use crate::{enrollment::ProofSource, error::ClientError};
use signet_core::Clock;

const PROOF: &str = "X.509";

/// Proves possession of a certificate that somebody else issued. Keys: ECDSA on P-256 or P-384, RSA.
pub struct X509 {
    chain_der: Vec<Vec<u8>>,
    key: Arc<dyn SigningKey>,
    binding: Binding,
    clock: Clock,
}

impl X509 {
    /// From PEM: the chain, leaf first, without the registered CA; the leaf's key (PKCS #8, SEC 1 or PKCS #1).
    pub fn from_pem(chain: &str, key: &str, binding: Binding, clock: Clock) -> Result<Self, ProofError> {
        let failed = |problem: &str| ProofError { proof: PROOF, problem: problem.into(), transient: false };
        let chain_der = pem::decode_certificates(chain).ok_or_else(|| failed("there is no certificate in PEM"))?;
        let key =
            PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| failed("there is no private key in PEM"))?;
        let key = any_supported_type(&key).map_err(|_| failed("the private key is not ECDSA or RSA"))?;
        let certificates = chain_der.iter().cloned().map(CertificateDer::from).collect();
        let pair = CertifiedKey::new(certificates, Arc::clone(&key));
        pair.keys_match().map_err(|_| failed("the private key does not belong to the first certificate"))?;
        Ok(Self { chain_der, key, binding, clock })
    }

    fn sign(&self, message: &str) -> Result<Vec<u8>, &'static str> {
        const SCHEMES: [SignatureScheme; 3] = [
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::RSA_PKCS1_SHA256,
        ];
        let signer = self.key.choose_scheme(&SCHEMES).ok_or("the key must be ECDSA on P-256 or P-384, or RSA")?;
        signer.sign(message.as_bytes()).map_err(|_| "the key did not sign")
    }
}

impl ProofSource for X509 {
    fn proof<'a>(&'a self, key: &'a KeyPair) -> BoxFuture<'a, Result<Proof, ClientError>> {
        Box::pin(async move {
            let Binding { server_id, tenant } = &self.binding;
            let (key_sha256, now) = (key_sha256(key), (self.clock)().floor_to_second());
            let challenge = Challenge { server_id, tenant, key_sha256: &key_sha256, sources: &[], caller: None, now };
            let signature = self.sign(&challenge.statement(now));
            let signature = signature.map_err(|problem| ProofError {
                proof: PROOF,
                problem: problem.to_owned(),
                transient: false,
            })?;
            let sign_time = Some(prost_types::Timestamp { seconds: now.unix_seconds(), nanos: 0 });
            Ok(Proof::X509(X509Proof { chain_der: self.chain_der.clone(), sign_time, signature }))
        })
    }

    fn repeats(&self) -> bool {
        true
    }
}

impl fmt::Debug for X509 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("X509").field("binding", &self.binding).finish_non_exhaustive()
    }
}
