//! Certificates on record.

use signet_app::{
    CreateTenant, PageRequest,
    certificates::{self, issuance, renewal},
    enrollment::out_of_band,
    principals, tenants,
};
use signet_core::{
    Error, PrincipalType, Serial,
    authorization::Permit,
    certificates::{Certificate, CertificateState, RevocationReason},
    store::{Body, Write},
    tenants::Isolation,
    trust::change::Change,
};
use signet_testkit::{faulty::Fault, fixtures::later};

use crate::{
    lineage::{now, renew_at, signed, worker},
    world::*,
};

async fn revoke(world: &World, record: &Certificate, seconds: u32) -> Result<Certificate, Error> {
    revoke_for(world, record, seconds, RevocationReason::KeyCompromise).await
}

async fn revoke_for(
    world: &World,
    record: &Certificate,
    seconds: u32,
    reason: RevocationReason,
) -> Result<Certificate, Error> {
    let call = at(call("RevokeCertificate"), later(seconds));
    certificates::revoke_certificate(&world.app, &call, &admin(), &acme(), &record.issuer, &record.serial, reason).await
}

#[tokio::test]
async fn a_revocation_frees_the_holders_place_and_is_announced_whenever_it_is_asked_for() {
    let world = World::new().await;
    world.principal("worker").await;
    let record = world.issue("worker").await.certificate;
    for _ in 0..2 {
        let revoked = revoke(&world, &record, 5).await.unwrap();
        let state = CertificateState::Revoked { revoked_at: later(5), reason: RevocationReason::KeyCompromise };
        assert_eq!((revoked.state, revoked.certificate_der), (state, record.certificate_der.clone()));
    }
    assert_eq!(world.outcomes("RevokeCertificate"), ["OK", "OK"]);
    assert!(world.get_principal("worker").await.certificates.is_empty());
    let announced = world.ledger.written(|write| {
        matches!(write, Write::Create(Body::Change(entry))
        if entry.until == record.not_after && entry.at == later(5))
    });
    assert_eq!(announced, 2);
}

/// A renewed certificate is no longer on its holder's list, yet can be revoked.
#[tokio::test]
async fn a_superseded_certificate_can_be_revoked() {
    let world = World::new().await;
    world.principal("worker").await;
    let old = world.issue("worker").await;
    let renew = call("RenewCertificate");
    let new = renewal::renew_certificate(&world.app, &renew, &renewal_of(&old), &acme(), &csr()).await.unwrap();
    let revoked = revoke_for(&world, &old.certificate, 1, RevocationReason::Unspecified).await.unwrap();
    assert_eq!(revoked.lineage.successor.unwrap().serial, new.certificate.serial, "the answer names what goes on");
    let held = world.get_principal("worker").await.certificates;
    assert_eq!(held.iter().map(|held| held.serial).collect::<Vec<_>>(), [new.certificate.serial]);
}

/// The key was stolen before it was renewed: whoever has the successor goes too, whatever came first.
#[tokio::test]
async fn a_compromised_key_ends_its_instance() {
    for case in ["the parent", "the newest", "the parent, revoked before", "the parent, expired"] {
        let world = World::new().await;
        world.principal("worker").await;
        let other = world.issue("worker").await;
        let parent = world.issue("worker").await;
        let stolen = renew_at(&world, &parent, later(60)).await.unwrap();
        let newest = renew_at(&world, &stolen, later(12 * 3600)).await.unwrap();
        let (named, second) = match case {
            "the newest" => (&newest, 12 * 3600 + 1),
            "the parent, expired" => (&parent, 25 * 3600),
            _ => (&parent, 12 * 3600 + 1),
        };
        if case == "the parent, revoked before" {
            revoke_for(&world, &parent.certificate, second, RevocationReason::Unspecified).await.unwrap();
        }
        let answer = revoke(&world, &named.certificate, second).await.unwrap();
        assert!(matches!(answer.state, CertificateState::Revoked { .. }), "{case}");
        for member in [&parent, &stolen, &newest] {
            let state = now(&world, member).await.state;
            assert!(matches!(state, CertificateState::Revoked { .. }), "{case}: {state:?}");
            let refused = renew_at(&world, member, later(second + 3600)).await.unwrap_err();
            assert_eq!(refused.reason(), "CERTIFICATE_REVOKED", "{case}: {refused:?}");
        }
        let announced = || {
            world.ledger.written(|write| {
                matches!(write, Write::Create(Body::Change(entry)) if entry.changes.iter().any(|change| {
                    matches!(change, Change::CertificateRevoked { serial, .. } if *serial == newest.certificate.serial)
                }))
            })
        };
        assert_eq!(announced(), 1, "{case}");
        assert_eq!(now(&world, &other).await.state, CertificateState::Issued, "another instance: {case}");
        // Saying it again changes no record, and tells of the whole instance again.
        let states = async || [now(&world, &parent).await, now(&world, &stolen).await, now(&world, &newest).await];
        let before = states().await;
        revoke(&world, &named.certificate, second + 1).await.unwrap();
        assert_eq!((states().await, announced()), (before, 2), "{case}");
    }
}

