//! Who is admitted, and that every change that takes a right away is seen.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use proptest::prelude::*;
use signet_core::{
    CaId, Identity, Lifetime, PrincipalType, Role, Serial, TenantId, Time, Uptime,
    authorities::{Ca, CaKind, CaState},
    tenants::{Deletion, Isolation, Purge, Tenant, TenantStatus},
    trust::{
        DEFAULT_STALENESS_LIMIT, Refusal, Trust, WhenStale,
        change::{Change, ChangeEntry, ChangeHead},
    },
};

use crate::authz::identity;

/// Within the validity of [`identity`]'s certificates.
pub(crate) const NOW: Time = Time::from_unix_seconds(1_700_000_100);

/// Calls until all parts were gone through.
fn forget(trust: &Trust, now: Time) {
    (0..128).for_each(|_| trust.forget_some(now));
}

fn tenant(id: &str, status: TenantStatus, isolation: Isolation) -> Tenant {
    Tenant {
        id: id.parse().unwrap(),
        display_name: String::new(),
        status,
        isolation,
        lifetimes: BTreeMap::new(),
        subjects: BTreeMap::new(),
        max_certificates: 3,
        renewal_grace: Default::default(),
        renewal_steering: None,
        quotas: Default::default(),
        failure_limit: None,
        deletion: None,
        created_at: NOW,
        updated_at: NOW,
    }
}

fn ca(owner: &str, name: &str, generation: u32, kind: CaKind, state: CaState) -> Ca {
    Ca {
        id: CaId::new(name, generation).unwrap(),
        tenant: owner.parse().unwrap(),
        kind,
        generation,
        state,
        key: "soft:k".parse().unwrap(),
        certificate_der: vec![0x30],
        anchor_der: Vec::new(),
        issuer: "root.1".parse().unwrap(),
        not_before: NOW,
        not_after: NOW.plus(Lifetime::days(1)),
        updated_at: NOW,
    }
}

fn acme(trust: &Trust, status: TenantStatus, state: CaState) {
    let cas = [ca("acme", "acme", 1, CaKind::Tenant, state)];
    trust.set_tenant(&tenant("acme", status, Isolation::Dedicated), &cas);
}

/// Trust that knows the tenant `acme` and its CA, and has just heard.
pub(crate) fn trust() -> Trust {
    let trust = Trust::new(DEFAULT_STALENESS_LIMIT, WhenStale::Refuse, || Uptime::from_millis(1));
    acme(&trust, TenantStatus::Active, CaState::Active);
    trust.heard(trust.uptime());
    trust
}

pub(crate) fn worker() -> Identity {
    identity("acme", PrincipalType::Worker, "w")
}

fn change(trust: &Trust, change: Change) -> bool {
    trust.apply(&ChangeEntry { changes: vec![change], ..entry("acme") })
}

pub(crate) fn entry(tenant: &str) -> ChangeEntry {
    let (tenant, until) = (tenant.parse().unwrap(), NOW.plus(Lifetime::days(90)));
    ChangeEntry { shard: 0, sequence: 1, tenant, at: NOW, until, changes: Vec::new(), notices: Vec::new() }
}

fn verdict(trust: &Trust, identity: &Identity) -> Result<(), Refusal> {
    trust.admit(identity, NOW).map(|_| ())
}

fn roles(names: &[&str]) -> Arc<[Role]> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

#[test]
fn validity_is_from_not_before_on_and_ends_at_not_after() {
    let (trust, worker) = (trust(), worker());
    let at = |time: Time| trust.admit(&worker, time).map(|_| ());
    let tick = Time::from_unix_millis;
    assert_eq!(at(tick(worker.not_before.unix_millis() - 1)), Err(Refusal::NotYetValid));
    assert_eq!(at(worker.not_before), Ok(()));
    assert_eq!(at(tick(worker.not_after.unix_millis() - 1)), Ok(()));
    assert_eq!(at(worker.not_after), Err(Refusal::Expired));
}

