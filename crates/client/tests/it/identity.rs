//! An identity that renews itself, and what hangs on it.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use secrecy::SecretString;
use signet_client::{
    Access, AtomicDir, CERT_FILE, CertificateFacts, Credentials, Directory, Enrollment, Identity, IdentitySettings,
    KEY_FILE, NewFile, RenewalState, Storage,
};
use signet_core::{Time, trust::change::Change};
use signet_proto::v1::{GetTrustBundleRequest, WatchTrustBundleRequest, trust_service_client::TrustServiceClient};
use tempfile::TempDir;
use tonic::Status;

use crate::server::{World, eventually};

async fn settings(world: &Arc<World>, folder: Option<&Path>) -> IdentitySettings {
    let address = world.start(true).await;
    let mut settings = IdentitySettings::new(format!("https://{address}"), world.roots());
    if let Some(folder) = folder {
        settings.storage = Arc::new(Directory::new(folder));
    }
    settings
}

fn token() -> Enrollment {
    let enrollment = Enrollment::join_token(SecretString::from("the-token"));
    Enrollment { principal_id: Some("w-7".into()), ..enrollment }
}

fn serial(identity: &Identity) -> String {
    identity.status().borrow().facts.serial_number.clone()
}

async fn renewed(identity: &Identity) {
    let before = identity.status().borrow().renewals;
    identity.renew_now();
    eventually("it is renewed", || identity.status().borrow().renewals > before).await;
}

#[tokio::test]
async fn it_enrolls_renews_with_new_keys_and_is_found_again() {
    let (world, home) = (World::new(), TempDir::new().unwrap());
    let folder = home.path().join("id");
    let settings = settings(&world, Some(&folder)).await;
    let identity = Identity::enroll(settings.clone(), &token()).await.unwrap();
    let first = (serial(&identity), identity.with_credentials(|held| held.key().public_key().clone()));
    assert_eq!(identity.status().borrow().spiffe_id, "spiffe://acme.test.example.com/worker/w-7");
    assert_eq!(Credentials::load(&folder).unwrap().facts().serial_number, first.0);
    renewed(&identity).await;
    let second = (serial(&identity), identity.with_credentials(|held| held.key().public_key().clone()));
    assert!(second.0 != first.0 && second.1 != first.1);
    assert_eq!(Credentials::load(&folder).unwrap().facts().serial_number, second.0);
    assert_eq!(fs::metadata(folder.join(KEY_FILE)).unwrap().permissions().mode() & 0o777, 0o600);

    let status = identity.status().borrow().clone();
    assert!(status.standing == RenewalState::Fresh && status.stored, "{status:?}");
    eventually("it is confirmed", || world.confirmed.lock().unwrap().last() == Some(&second.0)).await;
    drop(identity);
    let again = Identity::load(settings).await.unwrap().unwrap();
    assert_eq!(again.status().borrow().next_attempt, status.next_attempt, "drawn once");
    assert_eq!(serial(&again), second.0);
}

#[tokio::test]
async fn nothing_kept_is_nothing_loaded() {
    let (world, home) = (World::new(), TempDir::new().unwrap());
    let settings = settings(&world, Some(home.path())).await;
    assert!(Identity::load(settings.clone()).await.unwrap().is_none());
    let identity = Identity::load_or_enroll(settings.clone(), &token()).await.unwrap();
    let loaded = Identity::load_or_enroll(settings, &token()).await.unwrap();
    assert_eq!(serial(&identity), serial(&loaded));
}

