//! Keys. The one place that knows which algorithm we use: ECDSA on P-256 with SHA-256 (RFC 5480, RFC 5758).

use std::fmt;

use aws_lc_rs::{
    digest,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, ParsedPublicKey},
};
use const_oid::ObjectIdentifier;
use der::{
    Decode, Encode, Sequence, Tag, Tagged,
    asn1::{Any, AnyRef, BitStringRef},
};
use thiserror::Error;
use x509_cert::spki::AlgorithmIdentifier;
use zeroize::Zeroizing;

use crate::oid;

/// Why a key is not one of ours.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UnusableKey {
    /// Not a DER SubjectPublicKeyInfo or PKCS#8 document.
    #[error("the key is not valid DER or PEM")]
    Malformed,
    /// Another algorithm or curve.
    #[error("the key is {found}; only ECDSA on P-256 is supported")]
    Unsupported {
        /// What it is, with its object identifier.
        found: String,
    },
    /// The right curve, but not an uncompressed point on it.
    #[error("the key is not an uncompressed point on P-256")]
    BadPoint,
    /// The signature does not verify.
    #[error("the signature does not verify with this key")]
    BadSignature,
    /// The crypto library could not make or use a key.
    #[error("the crypto library refused: {0}")]
    Library(&'static str),
}

/// AlgorithmIdentifier (RFC 5280 section 4.1.1.2).
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub(crate) struct Algorithm<'a> {
    pub(crate) oid: ObjectIdentifier,
    #[asn1(optional = "true")]
    pub(crate) parameters: Option<AnyRef<'a>>,
}

impl Algorithm<'static> {
    /// As the x509-cert crate has it.
    pub(crate) fn to_owned(&self) -> AlgorithmIdentifier<Any> {
        AlgorithmIdentifier { oid: self.oid, parameters: self.parameters.map(Any::from) }
    }
}

/// ecdsa-with-SHA256, without parameters (RFC 5758 section 3.2).
pub(crate) const SIGNATURE_ALGORITHM: Algorithm<'static> = Algorithm { oid: oid::ECDSA_WITH_SHA256, parameters: None };

/// The SubjectPublicKeyInfo of an uncompressed point on P-256, up to the point's x (RFC 5480 section 2).
const P256_SPKI_START: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];

/// Whether a key in a certificate is one that we certify, for whoever has checked the signature: of a point that is
/// not on the curve nobody has the key.
pub(crate) fn is_p256(spki_der: &[u8]) -> bool {
    spki_der.strip_prefix(&P256_SPKI_START).is_some_and(|coordinates| coordinates.len() == 64)
}

#[derive(Clone, Debug, Sequence)]
struct Spki<'a> {
    algorithm: Algorithm<'a>,
    key: BitStringRef<'a>,
}

/// A public key that we accept: an uncompressed point on P-256.
#[derive(Clone)]
pub struct PublicKey {
    spki_der: Box<[u8]>,
    parsed: ParsedPublicKey,
}

