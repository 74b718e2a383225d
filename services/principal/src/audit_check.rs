//! `audit verify` without the network: what the server sent, checked by the rules of [`signet_core::audit`].

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use signet_core::{
    KeyRef, TenantId, Time,
    audit::{
        self, AuditEvent, Finding, LateEvent, Seal, SealStatement, Span,
        checkpoint::{self, Checkpoint, Head},
        sha256_hex,
    },
};
use signet_proto::v1;
use signet_x509::PublicKey;

use crate::failure::Failure;

/// The seals of a window, as the server sent them.
#[derive(Clone, Debug, Default)]
pub struct Seals {
    /// The first minute to judge.
    pub from: i64,
    /// Oldest first.
    pub seals: Vec<v1::AuditSeal>,
    /// The last one before them, if it is still kept.
    pub before: Option<v1::AuditSeal>,
    /// The environment's checkpoints of the same time, oldest first, read before the seals.
    pub checkpoints: Vec<v1::AuditCheckpoint>,
    /// The last minute that sealing has finished.
    pub sealed_through: i64,
    /// The audit key, DER SubjectPublicKeyInfo.
    pub key_spki_der: Vec<u8>,
}

/// When a minute since the Unix epoch starts.
pub fn minute_start(minute: i64) -> Timestamp {
    Timestamp::from_second(minute.saturating_mul(60)).unwrap_or(Timestamp::MAX)
}

/// What was checked and found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whose log.
    pub tenant_id: Option<TenantId>,
    /// How many seals were checked.
    pub seals: usize,
    /// How many events they cover.
    pub sealed_events: usize,
    /// Events that are too new to be sealed, so that nothing is said of them.
    pub unsealed_events: usize,
    /// Whether the first of the seals is the first ever; otherwise what was before it is not judged.
    pub from_the_beginning: bool,
    /// The end of the last sealed minute.
    pub sealed_until: Option<String>,
    /// SHA-256 of the audit key's SubjectPublicKeyInfo.
    pub key_sha256: Option<String>,
    /// The end of the environment's chain of checkpoints.
    pub head: Option<Head>,
    /// What is wrong; empty: nothing.
    pub findings: Vec<Value>,
    /// Minutes whose events should be read again before anybody is alarmed.
    #[serde(skip)]
    pub read_again: Vec<i64>,
}

impl Report {
    /// For printing.
    pub fn to_value(&self) -> Result<Value, Failure> {
        serde_json::to_value(self).map_err(Failure::other)
    }
}

/// What must hold besides.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expected<'a> {
    /// Whose log it is, if the caller named it.
    pub tenant: Option<&'a TenantId>,
    /// The SHA-256 of the key that must have sealed.
    pub key_sha256: Option<&'a str>,
    /// Ends of the chain that were seen earlier.
    pub heads: &'a [Head],
}

