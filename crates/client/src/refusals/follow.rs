//! The stream that what is known comes over.

use std::{sync::Arc, time::Duration};

use signet_proto::v1::{
    RefusalsChange, WatchRefusalsRequest, authorization_service_client::AuthorizationServiceClient,
};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tonic::{Status, Streaming};

use super::{known::Known, state::Inner};
use crate::{
    error::ClientError,
    identity::{Shared, Task},
    retry::jittered,
};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The server speaks every five seconds.
const SILENT: Duration = Duration::from_secs(15);
/// How often what is over is forgotten.
const UPKEEP: Duration = Duration::from_secs(1);

/// For ever: a stream that ends (with the certificate, with the node) is opened again, and says all anew.
pub(super) async fn run(shared: Arc<Shared>, inner: Arc<Inner>) {
    // Beside the stream, whether there is one or not.
    let _upkeep = Task::spawn(upkeep(Arc::clone(&shared), Arc::clone(&inner)));
    let (mut pause, mut told) = (FIRST_PAUSE, None);
    loop {
        let opened = Instant::now();
        let error = connected(&shared, &inner).await.err();
        if error.as_ref().is_some_and(ClientError::refuses_us) {
            inner.known.store(Arc::new(Known::nothing(shared.anchors.tenant.clone(), &inner.settings)));
            inner.changed();
        }
        let error = error.map(|error| error.to_string());
        if error.is_some() && error != told {
            tracing::warn!(tenant = %shared.anchors.tenant, error, "cannot follow who is refused; trying again");
        }
        let was_long = opened.elapsed() > LONGEST_PAUSE;
        told = if was_long { None } else { error };
        pause = if was_long { FIRST_PAUSE } else { pause };
        sleep(jittered(pause)).await;
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
}

async fn connected(shared: &Shared, inner: &Inner) -> Result<(), ClientError> {
    let channel = shared.connector(Some(&shared.held()))?.connect_once().await?;
    let permissions = inner.settings.permissions.clone();
    let request = WatchRefusalsRequest { tenant_id: String::new(), permissions };
    let mut stream = AuthorizationServiceClient::new(channel).watch_refusals(request).await?.into_inner();
    // What is said anew, until all of it is.
    let mut coming: Option<Arc<Known>> = None;
    while let Some(change) = next(&mut stream).await? {
        if change.restart {
            coming = Some(Arc::new(Known::nothing(shared.anchors.tenant.clone(), &inner.settings)));
        }
        let known = coming.as_ref().map_or_else(|| inner.known.load_full(), Arc::clone);
        let before = known.trust.epoch();
        known.take(&change, &shared.bundle.borrow(), shared.now());
        if let Some(whole) = coming.take_if(|_| change.complete) {
            // The bundle may have changed meanwhile.
            inner.known.store(Arc::clone(&whole));
            whole.trusts(&shared.bundle.borrow());
            inner.changed();
        } else if coming.is_none() && (known.trust.epoch() != before || says_more(&change)) {
            inner.changed();
        }
    }
    Ok(())
}

/// What turns a yes into a no beside what is refused.
const fn says_more(change: &RefusalsChange) -> bool {
    change.granted.is_some() || change.broker_token_keys.is_some()
}

async fn upkeep(shared: Arc<Shared>, inner: Arc<Inner>) {
    let mut bundles = shared.bundle.subscribe();
    let mut ticks = interval(UPKEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            Ok(()) = bundles.changed() => {
                inner.known.load().trusts(&bundles.borrow_and_update());
                inner.changed();
            }
            _ = ticks.tick() => inner.known.load().trust.forget_some(shared.now()),
        }
    }
}

/// `None`: it has ended.
async fn next(stream: &mut Streaming<RefusalsChange>) -> Result<Option<RefusalsChange>, ClientError> {
    let silent = |_| Status::unavailable("nothing is heard of the control plane");
    Ok(timeout(SILENT, stream.message()).await.map_err(silent)??)
}
