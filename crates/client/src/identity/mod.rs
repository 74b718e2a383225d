//! An identity that keeps itself alive: enrolled or loaded once, then renewed in the background, with a new key each
//! time.
//!
//! When is decided by [`signet_core::certificates::renewal`]; the instant is drawn once for each certificate and kept
//! by the [`Storage`]. A certificate is stored, then used, then confirmed to the control plane. The last good one stays
//! in use until there is another.

mod attempts;
mod channel;
mod enrolling;
mod keeper;
mod out_of_band;
mod outcome;
mod revocations;
mod settings;
mod shared;
mod status;
mod trust;

use std::{
    fmt,
    sync::{Arc, atomic::AtomicI64},
};

use arc_swap::ArcSwap;
use keeper::{Keeper, Origin, State};
use rustls::{
    ClientConfig, ServerConfig, client::Resumption, pki_types::CertificateDer, server::NoServerSessionStorage,
    version::TLS13,
};
use shared::LiveKey;
use signet_core::Time;
use signet_messages::ReplayRoom;
use signet_x509::Environment;
use tokio::sync::{Notify, watch};

use crate::{
    authorizer::Authorizer,
    bundle::Bundle,
    calls,
    connector::Connector,
    credentials::Credentials,
    enrollment::Enrollment,
    error::{ClientError, ConnectError},
    lock::StorageLock,
    messages::MessageVerifier,
    peer::{Anchors, Peer, PeerPolicy, PeerVerifier},
    refusals::{RefusalSettings, Refusals},
    retry::Retry,
    revocations::RevocationLists,
    storage::blocking,
    svid_keys::SvidKeys,
    tls,
    tokens::Tokens,
};

pub(crate) use shared::{Held, Shared, Task};

pub use channel::LiveChannel;
pub use enrolling::{FirstCertificate, enroll_resumably};
pub use settings::{IdentitySettings, OutOfBand};
pub use status::{LastFailure, RenewalState, Status};

/// See the module's words. Clones are the same identity; the last one to go ends the background work.
#[derive(Clone)]
pub struct Identity {
    shared: Arc<Shared>,
    // Not in `Shared`: the tasks themselves hold that.
    _tasks: Arc<[Task]>,
}

impl Identity {
    /// Gets a first certificate, stores it, and keeps it fresh from now on.
    pub async fn enroll(settings: IdentitySettings, enrollment: &Enrollment) -> Result<Self, ClientError> {
        let lock = enrolling::lock(&settings.storage).await?;
        Self::enroll_locked(settings, enrollment, lock).await
    }

    async fn enroll_locked(
        settings: IdentitySettings,
        enrollment: &Enrollment,
        lock: Arc<StorageLock>,
    ) -> Result<Self, ClientError> {
        let fresh = enrolling::enroll(&settings, enrollment, Retry::default()).await?;
        Self::new(settings, fresh.held, Origin::New { anchors_der: fresh.anchors_der }, Some(lock)).await
    }

    /// Takes up what [`IdentitySettings::storage`] keeps; `None` if that is nothing. Needs no connection: an identity
    /// that has expired meanwhile loads too, and [`Status::standing`] says so.
    pub async fn load(settings: IdentitySettings) -> Result<Option<Self>, ClientError> {
        let storage = Arc::clone(&settings.storage);
        let Some((credentials, notes)) = blocking(move || storage.load()).await? else { return Ok(None) };
        Self::new(settings, credentials, Origin::Kept { notes, stored: true }, None).await.map(Some)
    }

    /// The same, and stores it again, for a [`Storage`] with more places than the one that it reads. That this fails
    /// keeps nobody from using what was found: [`Status::problem`] says so, and it is tried again.
    pub async fn load_and_store(settings: IdentitySettings) -> Result<Option<Self>, ClientError> {
        let storage = Arc::clone(&settings.storage);
        let Some((credentials, notes)) = blocking(move || storage.load()).await? else { return Ok(None) };
        Self::new(settings, credentials, Origin::Kept { notes, stored: false }, None).await.map(Some)
    }

