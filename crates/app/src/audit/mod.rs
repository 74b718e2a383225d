//! The audit log: its events, their seals, and the chain of checkpoints over all tenants.

pub mod checkpoints;
pub mod events;
pub mod sealing;
