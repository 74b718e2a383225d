//! What a holder signs with its present key to renew without a handshake. One text for client and server.

use signet_core::{RequestId, Time};

use crate::{Environment, KeyPair, PublicKey, UnusableKey, key::sha256};

/// A request for the next certificate, as it is signed: domain separation, then what it is bound to, a line each.
#[derive(Clone, Debug)]
pub struct OutOfBandStatement<'a> {
    /// The environment that is asked: no other one takes it.
    pub environment: &'a Environment,
    /// The present certificate, DER.
    pub certificate_der: &'a [u8],
    /// The request for the next one, DER: nobody can put in another key.
    pub csr_der: &'a [u8],
    /// The request's id: repeated, it is the same request.
    pub request_id: &'a RequestId,
    /// When it is signed, by the holder's clock corrected by what it has learned of the server's.
    pub signed_at: Time,
}

impl OutOfBandStatement<'_> {
    /// What the holder of the certificate's key signs, line by line; the first line names the version.
    pub fn text(&self) -> String {
        let Self { environment, certificate_der, csr_der, request_id, signed_at } = self;
        format!(
            "signet-out-of-band-renewal-v1\n{}\n{}\n{}\n{request_id}\n{}\n",
            environment.suffix().as_str(),
            hex::encode(sha256(certificate_der)),
            hex::encode(sha256(csr_der)),
            signed_at.unix_seconds(),
        )
    }

    /// Signs it with the present key; ECDSA with SHA-256, DER.
    pub fn sign(&self, key: &KeyPair) -> Result<Vec<u8>, UnusableKey> {
        key.sign(self.text().as_bytes())
    }

    /// Checks a signature against the present certificate's key.
    pub fn verify(&self, key: &PublicKey, signature_der: &[u8]) -> Result<(), UnusableKey> {
        key.verify(self.text().as_bytes(), signature_der)
    }
}
