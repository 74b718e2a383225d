//! Keys for tokens: made, rotated, unwrapped once in a process; and what tokens say.

mod broker;
pub mod claims;
mod keys;
mod signing;

pub use keys::{RotateTokenKeys, advance, get_token_keys, rotate_token_keys};
pub(crate) use signing::Unwrapped;
pub use signing::{forget_keys, signing_key};
