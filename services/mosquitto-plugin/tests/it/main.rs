//! The plugin in a real Mosquitto, beside a real control plane. What is delivered counts, not what the broker answers.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panicking"
)]

mod broker;
mod broker_tokens;
mod endings;
mod hostile;
mod loading;
mod mqtt;
mod outage;
mod signed;
mod staying;
mod tokens;
mod topics;
mod unasked;
mod world;
