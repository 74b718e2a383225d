//! What every [`KeyManager`] and its [`Signer`](signet_core::Signer)s must do. Each case makes keys for tenants of its
//! own.
//!
//! ```ignore
//! async fn keys() -> (std::sync::Arc<dyn signet_core::KeyManager>, tempfile::TempDir) { … }
//! signet_testkit::signer_suite!(keys);
//! ```

use std::sync::Arc;

use aws_lc_rs::{
    encoding::AsDer as _,
    rsa,
    signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
    },
};
use signet_core::{
    CaId, KeyError, KeyLabel, KeyManager, KeyRef, Signer, TenantId, WrapLabel, WrapUse,
    tokens::{TokenAlgorithm, TokenUse},
};
use tokio::task::JoinSet;

use crate::fixtures::unique_tenant;

/// Makes one test per case. See [the module](mod@crate::signer_suite).
#[macro_export]
macro_rules! signer_suite {
    ($factory:path) => {
        $crate::signer_cases!(suite_tests [signer_suite $factory]);
    };
}

/// The list of cases, handed to another macro.
#[doc(hidden)]
#[macro_export]
macro_rules! signer_cases {
    ($then:ident $arguments:tt) => {
        $crate::$then! { $arguments
            messages_of_every_length_are_signed
            signatures_differ_and_all_verify
            concurrent_signatures_verify
            create_returns_the_key_made_before
            two_labels_have_two_keys
            an_opened_key_is_the_same_key
            an_unknown_key_is_not_found
            the_public_key_is_p256_and_uncompressed
            an_ended_key_opens_no_more_and_its_label_gets_another
            a_key_of_another_tenant_is_not_ended
            a_wrapped_key_is_unwrapped_under_its_own_label_only
            what_was_changed_gives_no_key
            a_data_key_is_unwrapped_under_its_own_label_only
        }
    };
}

/// All cases one after the other.
pub async fn run(keys: Arc<dyn KeyManager>) {
    signer_cases!(suite_run[keys]);
}

/// DER of a SubjectPublicKeyInfo with id-ecPublicKey and prime256v1, up to the point (RFC 5480 section 2).
const P256_SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A label that no other test has.
pub fn unique_label() -> KeyLabel {
    let tenant = unique_tenant();
    KeyLabel { ca: CaId::new(tenant.as_str(), 1).unwrap(), tenant }
}

/// Whether `signature` is a DER ECDSA signature over SHA-256 of `message` by the key in `spki_der`.
pub fn verifies(spki_der: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let point = &spki_der[P256_SPKI_PREFIX.len()..];
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature).is_ok()
}

async fn new_key(keys: &dyn KeyManager) -> (KeyRef, Arc<dyn Signer>) {
    let key = keys.create(&unique_label()).await.unwrap();
    let signer = keys.open(&key).await.unwrap();
    (key, signer)
}

async fn assert_signs(signer: &dyn Signer, message: &[u8]) -> Vec<u8> {
    let signature = signer.sign(message).await.unwrap();
    assert!(verifies(signer.spki_der(), message, &signature), "a message of {} bytes", message.len());
    signature
}

/// `Signer::sign`: any length, also around the 4,096 bytes that KMS takes as they are.
pub async fn messages_of_every_length_are_signed(keys: Arc<dyn KeyManager>) {
    let (_, signer) = new_key(&*keys).await;
    for length in [0, 1, 32, 64, 4095, 4096, 4097, 100_000] {
        let message: Vec<u8> = (0..length).map(|n: u32| n.to_le_bytes()[0]).collect();
        let signature = assert_signs(&*signer, &message).await;
        let other = [&message[..], b"x"].concat();
        assert!(!verifies(signer.spki_der(), &other, &signature), "another message of {} bytes", other.len());
    }
}

/// `Signer::sign`: safe to repeat.
pub async fn signatures_differ_and_all_verify(keys: Arc<dyn KeyManager>) {
    let (_, signer) = new_key(&*keys).await;
    let first = assert_signs(&*signer, b"message").await;
    let second = assert_signs(&*signer, b"message").await;
    assert_ne!(first, second, "the same nonce twice would give the key away");
}

