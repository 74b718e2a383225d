//! Tasks of one process beside each other.

pub mod detached;
pub(crate) mod queues;
pub(crate) mod single_flight;