#[test]
fn tenants_decide_over_their_principals() {
    let (trust, worker) = (trust(), worker());
    assert_eq!(verdict(&trust, &worker), Ok(()));
    assert_eq!(verdict(&trust, &identity("globex", PrincipalType::Worker, "w")), Err(Refusal::UnknownTenant));
    acme(&trust, TenantStatus::Suspended, CaState::Active);
    assert_eq!(verdict(&trust, &worker), Err(Refusal::TenantSuspended));
    for (state, expected) in [
        (CaState::Active, Ok(())),
        (CaState::Prepared, Ok(())),
        (CaState::Retiring, Ok(())),
        (CaState::Retired, Err(Refusal::IssuerRetired)),
    ] {
        acme(&trust, TenantStatus::Active, state);
        assert_eq!(verdict(&trust, &worker), expected, "{state:?}");
    }
}

#[test]
fn a_ca_vouches_for_its_own_tenants_only() {
    let trust = trust();
    let shared = ca("system", "shared", 1, CaKind::Shared, CaState::Active);
    let own = ca("system", "system", 1, CaKind::Tenant, CaState::Active);
    let server = ca("system", "server", 1, CaKind::Server, CaState::Active);
    trust.set_tenant(&tenant("system", TenantStatus::Active, Isolation::Dedicated), &[shared, own, server]);
    trust.set_tenant(&tenant("tiny", TenantStatus::Active, Isolation::Shared), &[]);
    let signed_by = |holder: &str, issuer: &str| {
        let mut identity = identity(holder, PrincipalType::Worker, "w");
        identity.issuer = issuer.parse().unwrap();
        verdict(&trust, &identity)
    };
    for (holder, issuer) in [("acme", "acme.1"), ("system", "system.1"), ("tiny", "shared.1")] {
        assert_eq!(signed_by(holder, issuer), Ok(()), "{holder} by {issuer}");
        for other in ["acme.1", "acme.2", "system.1", "shared.1", "server.1", "root.1"] {
            if other != issuer {
                assert_eq!(signed_by(holder, other), Err(Refusal::IssuerRetired), "{holder} by {other}");
            }
        }
    }
    let anchors = |id: &str| -> Vec<String> {
        let known = trust.tenant(&id.parse().unwrap()).unwrap();
        known.anchors.iter().map(|anchor| anchor.ca.to_string()).collect()
    };
    assert_eq!((anchors("acme"), anchors("tiny")), (vec!["acme.1".to_owned()], vec!["shared.1".to_owned()]));
}

#[test]
fn what_is_refused_stays_refused_until_it_is_allowed_or_over() {
    let (trust, worker) = (trust(), worker());
    let principal = worker.principal.clone();
    let until = worker.not_after;
    change(&trust, Change::PrincipalDenied { principal: principal.clone(), until });
    assert_eq!(verdict(&trust, &worker), Err(Refusal::PrincipalDenied));
    assert_eq!(verdict(&trust, &identity("acme", PrincipalType::Worker, "v")), Ok(()));
    change(&trust, Change::PrincipalAllowed { principal });
    assert_eq!(verdict(&trust, &worker), Ok(()));
    change(&trust, Change::CertificateRevoked { serial: worker.serial, not_after: worker.not_after, issuer: None });
    assert_eq!(verdict(&trust, &worker), Err(Refusal::Revoked));
    forget(&trust, Time::from_unix_millis(worker.not_after.unix_millis() - 1));
    assert_eq!(verdict(&trust, &worker), Err(Refusal::Revoked));
    // A clock that is ahead by less than an hour loses nothing, and one that was ahead when it was told neither.
    forget(&trust, worker.not_after.plus(Lifetime::minutes(59)));
    assert_eq!(verdict(&trust, &worker), Err(Refusal::Revoked));
    forget(&trust, worker.not_after.plus(Lifetime::minutes(61)));
    assert_eq!(trust.revoked_len(), 0);
}

