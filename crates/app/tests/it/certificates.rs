//! Certificates on record.

use signet_app::PageRequest;
use signet_core::{
    Error, PrincipalType,
    certificate::{Certificate, CertificateState, RevocationReason},
    store::{Body, Write},
};
use signet_testkit::fixtures::later;

use crate::{faulty_store::Fault, world::*};

async fn revoke(world: &World, record: &Certificate, seconds: u32) -> Result<Certificate, Error> {
    let (call, reason) = (at(call("RevokeCertificate"), later(seconds)), RevocationReason::KeyCompromise);
    world.app.revoke_certificate(&call, &admin(), &acme(), &record.issuer, &record.serial, reason).await
}

#[tokio::test]
async fn a_revocation_is_announced_once_and_frees_the_holders_place() {
    let world = World::new().await;
    world.principal("worker").await;
    let record = world.issue("worker").await.certificate;
    for _ in 0..2 {
        let revoked = revoke(&world, &record, 5).await.unwrap();
        let state = CertificateState::Revoked { revoked_at: later(5), reason: RevocationReason::KeyCompromise };
        assert_eq!((revoked.state, revoked.certificate_der), (state, record.certificate_der.clone()));
    }
    assert_eq!(world.outcomes("RevokeCertificate"), ["OK"]);
    assert!(world.get_principal("worker").await.certificates.is_empty());
    let announced = world.store.written(|write| {
        matches!(write, Write::Create(Body::Change(entry))
        if entry.until == record.not_after && entry.at == later(5))
    });
    assert_eq!(announced, 1);
}

/// A renewed certificate is no longer on its holder's list, yet can be revoked.
#[tokio::test]
async fn a_superseded_certificate_can_be_revoked() {
    let world = World::new().await;
    world.principal("worker").await;
    let old = world.issue("worker").await;
    let renew = call("RenewCertificate");
    let new = world.app.renew_certificate(&renew, &renewal_of(&old), &acme(), &csr()).await.unwrap();
    revoke(&world, &old.certificate, 1).await.unwrap();
    let held = world.get_principal("worker").await.certificates;
    assert_eq!(held.iter().map(|held| held.serial).collect::<Vec<_>>(), [new.certificate.serial]);
}

#[tokio::test]
async fn what_nobody_accepts_cannot_be_revoked() {
    let world = World::new().await;
    world.principal("worker").await;
    let record = world.issue("worker").await.certificate;
    assert_eq!(revoke(&world, &record, 86_400).await.unwrap_err().reason(), "CERTIFICATE_EXPIRED");
    world.store.arm(1, Fault::CrashBefore);
    let issue = call("IssueCertificate");
    world.app.issue_certificate(&issue, &acme(), &pid("worker"), &csr()).await.unwrap_err();
    world.store.restart();
    let reserved = world.store.reservations().pop().unwrap();
    assert_eq!(revoke(&world, &reserved, 1).await.unwrap_err().reason(), "CERTIFICATE_NOT_ISSUED");
}

#[tokio::test]
async fn an_operator_does_not_revoke_an_admins_certificate() {
    let world = World::new().await;
    world
        .app
        .create_principal(&call("Create"), &acme(), new_principal("chief", PrincipalType::Admin, &[]))
        .await
        .unwrap();
    let record = world.issue("chief").await.certificate;
    let (call, reason) = (call("RevokeCertificate"), RevocationReason::Unspecified);
    let denied =
        world.app.revoke_certificate(&call, &operator(), &acme(), &record.issuer, &record.serial, reason).await;
    assert_eq!(denied.unwrap_err().reason(), "PERMISSION_MISSING");
}

#[tokio::test]
async fn certificates_are_listed_newest_first_and_only_those_of_the_principal() {
    let world = World::new().await;
    for id in ["worker", "other"] {
        world.principal(id).await;
        world.issue(id).await;
    }
    let issue = at(call("IssueCertificate"), later(10));
    let newer = world.app.issue_certificate(&issue, &acme(), &pid("worker"), &csr()).await.unwrap().certificate;
    let list = |id: &'static str| {
        let app = &world.app;
        async move { app.list_certificates(&call("List"), &acme(), &pid(id), &PageRequest::default()).await }
    };
    let listed = list("worker").await.unwrap().items;
    assert_eq!((listed.len(), &listed[0]), (2, &newer));
    assert_eq!(list("nobody").await.unwrap_err().reason(), "NOT_FOUND");
}

#[tokio::test]
async fn a_worker_sees_its_own_certificates_and_no_others() {
    let world = World::new().await;
    for id in ["worker", "other"] {
        world.principal(id).await;
    }
    let (own, foreign) = (world.issue("worker").await.certificate, world.issue("other").await.certificate);
    let permit = permit_of(identity("acme", "worker", PrincipalType::Worker, &[]), "certificates.get");
    let own_scope = permit.tenant(&tid("acme"), None).unwrap();
    let get = |record: Certificate| {
        let (app, scope) = (&world.app, own_scope.clone());
        async move { app.get_certificate(&call("Get"), &scope, &record.issuer, &record.serial).await }
    };
    assert_eq!(get(own.clone()).await.unwrap(), own);
    assert_eq!(get(foreign).await.unwrap_err().reason(), "NOT_FOUND");
    let page = PageRequest::default();
    let list = world.app.list_certificates(&call("List"), &own_scope, &pid("other"), &page).await;
    assert_eq!(list.unwrap_err().reason(), "NOT_FOUND");
}

/// The records of server and CA certificates are no principal's.
#[tokio::test]
async fn records_of_cas_and_servers_are_not_reached_as_principals_certificates() {
    let world = World::new().await;
    let of_others: Vec<Certificate> =
        world.store.reservations().into_iter().filter(|record| record.principal.as_str() != "root").collect();
    assert!(of_others.len() >= 5);
    for record in of_others {
        let scope = scope(record.tenant.as_str());
        let found = world.app.get_certificate(&call("Get"), &scope, &record.issuer, &record.serial).await;
        assert_eq!(found.unwrap_err().reason(), "NOT_FOUND");
    }
}
