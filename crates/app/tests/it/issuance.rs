//! Issuing and renewing.

use std::{collections::BTreeMap, sync::Arc};

use signet_app::{
    CreateTenant, IssuedLeaf, PrincipalPatch, TenantPatch, authorities, bootstrap,
    certificates::{self, issuance, renewal},
    principals::{self, deletion},
    tenants,
};
use signet_core::{
    Error, Lifetime, PrincipalType,
    authorities::{CaKind, CaState},
    certificates::{CertificateState, RevocationReason},
    tenants::{Isolation, SubjectForm},
};
use signet_testkit::{
    faulty::Fault,
    fixtures::{NOW, later},
};
use signet_x509::{CertificateView, KeyAndCsr, KeyPair, csr as x509_csr};

use crate::world::*;

#[tokio::test]
async fn a_worker_gets_a_certificate_that_its_tenant_vouches_for() {
    let world = World::new().await;
    world.principal("worker").await;
    let key = KeyAndCsr::generate().unwrap();
    let call = call("IssueCertificate");
    let leaf = issuance::issue_certificate(&world.app, &call, &acme(), &pid("worker"), &key.csr_der).await.unwrap();

    let bundle = authorities::trust_bundle(&world.app, &call, &acme()).await.unwrap();
    assert_eq!(bundle.trust_domain, "acme.test.example.com");
    assert_eq!(leaf.chain_der, [leaf.certificate.certificate_der.clone(), bundle.anchors[0].certificate_der.clone()]);
    assert_eq!(leaf.trust_anchor_der, [bundle.anchors[0].anchor_der.clone()]);
    assert_eq!(leaf.root_der, bundle.server_trust_der);
    let root = authorities::roots(&world.app, NOW).await.unwrap().remove(0).certificate_der;
    assert_eq!((leaf.root_der.len(), leaf.root_der.last()), (2, Some(&root)));
    assert_eq!(signet_x509::server_anchors(&leaf.root_der), [leaf.root_der[0].as_slice()]);
    let identity = world.authenticate("acme", &leaf.chain_der[0], NOW).await.unwrap();
    assert_eq!((identity.principal, identity.issuer), (pid("worker"), leaf.certificate.issuer.clone()));

    let record = world.record(&leaf.certificate.issuer, &leaf.certificate.serial).await;
    assert_eq!(record, leaf.certificate);
    assert_eq!(record.state, CertificateState::Issued);
    assert_eq!(record.not_before, NOW.minus(Lifetime::seconds(60)));
    assert_eq!(record.not_after, NOW.plus(Lifetime::hours(24)));
    assert_eq!(record.spki_sha256, hex::encode(key.key.public_key().spki_sha256()));
    let held = world.get_principal("worker").await.certificates;
    assert_eq!(held.iter().map(|held| held.serial).collect::<Vec<_>>(), [record.serial]);
}

#[tokio::test]
async fn a_shared_tenant_is_served_by_the_shared_ca() {
    let world = World::new().await;
    let input = CreateTenant { isolation: Isolation::Shared, ..new_tenant("trial") };
    tenants::create_tenant(&world.app, &call("CreateTenant"), &environment(), input).await.unwrap();
    let trial = scope("trial");
    assert!(authorities::list_cas(&world.app, &call("List"), &trial).await.unwrap().is_empty());
    let input = new_principal("worker", PrincipalType::Worker, &[]);
    principals::create_principal(&world.app, &call("CreatePrincipal"), &trial, input).await.unwrap();
    let leaf = issuance::issue_certificate(&world.app, &call("Issue"), &trial, &pid("worker"), &csr()).await.unwrap();
    assert_eq!(leaf.certificate.issuer.as_str(), "shared.1");
    let bundle = authorities::trust_bundle(&world.app, &call("Bundle"), &trial).await.unwrap();
    assert_eq!(bundle.anchors[0].kind, CaKind::Shared);
}