/// Entries may turn up late: that a suspension was lifted must be known for as long as the suspension itself may come.
#[test]
fn a_suspension_that_turns_up_after_it_was_lifted_refuses_nobody() {
    let (trust, worker) = (trust(), worker());
    let principal = worker.principal.clone();
    let numbered = |sequence, change| ChangeEntry { sequence, changes: vec![change], ..entry("acme") };
    let allowed = Change::PrincipalAllowed { principal: principal.clone() };
    trust.apply(&numbered(2, allowed));
    forget(&trust, NOW.plus(Lifetime::minutes(59)));
    trust.apply(&numbered(1, Change::PrincipalDenied { principal, until: worker.not_after }));
    assert_eq!(verdict(&trust, &worker), Ok(()));
}

#[test]
fn refusals_are_forgotten_a_few_at_a_time_until_none_is_left() {
    let (trust, acme) = (trust(), "acme".parse::<TenantId>().unwrap());
    let until = NOW.plus(Lifetime::hours(1));
    for number in 0..20_000u32 {
        let mut random = [0; 10];
        random[6..].copy_from_slice(&number.to_be_bytes());
        let revoked = Change::CertificateRevoked { serial: Serial::new(NOW, random), not_after: until, issuer: None };
        let denied = Change::PrincipalDenied { principal: format!("p-{number}").parse().unwrap(), until };
        let changes = vec![revoked, denied];
        let entry =
            ChangeEntry { shard: 0, sequence: 1, tenant: acme.clone(), at: NOW, until, changes, notices: Vec::new() };
        trust.apply(&entry);
    }
    let over = until.plus(Lifetime::minutes(61));
    let mut left = trust.revoked_len();
    assert_eq!(left, 20_000);
    for _ in 0..128 {
        trust.forget_some(over);
        let now = trust.revoked_len();
        assert!((1..400).contains(&(left - now)), "{} at once", left - now);
        left = now;
    }
    assert_eq!(left, 0);
}

#[test]
fn the_same_principal_name_in_another_tenant_is_somebody_else() {
    let trust = trust();
    let cas = [ca("globex", "globex", 1, CaKind::Tenant, CaState::Active)];
    trust.set_tenant(&tenant("globex", TenantStatus::Active, Isolation::Dedicated), &cas);
    let until = NOW.plus(Lifetime::days(1));
    change(&trust, Change::PrincipalDenied { principal: "w".parse().unwrap(), until });
    assert_eq!(verdict(&trust, &identity("globex", PrincipalType::Worker, "w")), Ok(()));
    assert_eq!(verdict(&trust, &worker()), Err(Refusal::PrincipalDenied));
}

#[test]
fn roles_from_the_feed_hold_instead_of_those_in_the_certificate_until_those_are_gone() {
    let trust = trust();
    let worker = Identity { roles: roles(&["old"]), ..worker() };
    let in_force = |time: Time| trust.admit(&worker, time).unwrap();
    assert_eq!(in_force(NOW), roles(&["old"]));
    let until = NOW.plus(Lifetime::hours(1));
    change(&trust, Change::PrincipalRoles { principal: "w".parse().unwrap(), roles: vec![], until });
    assert_eq!(in_force(NOW), roles(&[]));
    change(&trust, Change::PrincipalRoles { principal: "w".parse().unwrap(), roles: roles(&["new"]).to_vec(), until });
    assert_eq!(in_force(NOW), roles(&["new"]));
    change(&trust, Change::PrincipalDenied { principal: "w".parse().unwrap(), until });
    change(&trust, Change::PrincipalAllowed { principal: "w".parse().unwrap() });
    assert_eq!(in_force(NOW), roles(&["new"]), "a suspension in between changes no role");
    assert_eq!(in_force(until), roles(&["old"]));
}

