//! The files: who may read them, what is in them and what the errors say.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
};

use signet_core::{KeyError, KeyManager};
use signet_softkey::SoftKeys;
use signet_testkit::signer_suite::verifies;
use tokio::task::JoinSet;

use super::{PASSPHRASE, keys, label, open};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join("keys").join(name)
}

fn openssl(arguments: &str) -> Output {
    Command::new("openssl").args(arguments.split(' ')).output().expect("openssl is installed")
}

/// A key of `curve` by openssl, encrypted by openssl, where a key of ours would be.
fn install(folder: &Path, name: &str, curve: &str) {
    let (plain, path) = (folder.join("plain.pem"), file(folder, name));
    let (plain, target) = (plain.display(), path.display());
    let made = openssl(&format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:{curve} -out {plain}"));
    assert!(made.status.success(), "{made:?}");
    let made =
        openssl(&format!("pkcs8 -topk8 -v2 aes256 -scrypt -passout pass:{PASSPHRASE} -in {plain} -out {target}"));
    assert!(made.status.success(), "{made:?}");
    set_mode(&path, 0o600);
}

async fn refusal(keys: &dyn KeyManager, reference: &str) -> KeyError {
    let error = keys.open(&reference.parse().unwrap()).await.unwrap_err();
    assert!(!error.to_string().contains(PASSPHRASE));
    error
}

async fn unusable(keys: &dyn KeyManager, reference: &str) -> String {
    match refusal(keys, reference).await {
        KeyError::Unusable { reason, .. } => reason,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn openssl_reads_the_file_with_the_passphrase_only() {
    let (keys, folder) = keys().await;
    let signer = keys.open(&keys.create(&label("acme.1")).await.unwrap()).await.unwrap();
    let path = file(folder.path(), "acme.1.pem");
    let path = path.display();
    let read = openssl(&format!("pkey -in {path} -pubout -outform DER -passin pass:{PASSPHRASE}"));
    assert_eq!(read.stdout, signer.spki_der(), "{read:?}");
    assert!(!openssl(&format!("pkey -in {path} -noout -passin pass:wrong")).status.success());
    let layout = String::from_utf8(openssl(&format!("asn1parse -in {path}")).stdout).unwrap();
    for part in ["PBES2", "scrypt", "INTEGER           :4000", "aes-256-cbc"] {
        assert!(layout.contains(part), "{part} in {layout}");
    }
}

#[tokio::test]
async fn a_key_made_by_openssl_signs_if_it_is_p256() {
    let (keys, folder) = keys().await;
    install(folder.path(), "acme.1.pem", "P-256");
    let signer = keys.open(&keys.create(&label("acme.1")).await.unwrap()).await.unwrap();
    let signature = signer.sign(b"message").await.unwrap();
    assert!(verifies(signer.spki_der(), b"message", &signature));

    install(folder.path(), "acme.2.pem", "P-384");
    assert!(unusable(&*keys, "soft:acme.2").await.contains("not an ECDSA P-256 key"));
}

#[tokio::test]
async fn keys_outlive_the_process_and_need_their_passphrase() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path(), PASSPHRASE);
    let key = first.create(&label("acme.1")).await.unwrap();
    let spki = first.open(&key).await.unwrap().spki_der().to_vec();

    let again = open(folder.path(), PASSPHRASE);
    assert_eq!(again.create(&label("acme.1")).await.unwrap(), key);
    assert_eq!(again.open(&key).await.unwrap().spki_der(), spki);

    let stranger = open(folder.path(), "wrong");
    assert!(unusable(&stranger, "soft:acme.1").await.contains("the passphrase is wrong"));
    let empty = SoftKeys::open(folder.path(), "".into()).unwrap_err().to_string();
    assert!(empty.contains("the passphrase is empty"), "{empty}");
    assert!(!format!("{again:?}").contains(PASSPHRASE));
}

#[tokio::test]
async fn concurrent_creations_of_one_key_make_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut processes = JoinSet::new();
    for _ in 0..4 {
        // A manager each, as processes would have.
        let keys = open(folder.path(), PASSPHRASE);
        processes.spawn(async move {
            let key = keys.create(&label("acme.1")).await.unwrap();
            keys.open(&key).await.unwrap().spki_der().to_vec()
        });
    }
    let mut seen = processes.join_all().await;
    seen.dedup();
    assert_eq!(seen.len(), 1);
    let names: Vec<_> = fs::read_dir(folder.path().join("keys")).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert_eq!(names, ["acme.1.pem"], "nothing unfinished is left");
}

#[tokio::test]
async fn only_the_owner_can_read_the_keys() {
    let (keys, folder) = keys().await;
    keys.create(&label("acme.1")).await.unwrap();
    let path = file(folder.path(), "acme.1.pem");
    assert_eq!((mode(&folder.path().join("keys")), mode(&path)), (0o700, 0o600));

    set_mode(&path, 0o640);
    assert!(unusable(&*keys, "soft:acme.1").await.contains("(mode 640): run `chmod go= "));
    set_mode(&folder.path().join("keys"), 0o755);
    let refused = SoftKeys::open(&folder.path().join("keys"), PASSPHRASE.into()).unwrap_err().to_string();
    assert!(refused.contains("others may read it (mode 755)"), "{refused}");
}

#[tokio::test]
async fn damaged_files_and_strange_references_are_refused() {
    let (keys, folder) = keys().await;
    keys.create(&label("acme.1")).await.unwrap();
    let path = file(folder.path(), "acme.1.pem");
    let good = fs::read_to_string(&path).unwrap();
    let body = good.find("\nMI").unwrap() + 40;
    let flipped =
        format!("{}{}{}", &good[..body], if &good[body..=body] == "A" { "B" } else { "A" }, &good[body + 1..]);
    for damaged in ["", "noise", &good[..good.len() / 2], &flipped, &good.replace("ENCRYPTED PRIVATE", "PRIVATE")] {
        fs::write(&path, damaged).unwrap();
        let reason = unusable(&*keys, "soft:acme.1").await;
        assert!(reason.contains("passphrase") || reason.contains("restore it from a backup"), "{reason}");
    }
    fs::write(&path, &good).unwrap();
    keys.open(&"soft:acme.1".parse().unwrap()).await.unwrap();

    for strange in ["soft:acme.2", "soft:../keys/acme.1", "soft:acme", "kms:acme.1", "soft:"] {
        assert!(matches!(refusal(&*keys, strange).await, KeyError::NotFound(_)), "{strange}");
    }
    let taken = folder.path().join("taken");
    fs::write(&taken, "").unwrap();
    assert!(matches!(SoftKeys::open(&taken, PASSPHRASE.into()), Err(KeyError::Unavailable(_))));
}

#[tokio::test]
async fn a_key_is_decrypted_once() {
    let (keys, folder) = keys().await;
    let key = keys.create(&label("acme.1")).await.unwrap();
    let first = keys.open(&key).await.unwrap();
    fs::remove_file(file(folder.path(), "acme.1.pem")).unwrap();
    assert!(Arc::ptr_eq(&first, &keys.open(&key).await.unwrap()));
}
