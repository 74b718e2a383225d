//! What an audit event says, as a message for those who do not want to take its text apart. What is sealed is the text
//! alone.

use std::collections::HashMap;

use serde::Deserialize;
use signet_core::{PrincipalType, audit::Severity};
use signet_proto::v1::{self as pb, audit_actor::Actor as WireActor};

use crate::services::wire;

/// `signet_app::AuditEntry`, as this release and those before it write it.
#[derive(Deserialize)]
struct Entry {
    operation: String,
    actor: Actor,
    resource: Option<Resource>,
    outcome: String,
    #[serde(default)]
    request_id: String,
    #[serde(default)]
    source: String,
    #[serde(default)]
    correlation_id: String,
    #[serde(default)]
    details: HashMap<String, String>,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Actor {
    Principal { tenant: String, principal_type: PrincipalType, principal: String, serial: String },
    Anonymous,
    Process { name: String },
}

#[derive(Deserialize)]
struct Resource {
    kind: String,
    id: String,
}

/// `None`: a later release wrote it in a form of its own.
pub(crate) fn entry(payload: &str) -> Option<pb::AuditEntry> {
    let entry: Entry = serde_json::from_str(payload).ok()?;
    Some(pb::AuditEntry {
        severity: severity(Severity::of(&entry.operation, &entry.outcome)).into(),
        operation: entry.operation,
        actor: Some(pb::AuditActor { actor: Some(actor(entry.actor)) }),
        resource: entry.resource.map(|Resource { kind, id }| pb::AuditResource { kind, id }),
        outcome: entry.outcome,
        request_id: entry.request_id,
        source_address: entry.source,
        correlation_id: entry.correlation_id,
        details: entry.details,
    })
}

const fn severity(severity: Severity) -> pb::AuditSeverity {
    match severity {
        Severity::Info => pb::AuditSeverity::Info,
        Severity::Warning => pb::AuditSeverity::Warning,
        Severity::High => pb::AuditSeverity::High,
    }
}

fn actor(actor: Actor) -> WireActor {
    match actor {
        Actor::Principal { tenant, principal_type, principal, serial } => WireActor::Principal(pb::PrincipalActor {
            tenant_id: tenant,
            principal_type: wire::principal_type(principal_type),
            principal_id: principal,
            serial_number: serial,
        }),
        Actor::Anonymous => WireActor::Anonymous(pb::AnonymousActor {}),
        Actor::Process { name } => WireActor::Process(pb::ProcessActor { name }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // That nothing is missing is seen where events are read: `tests/it/world.rs` compares each with its text.
    #[test]
    fn actors_of_all_kinds_are_told_apart() {
        let sent = |actor: &str| {
            let entry = entry(&format!(r#"{{"operation":"Enroll","actor":{actor},"outcome":"REFUSED"}}"#));
            entry.and_then(|entry| entry.actor?.actor)
        };
        assert_eq!(sent(r#"{"kind":"anonymous"}"#), Some(WireActor::Anonymous(pb::AnonymousActor {})));
        let process = WireActor::Process(pb::ProcessActor { name: "sweep".into() });
        assert_eq!(sent(r#"{"kind":"process","name":"sweep"}"#), Some(process));
        let worker =
            r#"{"kind":"principal","tenant":"acme","principal_type":"worker","principal":"w-1","serial":"00"}"#;
        let principal = WireActor::Principal(pb::PrincipalActor {
            tenant_id: "acme".into(),
            principal_type: pb::PrincipalType::Worker.into(),
            principal_id: "w-1".into(),
            serial_number: "00".into(),
        });
        assert_eq!(sent(worker), Some(principal));
    }

    #[test]
    fn events_have_the_severity_of_their_operation_and_outcome() {
        let of = |operation: &str, outcome: &str| {
            let actor = r#"{"kind":"anonymous"}"#;
            let text = format!(r#"{{"operation":"{operation}","actor":{actor},"outcome":"{outcome}"}}"#);
            entry(&text).unwrap().severity()
        };
        assert_eq!(of("Enroll", "OK"), pb::AuditSeverity::Info);
        assert_eq!(of("Enroll", "TOKEN_EXPIRED"), pb::AuditSeverity::Warning);
        assert_eq!(of("RevokeCertificate", "OK"), pb::AuditSeverity::High);
        assert_eq!(of("RenewCertificate", "CLONE_DETECTED"), pb::AuditSeverity::High);
    }

    #[test]
    fn a_text_of_another_form_is_sent_as_it_is_and_no_more() {
        for text in ["", "{}", r#"{"unreadable":"…"}"#, r#"{"operation":"X","actor":{"kind":"robot"},"outcome":"OK"}"#]
        {
            assert_eq!(entry(text), None, "{text}");
        }
    }
}