#[tokio::test]
async fn a_call_in_flight_ends_on_the_old_connection_and_new_calls_take_the_new_one() {
    let world = World::new();
    let identity = Identity::enroll(settings(&world, None).await, &token()).await.unwrap();
    let channel = identity.channel().unwrap();
    let mut client = TrustServiceClient::new(channel.clone());
    let mut stream = client.watch_trust_bundle(WatchTrustBundleRequest::default()).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().tenant_id, "acme");
    let first = serial(&identity);
    client.get_trust_bundle(GetTrustBundleRequest::default()).await.unwrap();
    assert_eq!(*world.callers.lock().unwrap(), [first]);

    let ended = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&ended);
    let reader = tokio::spawn(async move {
        let _ = stream.message().await;
        flag.store(true, Ordering::Release);
    });
    renewed(&identity).await;
    let second = serial(&identity);
    eventually("calls come with the new certificate", || {
        let mut client = client.clone();
        tokio::spawn(async move { client.get_trust_bundle(GetTrustBundleRequest::default()).await });
        world.callers.lock().unwrap().last() == Some(&second)
    })
    .await;
    assert!(!ended.load(Ordering::Acquire), "the stream of before goes on");
    reader.abort();
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_and_a_failure_keeps_the_last_good_one() {
    let world = World::new();
    let identity = Identity::enroll(settings(&world, None).await, &token()).await.unwrap();
    let first = serial(&identity);
    world.script.lock().unwrap().extend([Status::unavailable("the store is away"), Status::aborted("once more")]);
    identity.renew_now();
    eventually("the failure is told", || identity.status().borrow().failures > 0).await;
    let status = identity.status().borrow().clone();
    assert_eq!((status.standing, status.facts.serial_number), (RenewalState::Due, first));
    assert_eq!(status.problem.unwrap().action, "renew");
    // By hand, since the schedule waits for longer than a test.
    identity.renew_now();
    eventually("the second failure", || world.script.lock().unwrap().is_empty()).await;
    renewed(&identity).await;
    let seen = world.seen.lock().unwrap().clone();
    assert!(seen.len() == 4 && seen[1] == seen[2] && seen[2] == seen[3], "the same request and key");
    assert!(identity.status().borrow().problem.is_none());
}

#[tokio::test]
async fn a_certificate_of_a_server_whose_clock_is_ahead_replaces_no_good_one() {
    let (world, home) = (World::new(), TempDir::new().unwrap());
    let identity = Identity::enroll(settings(&world, Some(home.path())).await, &token()).await.unwrap();
    let held = serial(&identity);
    world.ahead.store(2 * 60 * 60 * 1000, Ordering::SeqCst);
    identity.renew_now();
    let reason = || identity.status().borrow().problem.as_ref().map(|problem| problem.reason.clone());
    eventually("it is told", || reason().as_deref() == Some("CERTIFICATE_NOT_YET_VALID")).await;
    assert_eq!(serial(&identity), held);
    assert_eq!(Credentials::load(home.path()).unwrap().facts().serial_number, held);
    world.ahead.store(0, Ordering::SeqCst);
    renewed(&identity).await;
    assert_ne!(serial(&identity), held);
}

/// Whose clock is wrong is not known: the server has the last word before the present one ends.
#[test]
fn a_premature_certificate_is_taken_before_the_present_one_ends() {
    let facts = |start: i64, end: i64| CertificateFacts {
        subject: String::new(),
        serial_number: String::new(),
        not_before_unix_millis: start * 60_000,
        not_after_unix_millis: end * 60_000,
    };
    let (held, minute) = (facts(0, 1440), |at: u32| Time::from_unix_seconds(i64::from(at) * 60));
    let may = |new: i64, now: u32| facts(new, new + 1440).may_replace(&held, minute(now)).is_ok();
    assert!(may(960, 960) && may(965, 960), "clocks differ a little");
    assert!(!may(1080, 960) && !may(966, 960));
    assert!(may(1200, 960), "by the server's clock the last sixth has begun");
    assert!(facts(1000, 2000).may_replace(&facts(900, 1900), minute(10)).is_ok(), "so was the present one");
}

#[tokio::test]
async fn a_revoked_identity_asks_for_enrollment_and_takes_up_what_an_operator_puts_there() {
    let (world, home) = (World::new(), TempDir::new().unwrap());
    let settings = settings(&world, Some(home.path())).await;
    let (credentials, holder) = world.worker("w-7");
    let identity = Identity::adopt(settings, credentials).await.unwrap();
    world.revoke(&holder);
    identity.renew_now();
    eventually("it is refused", || identity.status().borrow().standing == RenewalState::Refused).await;
    let problem = identity.status().borrow().problem.clone().unwrap();
    assert!(problem.reason == "CERTIFICATE_REFUSED" && problem.message.contains("revoked"), "{problem:?}");

    // Serial numbers tell which of two is newer; these are made in the same millisecond unless we wait for the next.
    let made = world.pki.later(1000).worker(&world.acme, "w-7");
    let key = signet_x509::KeyPair::from_pkcs8_der(made.key.pkcs8_der()).unwrap();
    Credentials::new(made.chain_der.clone(), world.roots(), key).unwrap().save(home.path()).unwrap();
    identity.renew_now();
    eventually("it is taken up", || identity.status().borrow().standing == RenewalState::Fresh).await;
    assert_eq!(serial(&identity), made.serial.to_string());
}

