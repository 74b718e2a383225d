//! Certificate authorities: list, publish, rotate.

pub mod lifecycle;
pub mod lists;
pub mod ocsp;
pub(crate) mod reservation;
pub mod revoked;
pub(crate) mod signing;

use std::sync::Arc;

use serde::Serialize;
use signet_core::{
    Actor, CaId, Error, KeyLabel, KeyRef, Lifetime, StoreError, TenantId, TenantScope, Time,
    authorities::{
        Ca, CaKind, CaState, PREPARED_A_DAY, PREPARED_A_DAY_BY_OPERATOR, RotationStep, plan_rotation,
        prepare_possible_at, prepared, signer,
    },
    authorization::Denial,
    certificates::CertificateKind,
    store::{
        Unreadable, Versioned,
        commit::{Commit, Write},
    },
    tenants::{Isolation, MAX_LIFETIME, Tenant, quota::Quota},
    tokens::TokenKeys,
};
use signet_x509::{
    CaProfile, CertificateView, PublicKey,
    issue::{prepare_anchor, prepare_ca, prepare_root},
    profile::ISSUING_CA_LIFETIME,
};
use tokio::sync::Mutex;

use crate::{
    App, AuditEntry, Call, Listing, PageRequest, Planned,
    authorities::{
        reservation::Holder,
        signing::{ca_id, is_trusted, issue_error},
    },
    call, ledger, paging, reads,
};

/// Which step an operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RotationAction {
    /// Whatever the plan says is due, if anything.
    Due,
    /// Make and publish the next CA now.
    Prepare,
    /// Let the prepared CA sign from now on, also if the present one has expired. Not before verifiers know it, unless
    /// nothing else signs.
    Activate,
    /// The same at once, for operators: the present key is in other hands, and verifiers who do not know the next CA
    /// yet refuse what it signs until they have fetched it.
    ForceActivate,
    /// Stop trusting the retiring CAs now; what they signed is refused.
    Retire,
}

/// What a rotation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotationReport {
    /// All CAs of that kind and owner, after it.
    pub cas: Vec<Ca>,
    /// What was done, e.g. `activated acme.2 in place of acme.1`; empty: nothing was due.
    pub steps: Vec<String>,
}

/// What to trust for one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct TrustBundle {
    pub tenant: TenantId,
    /// E.g. `acme.prod.example.com`.
    pub trust_domain: String,
    /// The CAs that may have signed its principals' certificates.
    pub anchors: Vec<Ca>,
    /// Its keys for tokens.
    pub token_keys: Vec<TokenKeys>,
    /// Whether the tenant is purged, so that no other bundle follows: this one trusts nobody.
    pub is_last: bool,
    /// [`server_trust`].
    pub server_trust_der: Vec<Vec<u8>>,
}

/// Lists the tenant's CAs by kind and generation, retired ones too; those of the system tenant include the
/// environment's own.
pub async fn list_cas(app: &App, call: &Call, scope: &TenantScope) -> Result<Vec<Ca>, Error> {
    Ok(cas_and_unreadable(app, call, scope).await?.0)
}

async fn cas_and_unreadable(app: &App, call: &Call, scope: &TenantScope) -> Result<(Vec<Ca>, Vec<Unreadable>), Error> {
    let (cas, unreadable) = reads::cas_and_unreadable(app, scope, call.now).await?;
    let mut cas: Vec<Ca> = cas.into_iter().map(|ca| ca.value).collect();
    // The store has 10 before 2. A kind's come together: their ids differ in no more than the number.
    cas.sort_by_key(|ca| (ca.kind, ca.generation));
    Ok((cas, unreadable))
}

/// A page of [`list_cas`]. All are read for each page: a quota keeps them to 200 at most, and the store has 10 before
/// 2.
pub async fn list_certificate_authorities(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    page: &PageRequest,
) -> Result<Listing<Ca>, Error> {
    let (size, of) = (page.size()? as usize, format!("cas/{}", scope.tenant()));
    let after = paging::position(page, &of)?.unwrap_or_default();
    let (mut items, mut unreadable) = cas_and_unreadable(app, call, scope).await?;
    // Once, since all are read for each page.
    unreadable.retain(|_| page.token.is_empty());
    items.retain(|ca| place(ca) > after);
    let more = items.len() > size;
    items.truncate(size);
    let last = items.last().filter(|_| more);
    let next_page_token = last.map(|last| paging::token_after(&of, place(last))).transpose()?.unwrap_or_default();
    let unreadable = unreadable.iter().map(|record| record.key.to_string()).collect();
    reads::in_tenant(app, scope, Listing { items, next_page_token, unreadable }, call.now).await
}

