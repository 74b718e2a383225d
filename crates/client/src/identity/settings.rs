//! What an identity is told: where the control plane is, and how it is kept.

use std::{fmt, sync::Arc, time::Duration};

use signet_core::Clock;
use signet_x509::environment::DEFAULT_OID_ARC;

use crate::{
    clock::system_clock,
    connector::Connector,
    credentials::Credentials,
    enrollment::Enrollment,
    error::ConnectError,
    storage::{InMemory, Storage},
    tls::client_config,
};

/// Where the control plane is, and how an identity of it is kept.
#[derive(Clone)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct IdentitySettings {
    /// `https://host:port`
    pub endpoint: String,
    /// The name in the server's certificate, if it is not the endpoint's host.
    pub server_name: Option<String>,
    /// What to trust the control plane by, DER: the pin, as from `/v1/ca.pem`. With a certificate, the server anchors
    /// that came with it count as well, and a pinned root no more ([`signet_x509::server_anchors`]).
    pub roots_der: Vec<Vec<u8>>,
    /// Where to renew when no handshake accepts the certificate, e.g. `https://enroll.example.com/v1/renew`; at the
    /// endpoint itself unless set.
    pub out_of_band: Option<OutOfBand>,
    /// Where it is kept; in memory unless set.
    pub storage: Arc<dyn Storage>,
    /// How to enroll again when nothing else helps; only with a proof that repeats.
    pub enrollment: Option<Enrollment>,
    /// Whether to follow the tenant's trust bundle at once, by an open stream; without it, it comes with each
    /// certificate and each renewal window (a twenty-fourth of a lifetime). Its use is talking to other principals.
    pub follow_bundle: bool,
    /// Whether to refuse every key exchange but the post-quantum hybrids (X25519MLKEM768, SecP256r1MLKEM768), with the
    /// control plane and with other principals. They are preferred anyway.
    pub require_pq_kex: bool,
    /// Whether to follow the revocation lists of the tenant's CAs, by an open stream. Not unless set: verifiers of ours
    /// need none.
    pub follow_revocations: bool,
    /// Limit of one attempt to connect.
    pub connect_timeout: Duration,
    /// The arc of the environment's certificate extensions.
    pub oid_arc: String,
    pub clock: Clock,
}

/// Renewal over plain HTTPS, signed with the present key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutOfBand {
    /// The whole URL.
    pub url: String,
    /// Whether its server has a certificate of this environment, as signetd has; else one of the public web's, as API
    /// Gateway has.
    pub pinned: bool,
}

impl IdentitySettings {
    /// With the defaults, for `endpoint`, trusting `roots_der`.
    pub fn new(endpoint: impl Into<String>, roots_der: Vec<Vec<u8>>) -> Self {
        Self {
            endpoint: endpoint.into(),
            server_name: None,
            roots_der,
            out_of_band: None,
            storage: Arc::new(InMemory),
            enrollment: None,
            follow_bundle: true,
            require_pq_kex: false,
            follow_revocations: false,
            connect_timeout: Duration::from_secs(10),
            oid_arc: DEFAULT_OID_ARC.to_owned(),
            clock: system_clock(),
        }
    }

    /// Whether a connection could be tried at all: endpoint, name and roots.
    pub fn check(&self) -> Result<(), ConnectError> {
        self.connector(None).map(drop)
    }

    /// Connects once, without a certificate: whether the control plane is there and believed.
    pub async fn reach(&self) -> Result<(), ConnectError> {
        self.connector(None)?.connect().await.map(drop)
    }

    /// The pin, and what came with the certificate.
    pub(super) fn server_trust(&self, credentials: Option<&Credentials>) -> Vec<Vec<u8>> {
        let told = credentials.map(Credentials::root_der).unwrap_or_default();
        told.iter().chain(&self.roots_der).cloned().collect()
    }

    pub(super) fn connector(&self, credentials: Option<&Credentials>) -> Result<Connector, ConnectError> {
        let config = client_config(&self.server_trust(credentials), credentials, self.require_pq_kex)?;
        let connector = Connector::to_control_plane(&self.endpoint, config)?;
        let connector = connector.with_connect_timeout(self.connect_timeout);
        match &self.server_name {
            Some(name) => connector.with_server_name(name),
            None => Ok(connector),
        }
    }
}

impl fmt::Debug for IdentitySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentitySettings").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}
