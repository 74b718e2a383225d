//! The lives of an id: what belonged to a deleted principal is nobody's, also when another takes its name.

use signet_app::{
    Call, IssuedLeaf, OutOfBandRenewal, TenantPatch, authorities,
    certificates::issuance,
    enrollment::out_of_band,
    principals::{self, deletion},
    tenants,
};
use signet_core::{
    Error, Lifetime, PrincipalType, Store, TenantId, Time,
    audit::AuditEvent,
    certificates::{Certificate, CertificateState, RevocationReason},
    principals::Principal,
    store::{
        Body, Entity, Record,
        commit::{Commit, Write},
    },
    tenants::Tenant,
};
use signet_testkit::fixtures::NOW;

use crate::{
    lineage::{now, renew_at, signed, worker},
    world::*,
};

fn days(days: u32) -> Time {
    NOW.plus(Lifetime::days(days))
}

/// `acme` with certificates of 90 days and a grace of 30.
async fn longest() -> World {
    let world = World::new().await;
    let lifetimes = PrincipalType::ALL.map(|principal_type| (principal_type, Lifetime::days(90))).into();
    let (lifetimes, renewal_grace) = (Some(lifetimes), Some(Lifetime::days(30)));
    let patch = TenantPatch { lifetimes, renewal_grace, ..Default::default() };
    tenants::update_tenant(&world.app, &call("UpdateTenant"), &environment(), &tid("acme"), patch).await.unwrap();
    world
}

pub(crate) async fn delete(world: &World, id: &str) -> Principal {
    deletion::delete_principal(&world.app, &call("DeletePrincipal"), &admin(), &acme(), &pid(id)).await.unwrap()
}

async fn create(world: &World, id: &str, at_time: Time) -> Result<Principal, Error> {
    let input = new_principal(id, PrincipalType::Worker, &[]);
    principals::create_principal(&world.app, &at(call("CreatePrincipal"), at_time), &acme(), input).await
}

/// What an earlier version, or somebody with a restored table, left behind.
pub(crate) async fn rewrite<E: Record + Clone>(world: &World, entity: &E, change: impl FnOnce(&mut E)) {
    let found = world.store.get(&entity.key(), NOW).await.unwrap().unwrap();
    let mut value = E::try_from(found.value).unwrap_or_else(|_| panic!("another entity"));
    change(&mut value);
    let commit =
        Commit::audited(somebodys_event(world, entity.tenant()), NOW).write(Write::replace(value, found.version));
    world.store.transact(commit.to_transaction(None)).await.unwrap();
}

fn somebodys_event(world: &World, tenant: &TenantId) -> AuditEvent {
    AuditEvent {
        tenant: tenant.clone(),
        id: format!("rewrite-{}", world.store.transactions()),
        at: NOW,
        payload: r#"{"operation":"Test","outcome":"OK"}"#.into(),
        keep_until: days(1),
    }
}

async fn out_of_band(world: &World, input: &OutOfBandRenewal, id: &str, now: Time) -> Result<IssuedLeaf, Error> {
    let call = Call { operation: "RenewOutOfBand", ..at(anonymous(id), now) };
    out_of_band::renew_out_of_band(&world.app, &call, input).await
}

/// The old holder kept its key; the new principal of the name is another's.
#[tokio::test]
async fn a_certificate_of_an_earlier_life_is_not_renewed_into_the_next() {
    for recorded in [true, false] {
        let world = longest().await;
        let (key, leaf) = worker(&world, "build-7").await;
        let deleted = delete(&world, "build-7").await;
        // As before ids were kept long enough, and before deletions revoked.
        rewrite(&world, &deleted, |principal| principal.free_at = Some(days(1))).await;
        rewrite(&world, &leaf.certificate, |record| {
            record.state = CertificateState::Issued;
            record.incarnation = record.incarnation.filter(|_| recorded);
        })
        .await;
        let again = if recorded { days(1) } else { days(90) };
        create(&world, "build-7", again).await.unwrap();
        let soon = again.plus(Lifetime::seconds(60));
        let input = signed(&world, &key, &leaf, "kept", soon);
        let refused = out_of_band(&world, &input, "kept", soon).await.unwrap_err();
        assert_eq!(refused.reason(), "PRINCIPAL_REPLACED", "recorded: {recorded}");
        assert_eq!(renew_at(&world, &leaf, soon).await.unwrap_err().reason(), "PRINCIPAL_REPLACED");
        let held =
            principals::get_principal(&world.app, &at(call("Get"), soon), &acme(), &pid("build-7")).await.unwrap();
        assert_eq!((held.certificates, held.superseded), (vec![], vec![]), "recorded: {recorded}");
    }
}

