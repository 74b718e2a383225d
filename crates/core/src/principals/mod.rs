//! Principals: who holds certificates.

mod principal;

pub use principal::{HeldCertificate, Principal, PrincipalStatus};
