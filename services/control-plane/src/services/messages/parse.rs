//! Requests about messages.

use signet_core::{Error, RequestId};
use signet_messages::SignedMessage;
use signet_proto::v1 as pb;

/// Most messages, or devices, of one call.
const MOST: usize = 100;

pub(super) fn bounded(field: &'static str, count: usize) -> Result<(), Error> {
    match count {
        0 => Err(Error::invalid(field, "REQUIRED", "is required, 1 to 100")),
        1..=MOST => Ok(()),
        _ => Err(Error::invalid(field, "TOO_MANY", "must be at most 100")),
    }
}

/// What is wrong with it is the answer, and no error.
pub(super) fn message(message: &pb::SignedMessage) -> SignedMessage<'_> {
    SignedMessage {
        id: &message.message_id,
        timestamp: &message.timestamp,
        signatures: &message.signature,
        body: &message.body,
    }
}

pub(super) fn optional_request_id(text: &str) -> Result<Option<RequestId>, Error> {
    if text.is_empty() { Ok(None) } else { signet_app::request_id(text).map(Some) }
}
