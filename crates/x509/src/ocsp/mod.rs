//! OCSP (RFC 6960), as RFC 9919 profiles it: one certificate a request, answered by a responder that the CA has
//! certified. Requests are read, answers written; nothing is looked up here.

mod cert_id;
mod request;
mod response;

pub use cert_id::{CertId, IssuerHashes};
pub use request::{MAX_REQUEST_BYTES, OcspRequest, RequestError};
pub use response::{Answer, CertStatus, ErrorStatus, Responder};
