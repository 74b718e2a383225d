//! Instances: lost answers, confirmations, and keys that were copied.

use std::{collections::BTreeSet, sync::Arc};

use signet_app::{
    IssuedLeaf, OutOfBandRenewal,
    certificates::{issuance, renewal},
    enrollment::out_of_band,
    tenants,
};
use signet_core::{
    Error, Lifetime, Time,
    certificates::{Certificate, CertificateState, RevocationReason, lineage::UNPACED},
    store::Body,
    trust::change::Change,
};
use signet_testkit::{
    faulty::Fault,
    fixtures::{NOW, later},
};
use signet_x509::{KeyPair, OutOfBandStatement, csr as x509_csr};

use crate::world::*;

pub(crate) async fn renew(world: &World, held: &IssuedLeaf) -> Result<IssuedLeaf, Error> {
    // As soon as may be.
    let wait = if held.certificate.lineage.generation == 0 { 0 } else { 60 };
    renew_at(world, held, held.certificate.serial.made_at().plus(Lifetime::seconds(wait))).await
}

pub(crate) async fn renew_at(world: &World, held: &IssuedLeaf, now: Time) -> Result<IssuedLeaf, Error> {
    renewal::renew_certificate(&world.app, &at(call("RenewCertificate"), now), &renewal_of(held), &acme(), &csr()).await
}

pub(crate) async fn confirm(world: &World, held: &IssuedLeaf) -> Result<Certificate, Error> {
    let source = Some("192.0.2.7".parse().unwrap());
    let call = signet_app::Call { source, ..call("ConfirmCertificate") };
    renewal::confirm_certificate(&world.app, &call, &renewal_of(held), &acme()).await
}

async fn confirm_and_revoke_previous(world: &World, held: &IssuedLeaf, seconds: u32) -> Result<Certificate, Error> {
    let call = at(call("ConfirmCertificate"), later(seconds));
    renewal::confirm_and_revoke_previous(&world.app, &call, &renewal_of(held), &acme()).await
}

pub(crate) async fn now(world: &World, leaf: &IssuedLeaf) -> Certificate {
    world.record(&leaf.certificate.issuer, &leaf.certificate.serial).await
}

/// The serial numbers that the feed refuses.
async fn refused(world: &World) -> Vec<String> {
    let mut serials = Vec::new();
    for shard in 0..signet_core::trust::change::FEED_SHARDS {
        let query = signet_core::trust::change::ChangeEntry::after(shard, 0);
        let page = signet_core::Store::query(&*world.store, &query, NOW).await.unwrap();
        for record in page.records {
            let Body::Change(entry) = record.value else { continue };
            serials.extend(entry.changes.into_iter().filter_map(|change| match change {
                Change::CertificateRevoked { serial, .. } => Some(serial.to_string()),
                _ => None,
            }));
        }
    }
    serials
}

#[tokio::test]
async fn a_holder_revokes_the_certificate_before_its_own_and_no_other() {
    let world = World::new().await;
    world.principal("worker").await;
    let other = world.issue("worker").await;
    let oldest = world.issue("worker").await;
    let old = renew(&world, &oldest).await.unwrap();
    let new = renew(&world, &old).await.unwrap();
    confirm(&world, &new).await.unwrap();
    let answer = confirm_and_revoke_previous(&world, &new, 200).await.unwrap();
    assert_eq!((answer.serial, answer.state), (new.certificate.serial, CertificateState::Issued));
    let state = CertificateState::Revoked { revoked_at: later(200), reason: RevocationReason::Superseded };
    assert_eq!(now(&world, &old).await.state, state);
    for untouched in [&other, &oldest, &new] {
        assert_eq!(now(&world, untouched).await.state, CertificateState::Issued);
    }
    let of_old = old.certificate.serial.to_string();
    assert_eq!(refused(&world).await, [of_old.as_str()]);
    let holder = world.get_principal("worker").await;
    assert_eq!(holder.superseded.iter().map(|held| held.serial).collect::<Vec<_>>(), [oldest.certificate.serial]);
    // Nothing is left to revoke, and the instance goes on: to show the old one is no proof of a copied key.
    confirm_and_revoke_previous(&world, &new, 201).await.unwrap();
    assert_eq!(world.outcomes("ConfirmCertificate"), ["OK", "OK"], "saying it again is no event");
    assert_eq!(renew_at(&world, &old, later(300)).await.unwrap_err().reason(), "CERTIFICATE_REVOKED");
    let next = renew_at(&world, &new, later(300)).await.unwrap();
    // The revoked may not do it to others, and who has none before it does it to nobody.
    assert_eq!(confirm_and_revoke_previous(&world, &old, 301).await.unwrap_err().reason(), "CERTIFICATE_REVOKED");
    confirm_and_revoke_previous(&world, &other, 301).await.unwrap();
    // One that was superseded itself reaches those before it only.
    confirm_and_revoke_previous(&world, &new, 302).await.unwrap();
    for untouched in [&other, &oldest, &new, &next] {
        assert_eq!(now(&world, untouched).await.state, CertificateState::Issued);
    }
}

