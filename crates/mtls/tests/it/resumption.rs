//! rustls does not verify the certificate of a resumed session; we authenticate it again.

use signet_core::{change::Change, tenant::Tenant};
use signet_mtls::Settings;
use signet_testkit::fixtures;

use crate::{
    client::Client,
    world::{Event, World, eventually},
};

#[tokio::test]
async fn a_session_is_resumed_with_its_identity() {
    let world = World::new();
    let address = world.start(Settings::default()).await;
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
    let address = world.start(Settings::default()).await;
    let holder = world.pki.worker(&world.acme, "w-1");
    let client = Client::new(&world.pki, Some(&holder));
    client.greet(address).await.unwrap();
    world.revoke(&holder);
    // The handshake itself succeeds, without the verifier: what refuses is the step after it.
    let error = client.greet(address).await.err().unwrap();
    assert!(error.get_ref().is_none_or(|inner| !inner.is::<rustls::Error>()), "{error:?}");
    eventually("a refusal", || world.observer.refusals() == ["CERTIFICATE_REVOKED"]).await;
}

#[tokio::test]
async fn a_denied_principal_and_a_retired_ca_do_not_come_back_by_resumption() {
    let world = World::new();
    let address = world.start(Settings::default()).await;
    let holder = world.pki.worker(&world.acme, "w-1");
    let client = Client::new(&world.pki, Some(&holder));
    client.greet(address).await.unwrap();
    let tenant: Tenant = fixtures::tenant(&world.acme.ca.tenant);
    let next = world.pki.tenant_ca("acme", 2);
    world.trust.set_tenant(&tenant, &[next.ca]);
    assert!(client.greet(address).await.is_err());
    eventually("a refusal", || world.observer.refusals() == ["UNTRUSTED_ISSUER"]).await;
    world.trust.set_tenant(&tenant, std::slice::from_ref(&world.acme.ca));
    client.greet(address).await.unwrap();
    let until = holder.not_after;
    world.change(&tenant.id, Change::PrincipalDenied { principal: "w-1".parse().unwrap(), until });
    assert!(client.greet(address).await.is_err());
    eventually("a refusal", || world.observer.refusals().last() == Some(&"PRINCIPAL_DENIED")).await;
}
