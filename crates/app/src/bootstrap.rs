//! The first start of an environment, and the way back into it: makes what is missing or over, changes nothing else.

use std::net::IpAddr;

use signet_core::{
    CaId, Error, KeyRef, Lifetime, PrincipalId, PrincipalType, TenantId, TenantScope, Time,
    authorities::{Ca, CaKind, CaState},
    certificates::{Certificate, CertificateKind, CertificateState, RevocationReason},
    principals::Principal,
    store::{Index, Query, Table, Versioned, commit::Write},
    tenants::{DEFAULT_MAX_CERTIFICATES, Isolation, Tenant, TenantStatus},
};
use signet_x509::{Csr, ProfileError, ServerName, ServerProfile, issue::prepare_server};

use crate::{
    App, AuditEntry, Call, CreatePrincipal, IssuedLeaf, Planned,
    authorities::{
        self, CertifiedOnce, NewCa, longest_leaf,
        reservation::{self, Holder},
        signing::{self, ca_id, is_trusted, issue_error},
    },
    call,
    certificates::{
        issuance, lineage,
        order::{key_digest, parse_csr, require_active_principal},
        release,
    },
    ledger, paging, principals, reads,
};

/// The keys of the environment's CAs where an operator made them (Terraform); `None`: a key is made.
#[derive(Clone, Debug)]
pub struct EnvironmentKeys {
    /// The root's.
    pub root: Option<KeyRef>,
    /// The system tenant's.
    pub system: Option<KeyRef>,
    /// The shared CA's.
    pub shared: Option<KeyRef>,
    /// The server CA's.
    pub server: Option<KeyRef>,
}

/// The names that the control plane answers to.
#[derive(Clone, Debug, Default)]
pub struct ServerNames {
    /// DNS names.
    pub dns: Vec<String>,
    /// IP addresses.
    pub ip: Vec<IpAddr>,
}

/// What an environment starts with.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    /// The CA keys.
    pub keys: EnvironmentKeys,
    /// The server's names.
    pub server: ServerNames,
    /// PKCS#10, DER, for the server's key.
    pub server_csr_der: Vec<u8>,
    /// The first admin of the system tenant.
    pub admin: PrincipalId,
    /// PKCS#10, DER, for the admin's key.
    pub admin_csr_der: Vec<u8>,
}

/// What bootstrap made or found.
#[derive(Clone, Debug)]
pub struct BootstrapReport {
    /// Every item in order.
    pub items: Vec<BootstrapItem>,
    /// The server's certificate, then the CA that signed it; DER.
    pub server_chain_der: Vec<Vec<u8>>,
    /// The admin's certificate.
    pub admin: IssuedLeaf,
    /// Certificates of the admin that were revoked to make room for it, `<issuer>/<serial>`.
    pub revoked: Vec<String>,
}

/// One item of an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootstrapItem {
    /// E.g. `certificate authority root.1`.
    pub what: String,
    /// Whether it was made just now; `false`: it was there.
    pub made: bool,
}

/// Makes an environment: root, system tenant, shared and server CAs, the server's certificate, the first admin and
/// its certificate. Running it again makes what is missing, also what has ended since: it is the way back of an
/// administrator after any time, for as long as a root is trusted. Certificates are made once per key; where the admin
/// has as many as it may, those that end first are revoked.
pub async fn bootstrap(app: &App, call: &Call, input: &Bootstrap) -> Result<BootstrapReport, Error> {
    let server_csr = parse_csr(&input.server_csr_der)?;
    let admin_csr = parse_csr(&input.admin_csr_der)?;
    server_profile(app, &input.server)?;
    refuse_root_not_valid_now(app, call).await?;
    let mut items = vec![ensure_system_tenant(app, call).await?];
    let keys = &input.keys;
    for (kind, key) in [
        (CaKind::Root, &keys.root),
        (CaKind::Tenant, &keys.system),
        (CaKind::Shared, &keys.shared),
        (CaKind::Server, &keys.server),
    ] {
        items.push(ensure_ca(app, call, kind, key.as_ref()).await?);
    }
    let (server_chain_der, made) = ensure_server_certificate(app, call, input, &server_csr).await?;
    items.push(BootstrapItem { what: "server certificate".into(), made });
    items.push(ensure_admin(app, call, &input.admin).await?);
    let (admin, made, revoked) = ensure_admin_certificate(app, call, input, &admin_csr).await?;
    items.push(BootstrapItem { what: format!("certificate of admin {}", input.admin), made });
    Ok(BootstrapReport { items, server_chain_der, admin, revoked })
}

