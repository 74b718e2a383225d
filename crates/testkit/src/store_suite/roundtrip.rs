//! What comes back is what was written.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::json;
use signet_core::{
    CaId, Lifetime, PrincipalType, Role, Serial, Store, TenantId, Time,
    audit::{LateEvent, Seal, SealHead, SealStatement, checkpoint::Checkpoint},
    authorities::{Ca, CaKind, CaState, RevocationList},
    authorization::model::{AuthorizationModel, AuthorizationVersion, Grant, Grantee, Proved, Rules},
    certificates::{
        Certificate, CertificateKind, CertificateState, Confirmation, Lineage, RevocationReason, Successor,
        expiry::{BrokenOff, Ending, ExpiryWarning, ScanCursor, Threshold},
        renewal::{Steering, Window},
    },
    enrollment::{
        EnrollmentToken, Maker, PrincipalTemplate, UsedProof,
        rule::{Condition, EnrollmentRule, RuleTemplate, Source},
    },
    messages::{MessageKey, MessageSecret, PreviousSecret, SealedSecret, SeenMessage},
    principals::{HeldCertificate, Principal, PrincipalStatus},
    store::{
        Body, Cursor, Version, Versioned, Write,
        request::{Outcome, RequestRecord},
    },
    tenants::{
        Deletion, FailureLimit, Isolation, Purge, SubjectForm, Tenant, TenantStatus,
        quota::{Quota, QuotaCount, Quotas},
    },
    tokens::{TokenAlgorithm, TokenKey, TokenKeys, TokenUse},
    trust::{
        EventPlace, SecurityEventStream,
        change::{Change, ChangeEntry, ChangeHead},
    },
};

use super::support::{get, write};
use crate::fixtures::{
    NOW, ca, certificate, event, later, principal, principal_id, request, seal, tenant, token, unique, unique_tenant,
};

const TEXT: &str = "Zoë's \"Ünïcode\" \\ \u{1F511} \t\n <&> \u{0001}";

fn role(text: &str) -> Role {
    text.parse().unwrap()
}

fn serial(byte: u8) -> Serial {
    Serial::new(NOW, [byte; 10])
}

/// Every kind of `Body` with every field set.
pub async fn every_kind_of_body_survives(store: Arc<dyn Store>) {
    for body in full(&unique_tenant()) {
        assert_survives(&*store, body).await;
    }
    // The tables may be an environment's: this is before anything of it.
    let head = SealHead { tenant: TenantId::system(), minute: 1 };
    survives_as_singleton(&*store, head.into()).await;
}

/// Every kind of record that is not the only one of its kind, each with every field set.
pub fn full(id: &TenantId) -> Vec<Body> {
    [owners(id), credentials(id), records(id), rules(id), models(id), token_keys(id), messages(id)].concat()
}

/// Authorization models with each kind of grantee.
pub async fn authorization_models_survive(store: Arc<dyn Store>) {
    for body in models(&unique_tenant()) {
        assert_survives(&*store, body).await;
    }
}

/// Keys for tokens.
pub async fn token_keys_survive(store: Arc<dyn Store>) {
    for body in token_keys(&unique_tenant()) {
        assert_survives(&*store, body).await;
    }
}

/// Secrets that devices sign messages with, and what they sent.
pub async fn message_records_survive(store: Arc<dyn Store>) {
    for body in messages(&unique_tenant()) {
        assert_survives(&*store, body).await;
    }
}

fn messages(id: &TenantId) -> Vec<Body> {
    let (tenant, principal) = (id.clone(), principal_id("sensor-1"));
    let sealed = |secret: &str| SealedSecret {
        id: secret.parse().unwrap(),
        sealed: vec![0, 0xff],
        made_at: NOW,
        asked_by: Some("ab".repeat(32)),
    };
    let previous = PreviousSecret { secret: sealed("s-1"), until: later(3600), is_late_noted: true };
    vec![
        MessageKey { tenant: tenant.clone(), wrapped: vec![0x80; 300], made_at: NOW }.into(),
        SeenMessage { until: later(600), ..SeenMessage::new(id, &principal, TEXT, "cd".repeat(32), NOW) }.into(),
        MessageSecret { tenant, principal, incarnation: NOW, current: sealed("s-2"), previous: Some(previous) }.into(),
    ]
}

