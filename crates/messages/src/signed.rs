//! One message: what is signed, and by which secret.

use aws_lc_rs::hmac::{self, Context};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};

use crate::{MessageRefusal, SigningSecret};

/// How far a message's time may be from the verifier's, either way.
pub const TOLERANCE_SECONDS: i64 = 300;
/// Longest id, in bytes.
pub const MAX_ID: usize = 64;
/// The signatures that are looked at: one of each secret, and room for other versions.
const MAX_SIGNATURES: usize = 4;
/// Longest text of signatures, in bytes: one has 47.
pub const LONGEST_SIGNATURES: usize = 512;
/// How a signature by HMAC-SHA256 begins.
const VERSION: &str = "v1,";

/// A message as it came, with what stood in `webhook-id`, `webhook-timestamp` and `webhook-signature`.
#[derive(Clone, Copy, Debug)]
pub struct SignedMessage<'a> {
    /// Unlike all others of the sender: 1 to 64 printable ASCII characters without a period.
    pub id: &'a str,
    /// Unix seconds, decimal.
    pub timestamp: &'a str,
    /// `v1,` and standard base64, once or several times, with spaces between.
    pub signatures: &'a str,
    /// The body, byte for byte.
    pub body: &'a [u8],
}

/// What a verifier has of a sender: two secrets while it changes from one to the other. 40 bytes, and as many again
/// during the change.
#[derive(Clone, Debug)]
pub struct SecretPair {
    current: SigningSecret,
    /// Until then, Unix seconds, the one before holds too.
    previous: Option<Box<(SigningSecret, i64)>>,
}

/// Which secret has signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignedBy {
    /// The one that signs now.
    Current,
    /// The one before: the sender has to change before its grace ends.
    Previous,
}

impl SigningSecret {
    /// A signature, as `webhook-signature` has it. `timestamp` in Unix seconds.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let tag = digest(&self.key(), id, &timestamp.to_string(), body);
        format!("{VERSION}{}", STANDARD.encode(tag))
    }
}

impl SecretPair {
    /// `previous`: the secret before, and until when it holds, in Unix seconds.
    pub fn new(current: SigningSecret, previous: Option<(SigningSecret, i64)>) -> Self {
        Self { current, previous: previous.map(Box::new) }
    }

    /// How many seconds the one before still holds at `now` (Unix seconds).
    pub fn grace_left(&self, now: i64) -> Option<i64> {
        self.previous.as_deref().map(|(_, until)| until.saturating_sub(now)).filter(|left| *left > 0)
    }

    /// Whether one of them has signed `message`, which is of `now` (Unix seconds). Whether it was seen before is not
    /// looked at: see [`Replays`](crate::Replays).
    pub fn verify(&self, message: &SignedMessage<'_>, now: i64) -> Result<SignedBy, MessageRefusal> {
        message.require_fresh(now)?;
        let mut signatures = [[0; 32]; MAX_SIGNATURES];
        let found = message.read_signatures(&mut signatures);
        if found.is_empty() {
            return Err(MessageRefusal::Malformed);
        }
        let matches = |secret: &SigningSecret| {
            let tag = digest(&secret.key(), message.id, message.timestamp, message.body);
            // In constant time.
            found.iter().any(|found| aws_lc_rs::constant_time::verify_slices_are_equal(tag.as_ref(), found).is_ok())
        };
        if matches(&self.current) {
            return Ok(SignedBy::Current);
        }
        match self.previous.as_deref() {
            Some((previous, until)) if now < *until && matches(previous) => Ok(SignedBy::Previous),
            _ => Err(MessageRefusal::WrongSignature),
        }
    }
}

