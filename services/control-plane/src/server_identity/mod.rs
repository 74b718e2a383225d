//! Where the server's own certificate and key live, and what a new client or node must know: a port with two
//! adapters, PEM files and AWS (a Secrets Manager secret, SSM parameters).

mod aws;
mod files;
pub(crate) mod judge;
mod port;
mod secret;

pub use aws::AwsServerIdentity;
pub use files::FileServerIdentity;
pub use port::{PublicMaterial, ServerCredentials, ServerIdentityError, ServerIdentityStore};
