//! A revocation list of a million entries, made anew: all but its signature, which KMS makes.

use std::hint::black_box;

use signet_core::{Lifetime, Serial, certificates::RevocationReason};
use signet_x509::crl::{RevokedEntry, prepare_crl};

use crate::{
    Result, Scale,
    clock::{now, thread_cpu},
    measure::Spread,
    pki::Pki,
    report::{Budget, Row},
};

pub(crate) fn rows(pki: &Pki, rounds: usize, scale: Scale) -> Result<Vec<Row>> {
    let count = scale.of(1_000_000);
    let made_at = now();
    let entry = |number: usize| {
        let mut random = [0; 10];
        random.iter_mut().zip((number as u64).to_be_bytes()).for_each(|(to, from)| *to = from);
        let reason = RevocationReason::KeyCompromise;
        RevokedEntry { serial: Serial::new(made_at, random), revoked_at: made_at, reason }
    };
    let entries: Vec<RevokedEntry> = (0..count).map(entry).collect();
    let (mut millis, mut bytes) = (Vec::new(), 0);
    for _ in 0..rounds {
        let before = thread_cpu();
        let next_update = made_at.plus(Lifetime::hours(48));
        let prepared = prepare_crl(&pki.issuing.certificate, 1, made_at, next_update, &entries)?;
        millis.push((thread_cpu() - before).as_secs_f64() * 1000.0);
        bytes = black_box(prepared).tbs_der().len();
    }
    let name = format!("CRL of {} M entries: made anew", count as f64 / 1e6);
    let note = format!("{:.1} MB; without its signature", bytes as f64 / 1e6);
    Ok(vec![Row::alone(name, "ms", Spread::of(millis)).budget(Budget::AtMost(200.0)).note(note)])
}
