//! The embedded key manager against the suite, and what only it promises: private, encrypted files.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod files;

use std::{path::Path, sync::Arc};

use signet_core::{CaId, Entropy, KeyLabel, KeyManager, TenantId};
use signet_softkey::{OsEntropy, SoftKeys};
use tempfile::TempDir;

signet_testkit::signer_suite!(keys);

const PASSPHRASE: &str = "correct-horse-battery-staple";

async fn keys() -> (Arc<dyn KeyManager>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Arc::new(open(folder.path(), PASSPHRASE)), folder)
}

fn open(folder: &Path, passphrase: &str) -> SoftKeys {
    SoftKeys::open(&folder.join("keys"), passphrase.into()).unwrap()
}

fn label(ca: &str) -> KeyLabel {
    let ca: CaId = ca.parse().unwrap();
    KeyLabel { tenant: ca.owner(), ca }
}

#[tokio::test]
async fn references_name_the_certificate_authority() {
    let (keys, _folder) = keys().await;
    assert_eq!(keys.create(&label("acme.1")).await.unwrap().as_str(), "soft:acme.1");
    assert_eq!(keys.create(&label("root.1")).await.unwrap().as_str(), "soft:root.1");
    let stolen = KeyLabel { tenant: "evil".parse::<TenantId>().unwrap(), ..label("acme.1") };
    let refused = keys.create(&stolen).await.unwrap_err().to_string();
    assert!(refused.contains("not allowed to use key soft:acme.1"), "{refused}");
}

#[test]
fn random_bytes_differ() {
    let mut blocks = [[0_u8; 32]; 2];
    blocks.iter_mut().for_each(|block| OsEntropy.fill(block));
    assert_ne!(blocks[0], blocks[1]);
    assert!(!blocks.contains(&[0; 32]));
}