#[tokio::test]
async fn a_renewed_certificate_knows_its_place() {
    let world = World::new().await;
    world.principal("worker").await;
    let first = world.issue("worker").await;
    let second = renew(&world, &first).await.unwrap();
    let third = renew(&world, &second).await.unwrap();
    let instance = first.certificate.serial;
    for (leaf, generation) in [(&first, 0), (&second, 1), (&third, 2)] {
        let record = now(&world, leaf).await;
        assert_eq!((record.instance(), record.lineage.generation), (instance, generation));
    }
    // The renewed ones go on to authenticate until they expire, and do not count.
    let holder = world.get_principal("worker").await;
    let serials = |held: Vec<signet_core::principals::HeldCertificate>| held.into_iter().map(|held| held.serial);
    assert_eq!(serials(holder.certificates).collect::<Vec<_>>(), [third.certificate.serial]);
    assert_eq!(serials(holder.superseded).collect::<Vec<_>>(), [instance, second.certificate.serial]);
    assert!(refused(&world).await.is_empty(), "a renewal refuses nobody");
}

#[tokio::test]
async fn a_lost_answer_is_replaced_and_refused_from_then_on() {
    let world = World::new().await;
    world.principal("worker").await;
    let held = world.issue("worker").await;
    let lost = renew(&world, &held).await.unwrap();
    let again = renew(&world, &held).await.unwrap();
    let state = now(&world, &lost).await.state;
    assert!(matches!(state, CertificateState::Revoked { reason: RevocationReason::Superseded, .. }), "{state:?}");
    assert_eq!(refused(&world).await, [lost.certificate.serial.to_string()]);
    assert_eq!(now(&world, &held).await.lineage.successor.unwrap().serial, again.certificate.serial);
    let held_now = world.get_principal("worker").await.certificates;
    assert_eq!(held_now.iter().map(|held| held.serial).collect::<Vec<_>>(), [again.certificate.serial]);
    // The holder of the new one goes on as usual.
    confirm(&world, &again).await.unwrap();
    renew(&world, &again).await.unwrap();
}

/// With the limit at what it holds, too: the lost one does not count.
#[tokio::test]
async fn lost_answers_do_not_use_up_the_limit() {
    let world = World::new().await;
    world.principal("worker").await;
    let held = world.issue("worker").await;
    for attempt in 0..5 {
        renew_at(&world, &held, later(attempt * 600)).await.unwrap();
    }
    assert_eq!(world.get_principal("worker").await.certificates.len(), 1);
}

#[tokio::test]
async fn a_confirmation_is_written_once() {
    let world = World::new().await;
    world.principal("worker").await;
    let first = world.issue("worker").await;
    assert_eq!(confirm(&world, &first).await.unwrap().lineage.confirmed, None, "there is nothing before it");
    let second = renew(&world, &first).await.unwrap();
    let confirmed = confirm(&world, &second).await.unwrap().lineage.confirmed.unwrap();
    assert_eq!((confirmed.at, confirmed.source), (NOW, Some("192.0.2.7".parse().unwrap())));
    let written = world.store.transactions();
    confirm(&world, &second).await.unwrap();
    assert_eq!(world.store.transactions(), written);
    assert_eq!(world.outcomes("ConfirmCertificate"), ["OK"]);
}