/// Records of before the life was kept go on to work.
#[tokio::test]
async fn a_certificate_that_does_not_name_its_life_belongs_to_the_present_one() {
    let world = World::new().await;
    world.principal("worker").await;
    let leaf = world.issue("worker").await;
    // Another node made the principal, and its clock was ahead.
    rewrite(&world, &world.get_principal("worker").await, |principal| {
        principal.created_at = NOW.plus(Lifetime::seconds(5));
    })
    .await;
    rewrite(&world, &leaf.certificate, |record| record.incarnation = None).await;
    renew_at(&world, &leaf, NOW).await.unwrap();
}

#[tokio::test]
async fn an_id_is_free_when_nothing_of_it_can_be_renewed_any_more() {
    let world = longest().await;
    let (_, leaf) = worker(&world, "build-7").await;
    delete(&world, "build-7").await;
    assert!(leaf.certificate.not_after > days(89));
    assert!(matches!(create(&world, "build-7", days(119)).await, Err(Error::AlreadyExists { .. })));
    create(&world, "build-7", days(120)).await.unwrap();
}

/// A node whose clock is far behind deletes it: what its holder has is refused for as long as it would be valid.
#[tokio::test]
async fn a_clock_that_was_set_back_frees_no_id_early() {
    let world = longest().await;
    let (_, leaf) = worker(&world, "build-7").await;
    let back = at(call("DeletePrincipal"), NOW.minus(Lifetime::days(365)));
    let deleted = deletion::delete_principal(&world.app, &back, &admin(), &acme(), &pid("build-7")).await.unwrap();
    assert!(deleted.free_at.unwrap() >= leaf.certificate.not_after.plus(Lifetime::days(30)));
    let denied = world.ledger.written(|write| match write {
        Write::Create(Body::Change(entry)) => entry.changes.iter().any(|change| {
            matches!(change, signet_core::trust::change::Change::PrincipalDenied { until, .. } if *until == entry.until
                && Some(*until) == deleted.free_at)
        }),
        _ => false,
    });
    assert_eq!(denied, 1);
}

/// Whoever reads revocation lists learns of a deletion, too.
#[tokio::test]
async fn a_deletion_revokes_what_is_held() {
    let world = World::new().await;
    world.principal("worker").await;
    let first = world.issue("worker").await;
    let second = renew_at(&world, &first, NOW).await.unwrap();
    let other = world.issue("worker").await;
    let deleted = delete(&world, "worker").await;
    assert_eq!((deleted.certificates, deleted.superseded), (vec![], vec![]));
    for leaf in [&first, &second, &other] {
        let state = now(&world, leaf).await.state;
        let reason = RevocationReason::CessationOfOperation;
        assert_eq!(state, CertificateState::Revoked { revoked_at: NOW, reason });
    }
    assert_eq!(world.outcomes("DeletePrincipal"), ["OK"]);
}

/// More than one transaction takes; and the same request again completes what was broken off.
#[tokio::test]
async fn a_deletion_revokes_however_many_are_held() {
    let world = World::new().await;
    let patch = TenantPatch { max_certificates: Some(100), ..Default::default() };
    tenants::update_tenant(&world.app, &call("UpdateTenant"), &environment(), &tid("acme"), patch).await.unwrap();
    world.principal("worker").await;
    let mut leaves = Vec::new();
    for _ in 0..100 {
        leaves.push(world.issue("worker").await);
    }
    let request = call_with_id("DeletePrincipal", "one");
    world.store.arm(1, signet_testkit::faulty::Fault::CrashBefore);
    deletion::delete_principal(&world.app, &request, &admin(), &acme(), &pid("worker")).await.unwrap_err();
    assert!(world.store.restart());
    let left = world.get_principal("worker").await;
    assert_eq!(left.status, signet_core::principals::PrincipalStatus::Deleted, "refused at once");
    assert!(!left.certificates.is_empty());
    let deleted = deletion::delete_principal(&world.app, &request, &admin(), &acme(), &pid("worker")).await.unwrap();
    assert!(deleted.certificates.is_empty());
    for leaf in &leaves {
        assert!(matches!(now(&world, leaf).await.state, CertificateState::Revoked { .. }));
    }
}

