//! Why a message is refused.

/// Why a message is not to be believed. Each has a reason in UPPER_SNAKE_CASE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum MessageRefusal {
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
    /// The sender has no secret, or is none of the verifier's tenant.
    #[error("the sender is not known, or has no secret")]
    UnknownSender,
    /// The sender, or its tenant, is suspended or deleted.
    #[error("the sender is suspended or deleted")]
    SenderRefused,
    /// The verifier has not heard for too long whose secrets hold, or cannot ask.
    #[error("the verifier cannot know whether the sender's secret still holds")]
    Unknown,
}

impl MessageRefusal {
    /// UPPER_SNAKE_CASE.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "MESSAGE_MALFORMED",
            Self::TooOld => "MESSAGE_TOO_OLD",
            Self::TooNew => "MESSAGE_TOO_NEW",
            Self::WrongSignature => "MESSAGE_WRONG_SIGNATURE",
            Self::Replayed => "MESSAGE_REPLAYED",
            Self::TooMany => "TOO_MANY_MESSAGES",
            Self::UnknownSender => "MESSAGE_SENDER_UNKNOWN",
            Self::SenderRefused => "MESSAGE_SENDER_REFUSED",
            Self::Unknown => "MESSAGE_NOT_VERIFIABLE",
        }
    }
}
