//! Keys for tokens as key managers of tests wrap them: not at all, but bound to their label.

use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der},
    rand::{SecureRandom as _, SystemRandom},
    rsa,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use signet_core::{KeyError, WrapLabel, WrappedKey, tokens::TokenAlgorithm};
use zeroize::Zeroizing;

fn bound_to(label: &WrapLabel) -> Vec<u8> {
    format!("{}/{}/", label.tenant, label.for_use).into_bytes()
}

/// See [`signet_core::KeyManager::make_wrapped`].
pub fn make_wrapped(label: &WrapLabel, algorithm: TokenAlgorithm) -> WrappedKey {
    let (pkcs8, spki_der) = match algorithm {
        TokenAlgorithm::Es256 => {
            let scheme = &ECDSA_P256_SHA256_FIXED_SIGNING;
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(scheme, &SystemRandom::new()).unwrap();
            let pair = EcdsaKeyPair::from_pkcs8(scheme, pkcs8.as_ref()).unwrap();
            (pkcs8.as_ref().to_vec(), pair.public_key().as_der().unwrap().as_ref().to_vec())
        }
        TokenAlgorithm::Rs256 => {
            let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
            let pkcs8: Pkcs8V1Der<'_> = pair.as_der().unwrap();
            (pkcs8.as_ref().to_vec(), pair.public_key().as_der().unwrap().as_ref().to_vec())
        }
    };
    WrappedKey { spki_der, wrapped: [bound_to(label), pkcs8].concat() }
}

/// See [`signet_core::KeyManager::make_data_key`].
pub fn make_data_key(label: &WrapLabel) -> Vec<u8> {
    let mut key = [0; 32];
    SystemRandom::new().fill(&mut key).unwrap();
    [bound_to(label), key.to_vec()].concat()
}

/// See [`signet_core::KeyManager::unwrap`].
pub fn unwrap(label: &WrapLabel, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let unusable = || KeyError::Unusable { key: label.for_use.to_string(), reason: "of another label".into() };
    wrapped.strip_prefix(&*bound_to(label)).map(|pkcs8| Zeroizing::new(pkcs8.to_vec())).ok_or_else(unusable)
}