/// One signer serves many tasks.
pub async fn concurrent_signatures_verify(keys: Arc<dyn KeyManager>) {
    let (_, signer) = new_key(&*keys).await;
    let mut tasks = JoinSet::new();
    for task in 0..8_u8 {
        let signer = Arc::clone(&signer);
        tasks.spawn(async move {
            for number in 0..5 {
                assert_signs(&*signer, &[task, number]).await;
            }
        });
    }
    tasks.join_all().await;
}

/// `KeyManager::create`: returns the key that was made for the same label before.
pub async fn create_returns_the_key_made_before(keys: Arc<dyn KeyManager>) {
    let label = unique_label();
    let first = keys.create(&label).await.unwrap();
    let spki = keys.open(&first).await.unwrap().spki_der().to_vec();
    let second = keys.create(&label).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(keys.open(&second).await.unwrap().spki_der(), spki);
}

/// Keys are made for one label only.
pub async fn two_labels_have_two_keys(keys: Arc<dyn KeyManager>) {
    let first = unique_label();
    let next = KeyLabel { ca: CaId::new(first.tenant.as_str(), 2).unwrap(), ..first.clone() };
    let (first, next) = (keys.create(&first).await.unwrap(), keys.create(&next).await.unwrap());
    assert_ne!(first, next);
    let (first, next) = (keys.open(&first).await.unwrap(), keys.open(&next).await.unwrap());
    assert_ne!(first.spki_der(), next.spki_der());
    let signature = assert_signs(&*first, b"message").await;
    assert!(!verifies(next.spki_der(), b"message", &signature));
}

/// `KeyManager::open`, more than once.
pub async fn an_opened_key_is_the_same_key(keys: Arc<dyn KeyManager>) {
    let (key, signer) = new_key(&*keys).await;
    let again = keys.open(&key).await.unwrap();
    assert_eq!(signer.spki_der(), again.spki_der());
    let signature = assert_signs(&*again, b"message").await;
    assert!(verifies(signer.spki_der(), b"message", &signature));
}

/// `KeyError::NotFound`.
pub async fn an_unknown_key_is_not_found(keys: Arc<dyn KeyManager>) {
    let (key, _) = new_key(&*keys).await;
    let mut text = key.to_string();
    let last = text.pop().unwrap();
    text.push(if last == '0' { '1' } else { '0' });
    let refused = keys.open(&text.parse().unwrap()).await;
    assert!(matches!(refused, Err(KeyError::NotFound(_))), "{refused:?}");
}

/// `Signer::spki_der`: 91 bytes, named curve, uncompressed point.
pub async fn the_public_key_is_p256_and_uncompressed(keys: Arc<dyn KeyManager>) {
    let (_, signer) = new_key(&*keys).await;
    let spki = signer.spki_der();
    assert_eq!((spki.len(), &spki[..26], spki[26]), (91, &P256_SPKI_PREFIX[..], 4));
}

/// `KeyManager::end`, twice.
pub async fn an_ended_key_opens_no_more_and_its_label_gets_another(keys: Arc<dyn KeyManager>) {
    let label = unique_label();
    let key = keys.create(&label).await.unwrap();
    let before = keys.open(&key).await.unwrap().spki_der().to_vec();
    for _ in 0..2 {
        keys.end(&key, &label.tenant).await.unwrap();
        let refused = keys.open(&key).await;
        assert!(matches!(refused, Err(KeyError::NotFound(_) | KeyError::Unusable { .. })), "{refused:?}");
    }
    let next = keys.create(&label).await.unwrap();
    assert_ne!(keys.open(&next).await.unwrap().spki_der(), before);
}

/// `KeyManager::end`, of a key that is not the caller's tenant's.
pub async fn a_key_of_another_tenant_is_not_ended(keys: Arc<dyn KeyManager>) {
    let (key, signer) = new_key(&*keys).await;
    for tenant in [unique_tenant(), TenantId::system()] {
        let refused = keys.end(&key, &tenant).await;
        assert!(matches!(refused, Err(KeyError::Denied { .. })), "{tenant}: {refused:?}");
    }
    assert_signs(&*keys.open(&key).await.unwrap(), b"message").await;
    assert_signs(&*signer, b"message").await;
}

