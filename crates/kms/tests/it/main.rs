//! The adapter against an AWS endpoint that has our keys. Every test makes keys of its own.

mod faults;
mod keys;
mod support;

signet_testkit::signer_suite!(support::keys);
