//! The adapter against an AWS endpoint that has our tables. They are shared: every test makes ids of its own.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod faults;
mod raw;
mod schema;
mod support;

signet_testkit::store_suite!(support::store);