impl SignedMessage<'_> {
    /// When it was signed, Unix seconds. The signature covers the text, of which there is one for each number.
    pub fn time(&self) -> Result<i64, MessageRefusal> {
        let is_id = (1..=MAX_ID).contains(&self.id.len())
            && self.id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'.');
        let digits = self.timestamp.as_bytes();
        let is_number = (1..=12).contains(&digits.len())
            && digits.iter().all(u8::is_ascii_digit)
            && (digits.len() == 1 || digits.first() != Some(&b'0'));
        if !is_id || !is_number || self.signatures.len() > LONGEST_SIGNATURES {
            return Err(MessageRefusal::Malformed);
        }
        self.timestamp.parse().map_err(|_| MessageRefusal::Malformed)
    }

    /// Whether it can be read and is of `now` (Unix seconds): what can be known before anybody's secret is looked up.
    pub fn require_fresh(&self, now: i64) -> Result<(), MessageRefusal> {
        match self.time()?.saturating_sub(now) {
            ahead if ahead > TOLERANCE_SECONDS => Err(MessageRefusal::TooNew),
            ahead if ahead < -TOLERANCE_SECONDS => Err(MessageRefusal::TooOld),
            _ => Ok(()),
        }
    }

    /// Those of version 1 that are as long as one is; others may be of a later release.
    fn read_signatures<'b>(&self, into: &'b mut [[u8; 32]; MAX_SIGNATURES]) -> &'b [[u8; 32]] {
        let of_version = self.signatures.split(' ').filter_map(|text| text.strip_prefix(VERSION));
        let read = of_version.take(MAX_SIGNATURES).filter_map(|text| {
            let mut bytes = [0; 33];
            let text = text.strip_suffix('=').unwrap_or(text);
            let is_whole = STANDARD_NO_PAD.decode_slice(text, &mut bytes) == Ok(32);
            bytes.first_chunk::<32>().copied().filter(|_| is_whole)
        });
        let mut count = 0_usize;
        for (found, place) in read.zip(into.iter_mut()) {
            *place = found;
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

    fn secret(byte: u8) -> SigningSecret {
        SigningSecret::new([byte; 32])
    }

    fn signed<'a>(id: &'a str, timestamp: &'a str, signatures: &'a str, body: &'a [u8]) -> SignedMessage<'a> {
        SignedMessage { id, timestamp, signatures, body }
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
        let of = SecretPair::new(new.clone(), Some((old.clone(), NOW + 10)));
        let at = NOW.to_string();
        let (by_old, by_new) = (old.sign("m", NOW, b"x"), new.sign("m", NOW, b"x"));
        let verify = |signatures: &str, now| of.verify(&signed("m", &at, signatures, b"x"), now);
        assert_eq!(verify(&by_new, NOW), Ok(SignedBy::Current));
        assert_eq!(verify(&by_old, NOW + 9), Ok(SignedBy::Previous));
        assert_eq!(verify(&by_old, NOW + 10), Err(MessageRefusal::WrongSignature));
        assert_eq!(verify(&format!("v1a,AAAA {by_old} {by_new}"), NOW + 10), Ok(SignedBy::Current));
        assert_eq!(verify(&format!("v1,AAAA {by_new}"), NOW), Ok(SignedBy::Current), "one is enough");
        assert_eq!(verify("v1,AAAA", NOW), Err(MessageRefusal::Malformed));
        assert_eq!(verify(&format!("{by_new}{}", " ".repeat(512)), NOW), Err(MessageRefusal::Malformed), "too long");
        let fifth = format!("{0} {0} {0} {0} {by_new}", secret(3).sign("m", NOW, b"x"));
        assert_eq!(verify(&fifth, NOW), Err(MessageRefusal::WrongSignature), "four are looked at");
    }

    #[test]
    fn its_time_is_within_five_minutes() {
        let (key, at) = (secret(1), NOW.to_string());
        let signature = key.sign("m", NOW, b"");
        let verify = |now| SecretPair::new(key.clone(), None).verify(&signed("m", &at, &signature, b""), now);
        assert_eq!([verify(NOW - 300), verify(NOW + 300)], [Ok(SignedBy::Current); 2]);
        assert_eq!([verify(NOW - 301), verify(NOW + 301)], [Err(MessageRefusal::TooNew), Err(MessageRefusal::TooOld)]);
    }

    #[test]
    fn what_two_readers_could_read_in_two_ways_is_refused() {
        let key = secret(1);
        let refused = |id: &str, timestamp: &str| {
            let tag = digest(&key.key(), id, timestamp, b"x");
            let signature = format!("v1,{}", STANDARD.encode(tag));
            SecretPair::new(key.clone(), None).verify(&signed(id, timestamp, &signature, b"x"), NOW)
        };
        let at = NOW.to_string();
        assert_eq!(refused("m", &at), Ok(SignedBy::Current));
        let long = "m".repeat(65);
        for id in ["", "a.b", "a b", "é", "a\n", &long] {
            assert_eq!(refused(id, &at), Err(MessageRefusal::Malformed), "{id:?}");
        }
        for timestamp in ["", "+1800000000", "01800000000", " 1800000000", "1800000000.0", "-1", "9999999999999"] {
            assert_eq!(refused("m", timestamp), Err(MessageRefusal::Malformed), "{timestamp:?}");
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
            let answer = SecretPair::new(key.clone(), None).verify(&signed(&other_id, &at, &signature, &other_body), NOW);
            let is_same = id == other_id && body == other_body && later == 0;
            prop_assert_eq!(answer.is_ok(), is_same);
        }

        #[test]
        fn nothing_that_comes_panics(
            id in any::<String>(), timestamp in any::<String>(), signatures in any::<String>(), now in any::<i64>(),
        ) {
            let message = signed(&id, &timestamp, &signatures, b"");
            prop_assert!(SecretPair::new(secret(1), None).verify(&message, now).is_err());
        }
    }
}
