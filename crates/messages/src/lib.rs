//! Signed messages in the form of Standard Webhooks 1.0 (symmetric), as pure functions: HMAC-SHA256 over
//! `id.timestamp.body` with a secret that the sender and its verifiers share.
//!
//! A message is good if it is signed with a secret that holds now, within five minutes of its time, and was not seen
//! before. Whose secret it is, and what the message means, is the caller's matter.

mod replays;
mod secret;
mod signed;

pub use replays::{Replays, Room};
pub use secret::{Secret, SecretFault};
pub use signed::{MAX_ID, Secrets, Signed, TOLERANCE_SECONDS, Verified};

/// Why a message is not to be believed. Each has a reason in UPPER_SNAKE_CASE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// No id, no timestamp or no signature of version 1, or one that nobody can read.
    #[error("the message's id, timestamp or signature cannot be read")]
    Malformed,
    /// Signed more than five minutes ago, or before this verifier could know what was seen.
    #[error("the message was signed too long ago")]
    TooOld,
    /// Signed by a clock that is more than five minutes ahead.
    #[error("the message was signed by a clock that is ahead")]
    TooNew,
    /// Signed with another secret, or changed since.
    #[error("no secret that holds now has signed this message")]
    WrongSignature,
    /// Its id was seen before.
    #[error("a message with this id was seen before")]
    Replayed,
    /// So many ids of the sender, or of all, are remembered that this one cannot be.
    #[error("the sender has sent more messages in ten minutes than are remembered")]
    TooMany,
}

impl Refusal {
    /// UPPER_SNAKE_CASE.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "MESSAGE_MALFORMED",
            Self::TooOld => "MESSAGE_TOO_OLD",
            Self::TooNew => "MESSAGE_TOO_NEW",
            Self::WrongSignature => "MESSAGE_WRONG_SIGNATURE",
            Self::Replayed => "MESSAGE_REPLAYED",
            Self::TooMany => "TOO_MANY_MESSAGES",
        }
    }
}