/// Where a CA stands among those of its tenant, as text in that order.
fn place(ca: &Ca) -> String {
    format!("{:02x}{:08x}", ca.kind as u8, ca.generation)
}

/// The environment's roots that are trusted at `now`.
pub async fn roots(app: &App, now: Time) -> Result<Vec<Ca>, Error> {
    let system = TenantScope::system();
    trusted(app, &system, CaKind::Root, now).await
}

/// What clients of the control plane are given to trust, DER: the anchors of its server CAs, then the environment's
/// roots, which the next release leaves out. Whoever knows an anchor does not trust a root
/// ([`signet_x509::server_anchors`]).
pub async fn server_trust(app: &App, now: Time) -> Result<Vec<Vec<u8>>, Error> {
    let cas = reads::cas(app, &TenantScope::system(), now).await?;
    Ok(signing::server_trust(cas.iter().map(|ca| &ca.value), now))
}

/// What verifiers of the tenant's principals trust now.
pub async fn trust_bundle(app: &App, call: &Call, scope: &TenantScope) -> Result<TrustBundle, Error> {
    let tenant = reads::tenant(app, scope, call.now).await?;
    let anchors = match tenant.isolation {
        _ if tenant.purge().is_some() => Vec::new(),
        Isolation::Dedicated => trusted(app, scope, CaKind::Tenant, call.now).await?,
        Isolation::Shared => {
            let system = TenantScope::system();
            trusted(app, &system, CaKind::Shared, call.now).await?
        }
    };
    let trust_domain = app.environment.suffix().trust_domain(&tenant.id);
    let is_last = tenant.purge().is_some();
    let server_trust_der = server_trust(app, call.now).await?;
    let token_keys = if is_last { Vec::new() } else { reads::token_keys(app, scope, call.now).await? };
    Ok(TrustBundle { tenant: tenant.id, trust_domain, anchors, token_keys, is_last, server_trust_der })
}

/// Takes the CAs of one kind a step further. All of it is one transaction, so that a retry finds it done.
pub async fn rotate_ca(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    kind: CaKind,
    action: RotationAction,
) -> Result<RotationReport, Error> {
    let owner = reads::tenant(app, scope, call.now).await?;
    check_kind(&owner, kind)?;
    if action == RotationAction::ForceActivate && !is_operator(call) {
        return Err(Denial::Permission.into());
    }
    let made = CertifiedOnce::default();
    let plan = || async {
        let Versioned { value: tenant, version } = reads::versioned_tenant(app, scope, call.now).await?;
        if tenant.is_deleted() && action == RotationAction::Due {
            // It gets no more keys. Undeleted, it catches up.
            return Ok(Planned::Unchanged(RotationReport { cas: Vec::new(), steps: Vec::new() }));
        }
        reads::refuse_deleted(&tenant)?;
        let (all, unreadable) = reads::cas_and_unreadable(app, scope, call.now).await?;
        require_readable(scope.tenant(), kind, &unreadable)?;
        let number = all.len() as u64;
        let cas = of_kind(all, kind);
        let known: Vec<Ca> = cas.iter().map(|ca| ca.value.clone()).collect();
        let steps = match action {
            // What is due is due: no quota lets a CA expire.
            RotationAction::Due => plan_rotation(&known, longest_leaf(kind).millis(), call.now),
            RotationAction::Prepare => {
                let steps = prepare_step(&known, call.now);
                if !steps.is_empty() {
                    check_pace(call, &known)?;
                    tenant.quotas.check(Quota::CertificateAuthorities, &tenant.id, number)?;
                }
                steps
            }
            RotationAction::Activate => {
                check_known(&known, call.now)?;
                activate_step(&known, call.now)?
            }
            RotationAction::ForceActivate => activate_step(&known, call.now)?,
            RotationAction::Retire => retire_steps(&known)?,
        };
        if steps.is_empty() {
            return Ok(Planned::Unchanged(RotationReport { cas: known, steps: Vec::new() }));
        }
        let mut rotation = Rotation { cas, writes: Vec::new(), done: Vec::new(), now: call.now };
        for step in steps {
            take_step(app, call, &made, (&tenant.id, kind), step, &mut rotation).await?;
        }
        // A purge that begins meanwhile leaves no CA behind that it has not seen.
        rotation.writes.push(Write::Check(Tenant::key_of(&tenant.id), version));
        Ok(finish_rotation(app, call, &tenant.id, rotation))
    };
    let replay = |_| async {
        let cas = cas_of_kind(app, scope, kind, call.now).await?;
        Ok(RotationReport { cas: cas.into_iter().map(|ca| ca.value).collect(), steps: Vec::new() })
    };
    ledger::mutate(app, call, scope.tenant(), &(kind, action), plan, replay).await
}