async fn ensure_system_tenant(app: &App, call: &Call) -> Result<BootstrapItem, Error> {
    let id = TenantId::system();
    let tenant = Tenant {
        id: id.clone(),
        display_name: "Operator".into(),
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
        created_at: call.now,
        updated_at: call.now,
    };
    let plan = || async {
        if TenantScope::system().get::<Tenant>(&*app.store, &Tenant::key_of(&id), call.now).await?.is_some() {
            return Ok(Planned::Unchanged(false));
        }
        let commit = call::tenant_commit(app, call, &id, &AuditEntry::done(call, "tenant", &id));
        Ok(Planned::Commit(Box::new(commit.write(Write::create(tenant.clone()))), true))
    };
    let made = ledger::mutate(app, call, &id, &"system tenant", plan, |_| async { Ok(false) }).await?;
    Ok(BootstrapItem { what: format!("tenant {id}"), made })
}

async fn ensure_ca(app: &App, call: &Call, kind: CaKind, key: Option<&KeyRef>) -> Result<BootstrapItem, Error> {
    let owner = TenantId::system();
    let scope = TenantScope::system();
    let first = ca_id(kind, &owner, 1)?;
    let made = CertifiedOnce::default();
    let plan = || async {
        let cas = authorities::cas_to_change(app, &scope, kind, call.now).await?;
        let (id, writes) = match succession(&cas, kind, call.now)? {
            Succession::None(id) => return Ok(Planned::Unchanged((id, false))),
            Succession::Waits(next) => {
                let id = next.value.id.clone();
                (id, vec![Write::replace(in_state(next.value, CaState::Active, call.now), next.version)])
            }
            Succession::Missing { generation } => {
                let (key, state) = (key.filter(|_| generation == 1), CaState::Active);
                let new = NewCa { kind, owner: &owner, generation, key, state };
                let (ca, mut writes) = authorities::certify_once(app, call, &made, &new).await?;
                let id = ca.id.clone();
                writes.insert(0, Write::create(ca));
                (id, writes)
            }
        };
        let over = cas.into_iter().filter(|ca| ca.value.id != id).filter_map(|ca| stepped_down(ca, call.now));
        let entry = AuditEntry::done(call, "certificate_authority", &id);
        let commit = call::tenant_commit(app, call, &owner, &entry).writes(writes).writes(over);
        Ok(Planned::Commit(Box::new(commit), (id, true)))
    };
    let (id, made) = ledger::mutate(app, call, &owner, &first, plan, |_| async { Ok((first.clone(), false)) }).await?;
    Ok(BootstrapItem { what: format!("certificate authority {id}"), made })
}

/// Nothing that is signed with a root that is over or has not begun would be believed, so nothing is changed then.
async fn refuse_root_not_valid_now(app: &App, call: &Call) -> Result<(), Error> {
    let scope = TenantScope::system();
    let roots = authorities::cas_of_kind(app, &scope, CaKind::Root, call.now).await?;
    let trusted: Vec<&Ca> = roots.iter().map(|root| &root.value).filter(|root| root.state.is_trusted()).collect();
    match trusted.iter().max_by_key(|root| (root.has_begun(call.now), root.not_after)) {
        Some(root) if !root.has_begun(call.now) => {
            let message = format!(
                "the certificate of {} is not valid yet by this machine's clock: check the clock; no other root is trusted",
                root.id
            );
            Err(Error::precondition("ROOT_NOT_YET_VALID", message))
        }
        Some(root) if !is_trusted(root, call.now) => {
            let message = format!(
                "the certificate of {} has expired by this machine's clock: check the clock; an expired root ends its environment",
                root.id
            );
            Err(Error::precondition("ROOT_EXPIRED", message))
        }
        _ => Ok(()),
    }
}

async fn ensure_server_certificate(
    app: &App,
    call: &Call,
    input: &Bootstrap,
    csr: &Csr,
) -> Result<(Vec<Vec<u8>>, bool), Error> {
    let partition = Certificate::by_kind(&TenantId::system(), CertificateKind::Server);
    let query = |_| Query::index(Table::Certificates, Index::ByPrincipal, partition.clone());
    let read = |query| async move { TenantScope::system().page::<Certificate>(&*app.store, &query, call.now).await };
    // Of one that cannot be read another is made.
    let (known, _) = paging::all(1, query, read).await?;
    let Some(there) = known.into_iter().rev().find(|record| is_for(record, csr, call.now)) else {
        return Ok((issue_server_certificate(app, call, &input.server, &input.server_csr_der).await?, true));
    };
    let cas = reads::cas(app, &TenantScope::system(), call.now).await?;
    let issuer = cas.into_iter().find(|ca| ca.value.id == there.issuer);
    let issuer = issuer.ok_or_else(|| Error::not_found("certificate authority", &there.issuer))?;
    Ok((vec![there.certificate_der, issuer.value.certificate_der], false))
}

