//! Keys for tokens, whose private half is kept wrapped: AES-256-GCM under a key that is derived from one of the
//! folder's, bound to their tenant and use.

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    encoding::{AsDer as _, Pkcs8V1Der},
    hkdf::{HKDF_SHA256, KeyType, Salt},
    rand::{SecureRandom as _, SystemRandom},
    rsa,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use signet_core::{KeyError, WrapLabel, WrappedKey, tokens::TokenAlgorithm};
use zeroize::Zeroizing;

/// What the derived key is for (RFC 5869 section 3.2).
const INFO: &[u8] = b"signet: wraps keys for tokens";

pub(crate) struct WrappingKey(RandomizedNonceKey);

impl fmt::Debug for WrappingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WrappingKey")
    }
}

/// How long the derived key is.
struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        32
    }
}

impl WrappingKey {
    /// From a private key that is used for nothing else. `Err`: why not.
    pub(crate) fn derive(secret: &[u8]) -> Result<Self, String> {
        let failed = |_| "no key can be derived from it".to_owned();
        let mut derived = Zeroizing::new([0; 32]);
        let secret = Salt::new(HKDF_SHA256, &[]).extract(secret);
        let expanded = secret.expand(&[INFO], Length).map_err(failed)?;
        expanded.fill(&mut *derived).map_err(failed)?;
        Ok(Self(RandomizedNonceKey::new(&AES_256_GCM, &*derived).map_err(failed)?))
    }

    /// Makes a key pair. Some tenths of a second for RSA.
    pub(crate) fn make(&self, label: &WrapLabel, algorithm: TokenAlgorithm) -> Result<WrappedKey, KeyError> {
        let (pkcs8, spki_der) =
            generate(algorithm).ok_or_else(|| KeyError::Unavailable("no key could be made".into()))?;
        Ok(WrappedKey { spki_der, wrapped: self.wrap(label, &pkcs8)? })
    }

    /// Makes a data key.
    pub(crate) fn make_data_key(&self, label: &WrapLabel) -> Result<Vec<u8>, KeyError> {
        let mut key = Zeroizing::new([0; 32]);
        let filled = SystemRandom::new().fill(&mut *key);
        filled.map_err(|_| KeyError::Unavailable("no key could be made".into()))?;
        self.wrap(label, &*key)
    }

    fn wrap(&self, label: &WrapLabel, key: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut sealed = key.to_vec();
        let sealing = self.0.seal_in_place_append_tag(bound_to(label), &mut sealed);
        let nonce = sealing.map_err(|_| KeyError::Unavailable("a key could not be wrapped".into()))?;
        Ok([nonce.as_ref().as_slice(), &sealed].concat())
    }

    /// The private half of a pair, or a data key.
    pub(crate) fn unwrap(&self, label: &WrapLabel, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let unusable = || {
            let remedy = label.for_use.remedy();
            let reason = format!(
                "it was not wrapped for this tenant and use with the key in tokens.pem: restore that file; {remedy}"
            );
            KeyError::Unusable { key: format!("{} of {}", label.for_use, label.tenant), reason }
        };
        let (nonce, sealed) = wrapped.split_first_chunk::<NONCE_LEN>().ok_or_else(unusable)?;
        let mut opened = Zeroizing::new(sealed.to_vec());
        let length =
            self.0.open_in_place(Nonce::from(nonce), bound_to(label), &mut opened).map_err(|_| unusable())?.len();
        opened.truncate(length);
        Ok(opened)
    }
}

fn bound_to(label: &WrapLabel) -> Aad<String> {
    Aad::from(format!("{}/{}", label.tenant, label.for_use))
}

/// PKCS#8 and SubjectPublicKeyInfo of a new pair.
fn generate(algorithm: TokenAlgorithm) -> Option<(Zeroizing<Vec<u8>>, Vec<u8>)> {
    match algorithm {
        TokenAlgorithm::Es256 => {
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).ok()?;
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).ok()?;
            let spki = pair.public_key().as_der().ok()?.as_ref().to_vec();
            Some((Zeroizing::new(pkcs8.as_ref().to_vec()), spki))
        }
        TokenAlgorithm::Rs256 => {
            let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).ok()?;
            let pkcs8: Pkcs8V1Der<'_> = pair.as_der().ok()?;
            let spki = pair.public_key().as_der().ok()?.as_ref().to_vec();
            Some((Zeroizing::new(pkcs8.as_ref().to_vec()), spki))
        }
    }
}