impl PublicKey {
    /// Reads and checks a DER SubjectPublicKeyInfo (RFC 5480 section 2).
    pub fn from_spki_der(spki_der: &[u8]) -> Result<Self, UnusableKey> {
        let spki = Spki::from_der(spki_der).map_err(|_| UnusableKey::Malformed)?;
        if spki.algorithm.oid != oid::EC_PUBLIC_KEY {
            return Err(UnusableKey::Unsupported { found: oid::describe(spki.algorithm.oid) });
        }
        let curve = spki.algorithm.parameters.ok_or(UnusableKey::Malformed)?;
        if curve.tag() == Tag::Sequence {
            return Err(UnusableKey::Unsupported {
                found: "on a curve given by explicit parameters, not by name".into(),
            });
        }
        let curve: ObjectIdentifier = curve.decode_as().map_err(|_| UnusableKey::Malformed)?;
        if curve != oid::SECP256R1 {
            return Err(UnusableKey::Unsupported { found: oid::describe(curve) });
        }
        let point =
            spki.key.as_bytes().filter(|p| p.len() == 65 && p.first() == Some(&4)).ok_or(UnusableKey::BadPoint)?;
        let parsed = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).map_err(|_| UnusableKey::BadPoint)?;
        Ok(Self { spki_der: spki_der.into(), parsed })
    }

    /// The DER SubjectPublicKeyInfo.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// SHA-256 of [`Self::spki_der`].
    pub fn spki_sha256(&self) -> [u8; 32] {
        sha256(&self.spki_der)
    }

    /// The subject key identifier: the first 160 bits of the SHA-256 of the key bits (RFC 7093 section 2 method 1).
    pub fn key_id(&self) -> [u8; 20] {
        let mut id = [0; 20];
        let hash = sha256(self.point());
        id.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        id
    }

    /// Checks a DER Ecdsa-Sig-Value (RFC 3279 section 2.2.3) over `message`.
    pub fn verify(&self, message: &[u8], signature_der: &[u8]) -> Result<(), UnusableKey> {
        self.parsed.verify_sig(message, signature_der).map_err(|_| UnusableKey::BadSignature)
    }

    /// The uncompressed point: `04`, x, y.
    pub(crate) fn point(&self) -> &[u8] {
        // The bits stand at the end of the SubjectPublicKeyInfo; the length was checked when it was read.
        self.spki_der.split_last_chunk::<65>().map_or(&[], |(_, point)| point)
    }

    /// The point's x and y, 32 bytes each.
    pub(crate) fn coordinates(&self) -> (&[u8], &[u8]) {
        self.point().split_last_chunk::<64>().map_or((&[], &[]), |(_, xy)| xy.split_at(32))
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.spki_der == other.spki_der
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({:02x?})", self.key_id())
    }
}

/// A private key in memory, for the holder of a certificate; CA keys live behind `signet_core::Signer`.
/// Overwritten when dropped, and never printed.
pub struct KeyPair {
    pkcs8_der: Zeroizing<Vec<u8>>,
    pair: EcdsaKeyPair,
    public: PublicKey,
}

impl KeyPair {
    /// A new key from the crypto library's own random generator.
    pub fn generate() -> Result<Self, UnusableKey> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
            .map_err(|_| UnusableKey::Library("no key was made"))?;
        Self::from_pkcs8_der(document.as_ref())
    }

    /// From a PKCS#8 document, DER.
    pub fn from_pkcs8_der(pkcs8_der: &[u8]) -> Result<Self, UnusableKey> {
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8_der).map_err(|_| UnusableKey::Malformed)?;
        let point = pair.public_key().as_ref();
        let curve = oid::SECP256R1;
        let spki = Spki {
            algorithm: Algorithm { oid: oid::EC_PUBLIC_KEY, parameters: Some(AnyRef::from(&curve)) },
            key: BitStringRef::from_bytes(point).map_err(|_| UnusableKey::BadPoint)?,
        };
        let spki_der = spki.to_der().map_err(|_| UnusableKey::Malformed)?;
        let public = PublicKey::from_spki_der(&spki_der)?;
        Ok(Self { pkcs8_der: Zeroizing::new(pkcs8_der.to_vec()), pair, public })
    }

    /// From PEM (`PRIVATE KEY`, RFC 7468 section 10).
    pub fn from_pkcs8_pem(pem: &str) -> Result<Self, UnusableKey> {
        let (label, der) = der::pem::decode_vec(pem.as_bytes()).map_err(|_| UnusableKey::Malformed)?;
        let der = Zeroizing::new(der);
        if label != crate::pem::PRIVATE_KEY {
            return Err(UnusableKey::Malformed);
        }
        Self::from_pkcs8_der(&der)
    }

    /// The PKCS#8 document, DER. Secret.
    pub fn pkcs8_der(&self) -> &Zeroizing<Vec<u8>> {
        &self.pkcs8_der
    }

    /// The PKCS#8 document, PEM. Secret.
    pub fn to_pkcs8_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(crate::pem::encode(crate::pem::PRIVATE_KEY, &self.pkcs8_der))
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// Signs SHA-256 of `message`; returns a DER Ecdsa-Sig-Value.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, UnusableKey> {
        let signature = self.pair.sign(&SystemRandom::new(), message);
        Ok(signature.map_err(|_| UnusableKey::Library("the key did not sign"))?.as_ref().to_vec())
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair").field("public", &self.public).finish_non_exhaustive()
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.iter_mut().zip(digest::digest(&digest::SHA256, bytes).as_ref()).for_each(|(to, from)| *to = *from);
    out
}
