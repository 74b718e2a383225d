//! How a holder's certificates follow each other, and what a second holder of a key gives away.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{
    CaId, Serial, Time,
    certificate::{Certificate, CertificateState},
};

/// A certificate's place in its *instance*: the certificate that somebody enrolled, and all that were renewed from it. An
/// instance is held in one place; who renews a certificate whose successor is in use holds a copy of its key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// The first certificate of the instance; `None`: this one.
    #[serde(default)]
    pub instance: Option<Serial>,
    /// How many renewals lie between the first and this one.
    #[serde(default)]
    pub generation: u64,
    /// How often its successor was replaced because the answer was lost.
    #[serde(default)]
    pub answers_lost: u32,
    /// The certificate that was last renewed from this one.
    #[serde(default)]
    pub successor: Option<Successor>,
    /// That its holder has stored it: from then on nobody needs what it was renewed from.
    #[serde(default)]
    pub confirmed: Option<Confirmation>,
    /// When the instance was locked, because a copied key was used.
    #[serde(default)]
    pub locked_at: Option<Time>,
}

/// Most renewed certificates of one instance that stay valid until they expire. Renewals in the usual window make two at most.
pub const MAX_SUPERSEDED: usize = 8;
/// So many renewed ones may still be valid before renewals are paced: operators and tests renew a few times in a row.
pub const UNPACED: usize = 4;
/// Shortest time between two renewals of an instance that has renewed more often, milliseconds; of short-lived certificates a
/// tenth of their life.
const PACE: i64 = 60_000;

/// When `presented` may have its next certificate at the earliest; `None`: at once, as the first few of an instance may.
/// `superseded`: how many renewed ones of the instance are still valid besides it.
///
/// Each renewal costs a signature and records, and one too many, or an answer that was lost, an entry that every node keeps
/// until the certificate would have expired. So what goes on and on slows down: to a tenth of a life.
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

/// Names the certificate that took another's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Successor {
    /// The CA that signed it.
    pub issuer: CaId,
    /// Its serial number.
    pub serial: Serial,
}

/// A holder's word that it has stored its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// When.
    pub at: Time,
    /// Where the call came from.
    pub source: Option<IpAddr>,
}

/// What a certificate that asks for the next one is within its instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The newest.
    Newest,
    /// Renewed before, but its successor was never confirmed and never renewed: the answer was lost on its way to the
    /// disk. The successor must go, since nobody is known to hold it.
    AnswerLost,
    /// Renewed before, and its successor is in use: there is a second holder of this key, by theft or from an old image.
    Copied,
    /// Renewed before, and somebody revoked its successor: that right is not had again by way of its predecessor.
    Withdrawn,
    /// Renewed before, and nothing is known of its successor any more: neither that it was in use nor that it was not.
    Unknown,
}

/// What `presented` is. `successor` is the record that its lineage names, if it is still kept: as long as that of `presented`,
/// unless an earlier version made it.
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
