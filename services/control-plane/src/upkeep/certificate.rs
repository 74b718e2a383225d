//! The server's own certificate: loaded, swapped when another was put in its place, renewed where that is our job.

use std::{sync::Arc, time::Duration};

use rustls::{client::verify_server_name, server::ParsedCertificate};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use secrecy::{ExposeSecret, SecretString};
use signet_app::{App, Call, ServerIdentity};
use signet_core::{Error, Lifetime, Time};
use signet_mtls::{Clock, ServerCertificate, ServerCertificateError, provider};
use signet_x509::{KeyAndCsr, bundle::to_pem};
use thiserror::Error as ThisError;
use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::server_identity::{ServerCredentials, ServerIdentityError, ServerIdentityStore};

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
    /// The CA.
    #[error("it could not be issued: {}", .0.reason())]
    Issue(#[from] Error),
    /// The new key.
    #[error("no key could be made: {0}")]
    Key(#[from] signet_x509::KeyError),
}

/// The first of the configured names that the certificate is not for.
fn missing_name(credentials: &ServerCredentials, names: &ServerIdentity) -> Option<String> {
    let leaf = CertificateDer::from_pem_slice(credentials.chain_pem.as_bytes()).ok()?;
    let leaf = ParsedCertificate::try_from(&leaf).ok()?;
    let dns = names.dns.iter().filter_map(|name| ServerName::try_from(name.as_str()).ok());
    let mut wanted = dns.chain(names.ip.iter().map(|ip| ServerName::from(*ip)));
    let missing = wanted.find(|name| verify_server_name(&leaf, name).is_err())?;
    Some(missing.to_str().into_owned())
}

/// Looks after the server's certificate.
pub(crate) struct Keeper {
    pub(crate) store: Arc<dyn ServerIdentityStore>,
    pub(crate) app: Arc<App>,
    pub(crate) names: ServerIdentity,
    pub(crate) clock: Clock,
    /// Notified to look now (SIGHUP).
    pub(crate) look: Arc<Notify>,
}

fn checked(credentials: &ServerCredentials) -> Result<signet_mtls::ServerIdentity, CertificateError> {
    let key = credentials.key_pem.expose_secret().as_bytes();
    Ok(signet_mtls::ServerIdentity::from_pem(&credentials.chain_pem, key, &provider())?)
}

impl Keeper {
    /// The certificate, as soon as there is one; `None`: told to stop before.
    pub(crate) async fn first(&self, stop: &CancellationToken) -> Option<Arc<ServerCertificate>> {
        let mut complained = false;
        loop {
            match self.load().await {
                Ok(Some(identity)) => return Some(ServerCertificate::new(identity)),
                Ok(None) if !complained => {
                    tracing::warn!(store = ?self.store, "there is no server certificate yet; run `principal bootstrap`");
                }
                Err(error) if !complained => tracing::error!(%error, "the server's certificate cannot be used"),
                Ok(None) | Err(_) => {}
            }
            complained = true;
            tokio::select! {
                () = stop.cancelled() => return None,
                () = self.look.notified() => {}
                () = tokio::time::sleep(IMPATIENT) => {}
            }
        }
    }

    async fn load(&self) -> Result<Option<signet_mtls::ServerIdentity>, CertificateError> {
        self.store.get().await?.map(|credentials| checked(&credentials)).transpose()
    }

    /// Follows the certificate until `stop`. The last good one is served whatever happens.
    pub(crate) async fn run(self, served: Arc<ServerCertificate>, stop: CancellationToken) {
        let mut warned_at = None;
        loop {
            if let Err(error) = self.turn(&served, &mut warned_at).await {
                tracing::error!(%error, "the server's certificate was not replaced; the present one goes on");
            }
            let wait = timeout(self.store.poll_interval(), self.look.notified());
            tokio::select! {
                () = stop.cancelled() => return,
                _ = wait => {}
            }
        }
    }

    async fn turn(&self, served: &ServerCertificate, warned_at: &mut Option<Time>) -> Result<(), CertificateError> {
        let Some(credentials) = self.store.get().await? else { return Ok(()) };
        let found = checked(&credentials)?;
        if found.serial != served.current().serial {
            tracing::info!(cert.serial = ?found.serial, "serving a new server certificate");
            served.swap(found);
        }
        let (current, now) = (served.current(), (self.clock)());
        let life = current.not_after.millis_since(current.not_before);
        let left = current.not_after.millis_since(now);
        let missing = missing_name(&credentials, &self.names);
        if left > life / 3 && missing.is_none() {
            return Ok(());
        }
        if self.store.renewed_by_server() {
            return self.renew(served, now).await;
        }
        if warned_at.is_none_or(|at| now >= at.plus(WARN_EVERY)) {
            *warned_at = Some(now);
            let seconds_left = left / 1000;
            tracing::warn!(seconds_left, missing, "the server's certificate is due for renewal by its own component");
        }
        Ok(())
    }

    /// A new key and certificate, kept first and served then.
    async fn renew(&self, served: &ServerCertificate, now: Time) -> Result<(), CertificateError> {
        let KeyAndCsr { key, csr_der } = KeyAndCsr::generate()?;
        let call = Call::process("server-certificate", now);
        let chain = self.app.issue_server_certificate(&call, &self.names, &csr_der).await?;
        let chain_pem = to_pem(chain.iter().map(Vec::as_slice));
        let credentials = ServerCredentials { chain_pem, key_pem: SecretString::from(key.to_pkcs8_pem().as_str()) };
        let identity = checked(&credentials)?;
        self.store.put(&credentials).await?;
        tracing::info!(cert.serial = ?identity.serial, "renewed the server's certificate");
        served.swap(identity);
        Ok(())
    }
}
