//! The secrets of devices that sent something, and which messages were seen: in parts with a lock each.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use signet_core::messages::{GRACE, LATE_AFTER};
use signet_messages::{MessageRefusal, ReplayRoom, Replays, SecretPair, SignedBy, SignedMessage};
use tokio::time::Instant;

const PARTS: usize = 64;
/// The last seconds of a secret's grace, in which its use is told of.
const LATE: i64 = (GRACE.millis() - LATE_AFTER.millis()) / 1000;
/// How long it is in no doubt that there is no secret, or none that counts: whoever knocks on and on is asked for once
/// in that time.
const NONE_FOR: Duration = Duration::from_secs(5);
/// Most devices of a part of which that is remembered.
const MOST_NONE: usize = 2048;
/// Most devices of a part whose secrets are kept, 2 million in all.
const MOST_KNOWN: usize = 32_768;

/// A device's id as two hashes that nobody else can compute: 16 bytes, whatever its length.
pub(super) type DeviceKey = [u64; 2];

/// What is known of a device. 64 bytes with its key: a million devices take 140 MB at most.
struct Known {
    secrets: SecretPair,
    /// Of which connection, see [`Memory::doubt`].
    told_in: u32,
    /// Whether it was told of that the secret before is used late.
    is_late_told: bool,
}

/// What is known of a device without a secret that counts.
struct Without {
    refusal: MessageRefusal,
    /// Not in doubt until then.
    until: Instant,
    told_in: u32,
}

#[derive(Default)]
struct Part {
    known: HashMap<DeviceKey, Known>,
    none: HashMap<DeviceKey, Without>,
    seen: Option<Replays<DeviceKey>>,
    /// Rises with each change of one of its devices: what was asked for before is not kept.
    changes: u64,
}

/// See the module's words.
pub(super) struct Memory {
    parts: Box<[Mutex<Part>]>,
    hashers: [RandomState; 2],
    /// The connections so far.
    era: AtomicU32,
}

/// What came of a look.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// This. `doubtful`: by what has to be asked for again, soon.
    /// `late`: the control plane is to be told, once, that the secret before is used in its last quarter of an hour.
    Judged { answer: Result<SignedBy, MessageRefusal>, doubtful: bool, late: bool },
    /// Its secret has to be asked for first.
    Ask,
}

impl Memory {
    /// `now`: Unix seconds.
    pub(super) fn new(room: ReplayRoom, now: i64) -> Self {
        let of_all = room.of_all.div_ceil(PARTS).max(room.of_sender);
        let part = || Part { seen: Some(Replays::new(ReplayRoom { of_all, ..room }, now)), ..Part::default() };
        let parts = (0..PARTS).map(|_| Mutex::new(part())).collect();
        Self { parts, hashers: [RandomState::new(), RandomState::new()], era: AtomicU32::new(0) }
    }

    pub(super) fn key(&self, device: &str) -> DeviceKey {
        self.hashers.each_ref().map(|hasher| hasher.hash_one(device))
    }

