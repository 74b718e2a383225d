//! A gRPC channel that goes over to a new certificate without dropping a call.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use tokio::{sync::watch, time::sleep};
use tonic::{
    body::Body,
    transport::{Channel, Error},
};
use tower::{Service, ServiceExt};

use super::shared::{Held, Task};
use crate::{connector::Connector, error::ConnectError};
use signet_core::Clock;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A gRPC channel like tonic's, for its generated clients; cheap to clone.
///
/// When the identity has a new certificate, a connection with it is made first; then new calls take it, while those
/// under way end on the old one, which closes after its last call. A stream that is open for longer than a certificate
/// is valid ends when that expires: open it again.
#[derive(Clone)]
pub struct LiveChannel {
    current: Arc<ArcSwap<Current>>,
    // Ends with the last clone.
    _follower: Arc<Task>,
}

/// A channel, and the certificate that its connections show.
struct Current {
    channel: Channel,
    held: Arc<Held>,
}

/// Makes a connector for a certificate.
pub(super) type Make = Box<dyn Fn(&Held) -> Result<Connector, ConnectError> + Send + Sync>;

impl LiveChannel {
    pub(super) fn new(mut held: watch::Receiver<Arc<Held>>, make: Make, clock: Clock) -> Result<Self, ConnectError> {
        let first = Arc::clone(&held.borrow_and_update());
        let channel = make(&first)?.channel();
        let current = Arc::new(ArcSwap::from_pointee(Current { channel, held: Arc::clone(&first) }));
        let follower = Task::spawn(follow(Arc::clone(&current), first, held, make, clock));
        Ok(Self { current, _follower: Arc::new(follower) })
    }

    /// What a call takes now, with the certificate that it shows.
    pub(crate) fn taken(&self) -> (Channel, Arc<Held>) {
        let current = self.current.load();
        (current.channel.clone(), Arc::clone(&current.held))
    }
}

async fn follow(
    current: Arc<ArcSwap<Current>>,
    mut used: Arc<Held>,
    mut held: watch::Receiver<Arc<Held>>,
    make: Make,
    clock: Clock,
) {
    let mut pause = FIRST_PAUSE;
    while Arc::ptr_eq(&used, &held.borrow_and_update()) {
        if held.changed().await.is_err() {
            return;
        }
        loop {
            let next = Arc::clone(&held.borrow_and_update());
            let old_is_over = clock().unix_millis() >= used.credentials.facts().not_after_unix_millis;
            match connect(&make, &next, old_is_over).await {
                Ok(channel) => {
                    current.store(Arc::new(Current { channel, held: Arc::clone(&next) }));
                    (used, pause) = (next, FIRST_PAUSE);
                    break;
                }
                Err(error) => {
                    // The old connection serves on meanwhile.
                    tracing::warn!(%error, "cannot connect with the new certificate yet; retrying");
                    sleep(pause).await;
                    pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

/// A connected channel; if the old certificate is of no use any more, one that connects with its first call will do.
async fn connect(make: &Make, held: &Held, lazily: bool) -> Result<Channel, ConnectError> {
    let connector = make(held)?;
    if lazily { Ok(connector.channel()) } else { connector.connect().await }
}

impl Service<http::Request<Body>> for LiveChannel {
    type Response = http::Response<Body>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Self::Response, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        // Each call waits for the channel that it takes.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (channel, _) = self.taken();
        Box::pin(channel.oneshot(request))
    }
}

impl fmt::Debug for LiveChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LiveChannel")
    }
}
