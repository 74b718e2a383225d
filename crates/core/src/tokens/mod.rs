//! Tokens for those who want JWTs: access tokens (RFC 9068) bound to a certificate (RFC 8705), JWT-SVIDs and WIT-SVIDs,
//! broker tokens.
//! The keys that sign them, and what tokens may say.

mod keys;
mod lifetime;

pub use keys::{
    KEY_LIFETIME, KeyStep, PUBLISH_LEAD, TokenAlgorithm, TokenKey, TokenKeys, TokenUse, is_believable, kept, plan_keys,
};
pub use lifetime::{DEFAULT_BROKER_LIFETIME, DEFAULT_LIFETIME, SHORTEST_LIFETIME, expiry};