#[tokio::test]
async fn a_suspended_principal_is_not_final() {
    let world = World::new();
    let (credentials, holder) = world.worker("w-7");
    let identity = Identity::adopt(settings(&world, None).await, credentials).await.unwrap();
    world.change(Change::PrincipalDenied { principal: "w-7".parse().unwrap(), until: holder.not_after });
    identity.renew_now();
    eventually("the failure is told", || identity.status().borrow().failures > 0).await;
    assert_eq!(identity.status().borrow().standing, RenewalState::Due);
}

#[tokio::test]
async fn a_storage_that_fails_is_told_and_the_identity_works_on() {
    let (world, home) = (World::new(), TempDir::new().unwrap());
    let file = home.path().join("file");
    fs::write(&file, "").unwrap();
    let settings = settings(&world, Some(&file)).await;
    Identity::enroll(settings.clone(), &token()).await.unwrap_err();
    assert!(world.seen.lock().unwrap().is_empty(), "no token is used up");
    let identity = Identity::adopt(settings, world.worker("w-7").0).await.unwrap();
    let status = identity.status().borrow().clone();
    assert!(!status.stored && status.problem.unwrap().action == "store");
    let mut client = TrustServiceClient::new(identity.channel().unwrap());
    client.get_trust_bundle(GetTrustBundleRequest::default()).await.unwrap();
    fs::remove_file(&file).unwrap();
    identity.renew_now();
    eventually("it is stored", || identity.status().borrow().stored).await;
}

#[test]
fn readers_of_a_folder_never_find_a_key_with_another_ones_certificate() {
    let (world, home) = (World::new(), TempDir::new().unwrap());
    let folder = home.path().join("tls");
    // Begins as a folder of plain files.
    world.worker("w-0").0.save(&folder).unwrap();
    let files = AtomicDir::new(&folder, Access::mode(0o755));
    let done = Arc::new(AtomicBool::new(false));
    let reader = {
        let (files, done) = (files.clone(), Arc::clone(&done));
        std::thread::spawn(move || {
            let mut reads = 0;
            while !done.load(Ordering::Acquire) || reads == 0 {
                files.read(Credentials::load).unwrap();
                reads += 1;
            }
        })
    };
    for number in 1..60 {
        let credentials = world.worker(&format!("w-{number}")).0;
        let (key, chain) = (credentials.key_pem(), credentials.chain_pem());
        let file = |name, bytes, mode| NewFile { name, bytes, access: Access::mode(mode) };
        let new = [file(KEY_FILE, key.as_bytes(), 0o640), file(CERT_FILE, chain.as_bytes(), 0o644)];
        let new = [new[0], new[1], file("ca.pem", world.root_pem.as_bytes(), 0o644)];
        files.replace(&credentials.facts().serial_number, &new).unwrap();
    }
    done.store(true, Ordering::Release);
    reader.join().unwrap();
    let generations = fs::read_dir(&folder).unwrap().filter(|entry| {
        let entry = entry.as_ref().unwrap();
        entry.file_type().unwrap().is_dir()
    });
    assert_eq!(generations.count(), 1, "old keys are gone");
    assert_eq!(fs::metadata(folder.join(KEY_FILE)).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn damaged_notes_cost_no_identity() {
    let (world, home) = (World::new(), TempDir::new().unwrap());
    world.worker("w-1").0.save(home.path()).unwrap();
    fs::write(home.path().join("signet.json"), "{").unwrap();
    let (_, notes) = Directory::new(home.path()).load().unwrap().unwrap();
    assert!(notes.is_none());
}
