//! A record as it was, beside the record as it is: what to write so that the earlier data comes back, and no right that
//! was taken away since.

use crate::{
    Role, Time,
    authorities::{Ca, RevocationList},
    certificates::{Certificate, CertificateState, Lineage},
    enrollment::EnrollmentToken,
    principals::{Principal, PrincipalStatus},
    restore::since::{Since, severity},
    store::body::Body,
    tenants::{Tenant, TenantStatus},
    trust::change::Change,
};

/// What is to become of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Merged {
    /// It stays as it is.
    Same,
    /// This is written in its place.
    Changed(Box<Body>),
    /// It was deleted on purpose, and somebody put it back.
    Deleted,
}

/// What to write in place of `live` (`None`: there is none, or it cannot be read), if anything. Asked again about what
/// it said, it says nothing: a restore that was cut off begins anew.
///
/// | record | comes back | stays as it is now |
/// | --- | --- | --- |
/// | tenant, principal | its data | suspension, deletion, roles that were taken away, its certificates |
/// | all but the certificates of a tenant whose purge has begun | never | all of it, for the purge to remove |
/// | certificate | its bytes | revocation, lock, successor |
/// | join token | its data | use, revocation; one that is gone comes back revoked, since nobody knows of its use |
/// | revocation list | if it is gone, as one that is over and made anew: what was revoked since is not on it | all of
/// it |
/// | authorization model | never: nobody knows what was taken away since; its versions come back, to choose from | all
/// of it |
/// | token keys | never: one may have been let go since it was known to others; they are made anew | all of it |
/// | message secret | if it is gone, and was neither deleted nor replaced since | all of it |
/// | rule, CA, key of message secrets, all else | if it is gone, and was not deleted on purpose | all of it |
/// | changes feed, how far it was told, messages that were seen | never | all of it |
pub fn merge(kept: &Body, live: Option<&Body>, since: &Since, now: Time) -> Merged {
    if since.purged.contains(kept.tenant()) && goes_with_tenant(kept) {
        return Merged::Same;
    }
    let merged = match (kept, live) {
        (
            Body::Change(_)
            | Body::ChangeHead(_)
            | Body::Restoration(_)
            | Body::AuthorizationModel(_)
            | Body::TokenKeys(_)
            | Body::SeenMessage(_)
            | Body::SecurityEventStream(_),
            _,
        ) => {
            return Merged::Same;
        }
        (Body::Tenant(kept), None) => tenant(kept, None, since).into(),
        (Body::Tenant(kept), Some(Body::Tenant(live))) => tenant(kept, Some(live), since).into(),
        (Body::Principal(kept), None) => lost_principal(kept, since, now).into(),
        (Body::Principal(kept), Some(Body::Principal(live))) => principal(kept, live, since, now).into(),
        (Body::Certificate(kept), None) => certificate(kept, kept, since).into(),
        (Body::Certificate(kept), Some(Body::Certificate(live))) => certificate(kept, live, since).into(),
        (Body::Token(kept), None) => {
            let known = token(kept, kept, since);
            EnrollmentToken { revoked_at: known.revoked_at.or(Some(now)), ..known }.into()
        }
        (Body::Token(kept), Some(Body::Token(live))) => token(kept, live, since).into(),
        (Body::Rule(rule), live) if since.rules.contains(&(rule.tenant.clone(), rule.id.clone())) => {
            return if live.is_some() { Merged::Deleted } else { Merged::Same };
        }
        // It may be known to others since.
        (Body::MessageSecret(kept), None)
            if since.message_secrets.contains(&(kept.tenant.clone(), kept.principal.clone())) =>
        {
            return Merged::Same;
        }
        (Body::Ca(kept), None) => ca(kept, since).into(),
        // Its number counts, and nobody is given it: whoever was revoked since is not on it.
        (Body::RevocationList(kept), None) => {
            let over = kept.this_update;
            RevocationList { renew_at: over, next_update: over, ..kept.clone() }.into()
        }
        (kept, None) => kept.clone(),
        (_, Some(_)) => return Merged::Same,
    };
    if live == Some(&merged) { Merged::Same } else { Merged::Changed(Box::new(merged)) }
}

/// What a purge removes, or what is of no use without it. Certificates are not: revocation lists are made of them.
const fn goes_with_tenant(body: &Body) -> bool {
    matches!(
        body,
        Body::AuthorizationModel(_)
            | Body::Ca(_)
            | Body::MessageKey(_)
            | Body::MessageSecret(_)
            | Body::Principal(_)
            | Body::QuotaCount(_)
            | Body::Rule(_)
            | Body::Token(_)
            | Body::TokenKeys(_)
    )
}