/// A query may see a later transaction of a feed shard before all of an earlier one.
#[test]
fn entries_that_turn_up_late_mean_the_same() {
    let (principal, until) = (worker().principal, NOW.plus(Lifetime::hours(1)));
    let entries = |ends_allowed: bool| {
        let mut changes = vec![
            Change::PrincipalDenied { principal: principal.clone(), until },
            Change::PrincipalRoles { principal: principal.clone(), roles: roles(&["new"]).to_vec(), until },
        ];
        if ends_allowed {
            changes.push(Change::PrincipalAllowed { principal: principal.clone() });
        }
        let numbered = changes.into_iter().zip(1..);
        numbered.map(|(change, sequence)| ChangeEntry { sequence, changes: vec![change], ..entry("acme") }).collect()
    };
    for (ends_allowed, expected) in [(false, Err(Refusal::PrincipalDenied)), (true, Ok(roles(&["new"])))] {
        let entries: Vec<ChangeEntry> = entries(ends_allowed);
        for first in 0..entries.len() {
            for second in (0..entries.len()).filter(|second| *second != first) {
                let trust = trust();
                acme(&trust, TenantStatus::Active, CaState::Active);
                let rest = (0..entries.len()).filter(|index| ![first, second].contains(index));
                [first, second].into_iter().chain(rest).for_each(|index| _ = trust.apply(&entries[index]));
                assert_eq!(trust.admit(&worker(), NOW), expected, "{first}, {second}, ...");
            }
        }
    }
}

#[test]
fn a_node_out_of_touch_refuses_everybody_or_says_that_it_serves() {
    for (when_stale, expected) in [(WhenStale::Refuse, Err(Refusal::Stale)), (WhenStale::Serve, Ok(()))] {
        let (trust, millis) = trust_of(when_stale);
        let admit = || trust.admit(&worker(), NOW).map(|_| ());
        assert!(trust.is_stale() && trust.staleness_millis().is_none());
        assert_eq!(admit(), expected, "never heard");
        let early = trust.uptime();
        trust.heard(early);
        millis.fetch_add(30_000, Ordering::SeqCst);
        assert_eq!(admit(), Ok(()));
        millis.fetch_add(1, Ordering::SeqCst);
        assert_eq!((trust.is_stale(), trust.staleness_millis()), (true, Some(30_001)));
        assert_eq!(admit(), expected);
        trust.heard(trust.uptime());
        trust.heard(early);
        assert_eq!(admit(), Ok(()), "an earlier answer that comes late takes nothing back");
    }
}

#[test]
fn no_step_of_the_wall_clock_keeps_a_node_from_going_stale_or_makes_it_so() {
    for step in [Lifetime::hours(1), Lifetime::days(30)] {
        for stepped in [NOW.plus(step), NOW.minus(step)] {
            let (trust, millis) = trust_of(WhenStale::Refuse);
            let worker = Identity {
                not_before: NOW.minus(Lifetime::days(60)),
                not_after: NOW.plus(Lifetime::days(60)),
                ..worker()
            };
            let admit = |time| trust.admit(&worker, time).map(|_| ());
            trust.heard(trust.uptime());
            assert_eq!((admit(stepped), admit(NOW)), (Ok(()), Ok(())), "a step is no silence");
            millis.fetch_add(30_001, Ordering::SeqCst);
            assert_eq!((admit(stepped), admit(NOW)), (Err(Refusal::Stale), Err(Refusal::Stale)), "silence is silence");
            assert_eq!(trust.staleness_millis(), Some(30_001));
        }
    }
}

#[test]
fn what_a_stale_node_does_may_be_chosen_anew() {
    let (trust, millis) = trust_of(WhenStale::Refuse);
    trust.heard(trust.uptime());
    millis.fetch_add(30_001, Ordering::SeqCst);
    assert!(trust.refuses_all());
    trust.set_when_stale(WhenStale::Serve);
    assert_eq!((trust.refuses_all(), trust.is_stale(), trust.when_stale()), (false, true, WhenStale::Serve));
    assert_eq!(verdict(&trust, &worker()), Ok(()));
    trust.set_when_stale(WhenStale::Refuse);
    assert_eq!(verdict(&trust, &worker()), Err(Refusal::Stale));
}