/// A tenant that shortens its lifetimes: the successor's validity ends long before its predecessor's.
#[tokio::test]
async fn a_successors_record_is_kept_as_long_as_its_predecessors() {
    let world = longest().await;
    let (key, leaf) = worker(&world, "worker").await;
    let lifetimes = Some([(PrincipalType::Worker, Lifetime::days(1))].into());
    let patch = TenantPatch { lifetimes, ..Default::default() };
    tenants::update_tenant(&world.app, &call("UpdateTenant"), &environment(), &tid("acme"), patch).await.unwrap();
    // The answer is lost, and the machine is off for three months.
    let lost = renew_at(&world, &leaf, NOW).await.unwrap();
    assert!(lost.certificate.expires_at() >= leaf.certificate.expires_at());
    let back = days(110);
    let input = signed(&world, &key, &leaf, "back", back);
    let next = out_of_band(&world, &input, "back", back).await.unwrap();
    assert!(next.certificate.expires_at() >= leaf.certificate.expires_at());
}

/// Its record is gone, as it may be where an earlier version made it. That proves nothing against the holder, and
/// nothing for it.
#[tokio::test]
async fn a_successor_without_a_record_locks_nobody_and_renews_nobody() {
    let world = longest().await;
    let (_, leaf) = worker(&world, "worker").await;
    let next = renew_at(&world, &leaf, NOW).await.unwrap();
    rewrite(&world, &next.certificate, |record: &mut Certificate| {
        record.keep_until = None;
        record.not_after = NOW.minus(Lifetime::days(29));
    })
    .await;
    let refused = renew_at(&world, &leaf, days(2)).await.unwrap_err();
    assert_eq!(refused.reason(), "SUCCESSOR_UNKNOWN");
    assert_eq!(now(&world, &leaf).await.state, CertificateState::Issued);
    assert!(!world.outcomes("RenewCertificate").contains(&"CLONE_DETECTED".to_owned()));
}

/// A backup from before the tenant is put back, and its name given again: the new CA gets the old one's key and name.
async fn made_again(world: &World, now: Time) {
    let cas = authorities::list_cas(&world.app, &call("ListCas"), &acme()).await.unwrap();
    let mut commit = Commit::audited(somebodys_event(world, &tid("acme")), NOW);
    for key in cas.iter().map(Entity::key).chain([Tenant::key_of(&tid("acme"))]) {
        let found = world.store.get(&key, NOW).await.unwrap().unwrap();
        commit = commit.write(Write::Delete(key, found.version));
    }
    world.store.transact(commit.to_transaction(None)).await.unwrap();
    tenants::create_tenant(&world.app, &at(call("CreateTenant"), now), &environment(), new_tenant("acme"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_ca_that_is_made_again_on_its_key_vouches_for_nothing_older() {
    let world = longest().await;
    let (key, leaf) = worker(&world, "boss").await;
    world.authenticate("acme", &leaf.chain_der[0], NOW).await.unwrap();
    let again = NOW.plus(Lifetime::hours(1));
    made_again(&world, again).await;
    let refused = world.authenticate("acme", &leaf.chain_der[0], again).await;
    assert_eq!(refused.map_err(|error| error.reason()).err(), Some("ISSUER_REPLACED"));
    // Should its record have outlived the restore.
    let input = signed(&world, &key, &leaf, "kept", again);
    let refused = out_of_band(&world, &input, "kept", again).await.unwrap_err();
    assert_eq!(refused, Error::ProofRefused { reason: "ISSUER_REPLACED" });
    let issue = at(call("IssueCertificate"), again);
    let new = issuance::issue_certificate(&world.app, &issue, &acme(), &pid("boss"), &csr()).await.unwrap();
    world.authenticate("acme", &new.chain_der[0], again).await.unwrap();
}
