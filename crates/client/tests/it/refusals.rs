//! What the control plane thinks of a certificate is known when it says so, and is asked again when it may have
//! changed.

use std::sync::Arc;

use secrecy::SecretString;
use signet_client::{Directory, Enrollment, Identity, IdentitySettings, RenewalState, system_clock};
use signet_core::{Clock, Lifetime};
use tempfile::TempDir;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::server::{World, eventually};

async fn settings(world: &Arc<World>) -> IdentitySettings {
    let mut settings = IdentitySettings::new(format!("https://{}", world.start(true).await), world.roots());
    settings.follow_bundle = false;
    settings
}

fn token() -> Enrollment {
    let enrollment = Enrollment::join_token(SecretString::from("the-token"));
    Enrollment { principal_id: Some("w-7".into()), ..enrollment }
}

fn standing(identity: &Identity) -> RenewalState {
    identity.status().borrow().standing
}

#[tokio::test]
async fn a_revocation_is_known_long_before_a_renewal_is_due() {
    let world = World::new();
    let mut settings = settings(&world).await;
    settings.follow_bundle = true;
    let (credentials, holder) = world.worker("w-7");
    let identity = Identity::adopt(settings, credentials).await.unwrap();
    eventually("the stream is open", || identity.status().borrow().confirmed).await;
    world.revoke(&holder);
    eventually("it is known", || standing(&identity) == RenewalState::Refused).await;
    let problem = identity.status().borrow().problem.clone().unwrap();
    assert!(problem.message.contains("revoked"), "{problem:?}");
}

#[tokio::test]
async fn a_grace_that_is_granted_after_the_refusal_is_used() {
    let world = World::new();
    let identity = Identity::enroll(settings(&world).await, &token()).await.unwrap();
    let before = identity.status().borrow().facts.serial_number.clone();
    let over = || {
        let details = ErrorDetails::with_error_info("RENEWAL_GRACE_OVER", "signet", [("a".to_owned(), "b".to_owned())]);
        Status::with_error_details(Code::FailedPrecondition, "the grace is over", details)
    };
    // Enough for every attempt that is made until we look.
    world.script.lock().unwrap().extend((0..100).map(|_| over()));
    identity.renew_now();
    eventually("it is refused", || standing(&identity) == RenewalState::Refused).await;
    world.script.lock().unwrap().clear();
    identity.renew_now();
    eventually("it is renewed", || standing(&identity) == RenewalState::Fresh).await;
    assert_ne!(identity.status().borrow().facts.serial_number, before);
    assert!(identity.status().borrow().problem.is_none());
}

#[tokio::test]
async fn the_tenants_cas_come_with_each_certificate() {
    let world = World::new();
    let identity = Identity::enroll(settings(&world).await, &token()).await.unwrap();
    let anchors = || identity.bundle().borrow().anchors_der();
    assert_eq!(anchors(), world.anchors());
    *world.next_ca.lock().unwrap() = Some(world.pki.tenant_ca("acme", 2).ca.certificate_der);
    identity.renew_now();
    eventually("the next CA is trusted", || anchors() == world.anchors() && anchors().len() == 2).await;
}

#[tokio::test]
async fn the_tenants_cas_come_with_the_renewal_window() {
    let (world, home) = (World::new(), TempDir::new().unwrap());
    let mut settings = settings(&world).await;
    settings.storage = Arc::new(Directory::new(home.path()));
    drop(Identity::enroll(settings.clone(), &token()).await.unwrap());
    *world.next_ca.lock().unwrap() = Some(world.pki.tenant_ca("acme", 2).ca.certificate_der);
    // The window is asked for once an hour.
    let real = system_clock();
    let later: Clock = Arc::new(move || real().plus(Lifetime::hours(2)));
    let identity = Identity::load(IdentitySettings { clock: later, ..settings }).await.unwrap().unwrap();
    eventually("the next CA is trusted", || identity.bundle().borrow().anchors_der().len() == 2).await;
    eventually("and it is told since when", || identity.status().borrow().bundle_time.is_some()).await;
    assert_eq!(identity.status().borrow().renewals, 0);
}