fn token_keys(id: &TenantId) -> Vec<Body> {
    let key = |algorithm| TokenKey {
        id: TEXT.into(),
        algorithm,
        spki_der: vec![0, 0xff],
        wrapped: vec![0x80; 300],
        published_at: NOW,
        signs_at: later(60),
    };
    let of = |for_use| TokenKeys {
        tenant: id.clone(),
        for_use,
        keys: vec![key(TokenAlgorithm::Es256), key(TokenAlgorithm::Rs256)],
        generation: 1_900_000_000,
    };
    TokenUse::ALL.into_iter().map(|for_use| of(for_use).into()).collect()
}

fn models(id: &TenantId) -> Vec<Body> {
    let described = || [(role("fleet-a"), TEXT.to_owned())].into();
    let grantees =
        [Grantee::Type(PrincipalType::Device), Grantee::Role(role("support")), Grantee::Group(role("fleet-a"))];
    let grant = |to| Grant { to, permissions: ["jobs:submit".to_owned()].into(), not_after: Some(later(60)) };
    let model = AuthorizationModel {
        tenant: id.clone(),
        version: u32::MAX,
        rules: Rules {
            permissions: [("jobs:submit".to_owned(), TEXT.to_owned())].into(),
            roles: described(),
            groups: described(),
            grants: grantees.into_iter().map(grant).collect(),
            policies: TEXT.into(),
        },
        note: TEXT.into(),
        proved: Proved::Refuted,
        set_by: TEXT.into(),
        set_at: NOW,
    };
    vec![AuthorizationVersion(model.clone()).into(), model.into()]
}

/// Rules with each kind of source, and what keeps a bearer proof from being used again.
pub async fn rules_and_used_proofs_survive(store: Arc<dyn Store>) {
    for body in rules(&unique_tenant()) {
        assert_survives(&*store, body).await;
    }
}

fn rules(id: &TenantId) -> Vec<Body> {
    let condition = |fact: &str| Condition { fact: fact.into(), patterns: vec!["*".into(), TEXT.into()] };
    let sources = [
        Source::AwsIam,
        Source::Oidc { issuer: "https://login.example.com".into(), audience: TEXT.into() },
        Source::X509 { anchors_der: vec![vec![0, 0xff], Vec::new()] },
    ];
    let rule = |(number, source)| {
        let template = RuleTemplate {
            principal_type: PrincipalType::Device,
            id: "{cn}.{serial:sha256}".into(),
            roles: vec![role("viewer")],
        };
        EnrollmentRule {
            tenant: id.clone(),
            id: format!("rule-{number}").parse().unwrap(),
            source,
            conditions: vec![condition("cn"), condition("https://example.com/team")],
            template,
            created_by: TEXT.into(),
            created_at: NOW,
        }
    };
    let used = UsedProof {
        tenant: id.clone(),
        bearer_sha256: "ab".repeat(32),
        spki_sha256: "cd".repeat(32),
        until: later(600),
    };
    let rules = sources.into_iter().enumerate().map(rule).map(Body::from);
    rules.chain([used.into()]).collect()
}

/// Empty texts, lists and byte strings, absent options, zero and the largest numbers.
pub async fn empty_fields_survive(store: Arc<dyn Store>) {
    let id = unique_tenant();
    let worker = Principal { generation: u64::MAX, ..principal(&id, "worker") };
    let secret = unique("secret");
    let bodies: [Body; 8] = [
        Tenant { max_certificates: 0, ..tenant(&id) }.into(),
        Ca { certificate_der: Vec::new(), ..ca(&id, u32::MAX) }.into(),
        Certificate { tbs_der: Vec::new(), ..certificate(&worker, 0) }.into(),
        worker.into(),
        EnrollmentToken { uses_left: 0, created_by: String::new(), ..token(&id, "token", &secret) }.into(),
        RequestRecord { fingerprint: String::new(), ..request(&id, "anonymous", "request") }.into(),
        seal(&id, 0).into(),
        signet_core::audit::AuditEvent { payload: String::new(), ..event(&id, "0001") }.into(),
    ];
    for body in bodies {
        assert_survives(&*store, body).await;
    }
}

async fn assert_survives(store: &dyn Store, body: Body) {
    write(store, Write::Create(body.clone())).await.unwrap();
    let kept = get(store, &body.key()).await;
    assert_eq!(kept, Some(Versioned { value: body, version: Version::new(1) }));
}

/// For the one record that all tests share: others may write it too.
async fn survives_as_singleton(store: &dyn Store, body: Body) {
    loop {
        let change = match get(store, &body.key()).await {
            None => Write::Create(body.clone()),
            Some(kept) => Write::Replace(body.clone(), kept.version),
        };
        if write(store, change).await.is_ok() {
            break;
        }
    }
    assert_eq!(get(store, &body.key()).await.unwrap().value, body);
}

