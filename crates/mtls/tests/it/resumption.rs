//! rustls does not verify the certificate of a resumed session: the tickets of who may not act are none.

use std::sync::Arc;

use signet_core::{tenants::Tenant, trust::change::Change};
use signet_mtls::AcceptSettings;
use signet_testkit::fixtures;

use crate::{
    client::{Changing, Client},
    world::{Event, World, eventually},
};

#[tokio::test]
async fn a_session_is_resumed_with_its_identity() {
    let world = World::new();
    let address = world.start(AcceptSettings::default()).await;
    let holder = world.pki.worker(&world.acme, "w-1");
    let client = Client::new(&world.pki, Some(&holder));
    assert!(!client.greet(address).await.unwrap().resumed);
    let again = client.greet(address).await.unwrap();
    assert!(again.resumed);
    assert_eq!(again.greeting, "acme/w-1");
    assert!(matches!(world.observer.events()[..], [.., Event::Accepted { resumed: true, .. }]));
}

#[tokio::test]
async fn a_revoked_certificate_does_not_come_back_by_resumption() {
    let world = World::new();
    let address = world.start(AcceptSettings::default()).await;
    let holder = world.pki.worker(&world.acme, "w-1");
    let client = Client::new(&world.pki, Some(&holder));
    client.greet(address).await.unwrap();
    world.revoke(&holder);
    assert_eq!(client.alert(address).await, "CertificateRevoked");
    eventually("a refusal", || world.observer.refusals() == ["CERTIFICATE_REVOKED"]).await;
}

/// Clients that keep sessions and not what certificate they are of: Go's, Java's.
#[tokio::test]
async fn who_has_a_better_certificate_by_now_is_asked_for_it() {
    let world = World::new();
    let address = world.start(AcceptSettings::default()).await;
    let old = world.pki.worker(&world.acme, "w-1");
    let certificate = Changing::new(&old);
    let client = Client::changing(&world.pki, Arc::clone(&certificate));
    client.greet(address).await.unwrap();
    assert!(client.greet(address).await.unwrap().resumed);
    let new = world.pki.worker(&world.acme, "w-2");
    certificate.becomes(&new);
    world.revoke(&old);
    assert_eq!(client.greet(address).await.unwrap().greeting, "acme/w-2");
    let again = client.greet(address).await.unwrap();
    assert_eq!((again.greeting.as_str(), again.resumed), ("acme/w-2", true));
    world.travel(new.not_after);
    assert_eq!(client.alert(address).await, "CertificateExpired");
}

#[tokio::test]
async fn a_denied_principal_and_a_retired_ca_do_not_come_back_by_resumption() {
    let world = World::new();
    let address = world.start(AcceptSettings::default()).await;
    let holder = world.pki.worker(&world.acme, "w-1");
    let client = Client::new(&world.pki, Some(&holder));
    client.greet(address).await.unwrap();
    let tenant: Tenant = fixtures::tenant(&world.acme.ca.tenant);
    let next = world.pki.tenant_ca("acme", 2);
    world.trust.set_tenant(&tenant, &[next.ca]);
    assert_eq!(client.alert(address).await, "UnknownCA");
    eventually("a refusal", || world.observer.refusals() == ["UNTRUSTED_ISSUER"]).await;
    world.trust.set_tenant(&tenant, std::slice::from_ref(&world.acme.ca));
    client.greet(address).await.unwrap();
    let until = holder.not_after;
    world.change(&tenant.id, Change::PrincipalDenied { principal: "w-1".parse().unwrap(), until });
    assert_eq!(client.alert(address).await, "AccessDenied");
    eventually("a refusal", || world.observer.refusals().last() == Some(&"PRINCIPAL_DENIED")).await;
}