/// However the successor showed that it is in use, and whichever older certificate is used.
#[tokio::test]
async fn a_copied_key_locks_the_instance() {
    for case in ["confirmed", "renewed", "two behind"] {
        let world = World::new().await;
        world.principal("worker").await;
        let other = world.issue("worker").await;
        let first = world.issue("worker").await;
        let mut members = vec![first.clone(), renew(&world, &first).await.unwrap()];
        if case == "confirmed" {
            confirm(&world, &members[1]).await.unwrap();
        } else {
            members.push(renew(&world, &members[1]).await.unwrap());
        }
        if case == "two behind" {
            confirm(&world, &members[2]).await.unwrap();
            members.push(renew(&world, &members[2]).await.unwrap());
        }
        let signed = world.keys.signatures();
        assert_eq!(renew(&world, &first).await.unwrap_err().reason(), "CLONE_DETECTED", "{case}");
        assert_eq!(world.keys.signatures(), signed, "{case}: nothing was signed");
        let feed = refused(&world).await;
        for member in &members {
            let record = now(&world, member).await;
            assert!(matches!(record.state, CertificateState::Revoked { .. }), "{case}: {record:?}");
            assert_eq!(record.lineage.locked_at, Some(NOW), "{case}");
            assert!(feed.contains(&record.serial.to_string()), "{case}: not refused on open streams");
            assert_eq!(renew(&world, member).await.unwrap_err().reason(), "INSTANCE_LOCKED", "{case}");
            assert_eq!(confirm(&world, member).await.unwrap_err().reason(), "INSTANCE_LOCKED", "{case}");
        }
        assert_eq!(feed.len(), members.len(), "{case}");
        // One event says why; other instances of the principal are not touched, and it may enroll again.
        let outcomes = world.outcomes("RenewCertificate");
        assert_eq!(outcomes.iter().filter(|outcome| *outcome == "CLONE_DETECTED").count(), 1, "{case}: {outcomes:?}");
        renew(&world, &other).await.unwrap();
        world.issue("worker").await;
    }
}

#[tokio::test]
async fn the_audit_event_names_both_holders() {
    let world = World::new().await;
    world.principal("worker").await;
    let first = world.issue("worker").await;
    let second = renew(&world, &first).await.unwrap();
    confirm(&world, &second).await.unwrap();
    let source = Some("198.51.100.9".parse().unwrap());
    let thief = signet_app::Call { source, ..call("RenewCertificate") };
    renewal::renew_certificate(&world.app, &thief, &renewal_of(&first), &acme(), &csr()).await.unwrap_err();
    let payload = world.ledger.events().into_iter().map(|event| event.payload).find(|text| text.contains("CLONE_DET"));
    let event: serde_json::Value = serde_json::from_str(&payload.unwrap()).unwrap();
    assert_eq!(event["resource"]["id"], format!("acme.1/{}", first.certificate.serial));
    assert_eq!(
        (&event["source"], &event["details"]["successor_source"]),
        (&"198.51.100.9".into(), &"192.0.2.7".into())
    );
    assert_eq!(event["details"]["successor"], second.certificate.serial.to_string());
    assert_eq!(event["details"]["revoked"], format!("{},{}", first.certificate.serial, second.certificate.serial));
}

/// The same request, however late and often it is repeated, is the same request.
/// As after a restore: it is good by its signature, and nobody has a record of it.
#[tokio::test]
async fn a_certificate_without_a_record_is_told_to_enroll_again() {
    let world = World::new().await;
    world.principal("worker").await;
    let held = world.issue("worker").await;
    let unknown = signet_core::Serial::new(NOW, [7; 10]);
    let stranger = IssuedLeaf { certificate: Certificate { serial: unknown, ..held.certificate.clone() }, ..held };
    assert_eq!(renew(&world, &stranger).await.unwrap_err().reason(), "CERTIFICATE_UNKNOWN");
}

#[tokio::test]
async fn a_repeated_request_never_locks() {
    let world = World::new().await;
    world.principal("worker").await;
    let held = world.issue("worker").await;
    let (request, csr) = (call_with_id("RenewCertificate", "one"), csr());
    let (permit, scope) = (renewal_of(&held), acme());
    let renew_again = || renewal::renew_certificate(&world.app, &request, &permit, &scope, &csr);
    let second = renew_again().await.unwrap();
    confirm(&world, &second).await.unwrap();
    let third = renew(&world, &second).await.unwrap();
    assert_eq!(renew_again().await.unwrap().certificate.serial, second.certificate.serial);
    assert_eq!(now(&world, &third).await.state, CertificateState::Issued);
}

