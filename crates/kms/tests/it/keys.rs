//! Which keys are opened, and what is made.

use aws_sdk_kms::types::{KeySpec, KeyUsageType};
use signet_core::{KeyError, KeyRef, Time};
use signet_kms::Purpose;
use signet_testkit::signer_suite::{unique_label, verifies};

use crate::support::{client, keys, prefix};

fn id(key: &KeyRef) -> &str {
    key.as_str().trim_start_matches("kms:")
}

#[tokio::test]
async fn the_keys_that_terraform_made_sign() {
    let (keys, ()) = keys().await;
    for purpose in Purpose::ALL {
        let signer = keys.open(&purpose.key(&prefix()).unwrap()).await.unwrap();
        let signature = signer.sign(b"message").await.unwrap();
        assert!(verifies(signer.spki_der(), b"message", &signature), "{purpose:?}");
    }
}

#[test]
fn terraform_makes_a_key_for_every_purpose_of_the_code() {
    let module = concat!(env!("CARGO_MANIFEST_DIR"), "/../../infra/modules/ca-keys/main.tf");
    let hcl = std::fs::read_to_string(module).unwrap();
    let purposes = hcl.split_once("purposes = {").and_then(|(_, rest)| rest.split_once('}')).unwrap().0;
    let made: Vec<_> = purposes.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name.trim()).collect();
    assert_eq!(made, Purpose::ALL.map(Purpose::name));
}

#[tokio::test]
async fn a_tenants_key_carries_its_tags_and_alias() {
    let ((keys, ()), kms, label) = (keys().await, client().await, unique_label());
    let key = keys.create(&label).await.unwrap();
    let tags = kms.list_resource_tags().key_id(id(&key)).send().await.unwrap();
    let mut tags: Vec<_> = tags.tags().iter().map(|tag| (tag.tag_key(), tag.tag_value())).collect();
    tags.sort_unstable();
    let expected =
        [("signet:ca", label.ca.as_str()), ("signet:environment", &prefix()), ("signet:tenant", label.tenant.as_str())];
    assert_eq!(tags, expected);
    let alias = format!("alias/{}-tenant-{}-1", prefix(), label.tenant);
    let named = kms.describe_key().key_id(alias).send().await.unwrap().key_metadata.unwrap();
    assert_eq!(named.arn(), Some(id(&key)));
}

/// A node died between the two steps.
#[tokio::test]
async fn a_key_that_was_never_named_is_found_after_an_hour() {
    let ((keys, ()), kms, label) = (keys().await, client().await, unique_label());
    let named = keys.create(&label).await.unwrap();
    let about = format!("{}: issuing CA {} of tenant {}", prefix(), label.ca, label.tenant);
    let lost = kms.create_key().key_spec(KeySpec::EccNistP256).key_usage(KeyUsageType::SignVerify).description(about);
    let lost = lost.send().await.unwrap().key_metadata.unwrap();
    let at = |seconds: i64| Time::from_unix_millis(lost.creation_date().unwrap().to_millis().unwrap() + seconds * 1000);
    let found = async |now| keys.unnamed(now).await.unwrap().iter().map(|key| id(key).to_owned()).collect::<Vec<_>>();
    let arn = lost.arn().unwrap().to_owned();
    assert!(!found(at(60)).await.contains(&arn), "it may be about to get its name");
    let later = found(at(7200)).await;
    assert!(later.contains(&arn) && !later.contains(&id(&named).to_owned()), "{later:?}");
    kms.schedule_key_deletion().key_id(&arn).pending_window_in_days(7).send().await.unwrap();
    assert!(!found(at(7200)).await.contains(&arn), "it is deleted already");
}

#[tokio::test]
async fn of_keys_made_at_once_for_one_label_one_is_used() {
    let ((keys, ()), label) = (keys().await, unique_label());
    let (one, two) = tokio::join!(keys.create(&label), keys.create(&label));
    assert_eq!(one.unwrap(), two.unwrap());
}

#[tokio::test]
async fn a_disabled_key_neither_opens_nor_signs_and_the_error_says_what_to_do() {
    let ((keys, ()), kms) = (keys().await, client().await);
    let key = keys.create(&unique_label()).await.unwrap();
    let signer = keys.open(&key).await.unwrap();
    kms.disable_key().key_id(id(&key)).send().await.unwrap();
    for error in [keys.open(&key).await.unwrap_err(), signer.sign(b"message").await.unwrap_err()] {
        assert!(matches!(&error, KeyError::Unusable { reason, .. } if reason.contains("kms:EnableKey")), "{error}");
    }
    kms.enable_key().key_id(id(&key)).send().await.unwrap();
    signer.sign(b"message").await.unwrap();
}

#[tokio::test]
async fn a_key_that_waits_for_its_deletion_neither_opens_nor_signs() {
    let ((keys, ()), kms) = (keys().await, client().await);
    let key = keys.create(&unique_label()).await.unwrap();
    let signer = keys.open(&key).await.unwrap();
    kms.schedule_key_deletion().key_id(id(&key)).pending_window_in_days(7).send().await.unwrap();
    let error = keys.open(&key).await.unwrap_err();
    assert!(matches!(&error, KeyError::Unusable { reason, .. } if reason.contains("CancelKeyDeletion")), "{error}");
    let error = signer.sign(b"message").await.unwrap_err();
    assert!(matches!(&error, KeyError::Unusable { .. }), "{error}");
}

#[tokio::test]
async fn keys_for_something_else_are_refused() {
    let ((keys, ()), kms) = (keys().await, client().await);
    for (spec, usage) in [
        (KeySpec::EccNistP384, KeyUsageType::SignVerify),
        (KeySpec::Rsa2048, KeyUsageType::SignVerify),
        (KeySpec::SymmetricDefault, KeyUsageType::EncryptDecrypt),
    ] {
        let made = kms.create_key().key_spec(spec.clone()).key_usage(usage).send().await.unwrap();
        let arn = made.key_metadata.and_then(|key| key.arn).unwrap();
        let error = keys.open(&format!("kms:{arn}").parse().unwrap()).await.unwrap_err();
        assert!(matches!(&error, KeyError::Unusable { reason, .. } if reason.contains(spec.as_str())), "{error}");
    }
}

#[tokio::test]
async fn another_managers_reference_is_refused() {
    let (keys, ()) = keys().await;
    let error = keys.open(&"soft:somewhere".parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, KeyError::Unusable { .. }), "{error}");
}
