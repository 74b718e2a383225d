//! What an identity's parts share.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use arc_swap::ArcSwap;
use rustls::{
    SignatureScheme,
    client::ResolvesClientCert,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use signet_core::{Serial, TenantId, Time};
use signet_x509::{CertificateView, Environment, leaf};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};

use super::{settings::IdentitySettings, status::Status};
use crate::{
    bundle::Bundle,
    connector::Connector,
    credentials::{Credentials, CredentialsError},
    error::ConnectError,
    peer::Anchors,
    revocations::RevocationLists,
    svid_keys::SvidKeys,
    tls::certified_key,
};

/// A certificate in use.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) credentials: Credentials,
    pub(crate) tenant: TenantId,
    pub(crate) environment: Environment,
    pub(crate) spiffe_id: String,
    /// When it was made. Its validity begins somewhat earlier, for clocks that are slow.
    pub(crate) issued_at: Time,
    pub(crate) key: Arc<CertifiedKey>,
}

impl Held {
    pub(crate) fn new(credentials: Credentials, oid_arc: &str) -> Result<Self, CredentialsError> {
        let bad = || CredentialsError::Certificates("the chain");
        let leaf_der = credentials.chain_der().first().ok_or_else(bad)?;
        let environment = leaf::environment_of(leaf_der, oid_arc).ok_or(CredentialsError::Foreign)?;
        let view = CertificateView::from_der(leaf_der).map_err(|_| bad())?;
        let id = leaf::spiffe_id(&view, &environment).map_err(|_| CredentialsError::Foreign)?;
        let made = view.serial().as_ref().map_or(view.not_before, Serial::made_at);
        let issued_at = made.max(view.not_before).min(view.not_after);
        let key = certified_key(&credentials).map_err(|_| bad())?;
        let spiffe_id = id.uri(environment.suffix());
        Ok(Self { tenant: id.tenant, environment, spiffe_id, issued_at, key: Arc::new(key), credentials })
    }

    pub(crate) fn not_after(&self) -> Time {
        Time::from_unix_millis(self.credentials.facts().not_after_unix_millis)
    }
}

/// See the module's words.
pub(crate) struct Shared {
    pub(crate) settings: IdentitySettings,
    pub(crate) held: watch::Sender<Arc<Held>>,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) bundle: watch::Sender<Arc<Bundle>>,
    pub(crate) revocations: watch::Sender<Arc<RevocationLists>>,
    pub(crate) svid_keys: watch::Sender<Arc<SvidKeys>>,
    pub(crate) key: Arc<LiveKey>,
    pub(crate) anchors: Arc<Anchors>,
    /// When the control plane last named the tenant's CAs, milliseconds since the Unix epoch by our own clock; 0:
    /// never yet.
    pub(crate) told_at: AtomicI64,
    /// Somebody wants the next certificate now.
    pub(crate) hurry: Notify,
    /// A connection was refused for its certificate: is that so?
    pub(crate) doubt: Notify,
}

impl Shared {
    pub(crate) fn held(&self) -> Arc<Held> {
        Arc::clone(&self.held.borrow())
    }

    pub(crate) fn now(&self) -> Time {
        (self.settings.clock)()
    }

    /// From now on, new connections show this one.
    pub(crate) fn adopt(&self, held: Arc<Held>) {
        self.key.0.store(Arc::clone(&held.key));
        self.held.send_replace(held);
    }

    /// The control plane says what to trust.
    pub(crate) fn told(&self, bundle: Bundle) {
        self.told_at.store(self.now().unix_millis(), Ordering::Release);
        self.trust(bundle);
    }

    /// The control plane names the keys of JWT-SVIDs.
    pub(crate) fn told_keys(&self, keys: SvidKeys) {
        self.svid_keys.send_if_modified(|known| {
            let changed = **known != keys;
            if changed {
                *known = Arc::new(keys);
            }
            changed
        });
    }

    /// When it did so last.
    pub(crate) fn told_at(&self) -> Option<Time> {
        Some(self.told_at.load(Ordering::Acquire)).filter(|at| *at > 0).map(Time::from_unix_millis)
    }

    pub(crate) fn trust(&self, bundle: Bundle) {
        self.anchors.trust.store(Arc::new(bundle.trust()));
        self.bundle.send_if_modified(|known| {
            let changed = **known != bundle;
            if changed {
                *known = Arc::new(bundle);
            }
            changed
        });
    }

    /// To the control plane; as nobody without a certificate.
    pub(crate) fn connector(&self, held: Option<&Held>) -> Result<Connector, ConnectError> {
        self.settings.connector(held.map(|held| &held.credentials))
    }
}

/// The certificate of the moment, for rustls.
pub(crate) struct LiveKey(pub(crate) ArcSwap<CertifiedKey>);

impl ResolvesClientCert for LiveKey {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let key = self.0.load_full();
        key.key.choose_scheme(schemes).is_some().then_some(key)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for LiveKey {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let key = self.0.load_full();
        key.key.choose_scheme(hello.signature_schemes()).is_some().then_some(key)
    }
}

impl fmt::Debug for LiveKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LiveKey")
    }
}

/// A background task that ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Task(JoinHandle<()>);

impl Task {
    pub(crate) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
