//! Which messages were seen: bounded, and what cannot be remembered is refused.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
};

use crate::{MessageRefusal, SignedMessage, TOLERANCE_SECONDS};

/// How many ids are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayRoom {
    /// Of one sender, for ten minutes: its messages in that time.
    pub of_sender: usize,
    /// Of all.
    pub of_all: usize,
}

impl Default for ReplayRoom {
    /// 2,048 of one sender (three a second), a million of all: 16 bytes each.
    fn default() -> Self {
        Self { of_sender: 2048, of_all: 1 << 20 }
    }
}

/// The ids that were seen of each sender `S`, each until no message of its time could come again.
///
/// Ids are told apart by 64 bits of a hash that nobody else can compute: of two ids of a sender that have the same,
/// the second one is refused.
#[derive(Debug)]
pub struct Replays<S> {
    seen: HashMap<S, Vec<Seen>>,
    number: usize,
    room: ReplayRoom,
    hasher: RandomState,
    /// Unix seconds. What was signed before is not remembered any more, or never was: a clock that is set back does
    /// not bring it back.
    since: i64,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    id: u64,
    /// Unix seconds; what was signed then cannot be verified any more.
    until: i64,
}

impl<S: Eq + Hash> Replays<S> {
    /// A memory that begins at `now` (Unix seconds). What was signed before might have been seen by the one before
    /// it, and is refused.
    pub fn new(room: ReplayRoom, now: i64) -> Self {
        Self { seen: HashMap::new(), number: 0, room, hasher: RandomState::new(), since: now }
    }

    /// Notes a message that is signed well. It is refused if it was seen, or could have been, or if there is no room.
    pub fn note(&mut self, sender: S, message: &SignedMessage<'_>, now: i64) -> Result<(), MessageRefusal> {
        let at = message.time()?;
        if at < self.since {
            return Err(MessageRefusal::TooOld);
        }
        if self.number >= self.room.of_all && !self.seen.contains_key(&sender) {
            return Err(MessageRefusal::TooMany);
        }
        let id = self.hasher.hash_one(message.id);
        let of_sender = self.seen.entry(sender).or_default();
        if of_sender.iter().any(|seen| seen.id == id && seen.until > now) {
            return Err(MessageRefusal::Replayed);
        }
        if of_sender.len() >= self.room.of_sender {
            let before = of_sender.len();
            of_sender.retain(|seen| seen.until > now);
            self.number = self.number.saturating_sub(before.saturating_sub(of_sender.len()));
            self.since = self.since.max(oldest(now));
        }
        if of_sender.len() >= self.room.of_sender || self.number >= self.room.of_all {
            return Err(MessageRefusal::TooMany);
        }
        // Most senders have one or two.
        if of_sender.len() == of_sender.capacity() {
            of_sender.reserve_exact(of_sender.len().clamp(1, 512));
        }
        of_sender.push(Seen { id, until: at.saturating_add(TOLERANCE_SECONDS).saturating_add(1) });
        self.number = self.number.saturating_add(1);
        Ok(())
    }

    /// Takes back a message that was noted and was not accepted after all.
    pub fn withdraw(&mut self, sender: &S, message: &SignedMessage<'_>) {
        let id = self.hasher.hash_one(message.id);
        let Some(of_sender) = self.seen.get_mut(sender) else { return };
        if let Some(at) = of_sender.iter().position(|seen| seen.id == id) {
            of_sender.swap_remove(at);
            self.number = self.number.saturating_sub(1);
        }
    }

    /// Forgets what could not be verified any more, and senders of whom nothing is left. Call it on a timer, each
    /// minute.
    pub fn forget(&mut self, now: i64) {
        self.seen.retain(|_, of_sender| {
            of_sender.retain(|seen| seen.until > now);
            of_sender.shrink_to_fit();
            !of_sender.is_empty()
        });
        self.number = self.seen.values().map(Vec::len).sum();
        self.since = self.since.max(oldest(now));
    }

    /// Whether no more can be remembered, of whomever.
    pub const fn is_full(&self) -> bool {
        self.number >= self.room.of_all
    }

    /// How many ids are remembered.
    pub const fn len(&self) -> usize {
        self.number
    }