    fn part(&self, key: DeviceKey) -> Option<MutexGuard<'_, Part>> {
        let index = usize::try_from(key[0] >> 32).unwrap_or(0) % PARTS;
        self.parts.get(index).map(|part| part.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Judges a message of `now` (Unix seconds) by what is known. `believes_doubtful`: whether secrets that were
    /// told of over an earlier connection still count.
    pub(super) fn look(
        &self,
        key: DeviceKey,
        message: &SignedMessage<'_>,
        (now, at): (i64, Instant),
        believes_doubtful: bool,
    ) -> Look {
        let era = self.era.load(Ordering::Acquire);
        let Some(mut part) = self.part(key) else { return Look::Ask };
        let part = &mut *part;
        if let Some(Without { refusal, until, told_in }) = part.none.get(&key) {
            let doubtful = at >= *until || *told_in != era;
            return match *told_in != era && !believes_doubtful {
                true => Look::Ask,
                false => Look::Judged { answer: Err(*refusal), doubtful, late: false },
            };
        }
        let Some(known) = part.known.get_mut(&key) else { return Look::Ask };
        let doubtful = known.told_in != era;
        if doubtful && !believes_doubtful {
            return Look::Ask;
        }
        let answer = known.secrets.verify(message, now).and_then(|by| {
            let seen = part.seen.as_mut().ok_or(MessageRefusal::Unknown)?;
            seen.note(key, message, now).map(|()| by)
        });
        let is_late =
            answer == Ok(SignedBy::Previous) && known.secrets.grace_left(now).is_some_and(|left| left <= LATE);
        let late = is_late && !std::mem::replace(&mut known.is_late_told, true);
        Look::Judged { answer, doubtful, late }
    }

    /// Whether a device has a secret that counts, or why not, as [`Self::look`] would find it now, and whether that is
    /// in doubt; `None`: it has to be asked for first.
    pub(super) fn standing(
        &self,
        key: DeviceKey,
        at: Instant,
        believes_doubtful: bool,
    ) -> Option<(Result<(), MessageRefusal>, bool)> {
        let era = self.era.load(Ordering::Acquire);
        let part = self.part(key)?;
        let (standing, told_in, is_over) = match (part.none.get(&key), part.known.get(&key)) {
            (Some(none), _) => (Err(none.refusal), none.told_in, at >= none.until),
            (None, Some(known)) => (Ok(()), known.told_in, false),
            (None, None) => return None,
        };
        (told_in == era || believes_doubtful).then_some((standing, told_in != era || is_over))
    }

    /// To be taken before a device's secret is asked for.
    pub(super) fn changes(&self, key: DeviceKey) -> u64 {
        self.part(key).map_or(0, |part| part.changes)
    }

    /// Keeps what was told, unless something changed since it was asked for. What is told is kept in either case for
    /// whoever waits: true.
    pub(super) fn keep(
        &self,
        key: DeviceKey,
        told: Result<SecretPair, MessageRefusal>,
        asked: (u64, u32),
        at: Instant,
    ) {
        let (changes, era) = asked;
        let Some(mut part) = self.part(key) else { return };
        let until = at.checked_add(NONE_FOR);
        let is_current = part.changes == changes && era == self.era.load(Ordering::Acquire);
        match told {
            Ok(secrets) if is_current => {
                part.none.remove(&key);
                if part.known.len() >= MOST_KNOWN && !part.known.contains_key(&key) {
                    // They are asked for again, as need be.
                    part.known.clear();
                }
                part.known.insert(key, Known { secrets, told_in: era, is_late_told: false });
            }
            // Asked for again at the next message.
            Ok(_) | Err(MessageRefusal::Unknown) => {
                part.known.remove(&key);
            }
            Err(refusal) => {
                part.known.remove(&key);
                if part.none.len() >= MOST_NONE {
                    part.none.retain(|_, none| at < none.until);
                }
                match until.filter(|_| part.none.len() < MOST_NONE && is_current) {
                    Some(until) => drop(part.none.insert(key, Without { refusal, until, told_in: era })),
                    None => drop(part.none.remove(&key)),
                }
            }
        }
    }

    /// Which connection secrets are told of now.
    pub(super) fn era(&self) -> u32 {
        self.era.load(Ordering::Acquire)
    }

    /// A device's secret, or its right to send, has changed.
    pub(super) fn change(&self, device: &str) {
        let key = self.key(device);
        let Some(mut part) = self.part(key) else { return };
        part.changes = part.changes.wrapping_add(1);
        part.known.remove(&key);
        part.none.remove(&key);
    }

    /// Another connection tells of changes: all that is known is in doubt.
    pub(super) fn doubt(&self) {
        self.era.fetch_add(1, Ordering::AcqRel);
        for part in &self.parts {
            let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
            part.changes = part.changes.wrapping_add(1);
        }
    }

    /// All secrets are forgotten: we may not know them.
    pub(super) fn forget_all(&self) {
        for part in &self.parts {
            let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
            part.changes = part.changes.wrapping_add(1);
            part.known = HashMap::new();
            part.none = HashMap::new();
        }
    }

    /// Forgets which messages were seen that could not come again. Call it on a timer, each minute.
    pub(super) fn tidy(&self, now: i64) {
        for part in &self.parts {
            let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(seen) = part.seen.as_mut() {
                seen.forget(now);
            }
        }
    }

    /// Devices whose secrets are kept, and those of which it is remembered that they have none.
    pub(super) fn len(&self) -> (usize, usize) {
        let parts = self.parts.iter().map(|part| part.lock().unwrap_or_else(PoisonError::into_inner));
        parts.fold((0, 0), |(known, none), part| {
            (known.saturating_add(part.known.len()), none.saturating_add(part.none.len()))
        })
    }
}

#[cfg(test)]
mod tests {
    use signet_messages::SigningSecret;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn memory() -> Memory {
        Memory::new(ReplayRoom::default(), NOW)
    }

    fn secret(byte: u8) -> SigningSecret {
        SigningSecret::new([byte; 32])
    }

    fn tell(memory: &Memory, device: &str, told: Result<u8, MessageRefusal>) {
        let key = memory.key(device);
        let asked = (memory.changes(key), memory.era());
        memory.keep(key, told.map(|byte| SecretPair::new(secret(byte), None)), asked, Instant::now());
    }

    fn look(memory: &Memory, device: &str, id: &str, byte: u8) -> Look {
        let (timestamp, signatures) = (NOW.to_string(), secret(byte).sign(id, NOW, b"x"));
        let message = SignedMessage { id, timestamp: &timestamp, signatures: &signatures, body: b"x" };
        memory.look(memory.key(device), &message, (NOW, Instant::now()), true)
    }

