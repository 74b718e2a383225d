//! The command line, run as its users run it.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod at_once;
mod audit_check;
mod authz;
mod authz_usage;
mod bootstrapping;
mod contexts;
mod devices;
mod end_to_end;
mod exit_codes;
mod exporting;
mod fleet;
mod golden;
mod help;
mod joining;
mod login;
mod lost_answers;
mod messages;
mod output;
mod overwriting;
mod proofs;
mod restoring;
mod run;
mod runbooks;
mod secrets;
mod server;
mod terraform;
mod tokens;