/// A certificate for the control plane as a server: the certificate, then the CA that signed it; DER.
pub async fn issue_server_certificate(
    app: &App,
    call: &Call,
    names: &ServerNames,
    csr_der: &[u8],
) -> Result<Vec<Vec<u8>>, Error> {
    let csr = parse_csr(csr_der)?;
    let profile = server_profile(app, names)?;
    let issuer = signing::environment_issuer(app, CaKind::Server, call.now).await?;
    let (serial, lifetime) = (reservation::serial(app, call.now), app.settings.server_lifetime);
    let prepared =
        prepare_server(&profile, &csr, &issuer.certificate, serial, lifetime, call.now).map_err(issue_error)?;
    let system = TenantId::system();
    let holder = Holder::other(CertificateKind::Server, &system)?;
    let (issued, record) =
        reservation::reserve_and_sign(app, call, &issuer.ca.id, &*issuer.signer, prepared, holder).await?;
    let entry = AuditEntry::done(call, "certificate", format!("{}/{serial}", issuer.ca.id))
        .detail("names", join(names))
        .detail("not_after", issued.not_after.unix_seconds());
    let commit = call::audited(app, call, &system, &entry).write(record);
    ledger::commit(app, &commit, call.now).await?;
    Ok(vec![issued.certificate_der, issuer.ca.certificate_der.clone()])
}

fn server_profile(app: &App, identity: &ServerNames) -> Result<ServerProfile, Error> {
    let bad = |error: ProfileError| Error::invalid("server.dns", "SERVER_NAME", error.to_string());
    let dns = identity.dns.iter().map(|name| name.parse::<ServerName>().map_err(bad));
    let names = dns.chain(identity.ip.iter().map(|ip| Ok(ServerName::Ip(*ip)))).collect::<Result<_, Error>>()?;
    ServerProfile::new(&app.environment, names)
        .map_err(|error| Error::invalid("server", "SERVER_NAMES", error.to_string()))
}

async fn ensure_admin(app: &App, call: &Call, id: &PrincipalId) -> Result<BootstrapItem, Error> {
    let scope = TenantScope::system();
    let item = |made| BootstrapItem { what: format!("admin {id}"), made };
    if let Some(found) = reads::find_principal(app, &scope, id, call.now).await? {
        return require_admin(&found.value).map(|()| item(false));
    }
    let input = CreatePrincipal {
        id: id.clone(),
        principal_type: PrincipalType::Admin,
        display_name: String::new(),
        roles: Vec::new(),
        groups: Vec::new(),
    };
    principals::create_principal(app, call, &scope, input).await?;
    Ok(item(true))
}

async fn ensure_admin_certificate(
    app: &App,
    call: &Call,
    input: &Bootstrap,
    csr: &Csr,
) -> Result<(IssuedLeaf, bool, Vec<String>), Error> {
    let scope = TenantScope::system();
    let admin = reads::principal(app, &scope, &input.admin, call.now).await?.value;
    require_active_principal(&admin)?;
    for held in &admin.certificates {
        let key = Certificate::key_of(&held.issuer, &held.serial);
        // The list outlives the records, which end a while after their certificates.
        let Some(record) = scope.get::<Certificate>(&*app.store, &key, call.now).await?.map(|it| it.value) else {
            continue;
        };
        if is_for(&record, csr, call.now) {
            return Ok((release::released_leaf(app, call, &scope, record).await?, false, Vec::new()));
        }
    }
    let mut revoked = Vec::new();
    while let Some(oldest) = make_room(app, call, &input.admin).await? {
        revoked.push(oldest);
    }
    let issued = issuance::issue_certificate(app, call, &scope, &input.admin, &input.admin_csr_der).await?;
    Ok((issued, true, revoked))
}

