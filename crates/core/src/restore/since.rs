//! What was decided since an earlier state of the store, as the audit log and the changes feed tell it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::{
    CaId, Lifetime, PrincipalId, Role, RuleId, Serial, TenantId, Time, TokenId,
    audit::AuditEvent,
    authorities::CaState,
    certificates::{RevocationReason, Successor, UNRECORDED},
    enrollment::UsedProof,
    principals::PrincipalStatus,
    tenants::{DEFAULT_DELETION_GRACE, Deletion, MAX_LIFETIME, Purge, Tenant, TenantStatus},
    trust::change::{Change, ChangeEntry},
};

/// An OIDC token counts for a day at most, see [`crate::enrollment::attestation::fact::EXPIRES`].
const PROOF_LIFETIME: Lifetime = Lifetime::days(2);

/// The task that purges deleted tenants, as its audit events name it.
pub const PURGE: &str = "purge-tenants";

/// Decisions that take a right away, or give it back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Since {
    /// Events that were read.
    pub events: u64,
    /// Events and entries that could not be read.
    pub unreadable: Vec<String>,
    /// Revoked certificates. Serial numbers are unique over all issuers.
    pub revoked: BTreeMap<Serial, RevokedSince>,
    /// Revoked certificates that were never recorded: their serial numbers may be anybody's.
    pub unrecorded: BTreeMap<(CaId, Serial), RevokedSince>,
    /// What renewed certificates were renewed to.
    pub successors: BTreeMap<Serial, Successor>,
    /// Principals that were suspended, activated, deleted or given other roles.
    pub principals: BTreeMap<(TenantId, PrincipalId), Word>,
    /// Tenants that were suspended or activated.
    pub tenants: BTreeMap<TenantId, TenantStatus>,
    /// Tenants that were deleted, or undeleted (`None`).
    pub deletions: BTreeMap<TenantId, Option<Deletion>>,
    /// Tenants whose purge has begun: nothing of them comes back.
    pub purged: BTreeSet<TenantId>,
    /// CAs that stopped to sign or to be trusted.
    pub cas: BTreeMap<CaId, CaState>,
    /// Rules that were deleted.
    pub rules: BTreeSet<(TenantId, RuleId)>,
    /// Devices whose message secrets were replaced or deleted.
    pub message_secrets: BTreeSet<(TenantId, PrincipalId)>,
    /// Join tokens that were used or revoked.
    pub tokens: BTreeMap<(TenantId, TokenId), TokenWord>,
    /// Bearer proofs that were used.
    pub proofs: BTreeMap<(TenantId, String), UsedProof>,
}

/// The end of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct RevokedSince {
    pub tenant: TenantId,
    pub at: Time,
    pub reason: RevocationReason,
    /// Whether its instance was locked, because a copied key was used.
    pub locked: bool,
}

/// The last word on a join token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenWord {
    /// Uses that were left.
    pub uses_left: Option<u32>,
    /// When it was revoked.
    pub revoked_at: Option<Time>,
}

/// The last word on a principal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// By the audit log.
    pub audited: Option<PrincipalStatus>,
    /// By the feed.
    pub announced: Option<PrincipalStatus>,
    /// Its roles, by the feed, or by the log where the feed says nothing.
    pub roles: Option<Vec<Role>>,
    /// Instances whose keys are in other hands.
    pub ended: BTreeSet<Serial>,
    /// The highest generation.
    pub generation: u64,
}

impl Word {
    /// The status that both sources leave: the more refusing one. `None`: neither knows of a change.
    pub fn status(&self) -> Option<PrincipalStatus> {
        self.audited.into_iter().chain(self.announced).max_by_key(|status| severity(*status))
    }

    fn is_refused(&self) -> bool {
        self.status().is_some_and(|status| status != PrincipalStatus::Active)
    }
}

