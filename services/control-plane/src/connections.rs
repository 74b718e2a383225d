//! What happens to connections, counted, logged and, where it is somebody's business, audited.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use metrics::{counter, histogram};
use signet_app::Call;
use signet_core::{Actor, Clock, Identity, TenantId};
use signet_mtls::{AcceptSettings, Acceptor, BanReason, ConnectionObserver, ConnectionRefusal, Ended, Presented};

use crate::{
    bans::BanLog,
    metrics::Metrics,
    node::{Node, Rights},
    refusals::Refusals,
    unrecorded::Lookups,
};

/// The operation that audit events of refused connections name.
const CONNECT: &str = "Connect";

/// See the module's words.
pub(crate) struct Connections {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) clock: Clock,
    pub(crate) lookups: Arc<Lookups>,
    pub(crate) ban_log: Option<Arc<BanLog>>,
}

impl Connections {
    fn audit(&self, source: IpAddr, tenant: TenantId, reason: &'static str, details: Vec<(&'static str, String)>) {
        let (now, actor, source) = ((self.clock)(), Actor::Anonymous, Some(source));
        let call = Call { operation: CONNECT, now, actor, request_id: None, source, correlation_id: None };
        self.refusals.record(call, tenant, reason, details);
    }

    /// A certificate that a tenant's CA signed concerns that tenant; of others nobody knows more than they claim, so
    /// that they are the operator's business.
    fn audit_presented(
        &self,
        remote: SocketAddr,
        reason: &'static str,
        presented: &Presented,
        mut details: Vec<(&'static str, String)>,
    ) {
        details.push(("verified", presented.verified.to_string()));
        if let Some(id) = &presented.id {
            details.push(("presented", format!("{}/{}/{}", id.tenant, id.principal_type, id.principal)));
        }
        if let Some(serial) = presented.serial {
            details.push(("serial", serial.to_string()));
        }
        let owner = presented.id.as_ref().filter(|_| presented.verified).map(|id| id.tenant.clone());
        self.audit(remote.ip(), owner.unwrap_or_else(TenantId::system), reason, details);
    }
}

impl ConnectionObserver for Connections {
    fn accepted(&self, remote: SocketAddr, identity: Option<&Identity>, resumed: bool, handshake: Duration) {
        let kind = if resumed { "resumed" } else { "full" };
        self.metrics.with(|| {
            counter!("signet_connections_total", "handshake" => kind).increment(1);
            histogram!("signet_handshake_duration_seconds", "handshake" => kind).record(handshake.as_secs_f64());
        });
        if let Some(identity) = identity {
            self.lookups.offer(remote, identity);
        }
        let principal = identity.map(|identity| tracing::field::display(&identity.principal));
        let tenant = identity.map(|identity| tracing::field::display(&identity.tenant));
        tracing::debug!(client.address = %remote, tenant.id = tenant, principal, resumed, "connection accepted");
    }

    fn refused(&self, remote: SocketAddr, refusal: &ConnectionRefusal) {
        self.metrics.count("signet_connections_refused_total", "reason", refusal.reason());
        let error: &dyn std::error::Error = refusal;
        let cause = error.source().map(tracing::field::display);
        // As many as a stranger likes: the metric tells.
        if !matches!(refusal, ConnectionRefusal::Banned | ConnectionRefusal::Throttled | ConnectionRefusal::Evicted) {
            let verified = matches!(refusal, ConnectionRefusal::Certificate { presented, .. } if presented.verified);
            tracing::info!(client.address = %remote, reason = refusal.reason(), verified, cause, "connection refused");
        }
        match refusal {
            ConnectionRefusal::Certificate { refusal, presented } => {
                let cause = ("cause", refusal.to_string());
                self.audit_presented(remote, refusal.reason(), presented, vec![cause]);
            }
            ConnectionRefusal::UntrustedProxy | ConnectionRefusal::NoCertificate => {
                self.audit(remote.ip(), TenantId::system(), refusal.reason(), Vec::new());
            }
            ConnectionRefusal::TooManyConnections { presented: Some(presented), .. } => {
                self.audit_presented(remote, refusal.reason(), presented, Vec::new());
            }
            // The net's noise, and trouble on the way: numbers tell enough.
            ConnectionRefusal::Banned
            | ConnectionRefusal::Throttled
            | ConnectionRefusal::Evicted
            | ConnectionRefusal::TooManyConnections { presented: None, .. }
            | ConnectionRefusal::Proxy(_)
            | ConnectionRefusal::ClosedEarly
            | ConnectionRefusal::NotTls
            | ConnectionRefusal::Timeout
            | ConnectionRefusal::Handshake(_)
            | ConnectionRefusal::NoCommonProtocol => {}
        }
    }

    fn banned(&self, source: IpAddr, reason: BanReason) {
        self.metrics.count("signet_sources_banned_total", "reason", reason.as_str());
        tracing::warn!(client.address = %source, reason = reason.as_str(), "source banned: its handshakes fail");
        let details = vec![("reason", reason.as_str().to_owned())];
        self.audit(source, TenantId::system(), "SOURCE_BANNED", details);
        if let Some(log) = &self.ban_log {
            log.write((self.clock)(), source, reason);
        }
    }

    fn closed(&self, remote: SocketAddr, identity: Option<&Identity>, ended: Ended) {
        self.metrics.count("signet_connections_closed_total", "reason", ended.reason());
        let Ended::Refused(_) = ended else {
            tracing::debug!(client.address = %remote, reason = ended.reason(), "connection closed");
            return;
        };
        let principal = identity.map(|identity| tracing::field::display(&identity.principal));
        let tenant = identity.map(|identity| tracing::field::display(&identity.tenant));
        tracing::info!(client.address = %remote, tenant.id = tenant, principal, reason = ended.reason(), "connection cut");
    }

    fn accept_failed(&self, error: &io::Error) {
        self.metrics.with(|| counter!("signet_accept_failures_total").increment(1));
        tracing::error!(%error, "cannot accept connections; pausing");
    }
}

/// An acceptor for the node's connections.
pub(crate) fn acceptor(
    node: &Arc<Node>,
    settings: AcceptSettings,
    certificate: Arc<signet_mtls::ServerCertificate>,
) -> Result<Arc<Acceptor<Rights>>, rustls::Error> {
    let observer = Connections {
        metrics: Arc::clone(&node.metrics),
        refusals: Arc::clone(&node.refusals),
        clock: Arc::clone(&node.clock),
        lookups: Arc::clone(&node.lookups),
        ban_log: node.ban_log.clone(),
    };
    let environment = node.app.environment().clone();
    Acceptor::new(settings, environment, certificate, Arc::clone(&node.connections), Arc::new(observer))
}