    fn judged(answer: Result<SignedBy, MessageRefusal>) -> Look {
        Look::Judged { answer, doubtful: false, late: false }
    }

    /// Once for each change.
    #[test]
    fn late_use_of_the_secret_before_is_to_be_told_once() {
        let memory = memory();
        let key = memory.key("d1");
        let asked = (memory.changes(key), memory.era());
        memory.keep(key, Ok(SecretPair::new(secret(2), Some((secret(1), NOW + LATE)))), asked, Instant::now());
        let late = |id| matches!(look(&memory, "d1", id, 1), Look::Judged { answer: Ok(_), late: true, .. });
        assert_eq!(["a", "b"].map(late), [true, false]);
    }

    #[test]
    fn a_secret_is_asked_for_once_and_again_after_a_change() {
        let memory = memory();
        assert_eq!(look(&memory, "d1", "a", 1), Look::Ask);
        tell(&memory, "d1", Ok(1));
        assert_eq!(look(&memory, "d1", "a", 1), judged(Ok(SignedBy::Current)));
        assert_eq!(look(&memory, "d1", "a", 1), judged(Err(MessageRefusal::Replayed)));
        assert_eq!(look(&memory, "d1", "b", 2), judged(Err(MessageRefusal::WrongSignature)));
        memory.change("d2");
        assert_eq!(look(&memory, "d1", "c", 1), judged(Ok(SignedBy::Current)), "another's change");
        memory.change("d1");
        assert_eq!(look(&memory, "d1", "d", 1), Look::Ask);
        tell(&memory, "d1", Ok(2));
        assert_eq!(look(&memory, "d1", "a", 2), judged(Err(MessageRefusal::Replayed)), "what was seen stays seen");
    }

    #[test]
    fn what_was_asked_for_before_a_change_is_not_kept() {
        let memory = memory();
        let key = memory.key("d1");
        let asked = (memory.changes(key), memory.era());
        memory.change("d1");
        memory.keep(key, Ok(SecretPair::new(secret(1), None)), asked, Instant::now());
        assert_eq!(look(&memory, "d1", "a", 1), Look::Ask);
    }

    #[test]
    fn that_there_is_none_is_remembered_shortly_and_no_flood_takes_more_room() {
        let memory = memory();
        tell(&memory, "ghost", Err(MessageRefusal::UnknownSender));
        assert_eq!(look(&memory, "ghost", "a", 1), judged(Err(MessageRefusal::UnknownSender)));
        let (timestamp, later) = (NOW.to_string(), Instant::now() + NONE_FOR);
        let message = SignedMessage { id: "a", timestamp: &timestamp, signatures: "", body: b"" };
        let doubtful = Look::Judged { answer: Err(MessageRefusal::UnknownSender), doubtful: true, late: false };
        assert_eq!(memory.look(memory.key("ghost"), &message, (NOW, later), true), doubtful);
        memory.doubt();
        assert_eq!(look(&memory, "ghost", "a", 1), doubtful);
        let standing = |believes_doubtful| memory.standing(memory.key("ghost"), Instant::now(), believes_doubtful);
        assert_eq!(standing(true), Some((Err(MessageRefusal::UnknownSender), true)));
        assert_eq!(standing(false), None);
        for number in 0..300_000 {
            tell(&memory, &format!("ghost-{number}"), Err(MessageRefusal::UnknownSender));
        }
        assert!(memory.len().1 <= PARTS * MOST_NONE);
        memory.change("ghost-1");
        assert_eq!(look(&memory, "ghost-1", "a", 1), Look::Ask, "it may have one now");
    }

    #[test]
    fn secrets_of_an_ended_connection_are_believed_for_a_while_only() {
        let memory = memory();
        tell(&memory, "d1", Ok(1));
        memory.doubt();
        let doubtful = Look::Judged { answer: Ok(SignedBy::Current), doubtful: true, late: false };
        assert_eq!(look(&memory, "d1", "a", 1), doubtful);
        let timestamp = NOW.to_string();
        let message = SignedMessage { id: "b", timestamp: &timestamp, signatures: "", body: b"" };
        assert_eq!(memory.look(memory.key("d1"), &message, (NOW, Instant::now()), false), Look::Ask);
        tell(&memory, "d1", Ok(1));
        assert_eq!(look(&memory, "d1", "c", 1), judged(Ok(SignedBy::Current)));
        memory.forget_all();
        assert_eq!(look(&memory, "d1", "d", 1), Look::Ask);
    }

    #[test]
    fn a_known_device_takes_64_bytes() {
        assert_eq!(size_of::<(DeviceKey, Known)>(), 64);
    }
}