/// Trust that knows the tenant `acme` and never heard, and the uptime that it reads.
fn trust_of(when_stale: WhenStale) -> (Trust, Arc<AtomicU64>) {
    let millis = Arc::new(AtomicU64::new(1));
    let read = Arc::clone(&millis);
    let trust = Trust::new(Lifetime::seconds(30), when_stale, move || Uptime::from_millis(read.load(Ordering::SeqCst)));
    acme(&trust, TenantStatus::Active, CaState::Active);
    (trust, millis)
}

fn any_change() -> impl Strategy<Value = Change> {
    let principal = prop::sample::select(vec!["w", "v"]).prop_map(|id| id.parse().unwrap());
    let until = (-10i64..10).prop_map(|minutes| Time::from_unix_millis(NOW.unix_millis() + minutes * 60_000));
    let serial = prop::sample::select(vec![7u8, 8]).prop_map(|b| Serial::new(NOW, [b; 10]));
    prop_oneof![
        (serial, until.clone()).prop_map(|(serial, not_after)| Change::CertificateRevoked {
            serial,
            not_after,
            issuer: None
        }),
        (principal.clone(), until.clone()).prop_map(|(principal, until)| Change::PrincipalDenied { principal, until }),
        principal.clone().prop_map(|principal| Change::PrincipalAllowed { principal }),
        (principal, until).prop_map(|(principal, until)| {
            Change::PrincipalRoles { principal, roles: roles(&["new"]).to_vec(), until }
        }),
        Just(Change::TenantChanged),
    ]
}

/// The same answer from the list of changes alone.
fn model(changes: &[Change], identity: &Identity) -> Result<Arc<[Role]>, Refusal> {
    let (mut denied, mut held, mut revoked) = (None, None, false);
    for change in changes {
        match change {
            // Whatever this node's clock says of its end.
            Change::CertificateRevoked { serial, .. } => revoked |= *serial == identity.serial,
            Change::PrincipalDenied { principal, until } if *principal == identity.principal => denied = Some(*until),
            Change::PrincipalAllowed { principal } if *principal == identity.principal => denied = None,
            Change::PrincipalRoles { principal, roles, until } if *principal == identity.principal => {
                held = Some((roles.clone(), *until));
            }
            _ => {}
        }
    }
    if revoked {
        return Err(Refusal::Revoked);
    }
    if denied.is_some_and(|until| until > NOW) {
        return Err(Refusal::PrincipalDenied);
    }
    Ok(held.filter(|(_, until)| *until > NOW).map_or(Arc::clone(&identity.roles), |(roles, _)| roles.into()))
}

proptest! {
    #[test]
    fn any_history_of_changes_is_judged_as_its_list_says(changes in prop::collection::vec(any_change(), 0..12), prune in 0usize..12) {
        let trust = trust();
        let holder = |id: &str, b: u8| {
            let serial = Serial::new(NOW, [b; 10]);
            Identity { serial, roles: roles(&["old"]), ..identity("acme", PrincipalType::Worker, id) }
        };
        for (number, next) in changes.iter().enumerate() {
            let before = trust.epoch();
            prop_assert_eq!(change(&trust, next.clone()), *next == Change::TenantChanged);
            prop_assert!(trust.epoch() > before, "every change is seen");
            if number == prune {
                let epoch = trust.epoch();
                forget(&trust, NOW);
                prop_assert_eq!(trust.epoch(), epoch);
            }
        }
        for holder in [holder("w", 7), holder("w", 8), holder("v", 7), holder("v", 9)] {
            prop_assert_eq!(trust.admit(&holder, NOW), model(&changes, &holder));
        }
    }

    #[test]
    fn entries_that_are_replayed_change_no_answer(changes in prop::collection::vec(any_change(), 0..12)) {
        let (once, twice) = (trust(), trust());
        for next in &changes {
            change(&once, next.clone());
            change(&twice, next.clone());
        }
        for next in &changes {
            change(&twice, next.clone());
        }
        let holder = worker();
        prop_assert_eq!(once.admit(&holder, NOW), twice.admit(&holder, NOW));
    }
}