/// How much a status refuses.
pub(crate) const fn severity(status: PrincipalStatus) -> u8 {
    match status {
        PrincipalStatus::Active => 0,
        PrincipalStatus::Suspended => 1,
        PrincipalStatus::Deleted => 2,
    }
}

/// As `signet_app::AuditEntry` writes it.
#[derive(Deserialize)]
struct Payload {
    operation: String,
    outcome: String,
    #[serde(default)]
    resource: Option<Resource>,
    #[serde(default)]
    details: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Resource {
    kind: String,
    id: String,
}

impl Since {
    /// How many decisions it knows that refuse somebody.
    pub fn refusals(&self) -> usize {
        let principals = self.principals.values().filter(|word| word.is_refused()).count();
        let tenants = self.tenants.values().filter(|status| **status == TenantStatus::Suspended).count();
        let revoked = self.revoked.len().saturating_add(self.unrecorded.len());
        let deleted = self.deletions.values().flatten().count();
        [revoked, tenants, deleted, self.cas.len(), self.rules.len(), self.tokens.len(), self.proofs.len()]
            .into_iter()
            .fold(principals, usize::saturating_add)
    }

    /// All refusals of principals and certificates, for nodes to hear: also of those whose records are lost, which
    /// nothing else would refuse.
    pub fn announcements(&self, now: Time) -> Vec<(TenantId, Change, Time)> {
        let until = now.plus(MAX_LIFETIME);
        let change = |serial: &Serial, issuer| Change::CertificateRevoked { serial: *serial, not_after: until, issuer };
        let revoked = self.revoked.iter().map(|(serial, ended)| (ended.tenant.clone(), change(serial, None), until));
        let unrecorded = self.unrecorded.iter();
        let unrecorded = unrecorded
            .map(|((issuer, serial), ended)| (ended.tenant.clone(), change(serial, Some(issuer.clone())), until));
        let refused = self.principals.iter().filter(|(_, word)| word.is_refused());
        let denied = refused.map(|((tenant, principal), _)| {
            (tenant.clone(), Change::PrincipalDenied { principal: principal.clone(), until }, until)
        });
        revoked.chain(unrecorded).chain(denied).collect()
    }

    /// Takes in a tenant as it is now.
    pub fn found(&mut self, tenant: &Tenant) {
        if tenant.purge().is_some() {
            self.purged.insert(tenant.id.clone());
        }
    }

    /// Takes in an entry of the feed; those of one shard in their order.
    pub fn announced(&mut self, entry: &ChangeEntry) {
        for change in &entry.changes {
            match change {
                Change::CertificateRevoked { serial, issuer: Some(issuer), .. } => {
                    self.revoke_unrecorded((issuer, *serial), &entry.tenant, entry.at, RevocationReason::Unspecified);
                }
                Change::CertificateRevoked { serial, issuer: None, .. } => {
                    self.revoke(&entry.tenant, *serial, entry.at, RevocationReason::Unspecified, false);
                }
                Change::PrincipalDenied { principal, .. } => {
                    self.word(&entry.tenant, principal).announced = Some(PrincipalStatus::Suspended);
                }
                Change::PrincipalAllowed { principal } => {
                    self.word(&entry.tenant, principal).announced = Some(PrincipalStatus::Active);
                }
                Change::PrincipalRoles { principal, roles, .. } => {
                    self.word(&entry.tenant, principal).roles = Some(roles.clone());
                }
                Change::TenantChanged | Change::Unknown(_) => {}
            }
        }
    }

    /// Takes in an event of the audit log, in the order of time.
    pub fn audited(&mut self, event: &AuditEvent) {
        self.events = self.events.saturating_add(1);
        match serde_json::from_str(&event.payload) {
            Ok(payload) => self.take_in(event, payload),
            Err(_) => self.unreadable.push(format!("audit event {} of {}", event.id, event.tenant)),
        }
    }

