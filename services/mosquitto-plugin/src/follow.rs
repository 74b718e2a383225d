//! The thread that follows the control plane, so that the broker's has nothing to wait for.

use std::{
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::sys::signal::SigSet;
use signet_client::{Directory, Enrollment, Identity, JoinToken, RefusalSettings};
use signet_mtls::system_uptime;
use tokio::{
    runtime::{self, Builder},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, TenantConfig},
    plugin::Tenant,
    watch::Watcher,
};

/// Longest that a first enrollment may take: the broker starts after it.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the thread's tasks have to end.
const FAREWELL: Duration = Duration::from_secs(1);

/// Follows as long as it lives.
pub(crate) struct Follower {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Takes up or enrolls the identities, and follows the refusals of their tenants, in the order of the
    /// configuration. An error says what to do.
    pub(crate) fn start(config: &Config) -> Result<(Self, Vec<Tenant>, Watcher), String> {
        let stop = CancellationToken::new();
        let (sender, receiver) = mpsc::channel();
        let (end, config) = (stop.clone(), config.clone());
        let work = move || {
            // The broker's signals are for the broker's thread.
            if let Err(error) = SigSet::all().thread_block() {
                return drop(sender.send(Err(format!("cannot block signals: {error}"))));
            }
            let runtime = match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(sender.send(Err(format!("cannot start a runtime: {error}")))),
            };
            runtime.block_on(async {
                let identities = identities(&config).await;
                let _identities = match identities {
                    Ok(identities) => {
                        let tenants = identities
                            .iter()
                            .zip(&config.tenants)
                            .map(|(identity, of)| tenant(&config, of, identity))
                            .collect();
                        // Who does not wait any more has given up.
                        let _ = sender.send(Ok((tenants, Watcher::new(runtime::Handle::current()))));
                        identities
                    }
                    Err(error) => return drop(sender.send(Err(error))),
                };
                end.cancelled().await;
            });
            runtime.shutdown_timeout(FAREWELL);
        };
        let thread = thread::Builder::new().name("signet".into()).spawn(work);
        let thread = thread.map_err(|error| format!("cannot start a thread: {error}"))?;
        let follower = Self { stop, thread: Some(thread) };
        let (tenants, watcher) = receiver.recv().map_err(|_| "the thread has ended".to_owned())??;
        Ok((follower, tenants, watcher))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // It has panicked, and the broker is ending.
            let _ = thread.join();
        }
    }
}

/// Within the runtime.
fn tenant(config: &Config, of: &TenantConfig, identity: &Identity) -> Tenant {
    let mut settings = RefusalSettings::new(config.rules.permissions.clone(), system_uptime);
    settings.staleness_limit = config.staleness_limit;
    settings.when_stale = config.when_stale;
    let authorizer = config.tokens.is_some().then(|| identity.authorizer());
    if let Some(authorizer) = authorizer.clone() {
        tokio::spawn(async move { authorizer.follow_keys().await });
    }
    let messages = of.require_signatures.then(|| identity.messages());
    Tenant { refusals: identity.refusals(settings), authorizer, messages }
}

async fn identities(config: &Config) -> Result<Vec<Identity>, String> {
    let mut identities: Vec<Identity> = Vec::new();
    for (number, tenant) in (1..).zip(&config.tenants) {
        let of = timeout(PATIENCE, identity(config, tenant)).await;
        let of = of.unwrap_or_else(|_| Err("the control plane does not answer".into()));
        let identity = of.map_err(|error| format!("tenants.{number}: {error}"))?;
        let bundle = Arc::clone(&identity.bundle().borrow());
        if identities.iter().any(|other| other.bundle().borrow().tenant == bundle.tenant) {
            return Err(format!("tenants.{number}: there is another identity of tenant {}", bundle.tenant));
        }
        identities.push(identity);
    }
    Ok(identities)
}

async fn identity(config: &Config, tenant: &TenantConfig) -> Result<Identity, String> {
    let mut settings = config.control_plane.clone();
    settings.storage = Arc::new(Directory::new(&tenant.state_dir));
    settings.follow_bundle = true;
    let loaded = Identity::load(settings.clone()).await;
    let loaded = loaded.map_err(|error| format!("state_dir = {:?}: {error}", tenant.state_dir))?;
    let identity = match (loaded, &tenant.join_token_file) {
        (Some(identity), _) => identity,
        (None, Some(path)) => {
            let proof = JoinToken::read(path).map_err(|error| format!("join_token_file: {error}"))?;
            let principal_id = tenant.principal.as_ref().map(ToString::to_string);
            let enrollment = Enrollment { proof: Arc::new(proof), tenant_id: None, principal_id };
            Identity::load_or_enroll(settings, &enrollment).await.map_err(|error| format!("enrollment: {error}"))?
        }
        (None, None) => {
            let dir = tenant.state_dir.display();
            return Err(format!("there is no identity in {dir}: set join_token_file"));
        }
    };
    let id = identity.status().borrow().spiffe_id.clone();
    if id.contains("/service/") {
        Ok(identity)
    } else {
        Err(format!("{id} is no service: only services may ask about others; enroll a service"))
    }
}
