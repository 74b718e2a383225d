//! Which columns a list of each message has.

use prost_reflect::prost::Message;
use serde_json::Value;
use signet_proto::v1;

use super::table::{
    Cell::{Age, Field, Sentence, Status, When, With},
    Column,
};

/// An API message that can be shown.
pub trait Shown: Message {
    /// Its full name in the .proto.
    const MESSAGE: &'static str;
    /// The fields that name one, as commands take them.
    const NAME: &'static [&'static str];
    /// The columns of a list of them.
    const COLUMNS: &'static [Column];
}

/// `-` after a heading: shown where there is room for it.
macro_rules! shown {
    ($($message:ident [$($name:literal),*] { $($title:literal $(- $wide:ident)?: $cell:expr),* $(,)? })*) => {$(
        impl Shown for v1::$message {
            const MESSAGE: &'static str = concat!("signet.v1.", stringify!($message));
            const NAME: &'static [&'static str] = &[$($name),*];
            const COLUMNS: &'static [Column] = &[$(column!($title, $cell $(, $wide)?)),*];
        }
    )*};
}

macro_rules! column {
    ($title:literal, $cell:expr) => {
        Column::new($title, $cell)
    };
    ($title:literal, $cell:expr, wide) => {
        Column::wide($title, $cell)
    };
}

shown! {
    Tenant ["tenant_id"] {
        "TENANT": Field("tenant_id"), "STATUS": Status("status"), "ISOLATION": Field("isolation"), "AGE": Age("create_time"),
        "NAME": Field("display_name"), "TRUST DOMAIN" - wide: Field("trust_domain"),
    }
    Principal ["principal_id"] {
        "PRINCIPAL": Field("principal_id"), "TYPE": Field("principal_type"), "STATUS": Status("status"),
        "ROLES": Field("roles"), "CERTS": Field("certificate_count"), "AGE": Age("create_time"),
        "NAME" - wide: Field("display_name"), "GROUPS" - wide: Field("groups"),
    }
    Certificate ["issuer_id", "serial_number"] {
        "ISSUER": Field("issuer_id"), "SERIAL NUMBER": Field("serial_number"), "STATE": Status("state"),
        "EXPIRES": When("not_after"), "PRINCIPAL" - wide: Field("principal_id"), "AGE" - wide: Age("not_before"),
        "REVOKED" - wide: When("revoke_time"), "REASON" - wide: Field("revocation_reason"),
    }
    AuthorizationModel ["version"] {
        "VERSION": Field("version"), "AGE": Age("set_time"), "BY": Field("set_by"), "PROOF": Field("proof"), "NOTE": Field("note"),
    }
    TokenKey ["key_id"] {
        "KEY": Field("key_id"), "USE": Field("use"), "ALGORITHM": Field("algorithm"), "SIGNS": When("sign_time"),
        "PUBLISHED" - wide: When("publish_time"),
    }
    MessageSecret ["principal_id"] {
        "DEVICE": Field("principal_id"), "SECRET": Field("secret_id"), "AGE": Age("create_time"),
        "PREVIOUS UNTIL": When("previous_expire_time"), "PREVIOUS" - wide: Field("previous_secret_id"),
    }
    Token ["token_id"] {
        "TOKEN": Field("token_id"), "TYPE": Field("principal_type"), "PRINCIPAL": With(whom), "LEFT": Field("uses_left"),
        "EXPIRES": When("expire_time"), "REVOKED": When("revoke_time"), "BY" - wide: Field("created_by"),
    }
    EnrollmentRule ["rule_id"] {
        "RULE": Field("rule_id"), "PROOF": With(proof), "TYPE": Field("principal_type"), "ID": Field("id_template"),
        "ROLES": Field("roles"), "CONDITIONS" - wide: With(conditions), "BY" - wide: Field("created_by"),
    }
    RuleMiss ["rule_id"] { "RULE": Field("rule_id"), "REASON": Field("reason"), "DETAIL": Sentence("detail") }
    CertificateAuthority ["ca_id"] {
        "CA": Field("ca_id"), "KIND": Field("kind"), "STATE": Status("state"), "ISSUER": Field("issuer_id"),
        "EXPIRES": When("not_after"), "KEY" - wide: Field("key_ref"),
    }
    AuditEvent ["event_id"] {
        "TIME": Age("event_time"), "OPERATION": With(|e| payload(e, "operation")), "ACTOR": With(actor),
        "OUTCOME": With(|e| payload(e, "outcome")), "RESOURCE": With(resource),
        "SEVERITY" - wide: With(severity), "SOURCE" - wide: With(|e| payload(e, "source")),
        "CORRELATION ID" - wide: With(|e| payload(e, "correlation_id")),
    }
    RenewalSteering [] {
        "ISSUED BEFORE": Field("issued_before"), "FROM": Field("window_start"), "TO": Field("window_end"),
    }
    IssuedCertificate ["issuer_id", "serial_number"] { "CHAIN": Field("chain_der") }
    TrustBundle ["tenant_id"] {
        "TENANT": Field("tenant_id"), "TRUST DOMAIN": Field("trust_domain"),
    }
    WhoAmIResponse ["principal_id"] {
        "TENANT": Field("tenant_id"), "PRINCIPAL": Field("principal_id"), "TYPE": Field("principal_type"),
    }
}