fn owners(id: &TenantId) -> Vec<Body> {
    let lifetimes = PrincipalType::ALL.into_iter().zip((60..).map(Lifetime::seconds));
    let tenant = Tenant {
        display_name: TEXT.into(),
        status: TenantStatus::Suspended,
        isolation: Isolation::Shared,
        lifetimes: BTreeMap::from_iter(lifetimes),
        subjects: BTreeMap::from([(
            PrincipalType::Device,
            SubjectForm { organizational_unit: Some(TEXT.into()), tenant_in_common_name: true },
        )]),
        max_certificates: u32::MAX,
        renewal_grace: Lifetime::days(30),
        renewal_steering: Some(Steering {
            issued_before: later(60),
            window: Window { start: later(120), end: later(7200) },
        }),
        quotas: Quotas {
            principals: Some(u32::MAX),
            join_tokens: Some(1),
            enrollment_rules: Some(2),
            certificate_authorities: Some(3),
        },
        failure_limit: Some(FailureLimit { failures: 7, window: Lifetime::minutes(3) }),
        deletion: Some(Deletion {
            at: later(1),
            purge_at: later(2),
            purge: Some(Purge { began_at: later(3), done_at: Some(later(4)), keys: 5, records: u64::MAX }),
        }),
        updated_at: Time::from_unix_millis(NOW.unix_millis() + 1),
        ..tenant(id)
    };
    let ca = Ca {
        kind: CaKind::Shared,
        state: CaState::Retiring,
        certificate_der: (0..=255).collect(),
        anchor_der: (0..=255).rev().collect(),
        key: format!("kms:arn:aws:kms:eu-central-1:000000000000:key/{id}").parse().unwrap(),
        ..ca(id, 7)
    };
    let issuer = CaId::new(id.as_str(), 7).unwrap();
    let held = |byte| HeldCertificate {
        issuer: issuer.clone(),
        serial: serial(byte),
        not_after: later(9),
        instance: (byte > 1).then(|| serial(1)),
    };
    let principal = Principal {
        principal_type: PrincipalType::Device,
        status: PrincipalStatus::Deleted,
        display_name: TEXT.into(),
        roles: vec![role("operator"), role("viewer")],
        groups: vec![role("fleet-1")],
        generation: 1 << 60,
        certificates: vec![held(1), held(2)],
        superseded: vec![held(3)],
        compromises: 4,
        ended_instances: vec![serial(4)],
        enrolled_by: Some("devices".parse().unwrap()),
        free_at: Some(later(3600)),
        ..principal(id, "Device_1.a")
    };
    let count = QuotaCount {
        tenant: id.clone(),
        quota: Quota::JoinTokens,
        shard: 3,
        until: Some(later(3600)),
        number: -7,
        counted_at: Some(NOW),
    };
    vec![tenant.into(), ca.into(), principal.into(), count.into()]
}

fn credentials(id: &TenantId) -> Vec<Body> {
    let holder = principal(id, "holder");
    let state = CertificateState::Revoked { revoked_at: later(5), reason: RevocationReason::Superseded };
    let certificate = Certificate {
        kind: CertificateKind::Server,
        state,
        principal_type: PrincipalType::Admin,
        principal_generation: 3,
        incarnation: None,
        certificate_der: vec![0; 2000],
        tbs_der: vec![0xff; 1500],
        renews: Some(serial(9)),
        lineage: Lineage {
            instance: Some(serial(1)),
            generation: 1 << 60,
            answers_lost: 2,
            successor: Some(Successor { issuer: CaId::new(id.as_str(), 8).unwrap(), serial: serial(10) }),
            confirmed: Some(Confirmation { at: later(11), source: Some("2001:db8::1".parse().unwrap()) }),
            locked_at: Some(later(12)),
        },
        keep_until: Some(later(13)),
        ..certificate(&holder, u64::MAX)
    };
    let template = PrincipalTemplate {
        principal_type: PrincipalType::User,
        id: Some(principal_id("chosen")),
        roles: vec![role("viewer")],
    };
    let token = EnrollmentToken {
        template,
        id_pattern: Some("web-*".into()),
        source_networks: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
        uses_left: u32::MAX,
        revoked_at: Some(later(7)),
        created_by: format!("{id}/admin/root"),
        maker: Some(Maker {
            tenant: id.clone(),
            principal: principal_id("root"),
            incarnation: later(14),
            compromises: 3,
            roles: vec![role("operator")],
        }),
        ..token(id, "token", &unique("secret"))
    };
    let outcome = Outcome::Certificate { issuer: certificate.issuer.clone(), serial: certificate.serial };
    let request = RequestRecord { outcome, ..request(id, &format!("{id}/admin"), "request") };
    let list = RevocationList {
        tenant: id.clone(),
        ca: certificate.issuer.clone(),
        number: u64::MAX,
        this_update: NOW,
        next_update: later(172_800),
        renew_at: later(86_400),
        entries: 1 << 60,
        entries_sha256: "ab".repeat(32),
        tbs_sha256: "cd".repeat(32),
        parts: u32::MAX,
        signature_der: vec![0x30, 0x45, 0x00, 0xff],
        keep_until: later(200_000),
    };
    let part = list.part(u32::MAX, &[0, 0xff]);
    vec![certificate.into(), token.into(), request.into(), list.into(), part.into()]
}

