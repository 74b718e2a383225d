//! Signed messages: the secrets that devices share with their tenant's verifiers, the key that these are kept
//! under, and which messages were accepted. What a signature is, is `signet-messages`'s.

mod key;
mod secret;
mod seen;

pub use key::MessageKey;
pub use secret::{GRACE, LATE_AFTER, MessageSecret, PreviousSecret, SealedSecret, bound_to};
pub use seen::{SEEN_FOR, SeenMessage};
