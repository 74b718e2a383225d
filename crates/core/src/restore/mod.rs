//! Restores without resurrection: what becomes of an earlier record beside the present one, and beside what was decided
//! since.

pub mod merge;
mod restoration;
pub mod since;

pub use restoration::Restoration;
