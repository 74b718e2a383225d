//! Certificates that nobody recorded: looked up off the path of connections and calls, counted, audited and, by
//! setting, refused. Whatever a CA's key signs here has a record before, so that one without was signed past us.

use std::{
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::StreamExt;
use lru::LruCache;
use metrics::counter;
use signet_app::{App, Call, certificates::recorded};
use signet_core::{
    Actor, Clock, Identity,
    trust::{Refusal, Trust, WhenUnrecorded},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::{metrics::Metrics, refusals::Refusals};

/// Certificates that wait to be looked up. More are looked up at their next connection.
const WAITING: usize = 4096;
/// Certificates that were looked up and are remembered, so that a fleet that reconnects costs no reads.
const KNOWN: usize = 65_536;
/// Reads at once.
const AT_ONCE: usize = 16;
/// How long after a read that failed the next is tried.
const PAUSE: Duration = Duration::from_secs(1);

/// A certificate, and where it was first seen.
struct Shown {
    identity: Identity,
    remote: SocketAddr,
}

/// Takes the certificates of new connections, which must not wait.
pub(crate) struct Lookups {
    queue: mpsc::Sender<Shown>,
    /// By a hash of all that a certificate says, those that were looked up or wait for it.
    known: Mutex<LruCache<u64, ()>>,
    hasher: RandomState,
    metrics: Arc<Metrics>,
}

/// What [`Lookups`] took.
pub(crate) struct Queue(mpsc::Receiver<Shown>);

/// Looks certificates up.
pub(crate) struct Looker {
    pub(crate) app: Arc<App>,
    pub(crate) trust: Arc<Trust>,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) when: WhenUnrecorded,
}

impl Lookups {
    pub(crate) fn new(metrics: Arc<Metrics>) -> (Self, Queue) {
        let (queue, receiver) = mpsc::channel(WAITING);
        let (known, hasher) = (Mutex::new(LruCache::unbounded()), RandomState::new());
        (Self { queue, known, hasher, metrics }, Queue(receiver))
    }

    /// Has the certificate of a new connection looked up, unless that was done before. Never waits.
    pub(crate) fn offer(&self, remote: SocketAddr, identity: &Identity) {
        let certificate = self.hasher.hash_one(identity);
        let is_known = {
            let mut known = self.known();
            let is_known = known.put(certificate, ()).is_some();
            if known.len() > KNOWN {
                known.pop_lru();
            }
            is_known
        };
        if is_known {
            return;
        }
        let shown = Shown { identity: identity.clone(), remote };
        if self.queue.try_send(shown).is_err() {
            self.known().pop(&certificate);
            self.metrics.with(|| counter!("signet_certificate_lookups_dropped_total").increment(1));
        }
    }

    /// A poisoned lock means that another thread panicked between two operations on the map; it is whole.
    fn known(&self) -> MutexGuard<'_, LruCache<u64, ()>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Looker {
    /// Looks up what comes until `stop`.
    pub(crate) async fn run(self, Queue(queue): Queue, stop: CancellationToken) {
        let all = ReceiverStream::new(queue).for_each_concurrent(AT_ONCE, |shown| self.look_up(shown));
        tokio::select! {
            () = stop.cancelled() => {}
            () = all => {}
        }
    }

    /// A store that is away says nothing about the certificate: it is asked again.
    async fn look_up(&self, shown: Shown) {
        loop {
            match recorded::is_recorded(&self.app, &shown.identity, (self.clock)()).await {
                Ok(true) => return,
                Ok(false) => return self.report(&shown),
                Err(error) => tracing::debug!(?error, "a certificate cannot be looked up yet"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn report(&self, Shown { identity, remote }: &Shown) {
        self.metrics.with(|| counter!("signet_unrecorded_certificates_total").increment(1));
        let Identity { tenant, issuer, serial, principal, principal_type, .. } = identity;
        let is_refused = self.when == WhenUnrecorded::Refuse;
        tracing::warn!(
            tenant.id = %tenant, cert.issuer = %issuer, cert.serial = %serial, principal = %principal,
            client.address = %remote, is_refused, "a certificate was never recorded"
        );
        if is_refused {
            self.trust.refuse_unrecorded(identity);
        }
        let (now, source) = ((self.clock)(), Some(remote.ip()));
        let (actor, request_id, correlation_id) = (Actor::Anonymous, None, None);
        let call = Call { operation: "Connect", now, actor, request_id, source, correlation_id };
        let details = vec![
            ("presented", format!("{tenant}/{principal_type}/{principal}")),
            ("issuer", issuer.to_string()),
            ("serial", serial.to_string()),
            ("spki_sha256", hex::encode(identity.spki_sha256)),
            ("refused", is_refused.to_string()),
        ];
        self.refusals.record(call, tenant.clone(), Refusal::Unrecorded.reason(), details);
    }
}

#[cfg(test)]
mod tests {
    use signet_core::{Lifetime, PrincipalType, Serial, Time, authorization::Policy};

    use super::*;
    use crate::authorization::Table;

    fn identity(number: u16) -> Identity {
        let now = Time::from_unix_seconds(1_800_000_000);
        let [high, low] = number.to_be_bytes();
        Identity {
            tenant: "acme".parse().unwrap(),
            principal: "w-1".parse().unwrap(),
            principal_type: PrincipalType::Worker,
            roles: [].into(),
            issuer: "acme.1".parse().unwrap(),
            serial: Serial::new(now, [0, 0, 0, 0, 0, 0, 0, 0, high, low]),
            not_before: now,
            not_after: now.plus(Lifetime::hours(1)),
            spki_sha256: [0; 32],
            certificate_sha256: [0; 32],
        }
    }

    #[test]
    fn a_full_queue_drops_and_takes_later_and_nothing_waits_twice() {
        let table = Table::from_descriptors(signet_proto::DESCRIPTORS, &Policy::new()).unwrap();
        let metrics = Arc::new(Metrics::new(&table).unwrap());
        let (lookups, Queue(mut queue)) = Lookups::new(Arc::clone(&metrics));
        let offer = |number| lookups.offer("192.0.2.1:443".parse().unwrap(), &identity(number));
        let full = u16::try_from(WAITING).unwrap();
        (0..full).chain(0..full).for_each(offer);
        assert!(!metrics.render().contains("dropped"));
        offer(full);
        assert!(metrics.render().contains("signet_certificate_lookups_dropped_total 1"), "{}", metrics.render());
        queue.try_recv().unwrap();
        offer(full);
        let mut waiting = 0;
        while queue.try_recv().is_ok() {
            waiting += 1;
        }
        assert_eq!(waiting, WAITING);
        // What was looked up is not looked up again.
        (0..=full).for_each(offer);
        assert!(queue.try_recv().is_err());
    }
}