#[test]
fn whoever_reads_the_epoch_first_never_misses_a_revocation() {
    let trust = Arc::new(trust());
    let holder = worker();
    let reader = {
        let (trust, holder) = (Arc::clone(&trust), holder.clone());
        std::thread::spawn(move || {
            // A session keeps the epoch it read before it was admitted, and looks again once that has moved.
            loop {
                let epoch = trust.epoch();
                if trust.admit(&holder, NOW).is_err() {
                    return;
                }
                while trust.epoch() == epoch {
                    std::thread::yield_now();
                }
            }
        })
    };
    for _ in 0..1000 {
        change(&trust, Change::PrincipalAllowed { principal: "v".parse().unwrap() });
    }
    change(&trust, Change::CertificateRevoked { serial: holder.serial, not_after: holder.not_after, issuer: None });
    reader.join().unwrap();
}

#[test]
fn a_change_that_is_not_known_refuses_its_tenant_until_it_no_longer_matters() {
    let (trust, worker) = (trust(), worker());
    let globex = ca("globex", "globex", 1, CaKind::Tenant, CaState::Active);
    trust.set_tenant(&tenant("globex", TenantStatus::Active, Isolation::Dedicated), &[globex]);
    let other = Identity { issuer: "globex.1".parse().unwrap(), ..identity("globex", PrincipalType::Worker, "w") };
    let json = r#"{"change":"instance_locked","serial":"00"}"#;
    let unknown: Change = serde_json::from_str(json).unwrap();
    assert!(matches!(&unknown, Change::Unknown(_)), "{unknown:?}");
    assert_eq!(serde_json::to_string(&unknown).unwrap(), json, "it is kept as it was read");
    let epoch = trust.epoch();
    let until = NOW.plus(Lifetime::minutes(1));
    let entry = ChangeEntry { changes: vec![unknown], until, ..entry("acme") };
    assert!(trust.apply(&entry), "the tenant's records are read again");
    assert!(trust.epoch() > epoch, "open sessions are looked at again");
    acme(&trust, TenantStatus::Active, CaState::Active);
    assert_eq!(verdict(&trust, &worker), Err(Refusal::TenantUnreadable));
    assert_eq!(verdict(&trust, &other), Ok(()));
    assert_eq!(trust.unreadable_len(), 1);
    trust.heard(trust.uptime());
    forget(&trust, until);
    assert_eq!((trust.admit(&worker, until).map(|_| ()), trust.unreadable_len()), (Ok(()), 0));
}