/// Whom a token enrolls: one principal, or all that a pattern takes.
fn whom(token: &Value) -> String {
    let text = |name: &str| token.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    text("principal_id").or_else(|| text("principal_id_pattern")).unwrap_or("-").to_owned()
}

/// Whom a rule believes.
fn proof(rule: &Value) -> String {
    let anchors = rule.pointer("/x509/anchors_der").and_then(Value::as_array).map(Vec::len);
    match (rule.pointer("/oidc/issuer").and_then(Value::as_str), anchors) {
        (Some(issuer), _) => issuer.to_owned(),
        (None, Some(1)) => "1 CA".to_owned(),
        (None, Some(anchors)) => format!("{anchors} CAs"),
        (None, None) => "AWS".to_owned(),
    }
}

fn conditions(rule: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let one = |condition: &Value| {
        let patterns = condition.get("patterns").and_then(Value::as_array).into_iter().flatten();
        let fact = condition.get("fact").map(text).unwrap_or_default();
        format!("{fact}={}", patterns.map(text).collect::<Vec<_>>().join("|"))
    };
    let all = rule.get("conditions").and_then(Value::as_array).into_iter().flatten();
    let all: Vec<String> = all.map(one).collect();
    if all.is_empty() { "-".to_owned() } else { all.join(" ") }
}

fn parsed(event: &Value) -> Value {
    let text = event.get("payload_json").and_then(Value::as_str).unwrap_or_default();
    serde_json::from_str(text).unwrap_or_default()
}

fn payload(event: &Value, field: &str) -> String {
    parsed(event).get(field).and_then(Value::as_str).unwrap_or("-").to_owned()
}

/// `info`, `warning` or `high`; older servers send none.
fn severity(event: &Value) -> String {
    event.pointer("/entry/severity").and_then(Value::as_str).unwrap_or("-").to_owned()
}

fn actor(event: &Value) -> String {
    let event = parsed(event);
    let part = |name: &str| event.pointer(&format!("/actor/{name}")).and_then(Value::as_str).unwrap_or("-");
    match part("kind") {
        "principal" => format!("{}/{}/{}", part("tenant"), part("principal_type"), part("principal")),
        "process" => part("name").to_owned(),
        other => presented(&event).unwrap_or_else(|| other.to_owned()),
    }
}

/// Whose certificate was presented where nobody was let in. Without a good signature it may be anybody's.
fn presented(event: &Value) -> Option<String> {
    let detail = |name: &str| event.pointer(&format!("/details/{name}")).and_then(Value::as_str);
    let whose = detail("presented")?;
    Some(if detail("verified") == Some("true") { whose.to_owned() } else { format!("{whose} (not verified)") })
}

fn resource(event: &Value) -> String {
    let event = parsed(event);
    let part = |name: &str| event.pointer(&format!("/resource/{name}")).and_then(Value::as_str);
    match (part("kind"), part("id")) {
        (Some(kind), Some(id)) => format!("{kind} {id}"),
        _ => match event.pointer("/details/serial").and_then(Value::as_str) {
            Some(serial) => format!("certificate {serial}"),
            None => "-".into(),
        },
    }
}

/// An audit event in one line, for a stream.
pub fn event_summary(event: &Value) -> String {
    let time = event.get("event_time").and_then(Value::as_str).unwrap_or("-");
    let (operation, outcome) = (payload(event, "operation"), payload(event, "outcome"));
    format!("{time}  {operation}  {}  {}  {outcome}", actor(event), resource(event))
}
