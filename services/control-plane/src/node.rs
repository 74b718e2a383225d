//! What all parts of a running node share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use signet_app::App;
use signet_core::{
    Entropy, Serial, TenantId, Time,
    authz::{Grants, Policy},
    signer::random,
    trust::{Trust, WhenStale},
};
use signet_mtls::Clock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{
    authorization::Table,
    bundles::Bundles,
    config::Limits,
    errors,
    metrics::Metrics,
    readiness::Certificate,
    refusals::Refusals,
    strangers::{Strangers, StrangersPlace},
};

/// A connection's session, with its grants at hand.
pub(crate) type Session = signet_mtls::Session<Grants>;
/// All open connections.
pub(crate) type Registry = signet_mtls::Registry<Grants>;
/// The other end of a connection.
pub(crate) type Peer = signet_mtls::Peer<Grants>;

/// A call's place among those under way.
pub(crate) enum CallPlace {
    /// Of a principal.
    Known { _place: OwnedSemaphorePermit },
    /// Of somebody without a certificate.
    Stranger { _place: StrangersPlace },
}

/// See the module's words.
pub(crate) struct Node {
    pub(crate) app: Arc<App>,
    pub(crate) trust: Arc<Trust>,
    pub(crate) clock: Clock,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) table: Table,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) bundles: Bundles,
    pub(crate) certificate: Certificate,
    pub(crate) connections: Arc<Registry>,
    /// Tells the trust epoch after each change.
    pub(crate) epochs: watch::Receiver<u64>,
    pub(crate) audit_key_spki_der: Vec<u8>,
    pub(crate) limits: Limits,
    /// Whether spans are sent to a collector.
    pub(crate) spans: bool,
    pub(crate) when_stale: WhenStale,
    /// Places for requests of known callers at once.
    pub(crate) requests: Arc<Semaphore>,
    pub(crate) strangers: Strangers,
    /// Places for open streams.
    pub(crate) streams: Arc<Semaphore>,
    /// Set when the node was asked to end: not ready any more.
    pub(crate) draining: AtomicBool,
    /// Cancelled when streams should end.
    pub(crate) drained: CancellationToken,
}

impl Node {
    pub(crate) fn now(&self) -> Time {
        (self.clock)()
    }

    /// A name for a call, unlike all others.
    pub(crate) fn correlation_id(&self, now: Time) -> String {
        Serial::new(now, random(&*self.entropy)).to_string()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// A place for a request. Strangers have places of their own, so that they never take those of known callers.
    pub(crate) fn place(&self, peer: &Peer) -> Result<CallPlace, Status> {
        if peer.session.is_none() {
            let place = self.strangers.place(peer.remote.ip())?;
            return Ok(CallPlace::Stranger { _place: place });
        }
        let place = Arc::clone(&self.requests).try_acquire_owned().map_err(|_| errors::node_busy())?;
        Ok(CallPlace::Known { _place: place })
    }

    /// The name of a tenant's trust domain.
    pub(crate) fn trust_domain(&self, tenant: &TenantId) -> String {
        self.app.environment().suffix().trust_domain(tenant)
    }
}