async fn take_step(
    app: &App,
    call: &Call,
    made: &CertifiedOnce,
    (owner, kind): (&TenantId, CaKind),
    step: RotationStep,
    rotation: &mut Rotation,
) -> Result<(), Error> {
    match step {
        RotationStep::Prepare { generation } => {
            let new = NewCa { kind, owner, generation, key: None, state: CaState::Prepared };
            let (ca, records) = certify_once(app, call, made, &new).await?;
            rotation.add(ca, records);
        }
        RotationStep::Activate { ca, replaces } => {
            let old = replaces.as_ref().map(|old| format!(" in place of {old}")).unwrap_or_default();
            rotation.set(&ca, CaState::Active, format!("activated {ca}{old}"));
            if let Some(old) = replaces {
                rotation.set(
                    &old,
                    CaState::Retiring,
                    format!("{old} is retiring: it stays trusted until it is retired"),
                );
            }
        }
        RotationStep::Retire { ca } => rotation.set(&ca, CaState::Retired, format!("retired {ca}")),
        RotationStep::Anchor { ca } => {
            if let Some(found) = rotation.cas.iter().find(|found| found.value.id == ca) {
                let (anchor_der, record) = certify_anchor(app, call, &found.value).await?;
                rotation.anchor(&ca, anchor_der, record);
            }
        }
    }
    Ok(())
}

fn finish_rotation(app: &App, call: &Call, owner: &TenantId, rotation: Rotation) -> Planned<RotationReport> {
    let Rotation { cas, writes, done, .. } = rotation;
    let entry = AuditEntry::done(call, "certificate_authority", owner).detail("steps", done.join("; "));
    let commit: Commit = call::tenant_commit(app, call, owner, &entry).writes(writes);
    let cas = cas.into_iter().map(|ca| ca.value).collect();
    Planned::Commit(Box::new(commit), RotationReport { cas, steps: done })
}

/// A CA's key, certificate and anchor, made once a call, however often its commit is tried. Returns the CA and the
/// writes that make its certificates issued ones; they belong into one commit.
pub(crate) async fn certify_once(
    app: &App,
    call: &Call,
    made: &CertifiedOnce,
    new: &NewCa<'_>,
) -> Result<(Ca, Vec<Write>), Error> {
    let id = ca_id(new.kind, new.owner, new.generation)?;
    let mut made = made.0.lock().await;
    match &*made {
        Some((ca, records)) if ca.id == id => Ok((ca.clone(), records.clone())),
        _ => Ok(made.insert(certify_ca(app, call, id, new).await?).clone()),
    }
}

/// Signs a CA's certificate with the root's key (a root's with its own), and its anchor and its first revocation list
/// with its own.
async fn certify_ca(app: &App, call: &Call, id: CaId, new: &NewCa<'_>) -> Result<(Ca, Vec<Write>), Error> {
    let NewCa { kind, owner, generation, state, .. } = *new;
    let key = match new.key {
        Some(key) => key.clone(),
        None => app.make_key(KeyLabel { tenant: owner.clone(), ca: id.clone() }).await?,
    };
    let own = app.signer(&key).await?;
    let public = PublicKey::from_spki_der(own.spki_der()).map_err(Error::internal)?;
    let profile = CaProfile::new(&app.environment, kind, owner, generation);
    let serial = reservation::serial(app, call.now);
    let (issuer, signer, prepared) = if kind == CaKind::Root {
        (id.clone(), own, prepare_root(&profile, &public, serial, call.now))
    } else {
        let root = signing::environment_issuer(app, CaKind::Root, call.now).await?;
        let prepared = prepare_ca(&profile, &public, &root.certificate, serial, call.now);
        (root.ca.id.clone(), Arc::clone(&root.signer), prepared)
    };
    let prepared = prepared.map_err(issue_error)?;
    let holder = Holder::other(CertificateKind::Ca, owner)?;
    let (issued, record) = reservation::reserve_and_sign(app, call, &issuer, &*signer, prepared, holder).await?;
    let mut ca = Ca {
        id,
        tenant: owner.clone(),
        kind,
        generation,
        state,
        key,
        certificate_der: issued.certificate_der,
        anchor_der: Vec::new(),
        issuer,
        not_before: issued.not_before,
        not_after: issued.not_after,
        updated_at: call.now,
    };
    let mut records = vec![record];
    if ca.lacks_anchor() {
        let (anchor_der, record) = certify_anchor(app, call, &ca).await?;
        ca.anchor_der = anchor_der;
        records.push(record);
    }
    records.push(lists::first(app, call, &ca).await?);
    Ok((ca, records))
}

