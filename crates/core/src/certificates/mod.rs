//! Certificates: their records, how they follow each other, when they are renewed, and warnings before they end.

mod certificate;
pub mod expiry;
pub mod lineage;
pub mod renewal;

pub use certificate::{
    Certificate, CertificateKind, CertificateState, Confirmation, DEADLINE_SHARDS, Lineage, RESERVATION_LIFETIME,
    RevocationReason, Successor, UNRECORDED, sort_time,
};