/// Checks `events` against `seals`.
pub fn check(seals: &Seals, events: &[v1::AuditEvent], expected: Expected<'_>) -> Result<Report, Failure> {
    let pinned = expected.key_sha256;
    let statements = seals.seals.iter().map(seal).collect::<Result<Vec<_>, _>>()?;
    let before = seals.before.as_ref().map(seal).transpose()?;
    let events = events.iter().map(event).collect::<Result<Vec<_>, _>>()?;
    let sealed = statements.first().or(before.as_ref()).map(|s| &s.statement.tenant);
    let tenant = expected.tenant.or(sealed).or(events.first().map(|e| &e.tenant)).cloned();
    let strangers = statements.iter().map(|s| &s.statement.tenant).chain(events.iter().map(|e| &e.tenant));
    let mut findings = Vec::new();
    if strangers.into_iter().any(|t| Some(t) != tenant.as_ref()) {
        findings.push(serde_json::json!({ "finding": "mixed_tenants" }));
    }
    let key_sha256 = (!seals.key_spki_der.is_empty()).then(|| sha256_hex(&seals.key_spki_der));
    if pinned.is_some_and(|pin| key_sha256.as_deref() != Some(pin)) {
        findings.push(serde_json::json!({ "finding": "other_key", "expected": pinned, "found": key_sha256 }));
    }
    let key = PublicKey::from_spki_der(&seals.key_spki_der);
    let verify = |message: &[u8], signature: &[u8]| key.as_ref().is_ok_and(|k| k.verify(message, signature).is_ok());
    let previous = before.map(|seal| seal.statement.digest());
    let span = Span { from: seals.from, to: i64::MAX, sealed_through: seals.sealed_through, previous };
    let found = audit::verify(&events, &statements, &span, &verify);
    let read_again = found.iter().filter_map(Finding::read_again).collect();
    findings.extend(found.iter().map(finding).collect::<Result<Vec<_>, _>>()?);
    let chain = seals.checkpoints.iter().map(checkpoint).collect::<Result<Vec<_>, _>>()?;
    let mut in_chain = checkpoint::verify_chain(&chain, expected.heads, &verify);
    if let Some(tenant) = &tenant {
        // Without any seal: the tenant has had none, or the checkpoint of its first one tells.
        in_chain.extend(checkpoint::missing_seals(&chain, tenant, &statements, previous.or(Some([0; 32]))));
    }
    findings.extend(in_chain.iter().map(finding).collect::<Result<Vec<_>, _>>()?);
    let unsealed_events = events.iter().filter(|event| event.at.minute() > seals.sealed_through).count();
    Ok(Report {
        tenant_id: tenant,
        seals: statements.len(),
        sealed_events: events.len().saturating_sub(unsealed_events),
        unsealed_events,
        from_the_beginning: statements.first().is_some_and(|s| s.statement.previous == [0; 32]),
        sealed_until: (seals.sealed_through > 0)
            .then(|| minute_start(seals.sealed_through.saturating_add(1)).to_string()),
        key_sha256,
        head: chain.last().map(Checkpoint::head),
        findings,
        read_again,
    })
}

fn finding(finding: &impl Serialize) -> Result<Value, Failure> {
    let mut value = serde_json::to_value(finding).map_err(Failure::other)?;
    let minute = value.get("minute").and_then(Value::as_i64).unwrap_or(0);
    if let Value::Object(fields) = &mut value {
        fields.insert("time".into(), minute_start(minute).to_string().into());
    }
    Ok(value)
}

fn digest(bytes: &[u8]) -> Result<[u8; 32], Failure> {
    bytes.try_into().map_err(|_| Failure::other("the server sent a digest that is not 32 bytes long"))
}

fn event(event: &v1::AuditEvent) -> Result<AuditEvent, Failure> {
    let time = event.event_time.unwrap_or_default();
    let millis = time.seconds.saturating_mul(1000).saturating_add(i64::from(time.nanos / 1_000_000));
    Ok(AuditEvent {
        tenant: event.tenant_id.parse()?,
        id: event.event_id.clone(),
        at: Time::from_unix_millis(millis),
        payload: event.payload_json.clone(),
        keep_until: Time::from_unix_millis(i64::MAX),
    })
}

fn checkpoint(checkpoint: &v1::AuditCheckpoint) -> Result<Checkpoint, Failure> {
    Ok(Checkpoint {
        tenant: TenantId::system(),
        sequence: checkpoint.sequence,
        minute: checkpoint.minute,
        previous: digest(&checkpoint.previous_sha256)?,
        tags: checkpoint.tags.clone(),
        key: "audit:key".parse()?,
        signature: checkpoint.signature_der.clone(),
        keep_until: Time::from_unix_millis(i64::MAX),
    })
}

fn seal(seal: &v1::AuditSeal) -> Result<Seal, Failure> {
    let late = |late: &v1::LateEvent| {
        Ok::<_, Failure>(LateEvent { minute: late.minute, id: late.event_id.clone(), leaf: digest(&late.leaf_sha256)? })
    };
    let statement = SealStatement {
        tenant: seal.tenant_id.parse()?,
        minute: seal.minute,
        count: seal.count,
        root: digest(&seal.root_sha256)?,
        late: seal.late.iter().map(late).collect::<Result<_, _>>()?,
        previous: digest(&seal.previous_sha256)?,
    };
    let key: KeyRef = "audit:key".parse()?;
    Ok(Seal {
        statement,
        batch_index: seal.batch_index,
        batch_size: seal.batch_size,
        batch_path: seal.batch_path_sha256.iter().map(hex::encode).collect(),
        key,
        cover: Vec::new(),
        signature: seal.signature_der.clone(),
        keep_until: Time::from_unix_millis(i64::MAX),
    })
}
