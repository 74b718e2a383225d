//! Signed messages in the form of Standard Webhooks 1.0 (symmetric), as pure functions: HMAC-SHA256 over
//! `id.timestamp.body` with a secret that the sender and its verifiers share.
//!
//! A message is good if it is signed with a secret that holds now, within five minutes of its time, and was not seen
//! before. Whose secret it is, and what the message means, is the caller's matter.

mod enveloped;
mod headers;
mod refusal;
mod replays;
mod sealed;
mod secret;
mod signed;

pub use headers::{HEADERS, ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER};
pub use refusal::MessageRefusal;
pub use replays::{ReplayRoom, Replays};
pub use sealed::{DataKey, Unsealable};
pub use secret::{SigningSecret, SigningSecretFault};
pub use signed::{LONGEST_SIGNATURES, MAX_ID, SecretPair, SignedBy, SignedMessage, TOLERANCE_SECONDS};
