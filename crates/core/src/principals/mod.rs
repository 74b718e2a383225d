//! Principals: who holds certificates.

mod principal;

pub use principal::{HeldCertificate, MAX_ENDED, Principal, PrincipalStatus};
