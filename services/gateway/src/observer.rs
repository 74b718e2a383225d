//! What happens to connections, counted and audited.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use signet_core::{
    Clock, Identity,
    spiffe::{SpiffeId, TrustDomainSuffix},
};
use signet_mtls::{BanReason, ConnectionObserver, ConnectionRefusal, Ended, Presented};

use crate::{
    audit::{Audit, Event},
    ban_log::BanLog,
    metrics::{Counted, Metrics},
};

/// See the module's words.
pub(crate) struct Observer {
    pub(crate) audit: Audit,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) ban_log: Option<BanLog>,
    pub(crate) suffix: TrustDomainSuffix,
    pub(crate) clock: Clock,
}

impl Observer {
    /// What an unverified certificate says is anybody's word: it is a detail, not the actor.
    fn presented(&self, event: Event, presented: &Presented) -> Event {
        let Some(id) = &presented.id else { return event };
        let uri = id.uri(&self.suffix);
        if !presented.verified {
            return event.detailed(format!("the certificate says {uri}, which is not verified"));
        }
        let (tenant, serial) = (Some(id.tenant.as_str().into()), presented.serial.map(|serial| serial.to_string()));
        Event { tenant, spiffe_id: Some(uri.into()), serial, ..event }
    }
}

impl ConnectionObserver for Observer {
    fn accepted(&self, remote: SocketAddr, identity: Option<&Identity>, _resumed: bool, _handshake: Duration) {
        self.metrics.connection(1);
        let mut event = Event::success("connection").sourced(remote.ip());
        if let Some(identity) = identity {
            let id = SpiffeId {
                tenant: identity.tenant.clone(),
                principal_type: identity.principal_type,
                principal: identity.principal.clone(),
            };
            event.tenant = Some(identity.tenant.as_str().into());
            event.spiffe_id = Some(id.uri(&self.suffix).into());
            event.serial = Some(identity.serial.to_string());
        }
        self.audit.write(&event);
    }

    fn refused(&self, remote: SocketAddr, refusal: &ConnectionRefusal) {
        self.metrics.count(Counted::ConnectionsRefused, refusal.reason());
        let event = Event::failure("connection", refusal.reason()).sourced(remote.ip()).detailed(refusal.to_string());
        let event = match refusal {
            // As many as a stranger likes: the metric tells.
            ConnectionRefusal::Banned | ConnectionRefusal::Throttled | ConnectionRefusal::Evicted => return,
            ConnectionRefusal::Certificate { presented, .. }
            | ConnectionRefusal::TooManyConnections { presented: Some(presented), .. } => {
                self.presented(event, presented)
            }
            _ => event,
        };
        self.audit.write(&event);
    }

    fn banned(&self, source: IpAddr, reason: BanReason) {
        self.metrics.count(Counted::SourcesBanned, reason.as_str());
        tracing::warn!(client.address = %source, reason = reason.as_str(), "source banned: its handshakes fail");
        let event = Event::failure("ban", "SOURCE_BANNED").sourced(source).detailed(reason.as_str());
        self.audit.write(&event);
        if let Some(log) = &self.ban_log {
            log.write((self.clock)(), source, reason);
        }
    }

    fn closed(&self, _remote: SocketAddr, _identity: Option<&Identity>, _ended: Ended) {
        self.metrics.connection(-1);
    }

    fn accept_failed(&self, error: &io::Error) {
        tracing::warn!(%error, "no connection can be accepted; retrying");
    }
}
