//! One message: what is signed, and by which secret.

use aws_lc_rs::hmac::{self, Context};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};

use crate::{Refusal, Secret};

/// How far a message's time may be from the verifier's, either way.
pub const TOLERANCE_SECONDS: i64 = 300;
/// Longest id, in bytes.
pub const MAX_ID: usize = 64;
/// The signatures that are looked at: one of each secret, and room for other versions.
const MAX_SIGNATURES: usize = 4;
/// How a signature by HMAC-SHA256 begins.
const VERSION: &str = "v1,";

/// A message as it came, with what stood in `webhook-id`, `webhook-timestamp` and `webhook-signature`.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// Unlike all others of the sender: 1 to 64 printable ASCII characters without a period.
    pub id: &'a str,
    /// Unix seconds, decimal.
    pub timestamp: &'a str,
    /// `v1,` and standard base64, once or several times, with spaces between.
    pub signatures: &'a str,
    /// The body, byte for byte.
    pub body: &'a [u8],
}

/// What a verifier has of a sender: two secrets while it changes from one to the other.
#[derive(Clone, Debug)]
pub struct Secrets {
    current: hmac::Key,
    /// Until then, Unix seconds, the one before holds too.
    previous: Option<(hmac::Key, i64)>,
}

/// Which secret has signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verified {
    /// The one that signs now.
    ByCurrent,
    /// The one before: the sender has to change before its grace ends.
    ByPrevious,
}

impl Secret {
    /// A signature, as `webhook-signature` has it. `timestamp` in Unix seconds.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let tag = digest(&self.key(), id, &timestamp.to_string(), body);
        format!("{VERSION}{}", STANDARD.encode(tag))
    }
}

impl Secrets {
    /// `previous`: the secret before, and until when it holds, in Unix seconds.
    pub fn new(current: &Secret, previous: Option<(&Secret, i64)>) -> Self {
        Self { current: current.key(), previous: previous.map(|(secret, until)| (secret.key(), until)) }
    }

    /// Whether one of them has signed `message`, which is of `now` (Unix seconds). Whether it was seen before is not
    /// looked at: see [`Replays`](crate::Replays).
    pub fn verify(&self, message: &Signed<'_>, now: i64) -> Result<Verified, Refusal> {
        let at = message.time()?;
        match at.saturating_sub(now) {
            ahead if ahead > TOLERANCE_SECONDS => return Err(Refusal::TooNew),
            ahead if ahead < -TOLERANCE_SECONDS => return Err(Refusal::TooOld),
            _ => {}
        }
        let mut signatures = [[0; 32]; MAX_SIGNATURES];
        let found = message.read_signatures(&mut signatures);
        if found.is_empty() {
            return Err(Refusal::Malformed);
        }
        let matches = |key: &hmac::Key| {
            let tag = digest(key, message.id, message.timestamp, message.body);
            // In constant time.
            found.iter().any(|found| aws_lc_rs::constant_time::verify_slices_are_equal(tag.as_ref(), found).is_ok())
        };
        if matches(&self.current) {
            return Ok(Verified::ByCurrent);
        }
        match &self.previous {
            Some((previous, until)) if now < *until && matches(previous) => Ok(Verified::ByPrevious),
            _ => Err(Refusal::WrongSignature),
        }
    }
}

impl Signed<'_> {
    /// When it was signed, Unix seconds. The signature covers the text, of which there is one for each number.
    pub fn time(&self) -> Result<i64, Refusal> {
        let is_id = (1..=MAX_ID).contains(&self.id.len())
            && self.id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'.');
        let digits = self.timestamp.as_bytes();
        let is_number = (1..=12).contains(&digits.len())
            && digits.iter().all(u8::is_ascii_digit)
            && (digits.len() == 1 || digits.first() != Some(&b'0'));
        match self.timestamp.parse() {
            Ok(at) if is_id && is_number => Ok(at),
            _ => Err(Refusal::Malformed),
        }
    }

    fn read_signatures<'b>(&self, into: &'b mut [[u8; 32]; MAX_SIGNATURES]) -> &'b [[u8; 32]] {
        let of_version = self.signatures.split(' ').filter_map(|text| text.strip_prefix(VERSION));
        let mut count = 0_usize;
        for (text, place) in of_version.zip(into.iter_mut()) {
            let mut bytes = [0; 33];
            match STANDARD_NO_PAD.decode_slice(text.strip_suffix('=').unwrap_or(text), &mut bytes) {
                Ok(32) => place.copy_from_slice(bytes.split_at(32).0),
                _ => return &[],
            }
            count = count.saturating_add(1);
        }
        into.get(..count).unwrap_or_default()
    }
}

