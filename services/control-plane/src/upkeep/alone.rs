//! What a node does where no rotate Lambda stands beside it: the life of CAs, warnings, counts, and purges.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use signet_app::{
    Chore, Notifier,
    authorities::{lifecycle, lists},
    certificates::expiry,
    purge,
    tenants::quotas,
};
use signet_core::{
    Error,
    certificates::expiry::{Ending, ExpiryWarning},
    store::Entity,
};

use super::{clock::SharedClockWatch, steps::told};
use crate::node::Node;

/// Takes CAs a step further whose time has come; any number of nodes may do it at once.
pub(super) async fn rotate_cas(node: Arc<Node>, clock: Arc<SharedClockWatch>) -> Result<(), Error> {
    // A clock that is years ahead would end the CAs of today.
    if !clock.is_even(&node) {
        return Ok(());
    }
    let report =
        lifecycle::rotate_due_cas(&node.app, &Chore::new("rotate-cas", node.now()), &|| Some(node.now())).await?;
    told("rotate-cas", report)
}

/// Makes revocation lists anew that are due; any number of nodes may do it at once. Not kept back by a clock that may
/// be ahead: a list that was made by such a clock is due by the next one that is right.
pub(super) async fn renew_lists(node: Arc<Node>) -> Result<(), Error> {
    let chore = Chore::new("revocation-lists", node.now());
    told("revocation-lists", lists::renew_due(&node.app, &chore, &|| Some(node.now())).await?)
}

/// Warns of what nears its end, once per threshold for all nodes together.
pub(super) async fn warn_expiries(node: Arc<Node>, clock: Arc<SharedClockWatch>) -> Result<(), Error> {
    if !clock.is_even(&node) {
        return Ok(());
    }
    let call = Chore::new("warn-expiry", node.now());
    told("warn-expiry", expiry::warn_expiries(&node.app, &call, &Log(Arc::clone(&node)), &|| Some(node.now())).await?)
}

/// Counts again what tenants have, where that is due.
pub(super) async fn recount_quotas(node: Arc<Node>) -> Result<(), Error> {
    let call = Chore::new("count-quotas", node.now());
    told("count-quotas", quotas::recount_quotas(&node.app, &call, &|| Some(node.now())).await?)
}

/// Purges deleted tenants whose grace time is over; any number of nodes may do it at once.
pub(super) async fn purge_tenants(node: Arc<Node>, clock: Arc<SharedClockWatch>) -> Result<(), Error> {
    // A clock that is ahead would end what could still be undeleted.
    if !clock.is_even(&node) {
        return Ok(());
    }
    let chore = Chore::new(purge::PURGE, node.now());
    told(purge::PURGE, purge::purge_tenants(&node.app, &chore, None, &|| Some(node.now())).await?)
}

/// Warnings as lines of the log and as a count.
struct Log(Arc<Node>);

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Log")
    }
}

#[async_trait]
impl Notifier for Log {
    async fn tell(&self, warnings: &[ExpiryWarning]) -> Vec<(usize, String)> {
        for warning in warnings {
            let kind = match warning.ending {
                Ending::Root { .. } => "root",
                Ending::Ca { .. } => "ca",
                Ending::Server { .. } => "server",
                Ending::Leaf { .. } => "leaf",
            };
            self.0.metrics.count("signet_expiry_warnings_total", "kind", kind);
            let seconds_left = warning.not_after.millis_since(warning.at) / 1000;
            let what = warning.key().sort;
            tracing::warn!(tenant.id = %warning.tenant, what, seconds_left, "expires soon and has not been replaced");
        }
        Vec::new()
    }
}