    /// Takes up what is kept, and enrolls if that is nothing. Of several processes that begin at once one enrolls, and
    /// the others take up what it wrote.
    pub async fn load_or_enroll(settings: IdentitySettings, enrollment: &Enrollment) -> Result<Self, ClientError> {
        if let Some(identity) = Self::load(settings.clone()).await? {
            return Ok(identity);
        }
        let lock = enrolling::lock(&settings.storage).await?;
        match Self::load(settings.clone()).await? {
            Some(identity) => Ok(identity),
            None => Self::enroll_locked(settings, enrollment, lock).await,
        }
    }

    /// Takes over credentials that somebody else got, and stores them.
    pub async fn adopt(settings: IdentitySettings, credentials: Credentials) -> Result<Self, ClientError> {
        Self::new(settings, credentials, Origin::New { anchors_der: Vec::new() }, None).await
    }

    /// `lock`: the storage's, if we have it.
    async fn new(
        settings: IdentitySettings,
        credentials: Credentials,
        origin: Origin,
        lock: Option<Arc<StorageLock>>,
    ) -> Result<Self, ClientError> {
        settings.connector(Some(&credentials))?;
        let held = Arc::new(Held::new(credentials, &settings.oid_arc)?);
        let state = State::new(&settings, &held, origin);
        let bundle = state.bundle();
        let shared = Arc::new(Shared {
            key: Arc::new(LiveKey(ArcSwap::new(Arc::clone(&held.key)))),
            anchors: Arc::new(Anchors {
                tenant: held.tenant.clone(),
                environment: held.environment.clone(),
                trust: ArcSwap::from_pointee(bundle.trust()),
            }),
            status: watch::channel(state.status(&held, (settings.clock)(), None)).0,
            bundle: watch::channel(Arc::new(bundle)).0,
            revocations: watch::channel(Arc::default()).0,
            svid_keys: watch::channel(Arc::default()).0,
            held: watch::channel(held).0,
            told_at: AtomicI64::new(0),
            hurry: Notify::new(),
            doubt: Notify::new(),
            settings,
        });
        let mut tasks = Vec::new();
        if shared.settings.follow_bundle {
            tasks.push(Task::spawn(trust::follow(Arc::clone(&shared), control_plane(&shared)?)));
        }
        if shared.settings.follow_revocations {
            tasks.push(Task::spawn(revocations::follow(Arc::clone(&shared), control_plane(&shared)?)));
        }
        let keeper = Keeper::new(Arc::clone(&shared), state).started(lock).await;
        tasks.push(Task::spawn(keeper.run()));
        Ok(Self { shared, _tasks: tasks.into() })
    }