    fn take_in(&mut self, event: &AuditEvent, payload: Payload) {
        let Payload { operation, outcome, resource, details } = payload;
        let clone = outcome == "CLONE_DETECTED";
        if outcome != "OK" && !clone {
            return;
        }
        let named = |name: &str| details.get(name).map(String::as_str).unwrap_or_default();
        let serials = |name: &str| named(name).split(',').filter_map(|serial| serial.parse().ok()).collect::<Vec<_>>();
        let reason = RevocationReason::ALL.into_iter().find(|reason| reason.as_str() == named("reason"));
        if let (Some(instance), Ok(principal)) = (serials("instance").first(), named("principal").parse()) {
            self.word(&event.tenant, &principal).ended.insert(*instance);
        }
        for serial in serials("revoked") {
            self.revoke(&event.tenant, serial, event.at, RevocationReason::KeyCompromise, clone);
        }
        for serial in serials("superseded") {
            self.revoke(&event.tenant, serial, event.at, RevocationReason::Superseded, false);
        }
        let Some(Resource { kind, id }) = resource else { return };
        match kind.as_str() {
            "certificate" => {
                let Some((Ok(issuer), Ok(serial))) =
                    id.split_once('/').map(|(ca, serial)| (ca.parse(), serial.parse()))
                else {
                    return;
                };
                if details.contains_key(UNRECORDED) {
                    let reason = reason.unwrap_or(RevocationReason::Unspecified);
                    return self.revoke_unrecorded((&issuer, serial), &event.tenant, event.at, reason);
                }
                if clone {
                    self.revoke(&event.tenant, serial, event.at, RevocationReason::KeyCompromise, true);
                } else if let Some(reason) = reason {
                    self.revoke(&event.tenant, serial, event.at, reason, false);
                }
                if let Some(before) = serials("renews").first() {
                    self.successors.insert(*before, Successor { issuer, serial });
                }
            }
            "token" => {
                let Ok(token) = id.parse() else { return };
                let word = self.tokens.entry((event.tenant.clone(), token)).or_default();
                let left = named("uses_left").parse().ok();
                word.uses_left = word.uses_left.into_iter().chain(left).min();
                word.revoked_at = word.revoked_at.or((operation == "RevokeToken").then_some(event.at));
            }
            "principal" => {
                self.on_principal(event, &operation, &id, named("generation"), details.get("roles"));
            }
            "tenant" => {
                let Ok(tenant) = id.parse() else { return };
                self.on_tenant(event, &operation, tenant, named("purge_at"));
            }
            "certificate_authority" => self.on_steps(named("steps")),
            "message_secret" if operation != "FetchMessageSecrets" && operation != "VerifyMessage" => {
                let Ok(device) = id.parse() else { return };
                self.message_secrets.insert((event.tenant.clone(), device));
            }
            "enrollment_rule" => {
                let Ok(rule) = id.parse::<RuleId>() else { return };
                let place = (event.tenant.clone(), rule);
                match operation.as_str() {
                    "DeleteEnrollmentRule" => drop(self.rules.insert(place)),
                    "CreateEnrollmentRule" => drop(self.rules.remove(&place)),
                    _ => self.on_proof(event, named("proof_sha256"), named("spki_sha256")),
                }
            }
            _ => {}
        }
    }

    fn on_principal(
        &mut self,
        event: &AuditEvent,
        operation: &str,
        id: &str,
        generation: &str,
        roles: Option<&String>,
    ) {
        let Ok(id) = id.parse() else { return };
        let word = self.word(&event.tenant, &id);
        if let Some(roles) = roles {
            word.roles = Some(roles.split(',').filter_map(|role| role.parse().ok()).collect());
        }
        word.generation = word.generation.max(generation.parse().unwrap_or(0));
        word.audited = match operation {
            "SuspendPrincipal" => Some(PrincipalStatus::Suspended),
            "ActivatePrincipal" | "CreatePrincipal" => Some(PrincipalStatus::Active),
            "DeletePrincipal" => Some(PrincipalStatus::Deleted),
            _ => word.audited,
        };
    }

