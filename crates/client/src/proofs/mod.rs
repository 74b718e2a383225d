//! Proofs that somebody else vouches for: AWS, an OIDC issuer, a device maker. Secrets stay here; what is sent names
//! the environment, the tenant and the new key, or, for OIDC, an audience.

mod aws_iam;
mod binding;
mod oidc;
mod x509;

pub use aws_iam::AwsIam;
pub use binding::{Binding, ProofError, environment_of};
pub use oidc::OidcToken;
pub use x509::X509;
