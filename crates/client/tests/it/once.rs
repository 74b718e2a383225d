//! A proof is spent once and a certificate renewed once, however often the program is stopped and however many share a
//! folder.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use secrecy::SecretString;
use signet_client::{ClientError, Directory, Enrollment, Identity, IdentitySettings, Storage};
use signet_x509::Csr;
use tempfile::TempDir;
use tonic::Status;

use crate::server::{World, eventually};

const PENDING: &str = ".signet.enrolling";

pub(crate) fn settings(world: &World, address: std::net::SocketAddr, folder: &Path) -> IdentitySettings {
    let mut settings = IdentitySettings::new(format!("https://{address}"), world.roots());
    settings.storage = Arc::new(Directory::new(folder));
    settings.follow_bundle = false;
    settings
}

pub(crate) fn token(text: &str) -> Enrollment {
    let enrollment = Enrollment::join_token(SecretString::from(text));
    Enrollment { principal_id: Some("w-7".into()), ..enrollment }
}

fn serial(identity: &Identity) -> String {
    identity.status().borrow().facts.serial_number.clone()
}

/// Begins to enroll, and is stopped when the request has arrived and its answer has not.
pub(crate) async fn cut_off(world: &World, settings: IdentitySettings, enrollment: Enrollment) {
    let before = world.seen.lock().unwrap().len();
    world.script.lock().unwrap().push_back(Status::unavailable("the answer is lost"));
    let program = tokio::spawn(async move { Identity::load_or_enroll(settings, &enrollment).await });
    eventually("the request has arrived", || world.seen.lock().unwrap().len() > before).await;
    program.abort();
    assert!(program.await.unwrap_err().is_cancelled());
}

#[tokio::test]
async fn an_enrollment_that_was_cut_off_is_asked_for_again_with_the_same_key() {
    let (world, home) = (World::new(), TempDir::new().unwrap());
    let address = world.start(true).await;
    cut_off(&world, settings(&world, address, home.path()), token("the-token")).await;
    let kept = fs::metadata(home.path().join(PENDING)).unwrap();
    assert_eq!(kept.permissions().mode() & 0o777, 0o600);

    let identity = Identity::load_or_enroll(settings(&world, address, home.path()), &token("the-token")).await.unwrap();
    let seen = world.seen.lock().unwrap().clone();
    let key = |csr_der: &[u8]| Csr::parse(csr_der).unwrap().public_key().clone();
    assert_eq!(seen.len(), 2);
    assert_eq!((&seen[0].0, key(&seen[0].1)), (&seen[1].0, key(&seen[1].1)), "the same request and key");
    assert_eq!(identity.with_credentials(|held| held.key().public_key().clone()), key(&seen[0].1));
    assert!(!home.path().join(PENDING).exists(), "its outcome is stored");
}

#[tokio::test]
async fn another_token_and_a_refusal_make_another_request() {
    let (world, home) = (World::new(), TempDir::new().unwrap());
    let address = world.start(true).await;
    cut_off(&world, settings(&world, address, home.path()), token("another-token")).await;
    let under_way = fs::read(home.path().join(PENDING)).unwrap();
    let enroll = async |text| Identity::enroll(settings(&world, address, home.path()), &token(text)).await;
    let refused = enroll("wrong-token").await.unwrap_err();
    assert!(matches!(refused, ClientError::Rpc(_)), "{refused:?}");
    assert_eq!(fs::read(home.path().join(PENDING)).unwrap(), under_way, "what another token may have got is kept");
    enroll("the-token").await.unwrap();
    assert!(!home.path().join(PENDING).exists());
    let mut ids: Vec<_> = world.seen.lock().unwrap().iter().map(|(id, _)| id.clone()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 3);
}

#[tokio::test]
async fn damage_to_an_enrollment_under_way_is_got_over() {
    let (world, home) = (World::new(), TempDir::new().unwrap());
    let address = world.start(true).await;
    fs::write(home.path().join(PENDING), "{").unwrap();
    Identity::load_or_enroll(settings(&world, address, home.path()), &token("the-token")).await.unwrap();
    assert!(!home.path().join(PENDING).exists());
}

#[tokio::test]
async fn two_that_begin_at_once_in_one_folder_enroll_once() {
    let (world, home) = (World::new(), TempDir::new().unwrap());
    let address = world.start(true).await;
    let enrollment = token("the-token");
    let begin = || Identity::load_or_enroll(settings(&world, address, home.path()), &enrollment);
    let (one, other) = tokio::try_join!(begin(), begin()).unwrap();
    assert_eq!(serial(&one), serial(&other));
    assert_eq!(world.seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn two_that_renew_at_once_in_one_folder_renew_once() {
    let (world, home) = (World::new(), TempDir::new().unwrap());
    let address = world.start(true).await;
    let first = Identity::enroll(settings(&world, address, home.path()), &token("the-token")).await.unwrap();
    let second = Identity::load(settings(&world, address, home.path())).await.unwrap().unwrap();
    let before = serial(&first);
    first.renew_now();
    second.renew_now();
    eventually("both have the next one", || serial(&first) != before && serial(&second) != before).await;
    assert_eq!(serial(&first), serial(&second));
    assert_eq!(world.seen.lock().unwrap().len(), 2, "one enrollment, one renewal");
}

#[tokio::test]
async fn notes_on_an_old_certificate_do_not_replace_a_new_one() {
    let (world, home) = (World::new(), TempDir::new().unwrap());
    let address = world.start(true).await;
    let old = Identity::enroll(settings(&world, address, home.path()), &token("the-token")).await.unwrap();
    let new = Identity::load(settings(&world, address, home.path())).await.unwrap().unwrap();
    let before = serial(&old);
    new.renew_now();
    eventually("it is renewed", || serial(&new) != before).await;
    // A failure would be noted; the look at what is kept comes first.
    old.renew_now();
    eventually("it is taken up", || serial(&old) == serial(&new)).await;
    let (kept, _) = Directory::new(home.path()).load().unwrap().unwrap();
    assert_eq!(kept.facts().serial_number, serial(&new));
}

#[test]
fn a_lock_is_one_holders_and_ends_with_it() {
    let home = TempDir::new().unwrap();
    let (one, other) = (Directory::new(home.path()), Directory::new(home.path()));
    let held = one.try_lock().unwrap().unwrap();
    assert!(other.try_lock().unwrap().is_none() && one.try_lock().unwrap().is_none());
    drop(held);
    assert!(other.try_lock().unwrap().is_some());
}