/// The thief renews while the operator revokes what it renews from.
#[tokio::test]
async fn a_renewal_under_way_ends_with_the_instance() {
    let world = World::new().await;
    world.principal("worker").await;
    let held = world.issue("worker").await;
    let (app, record) = (std::sync::Arc::clone(&world.app), held.certificate.clone());
    world.keys.before_next_signature(Box::pin(async move {
        let (call, reason) = (at(call("RevokeCertificate"), later(1)), RevocationReason::KeyCompromise);
        certificates::revoke_certificate(&app, &call, &admin(), &acme(), &record.issuer, &record.serial, reason)
            .await
            .unwrap();
    }));
    assert_eq!(renew_at(&world, &held, later(1)).await.unwrap_err().reason(), "CERTIFICATE_REVOKED");
    assert!(world.get_principal("worker").await.certificates.is_empty());
}

/// A right that was taken away is not had again by way of the certificate before it.
#[tokio::test]
async fn a_revoked_successor_is_not_replaced_from_its_predecessor() {
    for reason in RevocationReason::ALL {
        let world = World::new().await;
        world.principal("worker").await;
        let parent = world.issue("worker").await;
        let next = renew_at(&world, &parent, later(60)).await.unwrap();
        revoke_for(&world, &next.certificate, 61, reason).await.unwrap();
        let refused = renew_at(&world, &parent, later(3600)).await.unwrap_err();
        let whole_instance = reason == RevocationReason::KeyCompromise;
        let expected = if whole_instance { "CERTIFICATE_REVOKED" } else { "SUCCESSOR_REVOKED" };
        assert_eq!(refused.reason(), expected, "{reason:?}");
    }
}

/// It authenticates nobody, and renews out of band.
#[tokio::test]
async fn an_expired_certificate_within_its_grace_can_be_revoked() {
    let world = World::new().await;
    let renewal_grace = Some(signet_core::Lifetime::days(1));
    let patch = signet_app::TenantPatch { renewal_grace, ..Default::default() };
    tenants::update_tenant(&world.app, &call("UpdateTenant"), &environment(), &tid("acme"), patch).await.unwrap();
    for reason in [RevocationReason::Unspecified, RevocationReason::KeyCompromise] {
        let (key, leaf) = worker(&world, reason.as_str().replace('_', "-").as_str()).await;
        revoke_for(&world, &leaf.certificate, 25 * 3600, reason).await.unwrap();
        let soon = later(26 * 3600);
        let input = signed(&world, &key, &leaf, reason.as_str(), soon);
        let refused = out_of_band::renew_out_of_band(&world.app, &at(anonymous(reason.as_str()), soon), &input)
            .await
            .unwrap_err();
        assert_eq!(refused.reason(), "CERTIFICATE_REVOKED", "{refused:?}");
    }
}

#[tokio::test]
async fn what_nobody_accepts_cannot_be_revoked() {
    let world = World::new().await;
    world.principal("worker").await;
    let record = world.issue("worker").await.certificate;
    assert_eq!(revoke(&world, &record, 86_400).await.unwrap_err().reason(), "CERTIFICATE_EXPIRED");
    world.store.arm(1, Fault::CrashBefore);
    let issue = call("IssueCertificate");
    issuance::issue_certificate(&world.app, &issue, &acme(), &pid("worker"), &csr()).await.unwrap_err();
    world.store.restart();
    let reserved = world.ledger.reservations().pop().unwrap();
    assert_eq!(revoke(&world, &reserved, 1).await.unwrap_err().reason(), "CERTIFICATE_NOT_ISSUED");
}

