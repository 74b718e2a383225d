//! Secrets that devices sign messages with: made, rotated, deleted, given to verifiers; and messages, verified.

mod fetching;
mod keys;
mod secrets;
mod senders;
mod verification;

pub use fetching::{FetchedPair, FetchedSecret, fetch_message_secrets};
pub(crate) use keys::DataKeys;
pub use secrets::{
    RotateMessageSecret, RotatedSecret, delete_message_secret, get_message_secret, list_message_secrets,
    rotate_message_secret,
};
pub use senders::Admits;
pub(crate) use verification::Accepting;
pub use verification::{
    AcceptedMessage, MessageQuestion, MessageVerdict, forget_messages, verify_message, verify_messages,
};