fn tenant(kept: &Tenant, live: Option<&Tenant>, since: &Since) -> Tenant {
    let word = since.tenants.get(&kept.id).copied();
    let deleted = since.deletions.get(&kept.id);
    let Some(live) = live else {
        let deletion = deleted.unwrap_or(&kept.deletion).clone();
        let status = if deletion.is_some() { TenantStatus::Suspended } else { word.unwrap_or(kept.status) };
        return Tenant { status, deletion, ..kept.clone() };
    };
    if live.purge().is_some() {
        return live.clone();
    }
    let deletion = deleted.cloned().flatten().or(live.deletion.clone());
    let refused = deletion.is_some() || [Some(live.status), word].contains(&Some(TenantStatus::Suspended));
    Tenant {
        status: if refused { TenantStatus::Suspended } else { TenantStatus::Active },
        deletion,
        // What may not be renewed any more stays so.
        renewal_grace: kept.renewal_grace.min(live.renewal_grace),
        created_at: kept.created_at.max(live.created_at),
        updated_at: kept.updated_at.max(live.updated_at),
        ..kept.clone()
    }
}

fn principal(kept: &Principal, live: &Principal, since: &Since, now: Time) -> Principal {
    // Another life of the id.
    if live.created_at != kept.created_at {
        return live.clone();
    }
    let mut merged = Principal {
        status: live.status,
        roles: both(&kept.roles, &live.roles),
        groups: both(&kept.groups, &live.groups),
        generation: live.generation,
        certificates: live.certificates.clone(),
        superseded: live.superseded.clone(),
        updated_at: live.updated_at,
        compromises: kept.compromises.max(live.compromises),
        ended_instances: live.ended_instances.clone(),
        free_at: live.free_at,
        ..kept.clone()
    };
    let word = since.principals.get(&(kept.tenant.clone(), kept.id.clone()));
    let refused = word.and_then(|word| word.status()).filter(|status| severity(*status) > severity(live.status));
    refuse(&mut merged, refused, now);
    if let Some(roles) = word.and_then(|word| word.roles.as_ref()) {
        merged.roles = both(&merged.roles, roles);
    }
    for instance in word.into_iter().flat_map(|word| &word.ended) {
        if !merged.ended_instances.contains(instance) {
            merged.end_instance(*instance);
        }
    }
    if merged != *live {
        merged.generation = live.generation.max(kept.generation).saturating_add(1);
    }
    merged
}

/// Nobody knows what its record said: the log and the feed do.
fn lost_principal(kept: &Principal, since: &Since, now: Time) -> Principal {
    // Groups carry rights, and neither the log nor the feed says which were taken away.
    let mut merged = Principal { groups: Vec::new(), ..kept.clone() };
    let Some(word) = since.principals.get(&(kept.tenant.clone(), kept.id.clone())) else { return merged };
    if kept.status != PrincipalStatus::Deleted {
        refuse(&mut merged, word.status(), now);
    }
    if let Some(roles) = &word.roles {
        merged.roles = both(&kept.roles, roles);
    }
    for instance in &word.ended {
        if !merged.ended_instances.contains(instance) {
            merged.end_instance(*instance);
        }
    }
    merged.generation = kept.generation.max(word.generation).saturating_add(1);
    merged
}

fn refuse(principal: &mut Principal, status: Option<PrincipalStatus>, now: Time) {
    let Some(status) = status else { return };
    principal.status = status;
    if status == PrincipalStatus::Deleted && principal.free_at.is_none() {
        principal.free_at = Some(principal.forgotten_at(now));
    }
}

/// `live` is `kept` where there is no record.
fn certificate(kept: &Certificate, live: &Certificate, since: &Since) -> Certificate {
    // A reservation has no certificate yet.
    let whole = if kept.certificate_der.is_empty() { live } else { kept };
    let (state, lineage) = if progress(&kept.state) > progress(&live.state) {
        (kept.state.clone(), kept.lineage.clone())
    } else {
        (live.state.clone(), live.lineage.clone())
    };
    let mut merged = Certificate { state, keep_until: kept.keep_until.max(live.keep_until), ..whole.clone() };
    merged.lineage = Lineage {
        answers_lost: kept.lineage.answers_lost.max(live.lineage.answers_lost),
        successor: live.lineage.successor.clone().or_else(|| kept.lineage.successor.clone()),
        confirmed: live.lineage.confirmed.or(kept.lineage.confirmed),
        locked_at: live.lineage.locked_at.or(kept.lineage.locked_at),
        ..lineage
    };
    if let Some(successor) = since.successors.get(&kept.serial).filter(|_| merged.lineage.successor.is_none()) {
        merged.lineage.successor = Some(successor.clone());
    }
    let unrecorded = || since.unrecorded.get(&(kept.issuer.clone(), kept.serial));
    if let Some(ended) = since.revoked.get(&kept.serial).or_else(unrecorded) {
        if !matches!(merged.state, CertificateState::Revoked { .. } | CertificateState::Abandoned) {
            merged.state = CertificateState::Revoked { revoked_at: ended.at, reason: ended.reason };
        }
        merged.lineage.locked_at = merged.lineage.locked_at.or(ended.locked.then_some(ended.at));
    }
    merged
}

