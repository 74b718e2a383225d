//! Answers about messages.

use signet_app::messages::{AcceptedMessage, FetchedSecret, RotatedSecret};
use signet_core::{Time, messages::MessageSecret};
use signet_messages::{MessageRefusal, SignedBy};
use signet_proto::v1::{self as pb, MatchedSecret};

use crate::services::wire;

pub(super) fn rotated(rotated: &RotatedSecret, now: Time) -> pb::RotatedMessageSecret {
    pb::RotatedMessageSecret {
        secret: rotated.secret.to_text().to_string(),
        metadata: Some(metadata(&rotated.record, now)),
    }
}

pub(super) fn metadata(of: &MessageSecret, now: Time) -> pb::MessageSecret {
    let previous = of.in_grace(now);
    pb::MessageSecret {
        principal_id: of.principal.to_string(),
        secret_id: of.current.id.to_string(),
        create_time: Some(wire::time(of.current.made_at)),
        previous_secret_id: previous.map(|previous| previous.secret.id.to_string()).unwrap_or_default(),
        previous_expire_time: previous.map(|previous| wire::time(previous.until)),
        previous_used_late: previous.is_some_and(|previous| previous.is_late_noted),
    }
}

pub(super) fn answer(answer: &Result<AcceptedMessage, MessageRefusal>) -> pb::VerifyMessageResponse {
    match answer {
        Ok(accepted) => pb::VerifyMessageResponse {
            verified: true,
            reason: String::new(),
            matched: match accepted.by {
                SignedBy::Current => MatchedSecret::Current.into(),
                SignedBy::Previous => MatchedSecret::Previous.into(),
            },
            grace_expire_time: accepted.grace_until.map(wire::time),
        },
        Err(refusal) => pb::VerifyMessageResponse { reason: refusal.reason().to_owned(), ..Default::default() },
    }
}

pub(super) fn fetched(of: &FetchedSecret) -> pb::FetchedMessageSecret {
    let principal_id = of.principal.to_string();
    match &of.secrets {
        Ok((secret, previous)) => pb::FetchedMessageSecret {
            principal_id,
            secret: secret.as_bytes().to_vec(),
            previous_secret: previous.as_ref().map(|(secret, _)| secret.as_bytes().to_vec()).unwrap_or_default(),
            previous_expire_time: previous.as_ref().map(|(_, until)| wire::time(*until)),
            reason: String::new(),
        },
        Err(refusal) => {
            pb::FetchedMessageSecret { principal_id, reason: refusal.reason().to_owned(), ..Default::default() }
        }
    }
}
