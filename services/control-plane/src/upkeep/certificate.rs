//! The server's own certificate: loaded, swapped when another was put in its place, renewed where that is our job.

use std::{sync::Arc, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use signet_app::{Call, ServerNames, bootstrap};
use signet_core::{Error, Lifetime, Time};
use signet_mtls::{ServerCertificate, ServerCertificateError, provider};
use signet_x509::{KeyAndCsr, bundle::to_pem};
use thiserror::Error as ThisError;
use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    node::Node,
    server_identity::{
        ServerCredentials, ServerIdentityError, ServerIdentityStore,
        judge::{Fault, judge},
    },
};

/// How often to look while there is no certificate at all.
const IMPATIENT: Duration = Duration::from_secs(2);
/// How often to warn that nobody renews.
const WARN_EVERY: Lifetime = Lifetime::hours(1);

/// Why there is no (new) certificate.
#[derive(Debug, ThisError)]
pub(crate) enum CertificateError {
    /// The place where it lives.
    #[error(transparent)]
    Place(#[from] ServerIdentityError),
    /// What is there.
    #[error(transparent)]
    Content(#[from] ServerCertificateError),
    #[error("it could not be issued: {}", .0.reason())]
    Issue(#[from] Error),
    /// The new key.
    #[error("cannot create a key: {0}")]
    Key(#[from] signet_x509::UnusableKey),
}

/// Looks after the server's certificate.
pub(crate) struct Keeper {
    pub(crate) store: Arc<dyn ServerIdentityStore>,
    pub(crate) node: Arc<Node>,
    pub(crate) names: ServerNames,
    /// Notified to look now (SIGHUP).
    pub(crate) look: Arc<Notify>,
}

/// What stands in the certificate's place, and what is wrong with it.
struct Found {
    identity: signet_mtls::ServerIdentity,
    fault: Option<Fault>,
    detail: String,
}

fn checked(credentials: &ServerCredentials) -> Result<signet_mtls::ServerIdentity, CertificateError> {
    let key = credentials.key_pem.expose_secret().as_bytes();
    Ok(signet_mtls::ServerIdentity::from_pem(&credentials.chain_pem, key, &provider())?)
}

impl Keeper {
    /// The certificate, as soon as there is one that is ours; `None`: told to stop before.
    pub(crate) async fn first(&self, stop: &CancellationToken) -> Option<Arc<ServerCertificate>> {
        let mut told = None;
        loop {
            let found = self.find().await;
            let fault = match &found {
                Ok(found) => found.as_ref().and_then(|found| found.fault),
                Err(_) => Some(Fault::Damaged),
            };
            self.node.certificate.set_fault(fault);
            // Said once: this place is looked at often.
            let said = told.replace((found.is_ok(), fault)) == Some((found.is_ok(), fault));
            match found {
                Ok(Some(found)) if fault.is_none_or(Fault::is_ours) => {
                    return Some(ServerCertificate::new(found.identity));
                }
                _ if said => {}
                Ok(Some(Found { detail, .. })) => {
                    let (reason, message) = (fault.map(Fault::reason), fault.map(Fault::message));
                    tracing::error!(reason, message, detail, "the server's certificate is not served");
                }
                Ok(None) => {
                    tracing::warn!(store = ?self.store, "there is no server certificate yet; run `principal bootstrap`");
                }
                Err(error) => tracing::error!(%error, "the server's certificate cannot be used"),
            }
            tokio::select! {
                () = stop.cancelled() => return None,
                () = self.look.notified() => {}
                () = tokio::time::sleep(IMPATIENT) => {}
            }
        }
    }

    /// Reads and judges.
    async fn find(&self) -> Result<Option<Found>, CertificateError> {
        let Some(credentials) = self.store.get().await? else { return Ok(None) };
        let identity = checked(&credentials)?;
        let mut judged = self.judge(&credentials);
        if matches!(judged, Err((Fault::NoRoot | Fault::Foreign, _))) {
            // Perhaps below an anchor that this node has not read yet.
            let refreshed = self.node.bundles.refresh(&self.node.app, self.node.now()).await;
            judged = refreshed.map_or(judged, |()| self.judge(&credentials));
        }
        let (fault, detail) = judged.err().unzip();
        Ok(Some(Found { identity, fault, detail: detail.unwrap_or_default() }))
    }

    fn judge(&self, credentials: &ServerCredentials) -> Result<(), (Fault, String)> {
        let trusted = self.node.bundles.server_trust_der();
        judge(&credentials.chain_pem, &self.names, &trusted, self.node.now())
    }

    /// Follows the certificate until `stop`. The last good one is served whatever stands in its place.
    pub(crate) async fn run(self, served: Arc<ServerCertificate>, stop: CancellationToken) {
        let mut warned_at = None;
        loop {
            if let Err(error) = self.turn(&served, &mut warned_at).await {
                if matches!(error, CertificateError::Content(_) | CertificateError::Place(_)) {
                    self.node.certificate.set_fault(Some(Fault::Damaged));
                }
                tracing::error!(%error, "the server's certificate was not replaced; keeping the current one");
            }
            let wait = timeout(self.store.poll_interval(), self.look.notified());
            tokio::select! {
                () = stop.cancelled() => return,
                _ = wait => {}
            }
        }
    }

    async fn turn(&self, served: &ServerCertificate, warned_at: &mut Option<Time>) -> Result<(), CertificateError> {
        let now = self.node.now();
        let fault = match self.find().await? {
            Some(found) => self.weigh(found, served, now),
            None => return Ok(()),
        };
        self.node.certificate.set_fault(fault);
        let current = served.current();
        let life = current.not_after.millis_since(current.not_before);
        let left = current.not_after.millis_since(now);
        if left > life / 3 && !fault.is_some_and(Fault::is_ours) {
            return Ok(());
        }
        if self.store.renewed_by_server() {
            return self.renew(served, now).await;
        }
        if warned_at.is_none_or(|at| now >= at.plus(WARN_EVERY)) {
            *warned_at = Some(now);
            let (seconds_left, fault) = (left / 1000, fault.map(Fault::reason));
            tracing::warn!(
                seconds_left,
                fault,
                "the server's certificate is overdue: its own component should have renewed it"
            );
        }
        Ok(())
    }

    /// Serves what was found if it is good, or if what is served is not valid now and this is ours. Returns what is
    /// wrong with it.
    fn weigh(&self, found: Found, served: &ServerCertificate, now: Time) -> Option<Fault> {
        let Found { identity, fault, detail } = found;
        let current = served.current();
        if identity.shows_the_same(&current) {
            return fault;
        }
        let is_valid = |one: &signet_mtls::ServerIdentity| one.not_before <= now && now < one.not_after;
        let better = !is_valid(&current) && is_valid(&identity);
        match fault {
            Some(fault) if !(better && fault.is_ours()) => {
                let (reason, message) = (fault.reason(), fault.message());
                tracing::error!(reason, message, detail, "new server certificate rejected; keeping the current one");
            }
            _ => {
                tracing::info!(cert.serial = ?identity.serial, "serving a new server certificate");
                served.swap(identity);
            }
        }
        fault
    }

    /// A new key and certificate, kept first and served then.
    async fn renew(&self, served: &ServerCertificate, now: Time) -> Result<(), CertificateError> {
        let KeyAndCsr { key, csr_der } = KeyAndCsr::generate()?;
        let call = Call::process("server-certificate", now);
        let chain = bootstrap::issue_server_certificate(&self.node.app, &call, &self.names, &csr_der).await?;
        let chain_pem = to_pem(chain.iter().map(Vec::as_slice));
        let credentials = ServerCredentials { chain_pem, key_pem: SecretString::from(key.to_pkcs8_pem().as_str()) };
        let identity = checked(&credentials)?;
        self.store.put(&credentials).await?;
        tracing::info!(cert.serial = ?identity.serial, "renewed the server's certificate");
        served.swap(identity);
        self.node.certificate.set_fault(None);
        Ok(())
    }
}
