//! Proofs from the outside: what counts, what does not, and what happens when those who vouch are slow, down or lying.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod aws_iam;
mod aws_presigned;
mod emulator;
mod foreign;
mod oidc;
mod oidc_issuer;
mod options;
mod world;
mod x509;