/// How far a certificate has come: no state goes back.
const fn progress(state: &CertificateState) -> u8 {
    match state {
        CertificateState::Reserved => 0,
        CertificateState::Issued => 1,
        CertificateState::Abandoned => 2,
        CertificateState::Revoked { .. } => 3,
    }
}

fn token(kept: &EnrollmentToken, live: &EnrollmentToken, since: &Since) -> EnrollmentToken {
    let word = since.tokens.get(&(kept.tenant.clone(), kept.id.clone())).copied().unwrap_or_default();
    EnrollmentToken {
        uses_left: word.uses_left.into_iter().fold(kept.uses_left.min(live.uses_left), u32::min),
        revoked_at: live.revoked_at.or(kept.revoked_at).or(word.revoked_at),
        not_after: kept.not_after.min(live.not_after),
        ..kept.clone()
    }
}

fn ca(kept: &Ca, since: &Since) -> Ca {
    let state = since.cas.get(&kept.id).copied().unwrap_or(kept.state).max(kept.state);
    Ca { state, ..kept.clone() }
}

/// In the order of `kept`.
fn both(kept: &[Role], live: &[Role]) -> Vec<Role> {
    kept.iter().filter(|role| live.contains(role)).cloned().collect()
}

/// What every node must hear of a record that was written in place of `live`, and until when.
pub fn announcements(merged: &Body, live: Option<&Body>, now: Time) -> Vec<(Change, Time)> {
    match merged {
        Body::Tenant(_) | Body::Ca(_) => vec![(Change::TenantChanged, now)],
        Body::Principal(new) => {
            let (principal, until) = (new.id.clone(), new.free_at.unwrap_or_else(|| new.outlived_at(now)));
            let denied = (new.status != PrincipalStatus::Active)
                .then(|| (Change::PrincipalDenied { principal: principal.clone(), until }, until));
            let same_roles = matches!(live, Some(Body::Principal(live)) if live.roles == new.roles);
            let roles =
                (!same_roles).then(|| (Change::PrincipalRoles { principal, roles: new.roles.clone(), until }, until));
            roles.into_iter().chain(denied).collect()
        }
        Body::Certificate(revoked @ Certificate { state: CertificateState::Revoked { .. }, not_after, .. })
            if *not_after > now =>
        {
            let issuer = revoked.is_unrecorded().then(|| revoked.issuer.clone());
            let change = Change::CertificateRevoked { serial: revoked.serial, not_after: *not_after, issuer };
            vec![(change, *not_after)]
        }
        _ => Vec::new(),
    }
}

/// In words, what does not come back with a record that was `kept`; `None`: all of it does.
pub fn withheld(kept: &Body, merged: &Body) -> Option<String> {
    match (kept, merged) {
        (Body::Tenant(kept), Body::Tenant(new)) if new.is_deleted() && !kept.is_deleted() => {
            Some(format!("tenant {} is deleted, as was decided since", new.id))
        }
        (Body::Tenant(kept), Body::Tenant(new)) => {
            let is_new = kept.status != new.status && new.status == TenantStatus::Suspended;
            is_new.then(|| format!("tenant {} is suspended, as was decided since", new.id))
        }
        (Body::Principal(kept), Body::Principal(new)) => {
            let status = match new.status {
                PrincipalStatus::Active => "active",
                PrincipalStatus::Suspended => "suspended",
                PrincipalStatus::Deleted => "deleted",
            };
            // Who was activated since has lost nothing.
            let is_refused = severity(new.status) > severity(kept.status);
            let changed = is_refused || kept.roles != new.roles || kept.compromises != new.compromises;
            let roles = new.roles.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            changed.then(|| format!("principal {}/{} is {status} with the roles [{roles}]", new.tenant, new.id))
        }
        (Body::Certificate(kept), Body::Certificate(new)) => {
            let is_new = kept.state != new.state && matches!(new.state, CertificateState::Revoked { .. });
            is_new.then(|| format!("certificate {}/{} stays revoked", new.issuer, new.serial))
        }
        (Body::Token(kept), Body::Token(new)) if kept.is_live(kept.created_at) && !new.is_live(new.created_at) => {
            Some(format!("token {} of {} stays unusable", new.id, new.tenant))
        }
        (Body::Ca(kept), Body::Ca(new)) if kept.state != new.state => {
            Some(format!("certificate authority {} is {:?}, as was decided since", new.id, new.state))
        }
        _ => None,
    }
}
