//! The SDK's base: credentials, a gRPC channel that authenticates with them, enrollment and renewal.

mod connector;
mod credentials;
mod error;
mod files;
mod identity;
mod retry;
mod root;
mod tls;

pub use connector::Connector;
pub use credentials::{Credentials, CredentialsError, Facts};
pub use error::{Alert, ClientError, ConnectError, RpcError};
pub use files::{CA_FILE, CERT_FILE, KEY_FILE};
pub use identity::{enroll, renew};
pub use retry::{Retry, request_id};
pub use root::{RootError, fetch_root, fingerprint};
