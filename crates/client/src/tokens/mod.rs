//! Tokens of an identity, kept until half of their life and asked for anew then. A token is the certificate's that the
//! control plane saw: with the next certificate there are others (RFC 8705 section 6.3).

mod cache;
mod channel;
mod handle;
mod issued;

pub use channel::TokenChannel;
pub use handle::Tokens;
pub use issued::{BrokerTokenWish, IssuedToken};
