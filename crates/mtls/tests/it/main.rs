//! Connections from the outside: real rustls and OpenSSL clients against the acceptor.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod bans;
mod certificates;
mod client;
mod forged;
mod hostile;
mod key_exchange;
mod openssl;
mod posing;
mod proxies;
mod resumption;
mod server_certificate;
mod sessions;
mod world;