/// Twice at once, on two nodes, with the first answer confirmed before the second attempt looks.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_request_on_many_nodes_at_once_never_locks() {
    let world = World::new().await;
    world.principal("worker").await;
    let (mut held, scope) = (world.issue("worker").await, acme());
    for round in 0..5 {
        let request = at(call_with_id("RenewCertificate", &format!("round-{round}")), later(round * 60));
        let csr = csr();
        let nodes: Vec<_> = (0..6).map(|_| world.other_node()).collect();
        let attempt = async |node: &Arc<signet_app::App>| {
            let leaf = renewal::renew_certificate(node, &request, &renewal_of(&held), &scope, &csr).await?;
            confirm(&world, &leaf).await?;
            Ok::<_, Error>(leaf.certificate.serial)
        };
        let answers = futures::future::join_all(nodes.iter().map(attempt)).await;
        let serials: Vec<_> = answers.into_iter().filter_map(Result::ok).collect();
        assert!(serials.windows(2).all(|pair| pair[0] == pair[1]), "{serials:?}");
        held = renewal::renew_certificate(&world.app, &request, &renewal_of(&held), &scope, &csr).await.unwrap();
        assert_eq!(now(&world, &held).await.state, CertificateState::Issued, "round {round}");
    }
    assert!(!world.outcomes("RenewCertificate").iter().any(|outcome| outcome == "CLONE_DETECTED"));
}

/// Two holders of one key at the same instant: one certificate stands in the end, whoever came first.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_renewals_at_once_one_certificate_stands() {
    let world = World::new().await;
    world.principal("worker").await;
    let held = world.issue("worker").await;
    let answers = futures::future::join_all((0..4).map(|_| renew(&world, &held))).await;
    let mut standing = 0;
    for leaf in answers.iter().flatten() {
        standing += usize::from(now(&world, leaf).await.state == CertificateState::Issued);
    }
    assert_eq!(standing, 1);
    assert_eq!(world.get_principal("worker").await.certificates.len(), 1);
}

/// A crash after the commit, before the answer: a new request takes its place, wherever the fault was.
#[tokio::test]
async fn a_crash_at_any_write_of_a_renewal_leaves_one_way_on() {
    for (point, fault) in (0..2).flat_map(|point| Fault::of_writes().map(|fault| (point, fault))) {
        let world = World::new().await;
        world.principal("worker").await;
        let held = world.issue("worker").await;
        world.store.arm(point, fault.clone());
        let first = renew(&world, &held).await;
        assert!(world.store.restart(), "write {point} {fault:?}: the fault did not happen");
        let next = match first {
            Ok(leaf) => leaf,
            Err(_) => renew(&world, &held).await.unwrap(),
        };
        confirm(&world, &next).await.unwrap();
        let holder = world.get_principal("worker").await;
        assert_eq!(holder.certificates.len(), 1, "write {point} {fault:?}");
        assert_eq!(holder.certificates[0].serial, next.certificate.serial, "write {point} {fault:?}");
    }
}

/// The lock itself survives faults: whatever fails, the next attempt of the thief completes it.
#[tokio::test]
async fn a_fault_delays_the_lock_and_no_more() {
    for fault in Fault::of_writes() {
        let world = World::new().await;
        world.principal("worker").await;
        let first = world.issue("worker").await;
        let second = renew(&world, &first).await.unwrap();
        confirm(&world, &second).await.unwrap();
        world.store.arm(0, fault.clone());
        renew(&world, &first).await.unwrap_err();
        assert!(world.store.restart(), "{fault:?}: the fault did not happen");
        renew(&world, &first).await.unwrap_err();
        assert!(now(&world, &second).await.lineage.locked_at.is_some(), "{fault:?}");
        let outcomes = world.outcomes("RenewCertificate");
        assert_eq!(outcomes.iter().filter(|outcome| *outcome == "CLONE_DETECTED").count(), 1, "{fault:?}");
    }
}

/// The honest holder renews at the very moment at which the thief is found out: nothing is released to either.
#[tokio::test]
async fn a_renewal_under_way_ends_with_the_lock() {
    let world = World::new().await;
    world.principal("worker").await;
    let first = world.issue("worker").await;
    let second = renew(&world, &first).await.unwrap();
    confirm(&world, &second).await.unwrap();
    // At another node: at the same one they take turns.
    let (thief, stolen) = (world.other_node(), renewal_of(&first));
    world.keys.before_next_signature(Box::pin(async move {
        let refused =
            renewal::renew_certificate(&thief, &call("RenewCertificate"), &stolen, &acme(), &csr()).await.unwrap_err();
        assert_eq!(refused.reason(), "CLONE_DETECTED");
    }));
    assert_eq!(renew(&world, &second).await.unwrap_err().reason(), "INSTANCE_LOCKED");
    assert!(world.get_principal("worker").await.certificates.is_empty());
}