/// Signs a CA's anchor with its own key. Returns it, DER, and the write that makes it an issued one.
async fn certify_anchor(app: &App, call: &Call, ca: &Ca) -> Result<(Vec<u8>, Write), Error> {
    let issuer = signing::issuer(app, ca).await?;
    let made_at = CertificateView::from_der(&ca.certificate_der).ok().and_then(|view| view.serial()?.uuid_time());
    let serial = reservation::serial(app, made_at.unwrap_or(ca.not_before));
    let profile = CaProfile::new(&app.environment, ca.kind, &ca.tenant, ca.generation);
    let prepared = prepare_anchor(&profile, &issuer.certificate, serial).map_err(issue_error)?;
    let holder = Holder::other(CertificateKind::Ca, &ca.tenant)?;
    let (issued, record) = reservation::reserve_and_sign(app, call, &ca.id, &*issuer.signer, prepared, holder).await?;
    Ok((issued.certificate_der, record))
}

pub(crate) async fn cas_of_kind(
    app: &App,
    scope: &TenantScope,
    kind: CaKind,
    now: Time,
) -> Result<Vec<Versioned<Ca>>, Error> {
    Ok(of_kind(reads::cas(app, scope, now).await?, kind))
}

/// The same for who changes them: `Unreadable` if one of the kind cannot be read, whose number would be given again.
pub(crate) async fn cas_to_change(
    app: &App,
    scope: &TenantScope,
    kind: CaKind,
    now: Time,
) -> Result<Vec<Versioned<Ca>>, Error> {
    let (cas, unreadable) = reads::cas_and_unreadable(app, scope, now).await?;
    require_readable(scope.tenant(), kind, &unreadable)?;
    Ok(of_kind(cas, kind))
}

fn require_readable(tenant: &TenantId, kind: CaKind, unreadable: &[Unreadable]) -> Result<(), Error> {
    let first = Ca::key_of(tenant, &ca_id(kind, tenant, 1)?);
    let series = first.sort.trim_end_matches('1');
    match unreadable.iter().find(|record| record.key.sort.starts_with(series)) {
        Some(record) => Err(StoreError::from(record.clone()).into()),
        None => Ok(()),
    }
}

async fn trusted(app: &App, scope: &TenantScope, kind: CaKind, now: Time) -> Result<Vec<Ca>, Error> {
    let cas = cas_of_kind(app, scope, kind, now).await?;
    Ok(cas.into_iter().map(|ca| ca.value).filter(|ca| is_trusted(ca, now)).collect())
}

/// A CA to be made.
pub(crate) struct NewCa<'a> {
    pub(crate) kind: CaKind,
    pub(crate) owner: &'a TenantId,
    pub(crate) generation: u32,
    /// `None`: one is made.
    pub(crate) key: Option<&'a KeyRef>,
    pub(crate) state: CaState,
}

/// What a call has certified, for the case that it must commit again.
#[derive(Default)]
pub(crate) struct CertifiedOnce(Mutex<Option<(Ca, Vec<Write>)>>);

/// A rotation while it is put together.
struct Rotation {
    cas: Vec<Versioned<Ca>>,
    writes: Vec<Write>,
    done: Vec<String>,
    now: Time,
}

impl Rotation {
    fn add(&mut self, ca: Ca, records: Vec<Write>) {
        self.done.push(format!("prepared {}", ca.id));
        self.writes.push(Write::create(ca.clone()));
        self.writes.extend(records);
        self.cas.push(Versioned { value: ca, version: reservation::CREATED });
    }

    fn set(&mut self, id: &CaId, state: CaState, done: String) {
        let now = self.now;
        self.change(id, done, |ca| (ca.state, ca.updated_at) = (state, now));
    }

    fn anchor(&mut self, id: &CaId, anchor_der: Vec<u8>, record: Write) {
        self.change(id, format!("made the anchor of {id}"), |ca| ca.anchor_der = anchor_der);
        self.writes.push(record);
    }

