//! Security event tokens (RFC 8417): `session-revoked` of CAEP 1.0, and that a stream begins (OpenID Shared Signals
//! Framework 1.0 section 8.1.5).

use serde_json::{Map, Value, json};
use signet_app::{
    tokens::claims::{SECURITY_EVENT, SecurityEventToken},
    trust::security_events::{RevokedFacts, revoked_facts},
};
use signet_core::{
    Error, PrincipalType, TenantScope, Time,
    tokens::TokenUse,
    trust::{SecurityEvent, SecurityEventStream, transaction_id},
};

use super::mint::key;
use crate::{node::Node, services::wire};

const SESSION_REVOKED: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
const STREAM_UPDATED: &str = "https://schemas.openid.net/secevent/ssf/event-type/stream-updated";

/// The node, the stream, its receiver's type, and when.
pub(super) type For<'a> = (&'a Node, &'a SecurityEventStream, PrincipalType, Time);

/// That the stream begins: a receiver that had another has missed what was in between. By its `jti`.
pub(super) async fn begins(subject: For<'_>) -> Result<(String, String), Error> {
    let stream = subject.1;
    let reason = "a new stream: what was revoked before it began is not told";
    let event = json!({ STREAM_UPDATED: { "status": "enabled", "reason": reason } });
    let about = json!({ "format": "opaque", "id": stream.id });
    signed(subject, stream.first_token_id(), (None, None), (about, event)).await
}

/// That sessions are over. By its `jti`.
pub(super) async fn revoked(
    subject: For<'_>,
    scope: &TenantScope,
    event: &SecurityEvent,
) -> Result<(String, String), Error> {
    let (node, stream, _, now) = subject;
    let facts = revoked_facts(&node.app, &node.trust, scope, event, now).await?;
    let about = about(node, event, &facts)?;
    let mut claims = Map::new();
    claims.insert("event_timestamp".into(), event.at.unix_seconds().into());
    if facts.by_system {
        claims.insert("initiating_entity".into(), "system".into());
    }
    if let Some(reason) = facts.reason {
        claims.insert("reason_admin".into(), json!({ "en": reason }));
    }
    let caused = (Some(transaction_id(event)), Some(event.at.unix_seconds()));
    signed(subject, stream.token_id(event), caused, (about, json!({ SESSION_REVOKED: claims }))).await
}

/// As access tokens name them: `user` by `iss` and `sub`, `session` by `certificate`.
fn about(node: &Node, event: &SecurityEvent, facts: &RevokedFacts) -> Result<Value, Error> {
    let mut members = Map::new();
    members.insert("format".into(), "complex".into());
    if let Some((principal_type, id)) = &facts.holder {
        let sub = wire::spiffe_id(node, &event.tenant, *principal_type, id);
        let iss = node.issuer.of(&event.tenant)?;
        members.insert("user".into(), json!({ "format": "iss_sub", "iss": iss, "sub": sub }));
    } else if let signet_core::trust::RevokedSession::Principal(id) = &event.of {
        // Its record cannot be read, and nobody knows its type.
        members.insert("user".into(), json!({ "format": "opaque", "id": id }));
    }
    if let Some(certificate) = &facts.certificate {
        members.insert("session".into(), json!({ "format": "opaque", "id": certificate }));
    }
    Ok(Value::Object(members))
}

async fn signed(
    (node, stream, principal_type, now): For<'_>,
    jti: String,
    (txn, toe): (Option<String>, Option<i64>),
    (sub_id, events): (Value, Value),
) -> Result<(String, String), Error> {
    let claims = SecurityEventToken {
        iss: node.issuer.of(&stream.tenant)?,
        aud: wire::spiffe_id(node, &stream.tenant, principal_type, &stream.receiver),
        jti: jti.clone(),
        iat: now.unix_seconds(),
        txn,
        toe,
        sub_id,
        events,
    };
    let token = key(node, &stream.tenant, TokenUse::SecurityEvent, now).await?.sign(SECURITY_EVENT, &claims);
    Ok((jti, token.map_err(Error::internal)?))
}
