//! `principal access-token`, `principal broker-token`, `principal svid` and `principal token-key`. Join tokens are
//! `enrollment::tokens`.

mod access;
mod broker;
mod keys;
mod svid;

pub use access::AccessTokenCommand;
pub use broker::BrokerTokenCommand;
pub use keys::TokenKeyCommand;
pub use svid::SvidCommand;

pub use access::run as run_access_token;
pub use broker::run as run_broker_token;
pub use keys::run as run_token_key;
pub use svid::run as run_svid;
