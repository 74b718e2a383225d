//! Follows the revocation lists of the tenant's CAs.

use std::{sync::Arc, time::Duration};

use signet_proto::v1::{WatchRevocationListsRequest, trust_service_client::TrustServiceClient};
use tokio::time::{Instant, sleep};
use tonic::Status;

use super::{channel::LiveChannel, shared::Shared};
use crate::retry::jittered;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Most bytes of a list: some three million entries.
const MOST: usize = 128 << 20;

/// For ever: a stream that ends (with the certificate, with the node) is opened again. So is one when the bundle
/// changes, whose lists may have come before it.
pub(super) async fn follow(shared: Arc<Shared>, channel: LiveChannel) {
    let (mut longest, mut bundles) = (FIRST_PAUSE, shared.bundle.subscribe());
    loop {
        let opened = Instant::now();
        bundles.mark_unchanged();
        let ended = tokio::select! {
            ended = watch(&shared, &channel) => ended,
            _ = bundles.changed() => continue,
        };
        if opened.elapsed() > LONGEST_PAUSE {
            longest = FIRST_PAUSE;
        }
        tracing::debug!(error = ?ended.err(), "the stream of revocation lists ended; reopening it");
        sleep(jittered(longest)).await;
        longest = longest.saturating_mul(2).min(LONGEST_PAUSE);
    }
}

async fn watch(shared: &Shared, channel: &LiveChannel) -> Result<(), Status> {
    let request = WatchRevocationListsRequest { tenant_id: shared.anchors.tenant.to_string() };
    let mut stream = TrustServiceClient::new(channel.clone()).watch_revocation_lists(request).await?.into_inner();
    let (mut of, mut der) = (None, Vec::new());
    while let Some(part) = stream.message().await? {
        let list = Some((part.ca_id, part.number));
        if of != list {
            (of, der) = (list, Vec::new());
        }
        der.extend_from_slice(&part.der);
        if der.len() > MOST {
            return Err(Status::resource_exhausted("the revocation list is too large"));
        }
        if !part.more {
            take(shared, std::mem::take(&mut der));
        }
    }
    Ok(())
}

fn take(shared: &Shared, der: Vec<u8>) {
    let bundle = Arc::clone(&shared.bundle.borrow());
    shared.revocations.send_if_modified(|lists| match lists.with(&bundle, der, shared.now()) {
        Ok(new) if new == **lists => false,
        Ok(new) => {
            *lists = Arc::new(new);
            true
        }
        Err(error) => {
            tracing::warn!(%error, "ignoring a revocation list from the control plane");
            false
        }
    });
}
