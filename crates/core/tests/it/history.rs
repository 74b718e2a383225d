//! A small world for audit tests: tenants write events, some late, and a sealer seals minute after minute.

use std::collections::BTreeMap;

use proptest::prelude::*;
use signet_core::{
    Lifetime, Serial, TenantId, Time,
    audit::{
        AuditEvent, Finding, LATE_MINUTES, Seal, SealStatement, Span, batch,
        sealing::{EventLeaf, plan},
        sha256_hex, verify,
    },
};

/// The first minute of every history.
pub(crate) const FIRST: i64 = 30_000_000;
/// In how many minutes something happens.
pub(crate) const MINUTES: i64 = 10;
/// The last sealed minute: long enough after the last event that everything is settled.
pub(crate) const SEALED: i64 = FIRST + MINUTES + 2 * LATE_MINUTES;

/// An event to come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fact {
    pub(crate) minute: i64,
    pub(crate) second: u32,
    /// By how many sealings it misses its minute's own.
    pub(crate) late: i64,
    pub(crate) payload: u8,
}

/// One tenant's log as a verifier gets it.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) events: Vec<AuditEvent>,
    pub(crate) seals: Vec<Seal>,
}

pub(crate) fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

pub(crate) fn facts(most_late: i64) -> impl Strategy<Value = Vec<Fact>> {
    let fact = (0..MINUTES, 0u32..60, prop_oneof![3 => Just(0), 1 => 0..=most_late], any::<u8>());
    let fact = fact.prop_map(|(minute, second, late, payload)| Fact { minute, second, late, payload });
    prop::collection::vec(fact, 1..40)
}

pub(crate) fn event(tenant: &TenantId, number: usize, fact: &Fact) -> AuditEvent {
    let at = Time::from_unix_seconds((FIRST + fact.minute) * 60).plus(Lifetime::seconds(fact.second));
    let mut random = [0; 10];
    random[..8].copy_from_slice(&(number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    AuditEvent {
        tenant: tenant.clone(),
        id: Serial::new(at, random).to_string(),
        at,
        payload: format!("{{\"operation\":\"Test\",\"value\":{}}}", fact.payload),
        keep_until: at.plus(Lifetime::days(400)),
    }
}

/// The sealer's signature in these tests.
pub(crate) fn sign(message: &[u8]) -> Vec<u8> {
    sha256_hex(&[b"secret", message].concat()).into_bytes()
}

pub(crate) fn check(message: &[u8], signature: &[u8]) -> bool {
    sign(message) == signature
}

/// Lets `tenants` live through their facts, sealed up to and including minute `through`.
pub(crate) fn live(tenants: &[(TenantId, Vec<Fact>)], through: i64) -> Vec<Log> {
    let mut logs: Vec<Log> = tenants.iter().map(|_| Log { events: Vec::new(), seals: Vec::new() }).collect();
    for minute in FIRST..=through {
        let mut statements: Vec<(usize, SealStatement, Vec<u8>)> = Vec::new();
        for (index, (id, facts)) in tenants.iter().enumerate() {
            let log = &mut logs[index];
            let due = facts.iter().enumerate().filter(|(_, fact)| FIRST + fact.minute + fact.late == minute);
            log.events.extend(due.map(|(number, fact)| event(id, number, fact)));
            let mut by_minute: BTreeMap<i64, Vec<EventLeaf>> = BTreeMap::new();
            for event in log.events.iter().filter(|event| event.at.minute() >= minute - LATE_MINUTES) {
                let leaf = EventLeaf { id: event.id.clone(), leaf: event.leaf() };
                by_minute.entry(event.at.minute()).or_default().push(leaf);
            }
            let last = log.seals.len().saturating_sub(usize::try_from(LATE_MINUTES).unwrap() + 1);
            if let Some(planned) = plan(id, minute, &by_minute, &log.seals[last..]) {
                statements.push((index, planned.statement, planned.cover));
            }
        }
        seal_all(minute, statements, &mut logs);
    }
    for log in &mut logs {
        log.events.sort_by(|a, b| a.id.cmp(&b.id));
    }
    logs
}

fn seal_all(minute: i64, planned: Vec<(usize, SealStatement, Vec<u8>)>, logs: &mut [Log]) {
    if planned.is_empty() {
        return;
    }
    let statements: Vec<SealStatement> = planned.iter().map(|(_, statement, _)| statement.clone()).collect();
    let (paths, message) = batch(minute, &statements);
    let size = u32::try_from(planned.len()).unwrap();
    for (place, ((index, statement, cover), batch_path)) in planned.into_iter().zip(paths).enumerate() {
        logs[index].seals.push(Seal {
            statement,
            batch_index: u32::try_from(place).unwrap(),
            batch_size: size,
            batch_path,
            key: "soft:audit".parse().unwrap(),
            cover,
            signature: sign(&message),
            keep_until: Time::from_unix_seconds(i64::from(u32::MAX)),
        });
    }
}

/// The whole log, sealed through `sealed_through`.
pub(crate) fn span(sealed_through: i64) -> Span {
    Span { from: FIRST, to: i64::MAX, sealed_through, previous: Some([0; 32]) }
}

pub(crate) fn judge(log: &Log, sealed_through: i64) -> Vec<Finding> {
    verify(&log.events, &log.seals, &span(sealed_through), &check)
}