    /// How it is doing, now and from now on.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.shared.status.subscribe()
    }

    /// What the tenant's verifiers trust, now and from now on.
    pub fn bundle(&self) -> watch::Receiver<Arc<Bundle>> {
        self.shared.bundle.subscribe()
    }

    /// The revocation lists of the bundle's CAs, now and from now on, where [`IdentitySettings::follow_revocations`] is
    /// set; none until the first ones have come.
    pub fn revocation_lists(&self) -> watch::Receiver<Arc<RevocationLists>> {
        self.shared.revocations.subscribe()
    }

    /// The keys of the tenant's JWT-SVIDs, now and from now on, where [`IdentitySettings::follow_bundle`] is set; none
    /// until the control plane has been reached.
    pub fn svid_keys(&self) -> watch::Receiver<Arc<SvidKeys>> {
        self.shared.svid_keys.subscribe()
    }

    /// Tokens of this identity, for those who want JWTs.
    pub fn tokens(&self) -> Tokens {
        Tokens::new(Arc::clone(&self.shared))
    }

    /// The certificate of the moment with its key, in the formats that other libraries take.
    pub fn with_credentials<T>(&self, read: impl FnOnce(&Credentials) -> T) -> T {
        read(&self.shared.held().credentials)
    }

    /// Asks for the next certificate now, by a new enrollment where nothing else helps; [`Self::status`] tells how that
    /// went.
    pub fn renew_now(&self) {
        self.shared.hurry.notify_one();
    }

    /// Has the certificate before the present one refused everywhere: once nobody uses it any more, for who wants to
    /// prove with it that a program refuses the revoked. Nothing happens if there is none, or with a control plane of
    /// 0.1.
    pub async fn revoke_previous(&self) -> Result<(), ClientError> {
        let channel = self.shared.connector(Some(&self.shared.held()))?.connect().await?;
        calls::confirm(&channel, true).await
    }

    /// To the control plane.
    pub fn channel(&self) -> Result<LiveChannel, ConnectError> {
        control_plane(&self.shared)
    }

    /// To a service of the tenant at `endpoint` (`https://host:port`) that `policy` wants. Its certificate is judged by
    /// the trust bundle; the host's name says nothing.
    pub fn channel_to(&self, endpoint: &str, policy: PeerPolicy) -> Result<LiveChannel, ConnectError> {
        let verifier = Arc::new(PeerVerifier::new(Arc::clone(&self.shared.anchors), policy));
        let (endpoint, require_pq_kex) = (endpoint.to_owned(), self.shared.settings.require_pq_kex);
        let make = move |held: &Held| {
            // A configuration for each certificate: a session of an old one is not resumed.
            let resolver = Arc::new(tls::resolver(&held.credentials)?);
            Connector::with_tls(&endpoint, tls::verified_by(Arc::clone(&verifier) as _, resolver, require_pq_kex)?)
        };
        live_channel(&self.shared, Box::new(make))
    }

    /// For clients of the tenant's services, whatever they speak over TLS 1.3. Each handshake shows the certificate of
    /// that moment, and is a full one, since a resumed session would carry on an older certificate.
    pub fn client_config(&self, policy: PeerPolicy) -> Result<ClientConfig, ConnectError> {
        let verifier = Arc::new(PeerVerifier::new(Arc::clone(&self.shared.anchors), policy));
        let mut config =
            tls::verified_by(verifier, Arc::clone(&self.shared.key) as _, self.shared.settings.require_pq_kex)?;
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    /// For servers: shows the certificate of the moment (a service's: others are not for servers) and asks for one that
    /// `policy` wants. Sessions are not resumed, so that every client is checked against the bundle of that moment.
    pub fn server_config(&self, policy: PeerPolicy) -> Result<ServerConfig, ConnectError> {
        let verifier = Arc::new(PeerVerifier::new(Arc::clone(&self.shared.anchors), policy));
        let mut config = ServerConfig::builder_with_provider(tls::provider(self.shared.settings.require_pq_kex))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| ConnectError::Settings(format!("TLS 1.3: {error}")))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(&self.shared.key) as _);
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(config)
    }

    /// Asks the control plane what peers may do, and keeps its answers as long as they hold.
    pub fn authorizer(&self) -> Authorizer {
        Authorizer::new(Arc::clone(&self.shared))
    }

    /// Follows who is refused in its tenant, for a program that decides without waiting. Set
    /// [`IdentitySettings::follow_bundle`].
    pub fn refusals(&self, settings: RefusalSettings) -> Refusals {
        Refusals::new(Arc::clone(&self.shared), settings)
    }

    /// Verifies messages that devices of its tenant have signed. To be made once: which messages were seen is known to
    /// this one and its clones.
    pub fn messages(&self) -> MessageVerifier {
        self.messages_with(ReplayRoom::default())
    }

    /// The same with room for more messages than three a second of one device, or a million in ten minutes of all.
    pub fn messages_with(&self, room: ReplayRoom) -> MessageVerifier {
        MessageVerifier::new(Arc::clone(&self.shared), room)
    }

    /// The environment that it belongs to.
    pub fn environment(&self) -> &Environment {
        &self.shared.anchors.environment
    }

    /// The identity's clock, which its certificate is judged by.
    pub(crate) fn now(&self) -> Time {
        self.shared.now()
    }

    /// Who is at the other end of a finished handshake with [`Self::server_config`] or [`Self::client_config`]:
    /// `certificates` are its `peer_certificates()`.
    pub fn peer(&self, certificates: Option<&[CertificateDer<'_>]>) -> Option<Peer> {
        Peer::of_handshake(certificates, &self.shared.anchors.environment)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("status", &*self.shared.status.borrow()).finish_non_exhaustive()
    }
}

fn control_plane(shared: &Arc<Shared>) -> Result<LiveChannel, ConnectError> {
    let connects = Arc::clone(shared);
    live_channel(shared, Box::new(move |held| connects.connector(Some(held))))
}

fn live_channel(shared: &Shared, make: channel::Make) -> Result<LiveChannel, ConnectError> {
    LiveChannel::new(shared.held.subscribe(), make, Arc::clone(&shared.settings.clock))
}
