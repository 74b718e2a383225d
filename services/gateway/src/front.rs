//! The front door's trust and certificate, as the gateway's identity follows them.

use std::{fs, num::NonZeroU32, sync::Arc, time::Duration};

use signet_client::{Authorizer, Identity};
use signet_core::{
    Clock, Entropy, Lifetime,
    trust::{DEFAULT_STALENESS_LIMIT, Trust, WhenStale},
};
use signet_mtls::{
    AcceptSettings, Acceptor, Ages, BanSettings, Connection, ConnectionObserver, Rate, Registry, ServerCertificate,
    ServerIdentity, provider, system_uptime,
};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use crate::config::{CertificateFiles, Config};

/// Connections last as long as their certificates, which last 90 days at most.
const MAX_AGE: Lifetime = Lifetime::days(90);
/// Without a certificate. It is asked to end before ([`crate::serve`]), so that what a token began may end with it.
const ANONYMOUS: Lifetime = Lifetime::hours(1);
const LOOK: Duration = Duration::from_secs(1);

/// One for each gateway.
pub(crate) struct Front {
    pub(crate) trust: Arc<Trust>,
    pub(crate) registry: Arc<Registry<()>>,
    pub(crate) certificate: Arc<ServerCertificate>,
    epoch: watch::Sender<u64>,
}

/// What its connections are, for [`Acceptor::listen`].
pub(crate) type FrontConnection = Connection<()>;

impl Front {
    pub(crate) fn new(
        config: &Config,
        identity: &Identity,
        clock: &Clock,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, String> {
        // Whether a principal may act is asked for each request; here, it is only who it is.
        let trust = Arc::new(Trust::new(DEFAULT_STALENESS_LIMIT, WhenStale::Serve, system_uptime));
        let ages = Ages { max_age: MAX_AGE, anonymous: ANONYMOUS, ..Ages::default() };
        let registry = Registry::new(Arc::clone(&trust), Arc::clone(clock), entropy, Arc::new(|_, _| ()), ages);
        let shown = shown(config.listen.certificate.as_ref(), identity)?;
        let front = Self { trust, registry, certificate: ServerCertificate::new(shown), epoch: watch::Sender::new(0) };
        front.learn(identity);
        Ok(front)
    }

    pub(crate) fn epochs(&self) -> watch::Receiver<u64> {
        self.epoch.subscribe()
    }

    /// Takes over what the tenant's verifiers trust now.
    fn learn(&self, identity: &Identity) {
        let bundle = Arc::clone(&identity.bundle().borrow());
        self.trust.set_anchors(&bundle.tenant, bundle.trust());
        self.epoch.send_replace(self.trust.epoch());
    }

    /// Follows the identity's bundle; what it says is fresh as long as the control plane is heard.
    pub(crate) async fn follow(&self, identity: &Identity, authorizer: &Authorizer) {
        let mut bundle = identity.bundle();
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Ok(()) = bundle.changed() => self.learn(identity),
                _ = ticks.tick() => {
                    let silent = u64::try_from(authorizer.silence().as_millis()).unwrap_or(u64::MAX);
                    let heard = self.trust.uptime().as_millis().saturating_sub(silent);
                    self.trust.heard(signet_core::Uptime::from_millis(heard));
                }
            }
        }
    }

    /// Shows a new certificate from now on.
    pub(crate) fn show(&self, files: Option<&CertificateFiles>, identity: &Identity) -> Result<(), String> {
        self.certificate.swap(shown(files, identity)?);
        Ok(())
    }

    /// For HTTP, or for bytes.
    pub(crate) fn acceptor(
        &self,
        config: &Config,
        identity: &Identity,
        observer: Arc<dyn ConnectionObserver>,
        http: bool,
    ) -> Result<Arc<Acceptor<()>>, String> {
        let settings =
            AcceptSettings { http, anonymous: http && config.listen.certificate_optional, ..settings(config) };
        let (certificate, registry) = (Arc::clone(&self.certificate), Arc::clone(&self.registry));
        let acceptor = Acceptor::new(settings, identity.environment().clone(), certificate, registry, observer);
        acceptor.map_err(|error| format!("TLS: {error}"))
    }
}

fn settings(config: &Config) -> AcceptSettings {
    let rate = config.listen.handshakes_per_second_per_address;
    let burst = rate.saturating_mul(NonZeroU32::MIN.saturating_add(3));
    let (listen, bans) = (&config.listen, &config.bans);
    AcceptSettings {
        // A tenant gets half at most, so that others have room; here, there are no others.
        max_connections: listen.max_connections.saturating_mul(2),
        // Who shows no certificate takes few places of those who do.
        max_anonymous: (listen.max_connections / 4).max(8),
        rate: Rate { per_second: rate, burst },
        bans: BanSettings {
            failures: bans.failed_handshakes,
            window: bans.window,
            duration: bans.duration,
            exempt: bans.exempt.clone(),
        },
        proxies: listen.proxy_protocol_from.clone(),
        require_pq_kex: listen.require_pq_kex,
        ..AcceptSettings::default()
    }
}

/// What clients are shown: other files, or the gateway's own certificate.
fn shown(files: Option<&CertificateFiles>, identity: &Identity) -> Result<ServerIdentity, String> {
    let Some(CertificateFiles { chain_file, key_file }) = files else {
        let (chain, key) = identity.with_credentials(|credentials| (credentials.chain_pem(), credentials.key_pem()));
        let own = ServerIdentity::from_pem(&chain, key.as_bytes(), &provider());
        return own.map_err(|error| format!("the gateway's own certificate: {error}"));
    };
    let key = "listen.certificate";
    let chain = fs::read_to_string(chain_file)
        .map_err(|error| format!("{key}: cannot read {}: {error}", chain_file.display()))?;
    let secret = fs::read(key_file).map_err(|error| format!("{key}: cannot read {}: {error}", key_file.display()))?;
    ServerIdentity::from_pem(&chain, &secret, &provider()).map_err(|error| format!("{key}: {error}"))
}
