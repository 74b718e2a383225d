//! Certificates, requests and revocation lists: bytes in, bytes out. No I/O, no clock, no network.
//!
//! Issuing: [`profile`] says what a certificate holds, [`csr`] brings the key and its proof of possession,
//! [`issue`] builds and lints the to-be-signed bytes and later joins them with the signature. Checking:
//! [`chain::verify_client`]; certificates of other CAs: [`foreign::verify`]. Publishing: [`crl`], [`ocsp`] and
//! [`bundle`].

pub mod bundle;
pub mod chain;
pub mod chain_error;
pub mod crl;
pub mod csr;
mod encode;
pub mod environment;
mod extensions;
mod facts;
pub mod foreign;
pub mod issue;
pub mod issuer;
pub mod key;
pub mod leaf;
pub mod lint;
mod name;
pub mod ocsp;
mod oid;
pub mod out_of_band;
pub mod pem;
pub mod profile;
pub mod profile_error;
pub mod view;

pub use chain::{is_older_than_issuer, verify_client, verify_service};
pub use chain_error::ChainError;
pub use csr::{Csr, CsrError, KeyAndCsr};
pub use environment::Environment;
pub use facts::CertificateSummary;
pub use issue::{IssueError, Issued, Prepared};
pub use issuer::{IssuerCert, IssuerError, server_anchors};
pub use key::{KeyPair, PublicKey, UnusableKey};
pub use leaf::Leaf;
pub use out_of_band::OutOfBandStatement;
pub use profile::{CaProfile, LeafProfile, ServerName, ServerProfile};
pub use profile_error::ProfileError;
pub use view::CertificateView;