#[tokio::test]
async fn lifetimes_are_the_tenants_and_never_longer_than_the_issuers() {
    let world = World::new().await;
    let lifetimes = [(PrincipalType::Worker, Lifetime::days(90))].into();
    let input = CreateTenant { lifetimes, ..new_tenant("slow") };
    tenants::create_tenant(&world.app, &call("CreateTenant"), &environment(), input).await.unwrap();
    let slow = scope("slow");
    for (id, principal_type) in [("worker", PrincipalType::Worker), ("admin", PrincipalType::Admin)] {
        let input = new_principal(id, principal_type, &[]);
        principals::create_principal(&world.app, &call("CreatePrincipal"), &slow, input).await.unwrap();
    }
    let issue = |id, now| {
        let (call, slow, app) = (at(call("Issue"), now), slow.clone(), &world.app);
        async move { issuance::issue_certificate(app, &call, &slow, &pid(id), &csr()).await }
    };
    assert_eq!(issue("worker", NOW).await.unwrap().certificate.not_after, NOW.plus(Lifetime::days(90)));
    assert_eq!(issue("admin", NOW).await.unwrap().certificate.not_after, NOW.plus(Lifetime::hours(12)));
    let near_the_end = NOW.plus(Lifetime::days(700));
    let signed = world.keys.signatures();
    assert_eq!(issue("worker", near_the_end).await.unwrap_err().reason(), "OUTLIVES_ISSUER");
    assert_eq!(world.keys.signatures(), signed, "refused before the signature");
    issue("admin", near_the_end).await.unwrap();
}

#[tokio::test]
async fn subjects_have_the_form_that_the_tenant_chose() {
    let world = World::new().await;
    let unit = |unit: &str| Some(unit.to_owned());
    let subjects = BTreeMap::from([
        (PrincipalType::Device, SubjectForm { organizational_unit: unit("IoT Devices"), tenant_in_common_name: true }),
        (PrincipalType::Worker, SubjectForm { organizational_unit: unit("Jobs"), tenant_in_common_name: false }),
    ]);
    let patch = TenantPatch { subjects: Some(subjects), ..Default::default() };
    tenants::update_tenant(&world.app, &call("UpdateTenant"), &environment(), &tid("acme"), patch).await.unwrap();
    let long = "d".repeat(60);
    let principals = [
        ("sensor.1", PrincipalType::Device),
        ("worker", PrincipalType::Worker),
        ("ann", PrincipalType::User),
        (&*long, PrincipalType::Device),
    ];
    for (id, principal_type) in principals {
        let input = new_principal(id, principal_type, &[]);
        principals::create_principal(&world.app, &call("CreatePrincipal"), &acme(), input).await.unwrap();
    }
    for (id, subject) in [
        ("sensor.1", "CN=acme/sensor.1,OU=IoT Devices,O=acme"),
        ("worker", "CN=worker,OU=Jobs,O=acme"),
        ("ann", "CN=ann,O=acme"),
    ] {
        let leaf = world.issue(id).await;
        let view = CertificateView::from_der(&leaf.certificate.certificate_der).unwrap();
        assert_eq!(view.subject_text(), subject);
    }
    let signed = world.keys.signatures();
    let refused = issuance::issue_certificate(&world.app, &call("Issue"), &acme(), &pid(&long), &csr()).await;
    assert_eq!(refused.unwrap_err().reason(), "COMMON_NAME_TOO_LONG");
    assert_eq!(world.keys.signatures(), signed, "refused before the signature");
    // The plain form is not kept.
    let subjects = Some([(PrincipalType::Device, SubjectForm::default())].into());
    let patch = TenantPatch { subjects, ..Default::default() };
    let plain = tenants::update_tenant(&world.app, &call("UpdateTenant"), &environment(), &tid("acme"), patch).await;
    assert!(plain.unwrap().subjects.is_empty());
    issuance::issue_certificate(&world.app, &call("Issue"), &acme(), &pid(&long), &csr()).await.unwrap();
}

#[tokio::test]
async fn a_renewal_takes_the_place_of_the_presented_certificate() {
    let world = World::new().await;
    world.principal("worker").await;
    let mut held = world.issue("worker").await;
    for round in 0..5 {
        let call = at(call("RenewCertificate"), later(round * 60));
        held = renewal::renew_certificate(&world.app, &call, &renewal_of(&held), &acme(), &csr()).await.unwrap();
        assert_eq!(world.get_principal("worker").await.certificates.len(), 1, "round {round}");
    }
    assert!(held.certificate.renews.is_some());
}

async fn renew(world: &World, held: &IssuedLeaf, csr: &[u8]) -> Result<IssuedLeaf, Error> {
    renewal::renew_certificate(&world.app, &call("RenewCertificate"), &renewal_of(held), &acme(), csr).await
}

