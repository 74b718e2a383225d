//! Which certificate a question is about (RFC 6960 section 4.1.1).

use aws_lc_rs::digest;
use der::{
    Decode, Sequence, Tag, Tagged,
    asn1::{AnyRef, OctetStringRef, UintRef},
};
use signet_core::Serial;

use crate::{IssuerCert, key::Algorithm, oid};

/// An issuer, as requests name it: hashes of its name and of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerHashes {
    sha1: [Vec<u8>; 2],
    sha256: [Vec<u8>; 2],
}

impl IssuerHashes {
    /// Those of a CA. Its anchor and its certificate by the root have the same.
    pub fn of(issuer: &IssuerCert) -> Self {
        let both = |algorithm| {
            [&issuer.subject_der, issuer.key.point()].map(|of: &[u8]| digest::digest(algorithm, of).as_ref().to_vec())
        };
        Self { sha1: both(&digest::SHA1_FOR_LEGACY_USE_ONLY), sha256: both(&digest::SHA256) }
    }
}

/// The identifier of a certificate in a request. The answer repeats its bytes, by which clients find theirs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertId {
    der: Vec<u8>,
    hash: Option<Hash>,
    issuer: [Vec<u8>; 2],
    serial: Option<Serial>,
}

/// RFC 9919 section 3.1.1 wants both of a responder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Hash {
    Sha1,
    Sha256,
}

#[derive(Sequence)]
struct Fields<'a> {
    hash: Algorithm<'a>,
    issuer_name: &'a OctetStringRef,
    issuer_key: &'a OctetStringRef,
    serial: UintRef<'a>,
}

impl CertId {
    pub(super) fn from_der(der: &[u8]) -> der::Result<Self> {
        let Fields { hash, issuer_name, issuer_key, serial } = Fields::from_der(der)?;
        // RFC 5754 section 2: without parameters, or with NULL.
        let is_bare = hash.parameters.is_none_or(|parameters: AnyRef<'_>| parameters.tag() == Tag::Null);
        let hash = match hash.oid {
            _ if !is_bare => None,
            oid::SHA_1 => Some(Hash::Sha1),
            oid::SHA_256 => Some(Hash::Sha256),
            _ => None,
        };
        Ok(Self {
            der: der.to_vec(),
            hash,
            issuer: [issuer_name, issuer_key].map(|hash| hash.as_bytes().to_vec()),
            serial: Serial::from_der_integer(serial.as_bytes()),
        })
    }

    /// The identifier, DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The serial number; `None`: no certificate of ours has such a one.
    pub fn serial(&self) -> Option<Serial> {
        self.serial
    }

    /// Whether it is about a certificate of this issuer: by name and key, and a hash that we know.
    pub fn is_of(&self, issuer: &IssuerHashes) -> bool {
        match self.hash {
            None => false,
            Some(Hash::Sha1) => self.issuer == issuer.sha1,
            Some(Hash::Sha256) => self.issuer == issuer.sha256,
        }
    }
}
