//! The whole plane from one seed: three nodes, a store and keys in memory, agents and an operator, on a clock and with
//! faults that the seed decides. After each step the invariants of CONTRIBUTING.md are checked.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod lag;
mod link;
mod memory;
mod node;
mod oracle;
mod plane;
mod request;
mod seeds;
mod site;
