//! Who asks for what and when, and the audit event that comes of it.

use std::{collections::BTreeMap, net::IpAddr, ops::Deref, sync::atomic::Ordering};

use serde::Serialize;
use signet_core::{
    Actor, Error, Lifetime, RequestId, Serial, TenantId, Time,
    audit::AuditEvent,
    authorities::signer::random,
    store::{commit::Commit, scope::Housekeeper},
    trust::change::Change,
};

use crate::App;

/// Who has not heard for so long reads everything again: what only running nodes must hear is gone after twice that.
pub(crate) const LOST_AFTER: Lifetime = Lifetime::days(1);

/// The circumstances of one operation.
#[derive(Clone, Debug)]
pub struct Call {
    /// The RPC's name, which is also the operation's in metrics, audit events and runbooks.
    pub operation: &'static str,
    /// When it, or its present piece, started; the only clock reading.
    pub now: Time,
    /// Who asks.
    pub actor: Actor,
    /// The caller's idempotency key.
    pub request_id: Option<RequestId>,
    /// Where the call comes from.
    pub source: Option<IpAddr>,
    /// What the caller gets told to name this call by, if anything: the way from a complaint to log and audit event.
    pub correlation_id: Option<String>,
}

impl Call {
    /// A call of Signet's own, e.g. `bootstrap`.
    pub fn process(name: &'static str, now: Time) -> Self {
        let actor = Actor::Process { name };
        Self { operation: name, now, actor, request_id: None, source: None, correlation_id: None }
    }

    /// The same call for a piece of work that begins at `now`.
    #[must_use]
    pub fn at(&self, now: Time) -> Self {
        Self { now, ..self.clone() }
    }
}

/// A call of Signet's own that nobody asked for, with the right to work on any tenant's records.
#[derive(Clone, Debug)]
pub struct Chore {
    call: Call,
    pub(crate) keeper: Housekeeper,
}

impl Chore {
    /// E.g. `sweeper`, for who starts such work: upkeep, the rotate Lambda.
    pub fn new(name: &'static str, now: Time) -> Self {
        Self { call: Call::process(name, now), keeper: Housekeeper::appoint() }
    }

    /// The same for a piece of work that begins at `now`.
    #[must_use]
    pub fn at(&self, now: Time) -> Self {
        Self { call: self.call.at(now), keeper: self.keeper }
    }
}

impl Deref for Chore {
    type Target = Call;
    fn deref(&self) -> &Call {
        &self.call
    }
}

/// The idempotency key that a caller sends with a change. Without one, who lost the answer could only do it twice.
pub fn request_id(text: &str) -> Result<RequestId, Error> {
    if text.is_empty() {
        let message = "is required: a new UUID for every new request, the same one for every repetition of it";
        return Err(Error::invalid("request_id", "REQUIRED", message));
    }
    text.parse().map_err(Error::id("request_id"))
}

/// What an operation was about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Resource {
    /// E.g. `principal`.
    pub kind: &'static str,
    /// As callers name it.
    pub id: String,
}

/// The payload of an audit event, written as JSON.
#[derive(Clone, Debug, Serialize)]
pub struct AuditEntry {
    operation: &'static str,
    actor: Actor,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<Resource>,
    /// `OK` or the refusal's reason.
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<RequestId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    details: BTreeMap<&'static str, String>,
}

impl AuditEntry {
    /// An operation that was carried out.
    pub fn done(call: &Call, kind: &'static str, id: impl ToString) -> Self {
        Self::refused(call, "OK").about(kind, id)
    }

    /// A refusal; `reason` as in `google.rpc.ErrorInfo`.
    pub fn refused(call: &Call, reason: &'static str) -> Self {
        Self {
            operation: call.operation,
            actor: call.actor.clone(),
            resource: None,
            outcome: reason,
            request_id: call.request_id.clone(),
            source: call.source,
            correlation_id: call.correlation_id.clone(),
            details: BTreeMap::new(),
        }
    }

    /// Names what it was about.
    #[must_use]
    pub fn about(mut self, kind: &'static str, id: impl ToString) -> Self {
        self.resource = Some(Resource { kind, id: id.to_string() });
        self
    }

    /// Adds a fact. Never a secret.
    #[must_use]
    pub fn detail(mut self, name: &'static str, value: impl ToString) -> Self {
        self.details.insert(name, value.to_string());
        self
    }
}

/// A commit with the event of `entry` in `tenant`'s log.
pub(crate) fn audited(app: &App, call: &Call, tenant: &TenantId, entry: &AuditEntry) -> Commit {
    Commit::audited(event(app, call, tenant, entry), call.now)
}

/// The event of `entry` in `tenant`'s log. It never lies in a minute of which this process knows that it is sealed:
/// an event that a node writes whose clock was set back is late, but nobody put it in afterwards.
fn event(app: &App, call: &Call, tenant: &TenantId, entry: &AuditEntry) -> AuditEvent {
    let at = call.now.max(Time::from_unix_millis(app.unsealed_from.load(Ordering::Acquire)));
    AuditEvent {
        tenant: tenant.clone(),
        id: Serial::new(at, random(&*app.entropy)).to_string(),
        at,
        payload: serde_json::to_string(entry).unwrap_or_else(|error| format!("{{\"unreadable\":\"{error}\"}}")),
        keep_until: at.plus(app.settings.audit_retention),
    }
}

/// A commit that makes every node read the tenant and its CAs again.
pub(crate) fn tenant_commit(app: &App, call: &Call, tenant: &TenantId, entry: &AuditEntry) -> Commit {
    // Who starts reads the tenants themselves, and so does who was away for long.
    let until = call.now.plus(LOST_AFTER).plus(LOST_AFTER);
    audited(app, call, tenant, entry).announce(tenant, Change::TenantChanged, until)
}
