//! A secret that a sender and its verifiers share.

use std::{fmt, str::FromStr};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

/// How its text begins, by Standard Webhooks.
const PREFIX: &str = "whsec_";

/// 32 bytes. Its text is `whsec_` and standard base64; it is never shown by `Debug`.
#[derive(Clone)]
pub struct SigningSecret(Zeroizing<[u8; 32]>);

/// A text that is no secret. It says nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret is whsec_ and 32 bytes in standard base64")]
pub struct SigningSecretFault;

impl SigningSecret {
    /// Of bytes that nobody can guess.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, to be wrapped.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Its text, for its holder.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{PREFIX}{}", *Zeroizing::new(STANDARD.encode(*self.0))))
    }

    pub(crate) fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &*self.0)
    }
}

impl FromStr for SigningSecret {
    type Err = SigningSecretFault;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let encoded = text.strip_prefix(PREFIX).ok_or(SigningSecretFault)?;
        let bytes = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| SigningSecretFault)?);
        <[u8; 32]>::try_from(bytes.as_slice()).map(Self::new).map_err(|_| SigningSecretFault)
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_text_reads_back_and_debug_hides_it() {
        let secret = SigningSecret::new([7; 32]);
        let text = secret.to_text();
        assert_eq!(text.parse::<SigningSecret>().unwrap().as_bytes(), secret.as_bytes());
        assert_eq!(format!("{secret:?}"), "SigningSecret(…)");
        for bad in ["", "whsec_", "whsec_AAAA", &text[6..], &format!("{}A", *text)] {
            assert_eq!(bad.parse::<SigningSecret>().unwrap_err(), SigningSecretFault, "{bad:?}");
        }
    }
}