fn digest(key: &hmac::Key, id: &str, timestamp: &str, body: &[u8]) -> hmac::Tag {
    let mut context = Context::with_key(key);
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        context.update(part);
    }
    context.sign()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn secret(byte: u8) -> Secret {
        Secret::new([byte; 32])
    }

    fn signed<'a>(id: &'a str, timestamp: &'a str, signatures: &'a str, body: &'a [u8]) -> Signed<'a> {
        Signed { id, timestamp, signatures, body }
    }

    /// The vector of the specification's own libraries, whose secret has 24 bytes.
    #[test]
    fn the_known_vector_is_signed_alike() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap());
        let tag = digest(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", br#"{"test": 2432232314}"#);
        assert_eq!(STANDARD.encode(tag), "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn the_one_before_verifies_until_its_end_and_any_signature_is_enough() {
        let (old, new) = (secret(1), secret(2));
        let of = Secrets::new(&new, Some((&old, NOW + 10)));
        let at = NOW.to_string();
        let (by_old, by_new) = (old.sign("m", NOW, b"x"), new.sign("m", NOW, b"x"));
        let verify = |signatures: &str, now| of.verify(&signed("m", &at, signatures, b"x"), now);
        assert_eq!(verify(&by_new, NOW), Ok(Verified::ByCurrent));
        assert_eq!(verify(&by_old, NOW + 9), Ok(Verified::ByPrevious));
        assert_eq!(verify(&by_old, NOW + 10), Err(Refusal::WrongSignature));
        assert_eq!(verify(&format!("v1a,AAAA {by_old} {by_new}"), NOW + 10), Ok(Verified::ByCurrent));
        assert_eq!(verify(&format!("v1,AAAA {by_new}"), NOW), Err(Refusal::Malformed));
        let fifth = format!("{0} {0} {0} {0} {by_new}", secret(3).sign("m", NOW, b"x"));
        assert_eq!(verify(&fifth, NOW), Err(Refusal::WrongSignature), "four are looked at");
    }

    #[test]
    fn its_time_is_within_five_minutes() {
        let (key, at) = (secret(1), NOW.to_string());
        let signature = key.sign("m", NOW, b"");
        let verify = |now| Secrets::new(&key, None).verify(&signed("m", &at, &signature, b""), now);
        assert_eq!([verify(NOW - 300), verify(NOW + 300)], [Ok(Verified::ByCurrent); 2]);
        assert_eq!([verify(NOW - 301), verify(NOW + 301)], [Err(Refusal::TooNew), Err(Refusal::TooOld)]);
    }

    #[test]
    fn what_two_readers_could_read_in_two_ways_is_refused() {
        let key = secret(1);
        let refused = |id: &str, timestamp: &str| {
            let tag = digest(&key.key(), id, timestamp, b"x");
            let signature = format!("v1,{}", STANDARD.encode(tag));
            Secrets::new(&key, None).verify(&signed(id, timestamp, &signature, b"x"), NOW)
        };
        let at = NOW.to_string();
        assert_eq!(refused("m", &at), Ok(Verified::ByCurrent));
        let long = "m".repeat(65);
        for id in ["", "a.b", "a b", "é", "a\n", &long] {
            assert_eq!(refused(id, &at), Err(Refusal::Malformed), "{id:?}");
        }
        for timestamp in ["", "+1800000000", "01800000000", " 1800000000", "1800000000.0", "-1", "9999999999999"] {
            assert_eq!(refused("m", timestamp), Err(Refusal::Malformed), "{timestamp:?}");
        }
    }

    proptest! {
        /// Nobody moves a byte from one part to another, or changes one.
        #[test]
        fn another_message_is_not_verified(
            id in "[!-\\-/-~]{1,20}", body in prop::collection::vec(any::<u8>(), 0..64),
            other_id in "[!-\\-/-~]{1,20}", other_body in prop::collection::vec(any::<u8>(), 0..64), later in 0_i64..3,
        ) {
            let key = secret(1);
            let signature = key.sign(&id, NOW, &body);
            let at = (NOW + later).to_string();
            let answer = Secrets::new(&key, None).verify(&signed(&other_id, &at, &signature, &other_body), NOW);
            let is_same = id == other_id && body == other_body && later == 0;
            prop_assert_eq!(answer.is_ok(), is_same);
        }

        #[test]
        fn nothing_that_comes_panics(
            id in any::<String>(), timestamp in any::<String>(), signatures in any::<String>(), now in any::<i64>(),
        ) {
            let message = signed(&id, &timestamp, &signatures, b"");
            prop_assert!(Secrets::new(&secret(1), None).verify(&message, now).is_err());
        }
    }
}
