//! Values for tests: valid, with every optional field empty; change what the test is about.

use aws_lc_rs::rand;
use signet_core::{
    CaId, Lifetime, PrincipalId, PrincipalType, Serial, TenantId, Time,
    audit::{AuditEvent, Seal, SealStatement},
    authorities::{Ca, CaKind, CaState},
    certificates::{Certificate, CertificateKind, CertificateState},
    enrollment::{EnrollmentToken, PrincipalTemplate},
    principals::{Principal, PrincipalStatus},
    store::{
        Transaction, Write,
        commit::Commit,
        request::{Outcome, RequestRecord},
    },
    tenants::{DEFAULT_MAX_CERTIFICATES, Isolation, Tenant, TenantStatus},
};

/// The tests' now: 2100-01-01T00:00:00Z. Later than every real clock, so that a store which looks at its own
/// clock instead of the argument is found out, and so that no TTL process deletes a fixture.
pub const NOW: Time = Time::from_unix_seconds(4_102_444_800);

/// `prefix` and 16 random hexadecimal digits: tests share persistent stores and must not meet.
pub fn unique(prefix: &str) -> String {
    let mut bytes = [0; 8];
    rand::fill(&mut bytes).expect("the operating system's randomness");
    format!("{prefix}{:016x}", u64::from_be_bytes(bytes))
}

/// A tenant id that no other test has.
pub fn unique_tenant() -> TenantId {
    unique("t").parse().unwrap()
}

/// Parses a principal id.
pub fn principal_id(id: &str) -> PrincipalId {
    id.parse().unwrap()
}

/// `NOW` and so many seconds.
pub fn later(seconds: u32) -> Time {
    NOW.plus(Lifetime::seconds(seconds))
}

/// An active tenant with a CA of its own.
pub fn tenant(id: &TenantId) -> Tenant {
    Tenant {
        id: id.clone(),
        display_name: String::new(),
        status: TenantStatus::Active,
        isolation: Isolation::Dedicated,
        lifetimes: Default::default(),
        subjects: Default::default(),
        max_certificates: DEFAULT_MAX_CERTIFICATES,
        renewal_grace: Lifetime::default(),
        renewal_steering: None,
        quotas: Default::default(),
        failure_limit: None,
        deletion: None,
        created_at: NOW,
        updated_at: NOW,
    }
}

/// An active CA of a tenant; its certificate is no certificate.
pub fn ca(tenant: &TenantId, generation: u32) -> Ca {
    let id = CaId::new(tenant.as_str(), generation).unwrap();
    Ca {
        key: format!("soft:{id}").parse().unwrap(),
        id,
        tenant: tenant.clone(),
        kind: CaKind::Tenant,
        generation,
        state: CaState::Active,
        certificate_der: vec![0x30, 0],
        anchor_der: Vec::new(),
        issuer: CaId::new("root", 1).unwrap(),
        not_before: NOW,
        not_after: NOW.plus(Lifetime::days(730)),
        updated_at: NOW,
    }
}

/// An active worker.
pub fn principal(tenant: &TenantId, id: &str) -> Principal {
    Principal {
        tenant: tenant.clone(),
        id: principal_id(id),
        principal_type: PrincipalType::Worker,
        status: PrincipalStatus::Active,
        display_name: String::new(),
        roles: Vec::new(),
        groups: Vec::new(),
        generation: 1,
        certificates: Vec::new(),
        superseded: Vec::new(),
        created_at: NOW,
        updated_at: NOW,
        compromises: 0,
        ended_instances: Vec::new(),
        enrolled_by: None,
        free_at: None,
    }
}

/// A reservation for `principal`, the `number`-th of its tenant's CA.
pub fn certificate(principal: &Principal, number: u64) -> Certificate {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    Certificate {
        kind: CertificateKind::Leaf,
        issuer: CaId::new(principal.tenant.as_str(), 1).unwrap(),
        serial: Serial::new(NOW, random),
        tenant: principal.tenant.clone(),
        principal: principal.id.clone(),
        principal_type: principal.principal_type,
        principal_generation: principal.generation,
        incarnation: Some(principal.created_at),
        state: CertificateState::Reserved,
        not_before: NOW,
        not_after: NOW.plus(Lifetime::hours(24)),
        spki_sha256: "ab".repeat(32),
        tbs_der: vec![0x30, 0],
        certificate_der: Vec::new(),
        request_id: format!("request-{number}").parse().unwrap(),
        renews: None,
        lineage: Default::default(),
        created_at: NOW,
        keep_until: None,
    }
}

/// A live token for one worker. `secret_sha256` is its key; it need not be a digest.
pub fn token(tenant: &TenantId, id: &str, secret_sha256: &str) -> EnrollmentToken {
    EnrollmentToken {
        tenant: tenant.clone(),
        id: id.parse().unwrap(),
        secret_sha256: secret_sha256.to_owned(),
        template: PrincipalTemplate { principal_type: PrincipalType::Worker, id: None, roles: Vec::new() },
        id_pattern: None,
        source_networks: Vec::new(),
        uses_left: 1,
        revoked_at: None,
        created_by: "process/test".into(),
        maker: None,
        created_at: NOW,
        not_after: NOW.plus(Lifetime::hours(1)),
    }
}

/// A request that was carried out.
pub fn request(tenant: &TenantId, actor: &str, id: &str) -> RequestRecord {
    RequestRecord {
        tenant: tenant.clone(),
        actor: actor.to_owned(),
        id: id.parse().unwrap(),
        fingerprint: "cd".repeat(32),
        outcome: Outcome::Done,
        at: NOW,
    }
}

/// An event of `NOW`. `id` need not be a UUID.
pub fn event(tenant: &TenantId, id: &str) -> AuditEvent {
    AuditEvent {
        tenant: tenant.clone(),
        id: id.to_owned(),
        at: NOW,
        payload: r#"{"operation":"test"}"#.to_owned(),
        keep_until: NOW.plus(Lifetime::days(90)),
    }
}

/// An unsigned seal of `minute`.
pub fn seal(tenant: &TenantId, minute: i64) -> Seal {
    let statement =
        SealStatement { tenant: tenant.clone(), minute, count: 0, root: [0; 32], late: Vec::new(), previous: [0; 32] };
    Seal {
        statement,
        batch_index: 0,
        batch_size: 1,
        batch_path: Vec::new(),
        cover: Vec::new(),
        key: "soft:audit".parse().unwrap(),
        signature: Vec::new(),
        keep_until: NOW.plus(Lifetime::days(90)),
    }
}

/// A transaction without an audit event, judged at [`NOW`].
pub fn transaction(writes: impl IntoIterator<Item = Write>) -> Transaction {
    transaction_at(NOW, writes)
}

/// A transaction without an audit event, judged at `now`.
pub fn transaction_at(now: Time, writes: impl IntoIterator<Item = Write>) -> Transaction {
    Commit::bookkeeping(now).writes(writes).to_transaction(None)
}
