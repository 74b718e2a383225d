//! What a commit becomes as a transaction.

use std::collections::BTreeSet;

use signet_core::{
    Lifetime, Serial, TenantId, Time,
    audit::{AuditEvent, SealHead},
    store::{
        Body, Entity, Version, Versioned,
        commit::{Commit, FeedEnd, Group, Obstacle, Write},
    },
    trust::change::{Change, ChangeEntry, ChangeHead, FEED_SHARDS, LEAST_LIFE},
};

use crate::history::{Fact, event, tenant};

const NOW: Time = Time::from_unix_seconds(30_000_000 * 60);

fn audit_event() -> AuditEvent {
    event(&tenant("acme"), 0, &Fact { minute: 0, second: 0, late: 0, payload: 0 })
}

fn denied(principal: &str, days: u32) -> (Change, Time) {
    let until = NOW.plus(Lifetime::days(days));
    (Change::PrincipalDenied { principal: principal.parse().unwrap(), until }, until)
}

fn entries(commit: &Commit, head: Option<&Versioned<ChangeHead>>) -> (Write, ChangeEntry) {
    let transaction = commit.to_transaction(head);
    let [.., head, Write::Create(Body::Change(entry))] = transaction.writes() else { unreachable!("head, then entry") };
    (head.clone(), entry.clone())
}

#[test]
fn an_audited_commit_writes_its_event_and_nothing_of_the_feed() {
    let event = AuditEvent { at: NOW.plus(Lifetime::minutes(5)), ..audit_event() };
    let commit = Commit::audited(event.clone(), NOW);
    assert_eq!(commit.feed_shard(), None);
    assert_eq!(commit.to_transaction(None).writes(), [Write::create(event.clone())]);
    assert_eq!(commit.to_transaction(None).now(), NOW);
}

#[test]
fn the_first_change_of_a_shard_makes_its_head() {
    let acme = tenant("acme");
    let (change, until) = denied("p", 1);
    let commit = Commit::audited(audit_event(), NOW).announce(&acme, change.clone(), until);
    let shard = ChangeHead::shard_of(&acme);
    assert_eq!(commit.feed_shard(), Some(shard));
    let (head, entry) = entries(&commit, None);
    assert_eq!(head, Write::create(ChangeHead { tenant: TenantId::system(), shard, last: 1 }));
    assert_eq!((entry.sequence, entry.shard, entry.tenant, entry.until), (1, shard, acme, until));
    assert_eq!(entry.changes, [change]);
}

#[test]
fn a_later_change_takes_the_next_number_on_condition_of_the_head() {
    let acme = tenant("acme");
    let (change, until) = denied("p", 1);
    let shard = ChangeHead::shard_of(&acme);
    let value = ChangeHead { tenant: TenantId::system(), shard, last: 41 };
    let head = Versioned { value, version: Version::new(9) };
    let commit = Commit::audited(audit_event(), NOW).announce(&acme, change, until);
    let (write, entry) = entries(&commit, Some(&head));
    assert_eq!(write, Write::replace(ChangeHead { last: 42, ..head.value.clone() }, Version::new(9)));
    assert_eq!(entry.sequence, 42);
}

#[test]
fn the_changes_of_one_commit_share_an_entry_that_lives_as_long_as_the_longest() {
    let acme = tenant("acme");
    let changes = [denied("p", 1), denied("q", 3), denied("r", 2)];
    let commit = changes
        .iter()
        .fold(Commit::audited(audit_event(), NOW), |c, (change, until)| c.announce(&acme, change.clone(), *until));
    let (_, entry) = entries(&commit, None);
    assert_eq!(entry.until, changes[1].1);
    assert_eq!(entry.changes, changes.map(|(change, _)| change));
}

/// A reader tells by it what has expired from what is late.
#[test]
fn an_entry_lives_for_an_hour_at_least() {
    let changed = |until| Commit::audited(audit_event(), NOW).announce(&tenant("acme"), Change::TenantChanged, until);
    let (_, short) = entries(&changed(NOW.plus(Lifetime::seconds(5))), None);
    assert_eq!(short.until, NOW.plus(LEAST_LIFE));
    let (_, long) = entries(&changed(NOW.plus(Lifetime::days(5))), None);
    assert_eq!(long.until, NOW.plus(Lifetime::days(5)));
}

#[test]
fn a_conflict_is_the_feeds_only_beyond_the_operations_own_writes() {
    let (change, until) = denied("p", 1);
    let own = Write::create(SealHead { tenant: TenantId::system(), minute: 1 });
    let commit = Commit::audited(audit_event(), NOW).write(own).announce(&tenant("acme"), change, until);
    let group = Group::new(0, [&commit], FeedEnd::default());
    let own = |write| Obstacle::Commit { index: 0, write };
    let met: Vec<Obstacle> = (0..4).map(|write| group.obstacle(write)).collect();
    assert_eq!(met, [own(0), own(1), Obstacle::Feed, Obstacle::Feed]);
    assert_eq!(group.transaction.writes().len(), 4);
}

#[test]
fn bookkeeping_writes_what_it_is_given() {
    let head = SealHead { tenant: TenantId::system(), minute: 1 };
    let writes = [Write::Check(head.key(), Version::new(3)), Write::Delete(SealHead::key_of(), Version::new(3))];
    let commit = Commit::bookkeeping(NOW).writes(writes.clone());
    assert_eq!(commit.to_transaction(None).writes(), writes);
    assert_eq!(writes.map(|write| write.key()), [SealHead::key_of(), SealHead::key_of()]);
}

#[test]
fn revocations_spread_over_the_shards_and_what_has_an_order_stays_in_its_tenants() {
    let acme: TenantId = "acme".parse().unwrap();
    let of = |change: Change| {
        let commit = Commit::bookkeeping(NOW);
        commit.announce(&acme, change, NOW.plus(Lifetime::days(1))).feed_shard().unwrap()
    };
    let revoked = (1..64u64).map(|number| {
        let mut random = [0; 10];
        random[2..].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        of(Change::CertificateRevoked {
            serial: Serial::new(NOW, random),
            not_after: NOW.plus(Lifetime::days(1)),
            issuer: None,
        })
    });
    assert_eq!(revoked.collect::<BTreeSet<_>>().len(), FEED_SHARDS as usize);
    let (principal, until) = ("p", NOW.plus(Lifetime::days(1)));
    for ordered in [
        Change::PrincipalDenied { principal: principal.parse().unwrap(), until },
        Change::PrincipalAllowed { principal: principal.parse().unwrap() },
        Change::PrincipalRoles { principal: principal.parse().unwrap(), roles: vec![], until },
        Change::TenantChanged,
    ] {
        assert_eq!(of(ordered), ChangeHead::shard_of(&acme));
    }
}
