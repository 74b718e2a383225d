//! Secrets as they are kept: AES-256-GCM under a data key, bound to what they are for.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::SigningSecret;

/// A key that seals secrets; never shown by `Debug`.
pub struct DataKey(LessSafeKey);

/// What was sealed under another key, for something else, or changed since. It says nothing of the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it was not sealed for this with this key")]
pub struct Unsealable;

impl DataKey {
    /// Of 32 bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, Unsealable> {
        Ok(Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).map_err(|_| Unsealable)?)))
    }

    /// The nonce, the secret's bytes encrypted, and the tag. `nonce`: random, new for each; a key takes 2^32 of them
    /// (NIST SP 800-38D section 8.3). `bound_to`: what must be named again.
    pub fn seal(&self, nonce: [u8; NONCE_LEN], bound_to: &str, secret: &SigningSecret) -> Result<Vec<u8>, Unsealable> {
        let mut bytes = Zeroizing::new(*secret.as_bytes());
        let (at, bound_to) = (Nonce::assume_unique_for_key(nonce), Aad::from(bound_to));
        let tag = self.0.seal_in_place_separate_tag(at, bound_to, &mut *bytes).map_err(|_| Unsealable)?;
        Ok([&nonce, &bytes[..], tag.as_ref()].concat())
    }

    /// The secret in what [`Self::seal`] has made.
    pub fn open(&self, bound_to: &str, sealed: &[u8]) -> Result<SigningSecret, Unsealable> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(Unsealable)?;
        let mut bytes = Zeroizing::new(sealed.to_vec());
        let opened = self.0.open_in_place(Nonce::from(nonce), Aad::from(bound_to), &mut bytes);
        let opened = opened.map_err(|_| Unsealable)?;
        <[u8; 32]>::try_from(&*opened).map(SigningSecret::new).map_err(|_| Unsealable)
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_opened_with_its_key_for_its_device_only() {
        let (key, other) = (DataKey::new(&[1; 32]).unwrap(), DataKey::new(&[2; 32]).unwrap());
        let sealed = key.seal([3; 12], "acme/d1/s1", &SigningSecret::new([9; 32])).unwrap();
        assert_eq!(sealed.len(), 12 + 32 + 16);
        assert_eq!(key.open("acme/d1/s1", &sealed).unwrap().as_bytes(), &[9; 32]);
        assert_eq!(key.open("acme/d2/s1", &sealed).unwrap_err(), Unsealable);
        assert_eq!(other.open("acme/d1/s1", &sealed).unwrap_err(), Unsealable);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(key.open("acme/d1/s1", &changed).unwrap_err(), Unsealable, "byte {at}");
            assert_eq!(key.open("acme/d1/s1", &sealed[..at]).unwrap_err(), Unsealable, "{at} bytes");
        }
        assert_eq!(format!("{key:?}"), "DataKey(…)");
        assert!(DataKey::new(&[1; 16]).is_err());
    }
}