/// A holder that renews in a loop does not fill its record: the oldest are refused.
#[tokio::test]
async fn of_many_renewals_only_the_last_few_stay_valid() {
    let world = World::new().await;
    world.principal("worker").await;
    let mut held = vec![world.issue("worker").await];
    for renewal in 0..12 {
        let last = held.last().unwrap();
        let wait = if renewal < 8 { Lifetime::seconds(60) } else { Lifetime::seconds(86_400 / 10) };
        let soon = last.certificate.serial.made_at().plus(wait);
        if renewal >= UNPACED {
            let refused = renew_at(&world, last, soon.minus(Lifetime::seconds(1))).await.unwrap_err();
            assert_eq!(refused.reason(), "RENEWED_TOO_RECENTLY", "{renewal}");
        }
        held.push(renew_at(&world, last, soon).await.unwrap());
    }
    let holder = world.get_principal("worker").await;
    assert_eq!((holder.certificates.len(), holder.superseded.len()), (1, 8));
    let gone: BTreeSet<String> = held[..4].iter().map(|leaf| leaf.certificate.serial.to_string()).collect();
    // Each is in a feed shard of its own choice.
    assert_eq!(refused(&world).await.into_iter().collect::<BTreeSet<_>>(), gone);
}

#[tokio::test]
async fn records_of_before_lineages_were_kept_are_read_as_instances_of_their_own() {
    let world = World::new().await;
    world.principal("worker").await;
    let held = world.issue("worker").await;
    let mut json = serde_json::to_value(&held.certificate).unwrap();
    json.as_object_mut().unwrap().remove("lineage");
    let old: Certificate = serde_json::from_value(json).unwrap();
    assert_eq!((old.instance(), old.lineage), (old.serial, Default::default()));
    let mut json = serde_json::to_value(world.get_principal("worker").await).unwrap();
    json.as_object_mut().unwrap().remove("superseded");
    json["certificates"][0].as_object_mut().unwrap().remove("instance");
    let old: signet_core::principals::Principal = serde_json::from_value(json).unwrap();
    assert_eq!(old.certificates[0].instance(), held.certificate.serial);
}

/// A worker with a key of its own, so that it can sign with it.
pub(crate) async fn worker(world: &World, id: &str) -> (KeyPair, IssuedLeaf) {
    world.principal(id).await;
    let key = KeyPair::generate().unwrap();
    let csr = x509_csr::create(&key).unwrap();
    let leaf = issuance::issue_certificate(&world.app, &call("Issue"), &acme(), &pid(id), &csr).await.unwrap();
    (key, leaf)
}

/// A renewal signed with the present key, for a new one.
pub(crate) fn signed(world: &World, key: &KeyPair, leaf: &IssuedLeaf, id: &str, now: Time) -> OutOfBandRenewal {
    let (certificate_der, csr_der) = (leaf.chain_der[0].clone(), csr());
    let statement = OutOfBandStatement {
        environment: world.app.environment(),
        certificate_der: &certificate_der,
        csr_der: &csr_der,
        request_id: &id.parse().unwrap(),
        signed_at: now,
    };
    let signature_der = statement.sign(key).unwrap();
    OutOfBandRenewal { certificate_der, csr_der, signed_at: now, signature_der }
}

/// By whichever way the copy is used.
#[tokio::test]
async fn a_copied_key_locks_the_instance_out_of_band_too_and_after_expiry() {
    let world = World::new().await;
    let patch = signet_app::TenantPatch { renewal_grace: Some(Lifetime::days(1)), ..Default::default() };
    tenants::update_tenant(&world.app, &call("UpdateTenant"), &environment(), &tid("acme"), patch).await.unwrap();
    let (key, first) = worker(&world, "worker").await;
    let soon = later(12 * 3600);
    let second = renew_at(&world, &first, soon).await.unwrap();
    confirm(&world, &second).await.unwrap();
    let expired = later(25 * 3600);
    let stolen = signed(&world, &key, &first, "stolen", expired);
    let refused =
        out_of_band::renew_out_of_band(&world.app, &at(anonymous("stolen"), expired), &stolen).await.unwrap_err();
    assert_eq!(refused.reason(), "CLONE_DETECTED");
    assert!(now(&world, &second).await.lineage.locked_at.is_some());
}