fn wrap_label() -> WrapLabel {
    WrapLabel { tenant: unique_tenant(), for_use: TokenUse::AccessToken.into() }
}

/// `KeyManager::make_wrapped`: the private half comes back to whoever names tenant and use, and to nobody else.
pub async fn a_wrapped_key_is_unwrapped_under_its_own_label_only(keys: Arc<dyn KeyManager>) {
    let label = wrap_label();
    for algorithm in [TokenAlgorithm::Es256, TokenAlgorithm::Rs256] {
        let made = keys.make_wrapped(&label, algorithm).await.unwrap();
        let pkcs8 = keys.unwrap(&label, &made.wrapped).await.unwrap();
        assert_eq!(public_half(algorithm, &pkcs8), Some(made.spki_der));
        let secret = &pkcs8[pkcs8.len() / 2..pkcs8.len() / 2 + 16];
        assert!(!made.wrapped.windows(16).any(|window| window == secret), "it is not wrapped");
        for other in [
            WrapLabel { for_use: TokenUse::JwtSvid.into(), ..label.clone() },
            WrapLabel { tenant: unique_tenant(), ..label.clone() },
        ] {
            let refused = keys.unwrap(&other, &made.wrapped).await;
            assert!(matches!(refused, Err(KeyError::Unusable { .. })), "{algorithm:?}: {:?}", refused.err());
        }
    }
}

/// `KeyManager::unwrap`: where a byte differs, no key comes of it.
pub async fn what_was_changed_gives_no_key(keys: Arc<dyn KeyManager>) {
    let label = wrap_label();
    let made = keys.make_wrapped(&label, TokenAlgorithm::Es256).await.unwrap();
    let mut changed = made.wrapped.clone();
    *changed.last_mut().unwrap() ^= 1;
    for wrong in [changed.as_slice(), &made.wrapped[..made.wrapped.len() - 1], b"x"] {
        match keys.unwrap(&label, wrong).await {
            Err(error) => assert!(matches!(error, KeyError::Unusable { .. }), "{error}"),
            // Emulators do not all authenticate what they encrypt.
            Ok(pkcs8) => assert_eq!(public_half(TokenAlgorithm::Es256, &pkcs8), None),
        }
    }
}

/// `KeyManager::make_data_key`: 32 bytes that come back to whoever names tenant and use, others each time.
pub async fn a_data_key_is_unwrapped_under_its_own_label_only(keys: Arc<dyn KeyManager>) {
    let label = WrapLabel { tenant: unique_tenant(), for_use: WrapUse::MessageSecrets };
    let (first, second) = (keys.make_data_key(&label).await.unwrap(), keys.make_data_key(&label).await.unwrap());
    let key = keys.unwrap(&label, &first).await.unwrap();
    assert_eq!((key.len(), *keys.unwrap(&label, &first).await.unwrap() == *key), (32, true));
    assert_ne!(*keys.unwrap(&label, &second).await.unwrap(), *key);
    assert!(!first.windows(16).any(|window| window == &key[..16]), "it is not wrapped");
    for other in [wrap_label(), WrapLabel { tenant: unique_tenant(), ..label.clone() }] {
        let refused = keys.unwrap(&other, &first).await;
        assert!(matches!(refused, Err(KeyError::Unusable { .. })), "{:?}", refused.err());
    }
}

fn public_half(algorithm: TokenAlgorithm, pkcs8: &[u8]) -> Option<Vec<u8>> {
    let spki = match algorithm {
        TokenAlgorithm::Es256 => {
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).ok()?.public_key().as_der()
        }
        TokenAlgorithm::Rs256 => rsa::KeyPair::from_pkcs8(pkcs8).ok()?.public_key().as_der(),
    };
    Some(spki.ok()?.as_ref().to_vec())
}
