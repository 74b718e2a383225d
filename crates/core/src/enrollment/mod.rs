//! How a principal gets its first certificate: by a join token, or by a rule that trusts somebody else's proof.

pub mod attestation;
pub mod rule;
mod token;

pub use token::{EnrollmentToken, Maker, MakerLost, PrincipalTemplate, UsedProof};
