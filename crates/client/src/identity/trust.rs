//! Follows the tenant's trust bundle.

use std::{sync::Arc, time::Duration};

use signet_core::Lifetime;
use signet_proto::v1::{WatchTrustBundleRequest, trust_service_client::TrustServiceClient};
use tokio::time::{Instant, sleep};

use super::{channel::LiveChannel, shared::Shared};
use crate::{
    bundle::Bundle,
    error::{ClientError, ConnectError},
    retry::jittered,
    svid_keys::SvidKeys,
};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// From this age on, and as often, it is said that the bundle does not come.
const OLD: Lifetime = Lifetime::hours(1);

/// For ever: a stream that ends (with the certificate, with the node) is opened again.
pub(super) async fn follow(shared: Arc<Shared>, channel: LiveChannel) {
    let mut longest = FIRST_PAUSE;
    let mut complained = shared.now();
    loop {
        let opened = Instant::now();
        let error = watch(&shared, &channel).await;
        if opened.elapsed() > LONGEST_PAUSE {
            longest = FIRST_PAUSE;
        }
        if matches!(error, Some(ClientError::Connect(ConnectError::CertificateRefused { .. }))) {
            shared.doubt.notify_one();
        }
        let (now, since) = (shared.now(), shared.told_at().map_or(complained, |told| told.max(complained)));
        let error = error.map(|error| error.to_string());
        if now >= since.plus(OLD) {
            complained = now;
            tracing::warn!(error, "the tenant's trust bundle is older than an hour: its stream keeps closing");
        } else {
            tracing::debug!(error, "the trust bundle stream ended; reopening it");
        }
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
                Some(bundle) => {
                    shared.told(bundle);
                    shared.told_keys(SvidKeys::of_json(&message.svid_keys_json));
                }
                None => {
                    tracing::warn!(
                        "ignoring a trust bundle from the control plane that is empty or from another environment"
                    )
                }
            },
            Ok(None) => return None,
            Err(status) => return Some(status.into()),
        }
    }
}
