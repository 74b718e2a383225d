//! What verifiers trust: as a node follows it, and as it is published for others.

pub(crate) mod feed;
pub mod publication;
pub mod security_events;
