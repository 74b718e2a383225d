//! How a holder's certificates follow each other, and what a second holder of a key gives away.

use crate::{
    Time,
    certificates::{Certificate, CertificateState},
};

/// Most renewed certificates of one instance that stay valid until they expire. Renewals in the usual window make two
/// at most.
pub const MAX_SUPERSEDED: usize = 8;
/// So many renewed ones may still be valid before renewals are paced: operators and tests renew a few times in a row.
pub const UNPACED: usize = 4;
/// Shortest time between two renewals of an instance that has renewed more often, milliseconds; of short-lived
/// certificates a tenth of their life.
const PACE: i64 = 60_000;

/// When `presented` may have its next certificate at the earliest; `None`: at once, as the first few of an instance
/// may. `superseded`: how many renewed ones of the instance are still valid besides it.
///
/// Each renewal costs a signature and records, and one too many, or an answer that was lost, an entry that every node
/// keeps until the certificate would have expired. So what goes on and on slows down: to a tenth of a life.
pub fn earliest_next(
    presented: &Certificate,
    standing: Standing,
    successor: Option<&Certificate>,
    superseded: usize,
) -> Option<Time> {
    let made_at = presented.serial.made_at();
    let tenth = presented.not_after.millis_since(made_at).max(0) / 10;
    let after = |from: Time, wait: i64| Some(Time::from_unix_millis(from.unix_millis().saturating_add(wait)));
    match standing {
        Standing::Newest if superseded < UNPACED => None,
        Standing::Newest if superseded >= MAX_SUPERSEDED => after(made_at, tenth),
        Standing::Newest => after(made_at, PACE.min(tenth)),
        Standing::AnswerLost => {
            // The first is made good at once, each further one after twice the time.
            let doubled = presented.lineage.answers_lost.checked_sub(1)?.min(20);
            after(successor?.serial.made_at(), PACE.saturating_mul(1 << doubled).min(tenth))
        }
        Standing::Copied | Standing::Withdrawn | Standing::Unknown => None,
    }
}

/// What a certificate that asks for the next one is within its instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The newest.
    Newest,
    /// Renewed before, but its successor was never confirmed and never renewed: the answer was lost on its way to the
    /// disk. The successor must go, since nobody is known to hold it.
    AnswerLost,
    /// Renewed before, and its successor is in use: there is a second holder of this key, by theft or from an old
    /// image.
    Copied,
    /// Renewed before, and somebody revoked its successor: that right is not had again by way of its predecessor.
    Withdrawn,
    /// Renewed before, and nothing is known of its successor any more: neither that it was in use nor that it was not.
    Unknown,
}

/// What `presented` is. `successor` is the record that its lineage names, if it is still kept: as long as that of
/// `presented`, unless an earlier version made it.
pub fn standing(presented: &Certificate, successor: Option<&Certificate>) -> Standing {
    if presented.lineage.successor.is_none() {
        return Standing::Newest;
    }
    let Some(successor) = successor else { return Standing::Unknown };
    if successor.lineage.confirmed.is_some() || successor.lineage.successor.is_some() {
        return Standing::Copied;
    }
    // One that is replaced is named no longer, so it was not a renewal that revoked it.
    if successor.state == CertificateState::Issued { Standing::AnswerLost } else { Standing::Withdrawn }
}