    /// Whether none is.
    pub const fn is_empty(&self) -> bool {
        self.number == 0
    }
}

/// The time of the oldest message that is verified at `now`.
const fn oldest(now: i64) -> i64 {
    now.saturating_sub(TOLERANCE_SECONDS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn note(seen: &mut Replays<u8>, sender: u8, id: &str, at: i64, now: i64) -> Result<(), MessageRefusal> {
        let timestamp = at.to_string();
        seen.note(sender, &SignedMessage { id, timestamp: &timestamp, signatures: "", body: b"" }, now)
    }

    #[test]
    fn an_id_is_good_once_for_each_sender() {
        let mut seen = Replays::new(ReplayRoom::default(), NOW);
        assert_eq!(note(&mut seen, 1, "a", NOW, NOW), Ok(()));
        assert_eq!(note(&mut seen, 1, "a", NOW + 1, NOW), Err(MessageRefusal::Replayed));
        assert_eq!(note(&mut seen, 2, "a", NOW, NOW), Ok(()));
        assert_eq!(note(&mut seen, 1, "b", NOW, NOW), Ok(()));
        assert_eq!(seen.len(), 3);
        seen.forget(NOW + 301);
        assert!(seen.is_empty());
    }

    #[test]
    fn what_was_signed_before_a_verifier_began_is_refused() {
        let mut seen = Replays::new(ReplayRoom::default(), NOW);
        assert_eq!(note(&mut seen, 1, "a", NOW - 1, NOW), Err(MessageRefusal::TooOld));
    }

    #[test]
    fn a_sender_that_has_used_its_room_costs_others_nothing() {
        let mut seen = Replays::new(ReplayRoom { of_sender: 2, of_all: 4 }, NOW);
        for (sender, id, expected) in [
            (1, "a", Ok(())),
            (1, "b", Ok(())),
            (1, "c", Err(MessageRefusal::TooMany)),
            (2, "a", Ok(())),
            (3, "a", Ok(())),
            (4, "a", Err(MessageRefusal::TooMany)),
            (1, "a", Err(MessageRefusal::Replayed)),
        ] {
            assert_eq!(note(&mut seen, sender, id, NOW, NOW), expected, "{sender} {id}");
        }
        assert_eq!(note(&mut seen, 1, "c", NOW + 301, NOW + 301), Ok(()), "its older ones are over");
    }

    #[test]
    fn what_is_withdrawn_may_come_again() {
        let mut seen = Replays::new(ReplayRoom::default(), NOW);
        note(&mut seen, 1, "a", NOW, NOW).unwrap();
        let message = SignedMessage { id: "a", timestamp: "1800000000", signatures: "", body: b"" };
        seen.withdraw(&1, &message);
        assert!(seen.is_empty());
        assert_eq!(note(&mut seen, 1, "a", NOW, NOW), Ok(()));
    }

    #[test]
    fn a_clock_that_is_set_back_brings_nothing_back() {
        let mut seen = Replays::new(ReplayRoom::default(), NOW);
        note(&mut seen, 1, "a", NOW, NOW).unwrap();
        seen.forget(NOW + 3600);
        assert_eq!(note(&mut seen, 1, "a", NOW, NOW), Err(MessageRefusal::TooOld));
    }

    proptest! {
        /// Whatever the clock does, nothing is let in twice.
        #[test]
        fn nothing_is_let_in_twice(steps in prop::collection::vec((0_u8..3, 0_u8..6, -700_i64..700, any::<bool>()), 1..80)) {
            let mut seen = Replays::new(ReplayRoom { of_sender: 3, of_all: 6 }, NOW);
            let mut let_in = std::collections::HashSet::new();
            let mut now = NOW;
            for (sender, id, step, forgets) in steps {
                now += step;
                if forgets {
                    seen.forget(now);
                }
                // A message is of one time, whenever it comes, and verified within the tolerance only.
                let at = NOW + i64::from(id) * 100;
                if (now - at).abs() <= TOLERANCE_SECONDS && note(&mut seen, sender, &id.to_string(), at, now).is_ok() {
                    prop_assert!(let_in.insert((sender, id)));
                }
                prop_assert!(seen.len() <= 6);
            }
        }
    }
}
