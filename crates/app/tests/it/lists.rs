//! Revocation lists in the store: there from a CA's first moment, and never behind what was revoked.

use signet_app::{
    Chore, SignedList,
    authorities::{self, lists, revoked},
};
use signet_core::{
    CaId, Lifetime, Serial, Time,
    authorities::{MOST_OF_A_PART, RevocationList},
    certificates::RevocationReason,
    restore::{
        merge::{Merged, merge},
        since::Since,
    },
    store::Body,
};
use signet_testkit::{
    faulty::Hidden,
    fixtures::{NOW, later},
};
use signet_x509::{
    IssuerCert,
    crl::{RevokedEntry, verified_entries},
};

use crate::{
    publication::revoke_one,
    world::{World, call, scope},
};

fn chore(now: Time) -> Chore {
    Chore::new("revocation-lists", now)
}

async fn list(world: &World, ca: &CaId, now: Time) -> SignedList {
    lists::newer(&world.app, ca, None, now).await.unwrap().expect("a list")
}

/// The serial numbers on a list, which the CA's anchor verifies.
async fn serials(world: &World, list: &SignedList) -> Vec<Serial> {
    let owner = list.head.tenant.as_str();
    let cas = authorities::list_cas(&world.app, &call("ListCas"), &scope(owner)).await.unwrap();
    let ca = cas.into_iter().find(|ca| ca.id == list.head.ca).unwrap();
    let entries = verified_entries(&list.der, &IssuerCert::from_der(ca.anchor()).unwrap()).unwrap();
    entries.into_iter().map(|entry| entry.serial).collect()
}

#[tokio::test]
async fn every_ca_has_a_signed_list_from_its_first_moment() {
    let world = World::new().await;
    for (ca, owner) in [("acme.1", "acme"), ("root.1", "system"), ("server.1", "system"), ("shared.1", "system")] {
        let list = list(&world, &ca.parse().unwrap(), NOW).await;
        assert_eq!((list.head.tenant.as_str(), list.head.entries, list.head.this_update), (owner, 0, NOW));
        assert!(serials(&world, &list).await.is_empty());
    }
    assert_eq!(lists::newer(&world.app, &"acme.2".parse().unwrap(), None, NOW).await.unwrap(), None);
}

#[tokio::test]
async fn a_revocation_is_put_on_once_whatever_the_index_shows() {
    let world = World::new().await;
    world.store.hide(Hidden::Indexes);
    let leaf = revoke_one(&world, "w-1", NOW).await;
    let first = list(&world, &leaf.issuer, NOW).await;
    let entry = revoked::by_serial(&world.app, &chore(NOW), &leaf.issuer, &leaf.serial).await.unwrap().unwrap();
    assert_eq!((entry.revoked_at, entry.reason), (NOW, RevocationReason::KeyCompromise));
    // A node hears of its own twice.
    let twice = [entry.clone(), entry];
    let add = async || lists::add(&world.app, &chore(NOW), &leaf.issuer, &twice).await;
    let second = add().await.unwrap().unwrap();
    assert_eq!(second.head.entries, 1);
    assert_eq!(serials(&world, &second).await, [leaf.serial]);
    assert!(second.head.number > first.head.number, "within the same second, too");
    let signed = world.keys.signatures();
    assert_eq!(add().await.unwrap().unwrap(), second);
    assert_eq!((world.keys.signatures(), list(&world, &leaf.issuer, NOW).await), (signed, second.clone()));
    assert_eq!(lists::newer(&world.app, &leaf.issuer, Some(second.head.number), NOW).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_nodes_at_once_neither_loses_what_the_other_put_on() {
    let world = World::new().await;
    let (one, two) = (revoke_one(&world, "w-1", NOW).await, revoke_one(&world, "w-2", NOW).await);
    let other = world.other_node();
    let entry = |serial| RevokedEntry { serial, revoked_at: NOW, reason: RevocationReason::Superseded };
    let (chore, ones, twos) = (chore(NOW), [entry(one.serial)], [entry(two.serial)]);
    let (first, second) = tokio::join!(
        lists::add(&world.app, &chore, &one.issuer, &ones),
        lists::add(&other, &chore, &two.issuer, &twos)
    );
    let (first, second) = (first.unwrap().unwrap().head.number, second.unwrap().unwrap().head.number);
    assert_ne!(first, second);
    let last = list(&world, &one.issuer, NOW).await;
    assert_eq!((last.head.number, serials(&world, &last).await.len()), (first.max(second), 2));
}

#[tokio::test]
async fn a_long_list_is_kept_in_parts() {
    let world = World::new().await;
    let entry = |number: u64| {
        let mut random = [0; 10];
        random[2..].copy_from_slice(&number.to_be_bytes());
        RevokedEntry { serial: Serial::new(NOW, random), revoked_at: NOW, reason: RevocationReason::Superseded }
    };
    let entries: Vec<RevokedEntry> = (0..60_000).map(entry).collect();
    let ca: CaId = "acme.1".parse().unwrap();
    let made = lists::add(&world.app, &chore(NOW), &ca, &entries).await.unwrap().unwrap();
    assert!(made.head.parts > 8 && made.der.len() > 8 * MOST_OF_A_PART, "{} parts", made.head.parts);
    let found = list(&world, &ca, NOW).await;
    assert_eq!((serials(&world, &found).await.len(), &found), (60_000, &made));
}

/// What was revoked since is not on it, and its number is an old one.
#[tokio::test]
async fn a_list_that_a_restore_brings_back_is_made_anew_with_a_higher_number() {
    let world = World::new().await;
    let ca: CaId = "acme.1".parse().unwrap();
    let kept = list(&world, &ca, NOW).await.head;
    let restored = merge(&kept.clone().into(), None, &Since::default(), later(60));
    let Merged::Changed(restored) = restored else { panic!("{restored:?}") };
    let Body::RevocationList(restored) = *restored else { panic!("{restored:?}") };
    assert!(restored.is_due(NOW) && restored.next_update <= kept.this_update, "nobody is given it: {restored:?}");
    assert!(RevocationList::next_number(Some(&restored), later(60)) >= later(60).unix_seconds() as u64);
    let since = RevocationList { number: kept.number + 5, ..kept.clone() };
    assert_eq!(merge(&kept.into(), Some(&since.into()), &Since::default(), NOW), Merged::Same);
}

#[tokio::test]
async fn lists_are_made_anew_before_they_end() {
    let world = World::new().await;
    let ca: CaId = "acme.1".parse().unwrap();
    let before = list(&world, &ca, NOW).await.head;
    let renew = async |now| lists::renew_due(&world.app, &chore(now), &|| Some(now)).await.unwrap();
    assert!(renew(NOW.plus(Lifetime::hours(23))).await.failed.is_empty());
    assert_eq!(list(&world, &ca, NOW).await.head, before);
    let [nearly, ahead] = [4, 6].map(|minutes| NOW.minus(Lifetime::minutes(minutes)));
    assert!(!before.is_due(nearly) && before.is_due(ahead), "made by a clock that was ahead: nobody takes it yet");
    let day = NOW.plus(Lifetime::hours(24));
    assert!(renew(day).await.failed.is_empty());
    let after = list(&world, &ca, day).await.head;
    assert!(after.number > before.number && after.next_update > before.next_update);
}
