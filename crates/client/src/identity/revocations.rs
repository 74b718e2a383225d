//! Follows the revocation lists of the tenant's CAs.

use std::{sync::Arc, time::Duration};

use signet_core::{Lifetime, Time};
use signet_proto::v1::{WatchRevocationListsRequest, trust_service_client::TrustServiceClient};
use tokio::time::{Instant, sleep};
use tonic::Status;

use super::{channel::LiveChannel, shared::Shared};
use crate::{retry::jittered, revocations::RevocationListError};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// From this time on, and as often, it is said that nothing is heard.
const OLD: Lifetime = Lifetime::hours(1);
/// Most bytes of a list: a million entries and more.
const MOST: usize = 48 << 20;

/// For ever: a stream that ends (with the certificate, with the node) is opened again. So is one when the bundle
/// changes, whose lists may have come before it.
pub(super) async fn follow(shared: Arc<Shared>, channel: LiveChannel) {
    let (mut longest, mut bundles) = (FIRST_PAUSE, shared.bundle.subscribe());
    let mut heard = shared.now();
    loop {
        let opened = Instant::now();
        bundles.mark_unchanged();
        let ended = tokio::select! {
            ended = watch(&shared, &channel, &mut heard) => ended,
            _ = bundles.changed() => continue,
        };
        if opened.elapsed() > LONGEST_PAUSE {
            longest = FIRST_PAUSE;
        }
        let error = ended.err().map(|error| error.to_string());
        if shared.now() >= heard.plus(OLD) {
            heard = shared.now();
            tracing::warn!(error, "nothing is heard of the tenant's revocation lists: their stream keeps closing");
        } else {
            tracing::debug!(error, "the stream of revocation lists ended; reopening it");
        }
        sleep(jittered(longest)).await;
        longest = longest.saturating_mul(2).min(LONGEST_PAUSE);
    }
}

/// `heard`: when the control plane last spoke.
async fn watch(shared: &Shared, channel: &LiveChannel, heard: &mut Time) -> Result<(), Status> {
    let request = WatchRevocationListsRequest { tenant_id: shared.anchors.tenant.to_string() };
    let mut stream = TrustServiceClient::new(channel.clone()).watch_revocation_lists(request).await?.into_inner();
    let (mut of, mut der) = (None, Vec::new());
    while let Some(part) = stream.message().await? {
        *heard = shared.now();
        let list = Some((part.ca_id, part.number));
        if of != list {
            (of, der) = (list, Vec::new());
        }
        der.extend_from_slice(&part.der);
        if der.len() > MOST {
            return Err(Status::resource_exhausted("the revocation list is too large"));
        }
        if !part.more {
            take(shared, std::mem::take(&mut der))?;
        }
    }
    Ok(())
}

/// The error ends the stream: opened again, it sends the list again, which may be right by then.
fn take(shared: &Shared, der: Vec<u8>) -> Result<(), Status> {
    let bundle = Arc::clone(&shared.bundle.borrow());
    let mut refused = None;
    shared.revocations.send_if_modified(|lists| match lists.with(&bundle, der, shared.now()) {
        Ok(new) if new == **lists => false,
        Ok(new) => {
            *lists = Arc::new(new);
            true
        }
        Err(error) => {
            refused = Some(error);
            false
        }
    });
    match refused {
        None => Ok(()),
        Some(error) => {
            tracing::warn!(%error, "ignoring a revocation list from the control plane");
            // One that is older will not be newer.
            if error == RevocationListError::Older {
                Ok(())
            } else {
                Err(Status::failed_precondition(error.to_string()))
            }
        }
    }
}
