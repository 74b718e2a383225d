//! What the core decides, checked from outside.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod affected;
mod audit;
mod authz;
mod commit;
mod enrollment_rules;
mod history;
mod refused;
mod renewal;
mod rotation;
mod sealing;
mod spiffe;
mod trust;
