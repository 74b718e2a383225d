//! The wall clock as upkeep sees it.

use std::sync::{Mutex, PoisonError};

use signet_core::{ClockWatch, Uptime};

use crate::node::Node;

/// Tells whether the node's wall clock was set, since its upkeep began. Every seal looks, so that no step is missed.
pub(super) struct SharedClockWatch(Mutex<ClockWatch>);

impl SharedClockWatch {
    pub(super) fn new(node: &Node) -> Self {
        Self(Mutex::new(ClockWatch::new(node.now(), node.trust.uptime())))
    }

    /// Reads both clocks, and returns what the watch then says.
    pub(super) fn look(&self, node: &Node, says: impl FnOnce(&ClockWatch, Uptime) -> bool) -> bool {
        let (now, uptime) = (node.now(), node.trust.uptime());
        let mut watch = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = watch.was_set_back(now, uptime);
        says(&watch, uptime)
    }

    /// Whether the clock has run evenly for an hour: what it says is due is due.
    pub(super) fn is_even(&self, node: &Node) -> bool {
        self.look(node, ClockWatch::is_even)
    }
}
