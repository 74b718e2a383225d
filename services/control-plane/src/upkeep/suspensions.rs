//! Suspends principals that have reached their tenant's failure limit.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use signet_app::{Chore, principals::failures::suspend_for_failures};
use signet_core::Error;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::{
    failures::{Offender, OffenderQueue},
    node::Node,
};

/// Suspensions at once.
const AT_ONCE: usize = 16;
/// How long after one that failed it is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Suspends whom the node's calls offer, until `stop`.
pub(crate) async fn run(node: Arc<Node>, OffenderQueue(queue): OffenderQueue, stop: CancellationToken) {
    let all = ReceiverStream::new(queue).for_each_concurrent(AT_ONCE, |offender| {
        let node = Arc::clone(&node);
        async move {
            node.offenders.told(suspend(&node, &offender).await);
            node.offenders.done(&offender);
        }
    });
    tokio::select! {
        () = stop.cancelled() => {}
        () = all => {}
    }
}

/// What came of it. A store that is away is asked again: the principal is refused what it asks for meanwhile anyway.
async fn suspend(node: &Node, Offender { identity, last, .. }: &Offender) -> &'static str {
    loop {
        let chore = Chore::new("failure-limit", node.now());
        match suspend_for_failures(&node.app, &chore, &identity.tenant, &identity.principal, last).await {
            Ok(true) => {
                let (tenant, principal) = (&identity.tenant, &identity.principal);
                let source = last.source.map(tracing::field::display);
                tracing::warn!(
                    tenant.id = %tenant, %principal, failures = last.limit.failures, operation = last.operation,
                    reason = last.reason, client.address = source, "a principal was suspended: too many refused calls"
                );
                return "suspended";
            }
            // Another node was faster, or an admin.
            Ok(false) => return "unchanged",
            Err(Error::Unavailable { .. } | Error::Restoring { .. } | Error::Conflict(_)) => {
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => {
                signet_app::tell_operator("failure-limit", &error);
                tracing::error!(?error, tenant.id = %identity.tenant, principal = %identity.principal, "cannot suspend");
                return "failed";
            }
        }
    }
}
