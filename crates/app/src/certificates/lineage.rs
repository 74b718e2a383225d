//! Instances: a renewal and what it does to the certificates before it; and the lock on an instance whose key was
//! copied.

use std::{collections::BTreeSet, sync::Arc};

use signet_core::{
    CaId, Error, Lifetime, Serial, TenantId, TenantScope, Time,
    certificates::{
        Certificate, CertificateState, RevocationReason, Successor,
        lineage::{MAX_SUPERSEDED, Standing, earliest_next, standing},
    },
    principals::{HeldCertificate, Principal},
    store::{
        Index, Query, Table, Versioned,
        commit::{Commit, Write},
    },
    tenants::MAX_LIFETIME,
    trust::{Refusal, change::Change},
};

use crate::{
    App, AuditEntry, Call, Planned,
    authorities::reservation::resource_id,
    call,
    certificates::order::{Order, Presented},
    ledger, reads,
};

/// Why an instance is locked, in answers and audit events.
pub(crate) const CLONE_DETECTED: &str = "CLONE_DETECTED";
/// Why a renewal has to wait.
const RENEWED_TOO_RECENTLY: &str = "RENEWED_TOO_RECENTLY";

/// Pages of a principal's certificates that are looked through for what was revoked with the one that is revoked again.
const PAGES_OF_REVOKED: usize = 20;
/// Most of them that are announced again in one entry; the newest come first.
const MOST_REVOKED: usize = 500;

/// A renewal: the certificate that asks for it, and what must go with it.
pub(crate) struct Succession {
    pub(crate) presented: Versioned<Certificate>,
    /// Whether the holder is that of the presented certificate, and not another of the same name.
    same_life: bool,
    /// Whether its instance was ended because its key is in other hands.
    ended: bool,
    standing: Standing,
    /// When it may be carried out at the earliest, if not at once.
    earliest: Option<Time>,
    /// Revoked with the renewal: an answer that was lost, and the oldest of too many.
    gone: Vec<Versioned<Certificate>>,
}

/// What the order renews, as it is now; `None` for a first certificate. `next` is the serial number that was reserved:
/// with itself as the successor, it was released by the same request, sent twice.
pub(crate) async fn succession(
    app: &App,
    order: &Order<'_>,
    holder: &Principal,
    next: Option<&Serial>,
) -> Result<Option<Succession>, Error> {
    let Some(presented) = order.renews else { return Ok(None) };
    let (scope, now) = (order.scope, order.call.now);
    let presented = reads::certificate(app, scope, &presented.issuer, &presented.serial, now).await?;
    let same_life = holder.is_holder_of(&presented.value);
    let ended = holder.ended_instances.contains(&presented.value.instance());
    if presented.value.lineage.successor.as_ref().is_some_and(|successor| Some(&successor.serial) == next) {
        let (standing, earliest, gone) = (Standing::Newest, None, Vec::new());
        return Ok(Some(Succession { presented, same_life, ended, standing, earliest, gone }));
    }
    let successor = successor(app, scope, &presented.value, now).await?;
    let standing = standing(&presented.value, successor.as_ref().map(|found| &found.value));
    let others = superseded_of(holder, &presented.value, now).count();
    let earliest = earliest_next(&presented.value, standing, successor.as_ref().map(|found| &found.value), others);
    let mut gone: Vec<_> = successor.filter(|_| standing == Standing::AnswerLost).into_iter().collect();
    if let Some(oldest) = oldest_of_too_many(holder, &presented.value, now) {
        gone.push(reads::certificate(app, scope, &oldest.issuer, &oldest.serial, now).await?);
    }
    gone.retain(|gone| gone.value.state == CertificateState::Issued);
    Ok(Some(Succession { presented, same_life, ended, standing, earliest, gone }))
}

