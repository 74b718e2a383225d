//! What all parts of a running node share.

use std::{
    net::IpAddr,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use signet_app::{App, principals::failures::RefusedCall};
use signet_core::{
    Clock, Entropy, PrincipalType, Serial, TenantId, Time,
    authorities::signer::random,
    authorization::{Denial, Grants, Policy},
    trust::Trust,
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{
    asked::Asked,
    authorization::{Kind, Lane, Route, Table},
    bans::BanLog,
    bundles::Bundles,
    certificate::Certificate,
    config::Limits,
    decisions::{Added, Decisions},
    endpoint::Endpoint,
    errors,
    failures::{self, Offender, Offenders},
    issuer::TokenIssuer,
    lists::Lists,
    metrics::Metrics,
    ocsp::Ocsp,
    receivers::IdleReceivers,
    refusals::Refusals,
    shares::{Account, Budget, Full, Place, Shares, Whose},
    strangers::AnonymousLimits,
    unrecorded::Lookups,
    wiring::StoreIsFull,
};

/// How long who changes something waits for this node to hear of it.
const HEARD_WITHIN: Duration = Duration::from_secs(1);
/// Others have heard of it by then: they ask every 250 ms.
const OTHERS_HEAR_WITHIN: Duration = Duration::from_millis(350);

/// A connection's session, with its grants and its account at hand.
pub(crate) type Session = signet_mtls::Session<Rights>;
/// All open connections.
pub(crate) type Registry = signet_mtls::Registry<Rights>;
/// The other end of a connection.
pub(crate) type ConnectInfo = signet_mtls::ConnectInfo<Rights>;

/// What a caller may do: dereferences to its grants.
pub(crate) struct Rights {
    pub(crate) grants: Grants,
    /// What its tenant adds, or takes.
    pub(crate) added: Added,
    /// What it has taken of the node.
    pub(crate) account: Arc<Account>,
}

impl Deref for Rights {
    type Target = Grants;
    fn deref(&self) -> &Grants {
        &self.grants
    }
}

/// A call's place among those under way.
pub(crate) enum CallPlace {
    /// Of a principal.
    Known(Place),
    /// Of somebody without a certificate.
    Stranger(signet_mtls::Place),
}

/// A quarter of what its `RetryInfo` asks for.
const LONGEST_WAIT_OF_REFUSAL: Duration = Duration::from_millis(250);

/// See the module's words.
pub(crate) struct Node {
    pub(crate) app: Arc<App>,
    pub(crate) trust: Arc<Trust>,
    pub(crate) clock: Clock,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) policy: Arc<Policy>,
    /// What tenants' own rules say.
    pub(crate) decisions: Decisions,
    /// What services asked by them.
    pub(crate) asked: Asked,
    /// Who was told that there is nothing to tell.
    pub(crate) idle_receivers: IdleReceivers,
    pub(crate) table: Table,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) lookups: Arc<Lookups>,
    pub(crate) offenders: Offenders,
    pub(crate) ban_log: Option<Arc<BanLog>>,
    pub(crate) bundles: Bundles,
    pub(crate) lists: Arc<Lists>,
    pub(crate) ocsp: Arc<Ocsp>,
    pub(crate) certificate: Certificate,
    pub(crate) endpoint: Endpoint,
    pub(crate) issuer: TokenIssuer,
    pub(crate) connections: Arc<Registry>,
    /// Whether no other node is meant to stand beside it.
    pub(crate) alone: bool,
    /// For certificates that others have met and ask about.
    pub(crate) verifier: signet_mtls::ClientVerifier,
    /// Tells the trust epoch after each change.
    pub(crate) epochs: watch::Receiver<u64>,
    pub(crate) audit_key_spki_der: Vec<u8>,
    pub(crate) limits: Limits,
    pub(crate) store_is_full: StoreIsFull,
    /// Whether spans are sent to a collector.
    pub(crate) spans: bool,
    pub(crate) shares: Arc<Shares>,
    /// Calls and streams refused since the last health line because the whole node was at a limit.
    pub(crate) full_refusals: AtomicU64,
    pub(crate) strangers: AnonymousLimits,
    /// Whether the store is being restored, as far as this node has looked.
    pub(crate) restoring: AtomicBool,
    /// Set when the node is shutting down: not ready any more.
    pub(crate) draining: AtomicBool,
    /// Cancelled when streams should end.
    pub(crate) drained: CancellationToken,
}