    fn change(&mut self, id: &CaId, done: String, change: impl FnOnce(&mut Ca)) {
        if let Some(found) = self.cas.iter_mut().find(|ca| &ca.value.id == id) {
            change(&mut found.value);
            self.writes.push(Write::replace(found.value.clone(), found.version.clone()));
            self.done.push(done);
        }
    }
}

/// The longest that anything signed by a CA of this kind can be valid, whatever its tenant's settings were then.
pub(crate) fn longest_leaf(kind: CaKind) -> Lifetime {
    match kind {
        CaKind::Root => ISSUING_CA_LIFETIME,
        CaKind::Shared | CaKind::Server | CaKind::Tenant => MAX_LIFETIME,
    }
}

fn of_kind(mut cas: Vec<Versioned<Ca>>, kind: CaKind) -> Vec<Versioned<Ca>> {
    cas.retain(|ca| ca.value.kind == kind);
    cas.sort_by_key(|ca| ca.value.generation);
    cas
}

fn check_kind(tenant: &Tenant, kind: CaKind) -> Result<(), Error> {
    match kind {
        CaKind::Root | CaKind::Shared | CaKind::Server if !tenant.id.is_system() => Err(Error::invalid(
            "kind",
            "WRONG_TENANT",
            "only the system tenant has root, shared and server authorities",
        )),
        CaKind::Tenant if tenant.isolation == Isolation::Shared => {
            let message = "the tenant has no certificate authority of its own; rotate the system tenant's shared one";
            Err(Error::precondition("SHARED_ISOLATION", message))
        }
        _ => Ok(()),
    }
}

fn prepare_step(cas: &[Ca], now: Time) -> Vec<RotationStep> {
    if prepared(cas, now).is_some() {
        return Vec::new();
    }
    let newest = cas.iter().map(|ca| ca.generation).max().unwrap_or(0);
    vec![RotationStep::Prepare { generation: newest.saturating_add(1) }]
}

/// Each new CA is a key that is paid for.
fn check_pace(call: &Call, cas: &[Ca]) -> Result<(), Error> {
    let most = if is_operator(call) { PREPARED_A_DAY_BY_OPERATOR } else { PREPARED_A_DAY };
    let Some(next) = prepare_possible_at(cas, most, call.now) else { return Ok(()) };
    let message = format!(
        "{most} certificate authorities were prepared within a day, which is the limit; the next one is possible from {next}"
    );
    Err(Error::Exhausted { reason: "CA_PREPARED_TOO_OFTEN", message, retry_after: None })
}

/// Whether verifiers know the prepared CA. Where nothing else signs, there is nothing to wait for.
fn check_known(cas: &[Ca], now: Time) -> Result<(), Error> {
    let signs = signer(cas, now).is_some_and(|ca| ca.counts(now) && now < ca.not_after);
    let Some(next) = prepared(cas, now).filter(|next| signs && now < next.known_at()) else { return Ok(()) };
    let message = format!(
        "verifiers may not have fetched {} yet and would refuse its certificates; it can be activated from {}; \
         an operator can force it now",
        next.id,
        next.known_at(),
    );
    Err(Error::precondition("CA_NOT_KNOWN_YET", message))
}

fn is_operator(call: &Call) -> bool {
    match &call.actor {
        Actor::Principal { tenant, .. } => tenant.is_system(),
        Actor::Process { .. } => true,
        Actor::Anonymous => false,
    }
}

fn activate_step(cas: &[Ca], now: Time) -> Result<Vec<RotationStep>, Error> {
    let Some(next) = prepared(cas, now) else {
        return Err(Error::precondition(
            "NOTHING_PREPARED",
            "there is no prepared certificate authority; prepare one first",
        ));
    };
    let active = cas.iter().find(|ca| ca.state == CaState::Active);
    Ok(vec![RotationStep::Activate { ca: next.id.clone(), replaces: active.map(|ca| ca.id.clone()) }])
}

fn retire_steps(cas: &[Ca]) -> Result<Vec<RotationStep>, Error> {
    let retiring = cas.iter().filter(|ca| ca.state == CaState::Retiring);
    let steps: Vec<RotationStep> = retiring.map(|ca| RotationStep::Retire { ca: ca.id.clone() }).collect();
    if steps.is_empty() {
        let message = "no certificate authority is retiring; activate the next one first";
        return Err(Error::precondition("NOTHING_RETIRING", message));
    }
    Ok(steps)
}
