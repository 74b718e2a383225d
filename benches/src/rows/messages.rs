//! A signed message: its signature and whether it was seen, beside a bare HMAC over the same bytes.

use std::hint::black_box;

use aws_lc_rs::hmac;
use signet_messages::{ReplayRoom, Replays, SecretPair, SignedMessage, SigningSecret};

use crate::{
    Result, Scale,
    clock::{now, thread_cpu},
    measure::{Spread, in_turn, micros_each},
    report::{Budget, Row},
};

/// Bytes of a body.
const BODY: usize = 256;
/// Messages of one device in ten minutes.
const OF_ONE: usize = 500;

pub(crate) fn rows(rounds: usize, scale: Scale) -> Result<Vec<Row>> {
    let count = scale.of(200_000);
    let (secret, body, at) = (SigningSecret::new([7; 32]), vec![b'x'; BODY], now().unix_seconds());
    let timestamp = at.to_string();
    let signed: Vec<(String, String)> = (0..count)
        .map(|number| {
            let id = format!("msg_{number:024}");
            let signatures = secret.sign(&id, at, &body);
            (id, signatures)
        })
        .collect();
    let of = SecretPair::new(secret.clone(), None);
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let floor = || {
        let before = thread_cpu();
        for (id, _) in &signed {
            let mut context = hmac::Context::with_key(&key);
            [id.as_bytes(), b".", timestamp.as_bytes(), b".", &body].into_iter().for_each(|part| context.update(part));
            black_box(context.sign());
        }
        Ok(micros_each(thread_cpu() - before, count))
    };
    let ours = || {
        let mut seen = Replays::new(ReplayRoom::default(), at);
        let before = thread_cpu();
        for (number, (id, signatures)) in signed.iter().enumerate() {
            let message = SignedMessage { id, timestamp: &timestamp, signatures, body: &body };
            of.verify(&message, at).and_then(|_| seen.note(number / OF_ONE, &message, at))?;
        }
        Ok(micros_each(thread_cpu() - before, count))
    };
    let pair = in_turn(rounds, floor, ours)?;
    let each_second = 1e6 / pair.ours.median;
    Ok(vec![
        Row::pair(format!("a signed message of {BODY} bytes, verified and noted"), "us", &pair)
            .budget(Budget::RatioAtMost(3.0))
            .note("the floor: HMAC-SHA256 over the same bytes with a key that is made ready; ours makes it ready each time"),
        Row::alone("signed messages a second on one core", "", Spread::exactly(each_second))
            .budget(Budget::AtLeast(300_000.0)),
    ])
}
