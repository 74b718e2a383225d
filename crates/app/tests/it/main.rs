//! The operations over the embedded store: what they do, what they refuse, and what crashes and races leave behind.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod attested;
mod attestor;
mod audit;
mod audit_chain;
mod authorization;
mod bad_input;
mod bootstrap;
mod cas;
mod certificates;
mod crashes;
mod drops;
mod enrollment;
mod enrollment_limits;
mod exchange;
mod expiry;
mod failures;
mod feed;
mod feed_late;
mod feed_pace;
mod invariants;
mod issuance;
mod keys;
mod ledger;
mod lineage;
mod lists;
mod lives;
mod makers;
mod messages;
mod nodes;
mod ocsp;
mod operations;
mod operators;
mod pace;
mod principals;
mod privileges;
mod publication;
mod purge;
mod quotas;
mod reads_and_keys;
mod refused;
mod renewals;
mod restart;
mod restore;
mod restore_deleted;
mod restore_interrupted;
mod restored;
mod retries;
mod rules;
mod sealed_ahead;
mod sealing_late;
mod security_events;
mod sweep;
mod tenant_deletion;
mod tenants;
mod token_keys;
mod tokens;
mod unreadable;
mod world;
