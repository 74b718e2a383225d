//! Has CAs certify this node's OCSP responders.

use std::{num::NonZeroU32, sync::Arc};

use futures::StreamExt;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use signet_app::{Chore, authorities::ocsp::certify_responder};
use signet_core::CaId;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::ocsp::{Ocsp, Wanted};

/// Each is a signature of KMS, two writes and an audit event. Strangers choose for which CA, and when.
const PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(3);
const AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(63);
const CONCURRENT: usize = 8;

/// Certifies what is wanted until `stop`.
pub(crate) async fn run(ocsp: Arc<Ocsp>, wanted: Wanted, stop: CancellationToken) {
    let pace = RateLimiter::direct(Quota::per_second(PER_SECOND).allow_burst(AT_ONCE));
    let all = ReceiverStream::new(wanted).for_each_concurrent(CONCURRENT, |ca| certify(&ocsp, &pace, ca));
    tokio::select! {
        () = stop.cancelled() => {}
        () = all => {}
    }
}

async fn certify(ocsp: &Ocsp, pace: &DefaultDirectRateLimiter, ca: CaId) {
    pace.until_ready().await;
    let chore = Chore::new("ocsp-responder", (ocsp.clock)());
    let made = certify_responder(&ocsp.app, &chore, &ca).await.unwrap_or_else(|error| {
        signet_app::tell_operator("ocsp-responder", &error);
        tracing::warn!(ca.id = %ca, ?error, "no OCSP responder can be certified");
        None
    });
    ocsp.made(&ca, made);
}
