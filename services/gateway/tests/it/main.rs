//! A gateway in the test's own process, between a real control plane and real servers.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod ambiguous;
mod client;
mod configuration;
mod doors;
mod l4;
mod limits;
mod outage;
mod passing;
mod reload;
mod streams;
mod tokens;
mod unread;
mod upstreams;
mod world;