/// The record of the certificate that was renewed from `presented`, if it is still kept.
pub(crate) async fn successor(
    app: &App,
    scope: &TenantScope,
    presented: &Certificate,
    now: Time,
) -> Result<Option<Versioned<Certificate>>, Error> {
    let Some(Successor { issuer, serial }) = &presented.lineage.successor else { return Ok(None) };
    match reads::certificate(app, scope, issuer, serial, now).await {
        Ok(found) => Ok(Some(found)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Refuses all certificates of the instance everywhere, within a second, if the one presented turned out to be a copy;
/// its principal may enroll again. Passes every other result through.
pub(crate) async fn lock_if_copied<T>(app: &Arc<App>, order: &Order<'_>, result: Result<T, Error>) -> Result<T, Error> {
    let (Some(Presented { issuer, serial }), Err(error)) = (order.renews, &result) else { return result };
    if error.reason() == CLONE_DETECTED {
        let (own, call, scope) = (Arc::clone(app), order.call.clone(), order.scope.clone());
        let (issuer, serial) = (issuer.clone(), *serial);
        let lock = async move {
            lock_instance(&own, &call, &scope, &issuer, &serial).await?;
            let tenant = scope.tenant();
            tracing::warn!(tenant.id = %tenant, cert.serial = %serial, "instance locked: its key was copied");
            Ok(())
        };
        // Not in the caller's hands: a thief hangs up before it is locked out.
        app.detached.run(lock).await?;
    }
    result
}

async fn lock_instance(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    issuer: &CaId,
    serial: &Serial,
) -> Result<(), Error> {
    // Not once per request id: the renewal has that.
    let call = &Call { request_id: None, ..call.clone() };
    let plan = || async {
        let presented = reads::certificate(app, scope, issuer, serial, call.now).await?;
        if presented.value.state != CertificateState::Issued {
            return Ok(Planned::Unchanged(()));
        }
        let holder = holder_of(app, scope, &presented.value, call.now).await?;
        let successor = successor(app, scope, &presented.value, call.now).await?;
        let used_from = successor.as_ref().and_then(|found| found.value.lineage.confirmed?.source);
        let instance = presented.value.instance();
        let members = members(app, scope, presented.clone(), holder.as_ref(), call.now).await?;
        let mut entry = AuditEntry::refused(call, CLONE_DETECTED)
            .about("certificate", resource_id(&presented.value))
            .detail("principal", &presented.value.principal)
            .detail("instance", instance)
            .detail("revoked", list(&members.valid));
        if let Some(successor) = &presented.value.lineage.successor {
            entry = entry.detail("successor", successor.serial);
        }
        if let Some(source) = used_from {
            entry = entry.detail("successor_source", source);
        }
        let commit = call::audited(app, call, scope.tenant(), &entry);
        Ok(Planned::Commit(Box::new(end(commit, instance, holder, scope.tenant(), members, true, call.now)), ()))
    };
    ledger::mutate(app, call, scope.tenant(), &(issuer, serial), plan, |_| async { Ok(()) }).await
}

/// The principal that a certificate was made for, unless the id is another's now.
async fn holder_of(
    app: &App,
    scope: &TenantScope,
    certificate: &Certificate,
    now: Time,
) -> Result<Option<Versioned<Principal>>, Error> {
    let found = reads::find_principal(app, scope, &certificate.principal, now).await?;
    Ok(found.filter(|found| found.value.is_holder_of(certificate)))
}

/// What of an instance could still be used. A record that cannot be read is announced all the same.
pub(crate) async fn members(
    app: &App,
    scope: &TenantScope,
    presented: Versioned<Certificate>,
    holder: Option<&Versioned<Principal>>,
    now: Time,
) -> Result<Members, Error> {
    let instance = presented.value.instance();
    let mut members = Members::default();
    let successor = match &presented.value.lineage.successor {
        Some(Successor { issuer, serial }) => {
            let (issuer, not_after) = (issuer.clone(), now.plus(MAX_LIFETIME));
            Some(HeldCertificate { issuer, serial: *serial, not_after, instance: Some(instance) })
        }
        None => None,
    };
    let listed = holder.into_iter().flat_map(|holder| of_instance(&holder.value, instance, now)).cloned();
    let mut seen = BTreeSet::from([presented.value.serial]);
    members.add(presented, now);
    // The list knows when it ends.
    for held in listed.chain(successor) {
        if !seen.insert(held.serial) {
            continue;
        }
        match reads::read_held(app, scope, &held, now).await? {
            Some(Ok(found)) => members.add(found, now),
            Some(Err(_)) => members.told.push((held.serial, held.not_after)),
            None => {}
        }
    }
    Ok(members)
}

/// Adds what of the instance was revoked before and is on nobody's list any more: nodes may have lost that.
pub(crate) async fn add_revoked(
    app: &App,
    scope: &TenantScope,
    of: &Certificate,
    members: &mut Members,
    now: Time,
) -> Result<(), Error> {
    let partition = Certificate::by_principal(scope.tenant(), &of.principal);
    let mut query = Query::index(Table::Certificates, Index::ByPrincipal, partition).descending().limit(250);
    for _ in 0..PAGES_OF_REVOKED {
        let page = scope.page::<Certificate>(&*app.store, &query, now).await?;
        let same = page.records.into_iter().map(|found| found.value).filter(|it| it.instance() == of.instance());
        for it in same.filter(|it| matches!(it.state, CertificateState::Revoked { .. }) && it.not_after > now) {
            let known = members.told.iter().any(|(serial, _)| *serial == it.serial);
            if !known && members.told.len() < MOST_REVOKED {
                members.told.push((it.serial, it.not_after));
            }
        }
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    Ok(())
}

/// The certificates of an instance that is to be ended.
#[derive(Default)]
pub(crate) struct Members {
    /// Not revoked yet.
    pub(crate) valid: Vec<Versioned<Certificate>>,
    /// Announced only, until then: revoked before, or not to be read.
    pub(crate) told: Vec<(Serial, Time)>,
}

impl Members {
    fn add(&mut self, member: Versioned<Certificate>, now: Time) {
        match member.value.state {
            CertificateState::Issued => self.valid.push(member),
            CertificateState::Revoked { .. } if member.value.not_after > now => {
                self.told.push((member.value.serial, member.value.not_after));
            }
            CertificateState::Revoked { .. } | CertificateState::Reserved | CertificateState::Abandoned => {}
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.valid.is_empty() && self.told.is_empty()
    }
}

impl Succession {
    /// Whether the presented certificate may have a next one.
    pub(crate) fn check(&self) -> Result<(), Error> {
        require_usable(&self.presented.value)?;
        if !self.same_life {
            return Err(replaced());
        }
        if self.ended {
            return Err(Refusal::Revoked.into());
        }
        let (reason, message) = match self.standing {
            Standing::Newest | Standing::AnswerLost => return Ok(()),
            Standing::Copied => (
                CLONE_DETECTED,
                "the certificate was renewed before and its successor is in use: the key was copied, or the machine \
                 restored from an old image; the instance is locked, enroll again",
            ),
            Standing::Withdrawn => {
                ("SUCCESSOR_REVOKED", "the certificate was renewed before and its successor was revoked; enroll again")
            }
            Standing::Unknown => (
                "SUCCESSOR_UNKNOWN",
                "the certificate was renewed before and its successor is no longer on record; enroll again",
            ),
        };
        Err(Error::precondition(reason, message))
    }

    /// Whether the instance's last renewal is long enough ago.
    pub(crate) fn check_pace(&self, now: Time) -> Result<(), Error> {
        let Some(wait) = self.earliest.map(|earliest| earliest.millis_since(now)).filter(|wait| *wait > 0) else {
            return Ok(());
        };
        let seconds = wait.saturating_add(999) / 1000;
        let message = format!("the certificate was renewed too recently; retry in {seconds} seconds");
        let retry_after = Some(Lifetime::seconds(u32::try_from(seconds).unwrap_or(u32::MAX)));
        Err(Error::Exhausted { reason: RENEWED_TOO_RECENTLY, message, retry_after })
    }

    /// The last look before the commit: another node may have replaced the answer meanwhile.
    pub(crate) fn check_again(&self, now: Time) -> Result<(), Error> {
        self.check()?;
        if self.standing == Standing::AnswerLost { self.check_pace(now) } else { Ok(()) }
    }

    pub(crate) fn describe(&self, entry: AuditEntry) -> AuditEntry {
        let mut entry = entry.detail("renews", self.presented.value.serial);
        if self.standing == Standing::AnswerLost {
            entry = entry.detail("answer_lost", true);
        }
        if self.gone.is_empty() { entry } else { entry.detail("superseded", list(&self.gone)) }
    }

    /// Takes the presented certificate off those that count.
    pub(crate) fn supersede(&self, holder: &mut Principal, now: Time) {
        let presented = &self.presented.value;
        holder.forget(&presented.serial);
        for gone in &self.gone {
            holder.forget(&gone.value.serial);
        }
        if presented.not_after > now {
            holder.superseded.push(HeldCertificate {
                issuer: presented.issuer.clone(),
                serial: presented.serial,
                not_after: presented.not_after,
                instance: presented.lineage.instance,
            });
        }
    }

    /// What is written with the certificate `next`.
    pub(crate) fn write(&self, commit: Commit, next: &Certificate, now: Time) -> Commit {
        let Versioned { mut value, version } = self.presented.clone();
        if self.standing == Standing::AnswerLost {
            value.lineage.answers_lost = value.lineage.answers_lost.saturating_add(1);
        }
        value.lineage.successor = Some(Successor { issuer: next.issuer.clone(), serial: next.serial });
        let commit = commit.write(Write::replace(value, version));
        self.gone
            .iter()
            .cloned()
            .fold(commit, |commit, gone| revoke(commit, gone, RevocationReason::Superseded, false, now))
    }
}

/// A certificate of an earlier life of its principal's id.
pub(crate) fn replaced() -> Error {
    let message = "the certificate was issued to an earlier principal with this id, which was deleted; enroll again";
    Error::precondition("PRINCIPAL_REPLACED", message)
}

/// Whether the certificate may still ask for something.
pub(crate) fn require_usable(presented: &Certificate) -> Result<(), Error> {
    if presented.lineage.locked_at.is_some() {
        let message = "the instance was locked because a copied key was used; enroll again";
        return Err(Error::precondition("INSTANCE_LOCKED", message));
    }
    if presented.state == CertificateState::Issued { Ok(()) } else { Err(Refusal::Revoked.into()) }
}

/// The certificates of one instance that count or still authenticate.
fn of_instance(holder: &Principal, instance: Serial, now: Time) -> impl Iterator<Item = &HeldCertificate> {
    let all = holder.certificates.iter().chain(&holder.superseded);
    all.filter(move |held| held.instance() == instance && held.not_after > now)
}

/// Those that were renewed before and still authenticate, in the order of their renewal.
fn superseded_of<'a>(
    holder: &'a Principal,
    presented: &'a Certificate,
    now: Time,
) -> impl Iterator<Item = &'a HeldCertificate> {
    let instance = presented.instance();
    let superseded = holder.superseded.iter().filter(move |held| held.instance() == instance && held.not_after > now);
    superseded.filter(|held| held.serial != presented.serial)
}

fn oldest_of_too_many<'a>(holder: &'a Principal, presented: &'a Certificate, now: Time) -> Option<&'a HeldCertificate> {
    let mut others = superseded_of(holder, presented, now);
    let oldest = others.next();
    oldest.filter(|_| others.count() >= MAX_SUPERSEDED - 1)
}

/// Ends an instance whose key is in other hands: all its members are refused, and what its holder handed out before
/// counts no more. `lock`: a copied key was used.
pub(crate) fn end(
    commit: Commit,
    instance: Serial,
    holder: Option<Versioned<Principal>>,
    tenant: &TenantId,
    members: Members,
    lock: bool,
    now: Time,
) -> Commit {
    let holder = holder.map(|Versioned { mut value, version }| {
        let valid = members.valid.iter().map(|member| &member.value.serial);
        for serial in valid.chain(members.told.iter().map(|(serial, _)| serial)) {
            value.forget(serial);
        }
        value.end_instance(instance);
        Write::replace(value, version)
    });
    let revoked = |commit, member| revoke(commit, member, RevocationReason::KeyCompromise, lock, now);
    let commit = members.valid.into_iter().fold(commit.writes(holder), revoked);
    members.told.iter().fold(commit, |commit, (serial, until)| announce_revoked(commit, tenant, *serial, *until))
}

/// Tells every node of a revocation, without its record, which must not be one [`Certificate::is_unrecorded`].
pub(crate) fn announce_revoked(commit: Commit, tenant: &TenantId, serial: Serial, not_after: Time) -> Commit {
    commit.announce(tenant, Change::CertificateRevoked { serial, not_after, issuer: None }, not_after)
}

pub(crate) fn revoke(
    commit: Commit,
    certificate: Versioned<Certificate>,
    reason: RevocationReason,
    lock: bool,
    now: Time,
) -> Commit {
    let Versioned { mut value, version } = certificate;
    value.state = CertificateState::Revoked { revoked_at: now, reason };
    value.lineage.locked_at = lock.then_some(now);
    let (tenant, not_after) = (value.tenant.clone(), value.not_after);
    let change = Change::CertificateRevoked { serial: value.serial, not_after, issuer: None };
    commit.write(Write::replace(value, version)).announce(&tenant, change, not_after)
}

pub(crate) fn list(certificates: &[Versioned<Certificate>]) -> String {
    certificates.iter().map(|found| found.value.serial.to_string()).collect::<Vec<_>>().join(",")
}
