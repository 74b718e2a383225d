//! The command line, run as its users run it.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod audit_check;
mod contexts;
mod exit_codes;
mod golden;
mod help;
mod output;
mod run;
mod secrets;