#[tokio::test]
async fn a_renewal_needs_a_new_key() {
    let world = World::new().await;
    world.principal("worker").await;
    let (one, two) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let issue = |key: &KeyPair| {
        let (csr, app) = (x509_csr::create(key).unwrap(), &world.app);
        async move { issuance::issue_certificate(app, &call("Issue"), &acme(), &pid("worker"), &csr).await.unwrap() }
    };
    let held = issue(&one).await;
    issue(&two).await;
    for (name, key) in [("the presented one's", &one), ("another held one's", &two)] {
        let refused = renew(&world, &held, &x509_csr::create(key).unwrap()).await.unwrap_err();
        assert!(
            matches!(refused, Error::Invalid { field: "csr_der", reason: "KEY_REUSED", .. }),
            "{name}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn a_revoked_certificate_renews_nothing() {
    let world = World::new().await;
    world.principal("worker").await;
    let held = world.issue("worker").await;
    let record = &held.certificate;
    let reason = RevocationReason::Unspecified;
    let revoke = call("RevokeCertificate");
    certificates::revoke_certificate(&world.app, &revoke, &admin(), &acme(), &record.issuer, &record.serial, reason)
        .await
        .unwrap();
    assert_eq!(renew(&world, &held, &csr()).await.unwrap_err().reason(), "CERTIFICATE_REVOKED");
}

/// Whoever stole a key must not get away by renewing while the certificate is being revoked, at whatever moment; also
/// not with one that its holder has renewed since: what was renewed from it goes too.
#[tokio::test]
async fn a_certificate_that_is_revoked_during_its_renewal_renews_nothing() {
    for (superseded, at_commit) in [(false, false), (false, true), (true, false), (true, true)] {
        let world = World::new().await;
        world.principal("worker").await;
        let held = world.issue("worker").await;
        if superseded {
            renew(&world, &held, &csr()).await.unwrap();
        }
        let (app, record) = (world.other_node(), held.certificate.clone());
        let revocation = Box::pin(async move {
            let (revoke, reason) = (call("RevokeCertificate"), RevocationReason::KeyCompromise);
            certificates::revoke_certificate(&app, &revoke, &admin(), &acme(), &record.issuer, &record.serial, reason)
                .await
                .unwrap();
        });
        if at_commit {
            world.store.before(1, revocation);
        } else {
            world.keys.before_next_signature(revocation);
        }
        let signed = world.keys.signatures();
        assert_eq!(renew(&world, &held, &csr()).await.unwrap_err().reason(), "CERTIFICATE_REVOKED");
        assert_eq!(world.keys.signatures(), signed + 1, "the signature was made, and never released");
        assert!(world.get_principal("worker").await.certificates.is_empty());
    }
}

/// The same for a principal that is suspended while its certificate is signed.
#[tokio::test]
async fn a_principal_suspended_during_the_signature_gets_nothing() {
    let world = World::new().await;
    world.principal("worker").await;
    let app = Arc::clone(&world.app);
    world.keys.before_next_signature(Box::pin(async move {
        principals::suspend_principal(&app, &call("Suspend"), &admin(), &acme(), &pid("worker")).await.unwrap();
    }));
    let issue = call("IssueCertificate");
    let refused = issuance::issue_certificate(&world.app, &issue, &acme(), &pid("worker"), &csr()).await.unwrap_err();
    assert_eq!(refused.reason(), "PRINCIPAL_SUSPENDED");
    assert!(world.get_principal("worker").await.certificates.is_empty());
}

#[tokio::test]
async fn nobody_renews_in_another_tenant() {
    let world = World::new().await;
    world.tenant("other").await;
    world.principal("worker").await;
    let held = world.issue("worker").await;
    let call = call("RenewCertificate");
    let refused =
        renewal::renew_certificate(&world.app, &call, &renewal_of(&held), &scope("other"), &csr()).await.unwrap_err();
    assert_eq!(refused.reason(), "NOT_FOUND");
}

#[tokio::test]
async fn a_principal_holds_no_more_than_its_tenant_allows() {
    let world = World::new().await;
    world.principal("worker").await;
    let mut last = world.issue("worker").await;
    for _ in 0..2 {
        last = world.issue("worker").await;
    }
    let issue = |now| {
        let (call, app) = (at(call("IssueCertificate"), now), &world.app);
        async move { issuance::issue_certificate(app, &call, &acme(), &pid("worker"), &csr()).await }
    };
    let refused = issue(NOW).await.unwrap_err();
    assert!(matches!(refused, Error::Exhausted { reason: "CERTIFICATE_LIMIT", .. }), "{refused:?}");
    renew(&world, &last, &csr()).await.expect("a renewal does not block itself");
    issue(NOW.plus(Lifetime::hours(25))).await.expect("expired ones do not count");
    assert_eq!(world.get_principal("worker").await.certificates.len(), 1);
}

/// Many issuances at once cannot exceed the limit either.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_limit_holds_under_concurrency() {
    let world = World::new().await;
    world.principal("worker").await;
    let call = call("IssueCertificate");
    let (scope, id) = (acme(), pid("worker"));
    let requests: Vec<Vec<u8>> = (0..12).map(|_| csr()).collect();
    let issued = requests.iter().map(|csr| issuance::issue_certificate(&world.app, &call, &scope, &id, csr));
    let issued = futures::future::join_all(issued).await.into_iter().filter(Result::is_ok).count();
    assert!((1..=3).contains(&issued), "{issued}");
    assert_eq!(world.get_principal("worker").await.certificates.len(), issued);
}

/// Between reservation and commit the principal is suspended, or changed: nothing is released, ever.
#[tokio::test]
async fn what_changes_between_reservation_and_commit_stops_the_certificate() {
    for (case, reason) in
        [("suspended", "PRINCIPAL_SUSPENDED"), ("roles", "PRINCIPAL_CHANGED"), ("deleted", "PRINCIPAL_DELETED")]
    {
        let world = World::new().await;
        world.principal("worker").await;
        let (id, csr, issue) = (pid("worker"), csr(), call_with_id("IssueCertificate", "one"));
        world.store.arm(0, Fault::CrashAfter);
        issuance::issue_certificate(&world.app, &issue, &acme(), &id, &csr).await.unwrap_err();
        world.store.restart();
        let change = call("Change");
        match case {
            "suspended" => {
                drop(principals::suspend_principal(&world.app, &change, &admin(), &acme(), &id).await.unwrap())
            }
            "deleted" => drop(deletion::delete_principal(&world.app, &change, &admin(), &acme(), &id).await.unwrap()),
            _ => {
                let patch = PrincipalPatch { roles: Some(roles(&["viewer"])), ..PrincipalPatch::default() };
                drop(principals::update_principal(&world.app, &change, &acme(), &id, patch).await.unwrap());
            }
        }
        let signed = world.keys.signatures();
        let refused = issuance::issue_certificate(&world.app, &issue, &acme(), &id, &csr).await.unwrap_err();
        assert_eq!(refused.reason(), reason);
        assert_eq!(world.keys.signatures(), signed, "{case}: nothing was signed");
        let again = issuance::issue_certificate(&world.app, &issue, &acme(), &id, &csr).await.unwrap_err();
        assert_eq!(again.reason(), "RESERVATION_ABANDONED", "{case}");
        assert!(world.get_principal("worker").await.certificates.is_empty(), "{case}");
    }
}

#[tokio::test]
async fn a_suspended_tenant_gets_nothing() {
    let world = World::new().await;
    world.principal("worker").await;
    tenants::suspend_tenant(&world.app, &call("Suspend"), &environment(), &tid("acme")).await.unwrap();
    let call = call("IssueCertificate");
    let refused = issuance::issue_certificate(&world.app, &call, &acme(), &pid("worker"), &csr()).await.unwrap_err();
    assert_eq!(refused.reason(), "TENANT_SUSPENDED");
}

#[tokio::test]
async fn a_repeated_request_whose_certificate_was_revoked_says_so() {
    let world = World::new().await;
    world.principal("worker").await;
    let (issue, csr) = (call_with_id("IssueCertificate", "one"), csr());
    let leaf = issuance::issue_certificate(&world.app, &issue, &acme(), &pid("worker"), &csr).await.unwrap();
    let record = &leaf.certificate;
    let reason = RevocationReason::Superseded;
    let revoke = call("RevokeCertificate");
    certificates::revoke_certificate(&world.app, &revoke, &admin(), &acme(), &record.issuer, &record.serial, reason)
        .await
        .unwrap();
    let again = issuance::issue_certificate(&world.app, &issue, &acme(), &pid("worker"), &csr).await.unwrap_err();
    assert_eq!(again.reason(), "CERTIFICATE_REVOKED");
}

#[tokio::test]
async fn a_server_certificate_is_signed_by_the_server_ca() {
    let world = World::new().await;
    let names = bootstrap_input().server;
    let chain =
        bootstrap::issue_server_certificate(&world.app, &at(call("Rotate"), later(60)), &names, &csr()).await.unwrap();
    let cas = authorities::list_cas(&world.app, &call("List"), &scope("system")).await.unwrap();
    let server = cas.iter().find(|ca| ca.kind == CaKind::Server && ca.state == CaState::Active).unwrap();
    assert_eq!(chain[1], server.certificate_der);
    assert_eq!(CertificateView::from_der(&chain[0]).unwrap().not_after, later(60).plus(Lifetime::days(7)));
}
