//! `principal access-token`, `principal svid` and `principal token-key`. Join tokens are `enrollment::tokens`.

mod access;
mod keys;
mod svid;

pub use access::AccessTokenCommand;
pub use keys::TokenKeyCommand;
pub use svid::SvidCommand;

pub use access::run as run_access_token;
pub use keys::run as run_token_key;
pub use svid::run as run_svid;