/// What a later release may announce.
fn later_change() -> serde_json::Map<String, serde_json::Value> {
    let change = json!({ "change": "of_a_later_release", "number": u64::MAX, "list": [{ "none": null }, -1, true] });
    change.as_object().cloned().unwrap()
}

/// An entry in a feed shard of its own.
pub(super) fn change_entry(id: &TenantId) -> ChangeEntry {
    let shard = u32::from_str_radix(&unique("")[..8], 16).unwrap();
    let changes = vec![Change::TenantChanged];
    ChangeEntry {
        shard,
        sequence: u64::MAX,
        tenant: id.clone(),
        at: NOW,
        until: later(3600),
        changes,
        notices: Vec::new(),
    }
}

fn records(id: &TenantId) -> Vec<Body> {
    let shard = u32::from_str_radix(&unique("")[..8], 16).unwrap();
    let principal = principal_id("worker");
    let until = later(3600);
    let changes = vec![
        Change::CertificateRevoked { serial: serial(3), not_after: until, issuer: None },
        Change::PrincipalDenied { principal: principal.clone(), until },
        Change::PrincipalAllowed { principal: principal.clone() },
        Change::PrincipalRoles { principal, roles: vec![role("viewer")], until },
        Change::TenantChanged,
        Change::Unknown(later_change()),
    ];
    let entry = ChangeEntry { changes, ..change_entry(id) };
    let head = ChangeHead { tenant: TenantId::system(), shard, last: u64::MAX };
    let mut event = event(id, "0001");
    event.payload = format!("{{\"note\":{TEXT:?}}}");
    let statement = SealStatement {
        count: u64::MAX,
        root: [0xaa; 32],
        late: vec![LateEvent { minute: 1, id: "0002".into(), leaf: [0xbb; 32] }],
        previous: [0xcc; 32],
        ..seal(id, 42).statement
    };
    let seal = Seal {
        statement,
        batch_index: 6,
        batch_size: 7,
        batch_path: vec!["ab".repeat(32), "cd".repeat(32)],
        cover: vec![1, 2, 3, 4],
        signature: vec![0x30, 0x45, 0x00, 0xff],
        ..seal(id, 42)
    };
    let ending = Ending::Leaf {
        principal: principal_id("worker"),
        principal_type: PrincipalType::Worker,
        issuer: CaId::new(id.as_str(), 1).unwrap(),
        serial: serial(4),
    };
    let warning =
        ExpiryWarning { tenant: id.clone(), ending, threshold: Threshold::Percent(25), not_after: until, at: NOW };
    let after = Cursor { sort: "a".into(), key: Some(("b".into(), "c".into())) };
    let broken_off =
        BrokenOff { tenant: id.clone(), place: ScanCursor::first(NOW).next(Some(after), NOW).unwrap(), at: NOW };
    let checkpoint = Checkpoint {
        tenant: TenantId::system(),
        sequence: u64::from(shard),
        minute: 42,
        previous: [0xdd; 32],
        tags: vec![1, 2, 3, 4, 5, 6, 7, 8],
        key: seal.key.clone(),
        signature: vec![0x30, 0x45, 0x00, 0xff],
        keep_until: until,
    };
    let stream = SecurityEventStream {
        is_known: true,
        ahead: [(EventPlace { shard: 3, sequence: u64::MAX, change: u32::MAX }, "x".repeat(32))].into(),
        ..SecurityEventStream::new(id.clone(), principal_id("service"), TEXT.into(), [0, 1, 2, u64::MAX], NOW)
    };
    vec![
        entry.into(),
        head.into(),
        event.into(),
        seal.into(),
        warning.into(),
        broken_off.into(),
        checkpoint.into(),
        stream.into(),
    ]
}
