//! From profile to certificate, in steps that cannot be taken out of order: [`prepare_leaf`] and its siblings build
//! and lint the to-be-signed bytes; the caller records and signs [`Prepared::tbs_der`]; [`Prepared::finish`] checks
//! the signature and joins both. Nothing unlinted can be signed through here, and nothing twice.

use signet_core::{Lifetime, Serial, Time};
use thiserror::Error;

use crate::{
    CaProfile, Csr, Environment, IssuerCert, KeyError, LeafProfile, PublicKey, ServerProfile,
    lint::{Kind, LintError},
};

/// How far in the past validity starts, for clocks that are slow.
pub const BACKDATE: Lifetime = Lifetime::seconds(60);

/// Why nothing was issued.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IssueError {
    /// It would be valid longer than its issuer: shorten the lifetime, or rotate the issuing CA.
    #[error("the certificate would outlive its issuer, which ends at {issuer_ends} (Unix seconds): shorten the lifetime or rotate the issuing CA")]
    OutlivesIssuer {
        /// End of the issuer's validity.
        issuer_ends: i64,
    },
    /// The issuer's own validity has not begun.
    #[error("the issuer is not valid yet")]
    IssuerNotYetValid,
    /// The lint found faults; nothing must be signed.
    #[error(transparent)]
    Lint(#[from] LintError),
    /// The signature is not the issuer's over these bytes.
    #[error("the issuer's signature does not verify; nothing is released")]
    BadSignature,
    /// The bytes cannot be encoded, e.g. a time before 1970.
    #[error("cannot encode the certificate: {0}")]
    Encoding(String),
}

/// A linted certificate that waits for its signature. Not `Clone`: it is signed once.
#[derive(Debug)]
pub struct Prepared {
    tbs_der: Vec<u8>,
    issuer_key: PublicKey,
    serial: Serial,
    not_before: Time,
    not_after: Time,
    spki_sha256: [u8; 32],
}

/// A certificate, complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The certificate, DER.
    pub certificate_der: Vec<u8>,
    /// Its serial number.
    pub serial: Serial,
    /// Start of validity.
    pub not_before: Time,
    /// End of validity.
    pub not_after: Time,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub spki_sha256: [u8; 32],
}

/// A principal's certificate for the key of `csr`, valid from [`BACKDATE`] before `now` (not before its issuer is)
/// until `lifetime` after `now`.
pub fn prepare_leaf(
    profile: &LeafProfile,
    csr: &Csr,
    issuer: &IssuerCert,
    serial: Serial,
    lifetime: Lifetime,
    now: Time,
) -> Result<Prepared, IssueError> {
    todo!()
}

/// A server's certificate; validity as [`prepare_leaf`], usually [`crate::profile::SERVER_LIFETIME`].
pub fn prepare_server(
    profile: &ServerProfile,
    csr: &Csr,
    issuer: &IssuerCert,
    serial: Serial,
    lifetime: Lifetime,
    now: Time,
) -> Result<Prepared, IssueError> {
    todo!()
}

/// An issuing CA's certificate for `key`, signed by the root `issuer`; valid for [`CaProfile::lifetime`].
pub fn prepare_ca(
    profile: &CaProfile,
    key: &PublicKey,
    issuer: &IssuerCert,
    serial: Serial,
    now: Time,
) -> Result<Prepared, IssueError> {
    todo!()
}

/// A root's certificate for `key`, signed by itself; valid for [`CaProfile::lifetime`].
pub fn prepare_root(profile: &CaProfile, key: &PublicKey, serial: Serial, now: Time) -> Result<Prepared, IssueError> {
    todo!()
}

impl Prepared {
    /// Takes up bytes that were recorded before a crash, after linting them again.
    pub fn resume(
        kind: Kind,
        environment: &Environment,
        tbs_der: &[u8],
        issuer: &IssuerCert,
    ) -> Result<Self, IssueError> {
        todo!()
    }

    /// What is to be signed, DER.
    pub fn tbs_der(&self) -> &[u8] {
        &self.tbs_der
    }

    /// Its serial number.
    pub fn serial(&self) -> Serial {
        self.serial
    }

    /// Start of validity.
    pub fn not_before(&self) -> Time {
        self.not_before
    }

    /// End of validity.
    pub fn not_after(&self) -> Time {
        self.not_after
    }

    /// SHA-256 of its SubjectPublicKeyInfo.
    pub fn spki_sha256(&self) -> [u8; 32] {
        self.spki_sha256
    }

    /// Joins the bytes with their signature (DER Ecdsa-Sig-Value), which must verify with the issuer's key.
    pub fn finish(self, signature_der: &[u8]) -> Result<Issued, IssueError> {
        todo!()
    }
}