    fn on_tenant(&mut self, event: &AuditEvent, operation: &str, tenant: TenantId, purge_at: &str) {
        if let Some(status) = tenant_status(operation) {
            self.tenants.insert(tenant.clone(), status);
        }
        let purge_at = purge_at.parse().map_or(event.at.plus(DEFAULT_DELETION_GRACE), Time::from_unix_seconds);
        match operation {
            "DeleteTenant" => {
                self.deletions.insert(tenant, Some(Deletion { at: event.at, purge_at, purge: None }));
            }
            "UndeleteTenant" => drop(self.deletions.insert(tenant, None)),
            PURGE => {
                // Not that it is over: whoever goes on with it removes what a restore has brought back.
                let purge = Some(Purge::began(event.at));
                let known = self.deletions.get(&tenant).cloned().flatten();
                let known = known.unwrap_or(Deletion { at: event.at, purge_at, purge: None });
                self.deletions.insert(tenant.clone(), Some(Deletion { purge, ..known }));
                self.purged.insert(tenant);
            }
            _ => {}
        }
    }

    fn on_steps(&mut self, steps: &str) {
        for step in steps.split("; ") {
            if let Some(Ok(ca)) = step.strip_prefix("retired ").map(str::parse) {
                self.cas.insert(ca, CaState::Retired);
            } else if let Some(Ok(ca)) = step.split_once(" is retiring").map(|(ca, _)| ca.parse()) {
                self.cas.insert(ca, CaState::Retiring);
            } else if let Some(Ok(ca)) =
                step.strip_prefix("activated ").and_then(|it| Some(it.split(' ').next()?.parse()))
            {
                self.cas.remove(&ca);
            }
        }
    }

    fn on_proof(&mut self, event: &AuditEvent, bearer_sha256: &str, spki_sha256: &str) {
        if bearer_sha256.is_empty() {
            return;
        }
        let own = (!event.tenant.is_system()).then(|| event.tenant.clone());
        for tenant in [TenantId::system()].into_iter().chain(own) {
            let (bearer_sha256, spki_sha256) = (bearer_sha256.to_owned(), spki_sha256.to_owned());
            let until = event.at.plus(PROOF_LIFETIME);
            let used = UsedProof { tenant: tenant.clone(), bearer_sha256: bearer_sha256.clone(), spki_sha256, until };
            self.proofs.insert((tenant, bearer_sha256), used);
        }
    }

    fn word(&mut self, tenant: &TenantId, principal: &PrincipalId) -> &mut Word {
        self.principals.entry((tenant.clone(), principal.clone())).or_default()
    }

    fn revoke_unrecorded(
        &mut self,
        (issuer, serial): (&CaId, Serial),
        tenant: &TenantId,
        at: Time,
        reason: RevocationReason,
    ) {
        let ended = RevokedSince { tenant: tenant.clone(), at, reason, locked: false };
        self.unrecorded.entry((issuer.clone(), serial)).or_insert(ended);
    }

    /// The earliest time, the most telling reason: the feed has none.
    fn revoke(&mut self, tenant: &TenantId, serial: Serial, at: Time, reason: RevocationReason, locked: bool) {
        let tenant = tenant.clone();
        let ended = self.revoked.entry(serial).or_insert(RevokedSince { tenant, at, reason, locked });
        ended.at = ended.at.min(at);
        ended.locked |= locked;
        if ended.reason == RevocationReason::Unspecified {
            ended.reason = reason;
        }
    }
}

fn tenant_status(operation: &str) -> Option<TenantStatus> {
    match operation {
        "SuspendTenant" => Some(TenantStatus::Suspended),
        "ActivateTenant" | "CreateTenant" => Some(TenantStatus::Active),
        _ => None,
    }
}
