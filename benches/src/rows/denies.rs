//! Ten million live deny entries: bytes, look-ups, loading, and the handshake beside them.

use std::{hint::black_box, sync::Arc, time::Duration};

use signet_core::{
    Lifetime, Serial, Time,
    trust::{
        Trust,
        change::{Change, ChangeEntry},
    },
};

use crate::{
    Result, Scale,
    clock::{now, thread_cpu},
    front,
    machine::memory,
    measure::{Spread, repeated},
    pki::Pki,
    report::{Budget, Row},
    rows::handshake::Clients,
};

const LOOK_UPS: usize = 1_000_000;
/// Entries that one commit of the feed brings here.
const PER_ENTRY: usize = 100;

/// The rows, in one process: the entries stay until the end.
pub(crate) fn rows(pki: &Pki, clients: &Clients, rounds: usize, scale: Scale) -> Result<Vec<Row>> {
    let trust = front::trust(pki);
    let (some, all) = (scale.of(1_000_000), scale.of(10_000_000));
    let me = std::process::id();
    let (bytes_before, flat) = (memory(me, "VmRSS")?, clients.full(rounds, &trust)?);
    let mut seconds = load(&trust, pki, 0..some);
    let at_some = clients.full(rounds, &trust)?;
    seconds += load(&trust, pki, some..all);
    let (bytes, peak) = (memory(me, "VmRSS")? - bytes_before, memory(me, "VmHWM")? - bytes_before);
    let look_up = look_ups(&trust, all, rounds)?;
    let at_all = clients.full(rounds, &trust)?;
    let millions = |count: usize| count as f64 / 1e6;
    let grown =
        |pair: &crate::measure::Pair| format!("{:.3} of the CPU with none", pair.ours.median / flat.ours.median);
    Ok(vec![
        Row::pair(format!("full mTLS handshake beside {} M revocations", millions(some)), "us", &at_some)
            .budget(Budget::RatioAtMost(0.9))
            .note(grown(&at_some)),
        Row::pair(format!("full mTLS handshake beside {} M revocations", millions(all)), "us", &at_all)
            .budget(Budget::RatioAtMost(0.9))
            .note(grown(&at_all)),
        Row::alone(format!("{} M deny entries: resident memory", millions(all)), "MB", Spread::exactly(bytes / 1e6))
            .budget(Budget::AtMost(400.0))
            .note(format!("{:.0} MB for a moment while the table grows", peak / 1e6)),
        Row::alone(format!("{} M deny entries: a look-up", millions(all)), "ns", look_up)
            .budget(Budget::AtMost(100.0))
            .note("half of them hits, in random order"),
        Row::alone(
            format!("{} M deny entries: applying them", millions(all)),
            "s",
            Spread::exactly(seconds.as_secs_f64()),
        )
        .budget(Budget::AtMost(10.0))
        .note(format!("CPU; {PER_ENTRY} to a feed entry, without reading them from a store")),
    ])
}

/// Serial numbers as they are drawn: time, then random bits.
fn serial(number: usize) -> Serial {
    let mixed = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut random = [0; 10];
    random.iter_mut().zip(mixed.to_be_bytes().into_iter().chain([0, 1])).for_each(|(to, from)| *to = from);
    Serial::new(Time::from_unix_millis(1_700_000_000_000 + number as i64), random)
}

fn load(trust: &Trust, pki: &Pki, numbers: std::ops::Range<usize>) -> Duration {
    let (now, not_after) = (now(), now().plus(Lifetime::days(1)));
    let mut spent = Duration::ZERO;
    for first in numbers.clone().step_by(PER_ENTRY) {
        let these = first..(first + PER_ENTRY).min(numbers.end);
        let changes =
            these.map(|number| Change::CertificateRevoked { serial: serial(number), not_after, issuer: None });
        let entry = ChangeEntry {
            shard: 0,
            sequence: first as u64,
            tenant: pki.tenant.id.clone(),
            at: now,
            until: not_after,
            changes: changes.collect(),
            notices: Vec::new(),
        };
        let before = thread_cpu();
        trust.apply(&entry);
        spent += thread_cpu() - before;
    }
    spent
}

/// Nanoseconds of a look-up.
fn look_ups(trust: &Arc<Trust>, held: usize, rounds: usize) -> Result<Spread> {
    let scattered = |number: usize| number.wrapping_mul(7_919_777) % (2 * held);
    let asked: Vec<Serial> = (0..LOOK_UPS).map(|number| serial(scattered(number))).collect();
    repeated(rounds, || {
        let before = thread_cpu();
        let hits = asked.iter().filter(|serial| trust.is_revoked(black_box(serial))).count();
        let spent = thread_cpu() - before;
        if black_box(hits) == 0 {
            return Err("nothing was found".into());
        }
        Ok(spent.as_secs_f64() * 1e9 / LOOK_UPS as f64)
    })
}