#[tokio::test]
async fn an_operator_does_not_revoke_an_admins_certificate() {
    let world = World::new().await;
    principals::create_principal(
        &world.app,
        &call("Create"),
        &acme(),
        new_principal("chief", PrincipalType::Admin, &[]),
    )
    .await
    .unwrap();
    let record = world.issue("chief").await.certificate;
    let (call, reason) = (call("RevokeCertificate"), RevocationReason::Unspecified);
    let denied = certificates::revoke_certificate(
        &world.app,
        &call,
        &operator(),
        &acme(),
        &record.issuer,
        &record.serial,
        reason,
    )
    .await;
    assert_eq!(denied.unwrap_err().reason(), "PERMISSION_MISSING");
}

/// The CA is the environment's: its certificates may be any tenant's.
#[tokio::test]
async fn only_the_operator_revokes_what_was_never_recorded_of_a_shared_ca() {
    let world = World::new().await;
    let shared = CreateTenant { isolation: Isolation::Shared, ..new_tenant("small") };
    tenants::create_tenant(&world.app, &call("CreateTenant"), &environment(), shared).await.unwrap();
    let serial = Serial::new(later(0), [7; 10]);
    let revoke = async |issuer: &str, permit: &Permit| {
        let (call, issuer) = (call("RevokeCertificate"), issuer.parse().unwrap());
        let reason = RevocationReason::KeyCompromise;
        certificates::revoke_recorded_or_not(&world.app, &call, permit, &scope("small"), &issuer, &serial, reason).await
    };
    let own = permit_of(identity("small", "root", PrincipalType::Admin, &[]), "certificates.revoke");
    for (issuer, permit) in [("shared.1", &own), ("acme.1", &own), ("acme.1", &admin()), ("nobody.1", &admin())] {
        assert!(matches!(revoke(issuer, permit).await, Err(Error::NotFound { .. })), "{issuer}");
    }
    let revoked = revoke("shared.1", &admin()).await.unwrap();
    assert!(matches!(revoked.state, CertificateState::Revoked { .. }) && revoked.is_unrecorded(), "{revoked:?}");
}

#[tokio::test]
async fn certificates_are_listed_newest_first_and_only_those_of_the_principal() {
    let world = World::new().await;
    for id in ["worker", "other"] {
        world.principal(id).await;
        world.issue(id).await;
    }
    let issue = at(call("IssueCertificate"), later(10));
    let newer =
        issuance::issue_certificate(&world.app, &issue, &acme(), &pid("worker"), &csr()).await.unwrap().certificate;
    let list = |id: &'static str| {
        let app = &world.app;
        async move { certificates::list_certificates(app, &call("List"), &acme(), &pid(id), &PageRequest::default()).await }
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
        async move { certificates::get_certificate(app, &call("Get"), &scope, &record.issuer, &record.serial).await }
    };
    assert_eq!(get(own.clone()).await.unwrap(), own);
    assert_eq!(get(foreign).await.unwrap_err().reason(), "NOT_FOUND");
    let page = PageRequest::default();
    let list = certificates::list_certificates(&world.app, &call("List"), &own_scope, &pid("other"), &page).await;
    assert_eq!(list.unwrap_err().reason(), "NOT_FOUND");
}

/// The records of server and CA certificates are no principal's.
#[tokio::test]
async fn records_of_cas_and_servers_are_not_reached_as_principals_certificates() {
    let world = World::new().await;
    let of_others: Vec<Certificate> =
        world.ledger.reservations().into_iter().filter(|record| record.principal.as_str() != "root").collect();
    assert!(of_others.len() >= 5);
    for record in of_others {
        let scope = scope(record.tenant.as_str());
        let found =
            certificates::get_certificate(&world.app, &call("Get"), &scope, &record.issuer, &record.serial).await;
        assert_eq!(found.unwrap_err().reason(), "NOT_FOUND");
    }
}