#[test]
fn a_known_change_that_is_damaged_is_one_that_is_not_known() {
    let damaged = r#"{"change":"certificate_revoked","serial":"?","not_after":1}"#;
    assert!(matches!(serde_json::from_str(damaged), Ok(Change::Unknown(_))));
    assert_eq!(serde_json::from_str::<Change>(r#"{"change":"tenant_changed"}"#).unwrap(), Change::TenantChanged);
}

#[test]
fn a_change_of_nobody_knows_whom_refuses_its_shard() {
    let (trust, worker) = (trust(), worker());
    let shard = ChangeHead::shard_of(&worker.tenant);
    let until = NOW.plus(Lifetime::minutes(1));
    trust.deny_unknown_change(shard + 1, None, until);
    assert_eq!(verdict(&trust, &worker), Ok(()));
    trust.deny_unknown_change(shard, None, until);
    assert_eq!(verdict(&trust, &worker), Err(Refusal::TenantUnreadable));
    trust.heard(trust.uptime());
    assert_eq!(trust.admit(&worker, until).map(|_| ()), Ok(()));
}

#[test]
fn an_unreadable_tenant_is_refused_until_it_can_be_read() {
    let (trust, worker) = (trust(), worker());
    let epoch = trust.epoch();
    trust.deny_unreadable(&worker.tenant);
    assert_eq!((verdict(&trust, &worker), trust.epoch()), (Err(Refusal::TenantUnreadable), epoch + 1));
    trust.deny_unreadable(&worker.tenant);
    assert_eq!(trust.epoch(), epoch + 1, "told once: sessions are not swept again and again");
    acme(&trust, TenantStatus::Active, CaState::Active);
    assert_eq!(verdict(&trust, &worker), Ok(()));
}

#[test]
fn the_key_of_a_change_names_its_tenant() {
    let entry = entry("acme");
    let key = signet_core::store::Entity::key(&entry);
    assert_eq!(ChangeEntry::place(&key), Some((1, Some("acme".parse().unwrap()))));
    let first_release = signet_core::store::Key { sort: format!("{:020}", 7), ..key.clone() };
    assert_eq!(ChangeEntry::place(&first_release), Some((7, None)));
    assert_eq!(ChangeEntry::place(&signet_core::store::Key { sort: "head".into(), ..key }), None);
}

/// Its shared CA outlives it: only the time tells its certificates from those of an earlier tenant of that name.
#[test]
fn a_certificate_from_before_its_shared_tenant_was_made_is_refused() {
    let trust = trust();
    let shared = ca("system", "shared", 1, CaKind::Shared, CaState::Active);
    trust.set_tenant(&tenant("system", TenantStatus::Active, Isolation::Dedicated), &[shared]);
    let mut worker = identity("tiny", PrincipalType::Worker, "w");
    worker.issuer = "shared.1".parse().unwrap();
    let made_at = worker.serial.made_at();
    for (seconds, expected) in [(0, Ok(())), (300, Ok(())), (301, Err("TENANT_REPLACED"))] {
        let created_at = made_at.plus(Lifetime::seconds(seconds));
        trust.set_tenant(&Tenant { created_at, ..tenant("tiny", TenantStatus::Active, Isolation::Shared) }, &[]);
        assert_eq!(verdict(&trust, &worker).map_err(Refusal::reason), expected, "{seconds}");
    }
}

/// Who has a CA's key, or a tenant's admin, could else refuse what another issuer signed.
#[test]
fn what_was_never_recorded_is_refused_of_its_issuer_only() {
    let (trust, worker) = (trust(), worker());
    let other = Identity { issuer: "other.1".parse().unwrap(), ..worker.clone() };
    let revoked = |issuer| Change::CertificateRevoked { serial: worker.serial, not_after: worker.not_after, issuer };
    change(&trust, revoked(Some(other.issuer.clone())));
    verdict(&trust, &worker).unwrap();
    change(&trust, revoked(Some(worker.issuer.clone())));
    assert_eq!(verdict(&trust, &worker), Err(Refusal::Revoked));
}

#[test]
fn what_is_found_here_without_a_record_is_refused_as_it_was_shown() {
    let (trust, worker) = (trust(), worker());
    let forged = Identity { spki_sha256: [9; 32], ..worker.clone() };
    let epoch = trust.epoch();
    trust.refuse_unrecorded(&forged);
    assert!(trust.epoch() > epoch);
    assert_eq!(verdict(&trust, &forged), Err(Refusal::Unrecorded));
    verdict(&trust, &worker).unwrap();
}

#[test]
fn a_tenant_is_purged_once_its_purge_has_begun_and_the_operators_own_never() {
    let deleted = |id: &str, purge: Option<Purge>| {
        let deletion = Some(Deletion { at: NOW, purge_at: NOW, purge });
        Tenant { deletion, ..tenant(id, TenantStatus::Suspended, Isolation::Dedicated) }
    };
    let (trust, acme) = (trust(), "acme".parse().unwrap());
    assert!(!trust.is_purged(&acme));
    trust.set_tenant(&deleted("acme", None), &[]);
    assert!(trust.is_deleted(&acme) && !trust.is_purged(&acme), "it can still be undeleted");
    trust.set_tenant(&deleted("acme", Some(Purge::began(NOW))), &[]);
    assert!(trust.is_purged(&acme));
    assert!(deleted("acme", None).is_purge_due(NOW) && !deleted("system", None).is_purge_due(NOW));
}
