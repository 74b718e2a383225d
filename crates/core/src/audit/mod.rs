//! The audit log: events, the seals over each tenant's minute, and the chain of checkpoints over all seals.

pub mod checkpoint;
mod log;
pub mod merkle;
pub mod sealing;
mod severity;

pub use log::{
    AUDIT_SHARDS, AuditEvent, Finding, LATE_MINUTES, LateEvent, Seal, SealHead, SealStatement, Span, batch,
    minute_root, sha256_hex, signed_message, verify,
};
pub use severity::Severity;
