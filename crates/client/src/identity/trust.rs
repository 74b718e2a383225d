//! Follows the tenant's trust bundle.

use std::{sync::Arc, time::Duration};

use signet_proto::v1::{WatchTrustBundleRequest, trust_service_client::TrustServiceClient};
use tokio::time::{Instant, sleep};

use super::{channel::LiveChannel, shared::Shared};
use crate::{bundle::Bundle, error::ClientError, retry::jittered};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// For ever: a stream that ends (with the certificate, with the node) is opened again.
pub(super) async fn follow(shared: Arc<Shared>, channel: LiveChannel) {
    let mut longest = FIRST_PAUSE;
    loop {
        let opened = Instant::now();
        let error = watch(&shared, &channel).await;
        if opened.elapsed() > LONGEST_PAUSE {
            longest = FIRST_PAUSE;
        }
        tracing::debug!(
            error = error.map(|error| error.to_string()),
            "the trust bundle's stream ended; opening it again"
        );
        sleep(jittered(longest)).await;
        longest = longest.saturating_mul(2).min(LONGEST_PAUSE);
    }
}

async fn watch(shared: &Shared, channel: &LiveChannel) -> Option<ClientError> {
    let tenant = &shared.anchors.tenant;
    let request = WatchTrustBundleRequest { tenant_id: tenant.to_string() };
    let mut stream = match TrustServiceClient::new(channel.clone()).watch_trust_bundle(request).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return Some(status.into()),
    };
    loop {
        match stream.message().await {
            Ok(Some(message)) => match Bundle::of_message(tenant, &message) {
                Some(bundle) => shared.trust(bundle),
                None => {
                    tracing::warn!("the control plane sent a trust bundle that is not ours or empty; it is ignored")
                }
            },
            Ok(None) => return None,
            Err(status) => return Some(status.into()),
        }
    }
}