/// Revokes the oldest certificate of the admin, if it has as many as it may: who has lost their keys can
/// revoke none.
async fn make_room(app: &App, call: &Call, admin: &PrincipalId) -> Result<Option<String>, Error> {
    let scope = TenantScope::system();
    let plan = || async {
        let most = reads::tenant(app, &scope, call.now).await?.max_certificates;
        let mut admin = reads::principal(app, &scope, admin, call.now).await?;
        let valid: Vec<_> = admin.value.certificates.iter().filter(|held| held.not_after > call.now).collect();
        let oldest = valid.iter().min_by_key(|held| held.serial.made_at()).filter(|_| valid.len() >= most as usize);
        let Some(oldest) = oldest.map(|held| (*held).clone()) else { return Ok(Planned::Unchanged(None)) };
        let (name, reason) = (format!("{}/{}", oldest.issuer, oldest.serial), RevocationReason::Superseded);
        let entry = AuditEntry::done(call, "certificate", &name)
            .detail("principal", &admin.value.id)
            .detail("reason", reason.as_str());
        admin.value.forget(&oldest.serial);
        let commit = call::audited(app, call, scope.tenant(), &entry);
        let commit = commit.write(Write::replace(admin.value, admin.version));
        let commit = match reads::read_held(app, &scope, &oldest, call.now).await? {
            Some(Ok(found)) if found.value.state == CertificateState::Issued => {
                lineage::revoke(commit, found, reason, false, call.now)
            }
            _ => lineage::announce_revoked(commit, scope.tenant(), oldest.serial, oldest.not_after),
        };
        Ok(Planned::Commit(Box::new(commit), Some(name)))
    };
    ledger::mutate(app, call, scope.tenant(), admin, plan, |_| async { Ok(None) }).await
}

/// What becomes of the environment's CAs of one kind.
enum Succession {
    /// This one signs.
    None(CaId),
    /// None can sign but this one, which was prepared, or made way for one that a clock activated which was ahead.
    Waits(Versioned<Ca>),
    /// None can sign: the next is to be made.
    Missing { generation: u32 },
}

/// A CA signs as long as what it signs does not outlive it. `cas` in the order of their generations.
fn succession(cas: &[Versioned<Ca>], kind: CaKind, now: Time) -> Result<Succession, Error> {
    let lasts = |ca: &&Versioned<Ca>| ca.value.counts(now) && ca.value.not_after > now.plus(longest_leaf(kind));
    let in_state = |state| cas.iter().rev().filter(move |ca| ca.value.state == state);
    let is_ahead = in_state(CaState::Active).any(|ca| !ca.value.counts(now));
    let before = in_state(CaState::Retiring).filter(|_| is_ahead).find(lasts);
    let waits = before.or_else(|| in_state(CaState::Prepared).find(lasts));
    Ok(match (in_state(CaState::Active).find(lasts), waits) {
        (Some(active), _) => Succession::None(active.value.id.clone()),
        (None, Some(next)) => Succession::Waits(next.clone()),
        (None, None) => {
            let newest = cas.last().map_or(0, |ca| ca.value.generation);
            let generation = newest.checked_add(1).ok_or_else(|| Error::internal("no generation is left"))?;
            Succession::Missing { generation }
        }
    })
}

/// The write by which a CA makes way for a new active one.
fn stepped_down(ca: Versioned<Ca>, now: Time) -> Option<Write> {
    let state = match ca.value.state {
        CaState::Active => CaState::Retiring,
        CaState::Prepared => CaState::Retired,
        CaState::Retiring | CaState::Retired => return None,
    };
    Some(Write::replace(in_state(ca.value, state, now), ca.version))
}

fn in_state(ca: Ca, state: CaState, now: Time) -> Ca {
    Ca { state, updated_at: now, ..ca }
}

/// Whether a record is that of a good certificate for the key of `csr`.
fn is_for(record: &Certificate, csr: &Csr, now: Time) -> bool {
    let is_valid = record.not_before <= now && now < record.not_after;
    record.state == CertificateState::Issued && is_valid && record.spki_sha256 == key_digest(csr)
}

fn require_admin(principal: &Principal) -> Result<(), Error> {
    if principal.principal_type == PrincipalType::Admin {
        return Ok(());
    }
    let message =
        format!("principal {} of the system tenant is a {}; name another", principal.id, principal.principal_type);
    Err(Error::invalid("admin", "PRINCIPAL_TYPE_DIFFERS", message))
}

fn join(identity: &ServerNames) -> String {
    let ip = identity.ip.iter().map(IpAddr::to_string);
    identity.dns.iter().cloned().chain(ip).collect::<Vec<_>>().join(",")
}