impl Node {
    /// Waits until this node knows of a change, and others should: who made it may go on by it at once, and the reader
    /// of the feed hears of a commit a little later.
    pub(crate) async fn heard(&self, knows: impl Fn(&Trust) -> bool) {
        let mut epochs = self.epochs.clone();
        let heard = epochs.wait_for(|_| knows(&self.trust));
        // Without an answer the reader has other trouble, which the node tells.
        drop(timeout(HEARD_WITHIN, heard).await);
        if !self.alone {
            sleep(OTHERS_HEAR_WITHIN).await;
        }
    }

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

    /// Who pays for what the peer takes.
    pub(crate) fn account(&self, peer: &ConnectInfo) -> Arc<Account> {
        let of = |session: &Arc<Session>| Arc::clone(&session.latest().account);
        peer.session.as_ref().map_or_else(|| Arc::clone(self.shares.strangers()), of)
    }

    /// A place for a call. Strangers have places of their own, so that they never take those of known callers.
    pub(crate) fn place(
        &self,
        route: &Route,
        lane: Lane,
        peer: &ConnectInfo,
        account: &Arc<Account>,
    ) -> Result<CallPlace, Status> {
        if peer.session.is_none() {
            return self.strangers.place(peer.remote.ip()).map(CallPlace::Stranger);
        }
        account.spend(route.weight, lane).map_err(errors::too_many_calls)?;
        // A stream's weight counts among the streams.
        let weight = if route.kind == Kind::Unary { route.weight.get() as usize } else { 1 };
        let place = account.take(Budget::Calls, weight, lane);
        place.map(CallPlace::Known).map_err(|full| self.full(full))
    }

    /// How long a caller that has used up its share waits to be told so: asking again and again must cost the asker
    /// more than the node, and a burst must not come back as one. `None`: at once, for strangers,
    /// for who suspends or revokes, and where too many wait.
    pub(crate) fn wait_of_refusal(
        &self,
        lane: Lane,
        peer: &ConnectInfo,
        account: &Arc<Account>,
    ) -> Option<(Place, Duration)> {
        peer.session.as_ref().filter(|_| lane != Lane::Urgent)?;
        let place = account.take(Budget::Refusals, 1, Lane::Ordinary).ok()?;
        let [part] = random(&*self.entropy);
        Some((place, LONGEST_WAIT_OF_REFUSAL.mul_f64(f64::from(part) / 256.0)))
    }

    /// A place for a stream, if the method answers with one.
    pub(crate) fn stream_place(&self, route: &Route, account: &Arc<Account>) -> Result<Option<Place>, Status> {
        if route.kind == Kind::Unary {
            return Ok(None);
        }
        // A poll over HTTP weighs as much as the tokens of its answer; to wait for them takes one place.
        let places = if route.http { 1 } else { route.weight.get() as usize };
        account.take(Budget::Streams, places, route.lane).map(Some).map_err(|full| self.full(full))
    }

    /// A call of a principal was refused for want of a right.
    pub(crate) fn count_failure(
        &self,
        session: &Session,
        (operation, denial): (&'static str, Denial),
        source: Option<IpAddr>,
        now: Time,
    ) {
        let identity = session.identity();
        let limit = self.trust.failure_limit(&identity.tenant);
        let account = Arc::clone(&session.latest().account);
        if !account.failures.add(self.trust.uptime(), limit) {
            return;
        }
        let last = RefusedCall { limit, operation, reason: denial.reason(), source };
        if identity.principal_type == PrincipalType::Admin {
            self.offenders.told("admin");
            return failures::record_admin(&self.refusals, identity, &last, now);
        }
        self.offenders.offer(Offender { identity: Arc::clone(identity), last, account });
    }

    fn full(&self, full: Full) -> Status {
        if full.whose == Whose::Node {
            self.full_refusals.fetch_add(1, Ordering::Relaxed);
        }
        errors::full(full)
    }

    /// The name of a tenant's trust domain.
    pub(crate) fn trust_domain(&self, tenant: &TenantId) -> String {
        self.app.environment().suffix().trust_domain(tenant)
    }
}
