//! Certificates on record: read, list, revoke.

use signet_core::{
    CaId, Error, PrincipalId, Serial, TenantScope, Time,
    authz::Permit,
    certificate::{Certificate, CertificateKind, CertificateState, RevocationReason},
    change::Change,
    commit::{Commit, Write},
    principal::Principal,
    store::{Index, Query, Table, Versioned},
};

use crate::{App, AuditEntry, Call, Listing, PageRequest, Planned, paging, reservation::resource_id};

impl App {
    /// Reads a principal's certificate.
    pub async fn get_certificate(
        &self,
        call: &Call,
        scope: &TenantScope,
        issuer: &CaId,
        serial: &Serial,
    ) -> Result<Certificate, Error> {
        Ok(self.certificate(scope, issuer, serial, call.now).await?.value)
    }

    /// Lists a principal's certificates, newest first: those that were released, until 30 days after they expire.
    pub async fn list_certificates(
        &self,
        call: &Call,
        scope: &TenantScope,
        principal: &PrincipalId,
        page: &PageRequest,
    ) -> Result<Listing<Certificate>, Error> {
        self.principal(scope, principal, call.now).await?;
        let partition = Certificate::by_principal(scope.tenant(), principal);
        let query = |_| Query::index(Table::Certificates, Index::ByPrincipal, partition.clone()).descending();
        let read = |query| async move { scope.page::<Certificate>(&*self.store, &query, call.now).await };
        paging::list(page, &format!("certificates/{partition}"), 1, query, read).await
    }

    /// Refuses the certificate everywhere, within a second, until it expires.
    pub async fn revoke_certificate(
        &self,
        call: &Call,
        permit: &Permit,
        scope: &TenantScope,
        issuer: &CaId,
        serial: &Serial,
        reason: RevocationReason,
    ) -> Result<Certificate, Error> {
        let plan = || async {
            let found = self.certificate(scope, issuer, serial, call.now).await?;
            let holder = self.find_principal(scope, &found.value.principal, call.now).await?;
            let roles = holder.as_ref().map_or(&[][..], |holder| &holder.value.roles);
            permit.may_manage(found.value.principal_type, roles)?;
            if is_revoked(&found.value, call.now)? {
                return Ok(Planned::Unchanged(found.value));
            }
            let state = CertificateState::Revoked { revoked_at: call.now, reason };
            let revoked = Certificate { state, ..found.value };
            let commit = self.revocation(call, &revoked, reason).write(Write::replace(revoked.clone(), found.version));
            let commit = commit.writes(holder.and_then(|holder| without(holder, serial)));
            Ok(Planned::Commit(Box::new(commit), revoked))
        };
        let replay = |_| self.get_certificate(call, scope, issuer, serial);
        self.mutate(call, scope.tenant(), &(issuer, serial, reason), plan, replay).await
    }

    fn revocation(&self, call: &Call, certificate: &Certificate, reason: RevocationReason) -> Commit {
        let entry = AuditEntry::done(call, "certificate", resource_id(certificate))
            .detail("principal", &certificate.principal)
            .detail("reason", reason.as_str());
        let change = Change::CertificateRevoked { serial: certificate.serial, not_after: certificate.not_after };
        let commit = Commit::audited(self.event(call, &certificate.tenant, &entry));
        commit.announce(&certificate.tenant, change, certificate.not_after)
    }

    /// The principal's certificate within the scope, or `NOT_FOUND`.
    pub(crate) async fn certificate(
        &self,
        scope: &TenantScope,
        issuer: &CaId,
        serial: &Serial,
        now: Time,
    ) -> Result<Versioned<Certificate>, Error> {
        let found = scope.get::<Certificate>(&*self.store, &Certificate::key_of(issuer, serial), now).await?;
        let visible = |found: &Versioned<Certificate>| {
            found.value.kind == CertificateKind::Leaf && scope.admits(&found.value, Some(&found.value.principal))
        };
        found.filter(visible).ok_or_else(|| Error::not_found("certificate", format!("{issuer}/{serial}")))
    }
}

/// Whether it is revoked already; an error if there is nothing to revoke.
fn is_revoked(certificate: &Certificate, now: Time) -> Result<bool, Error> {
    match certificate.state {
        CertificateState::Revoked { .. } => Ok(true),
        CertificateState::Reserved | CertificateState::Abandoned => {
            Err(Error::precondition("CERTIFICATE_NOT_ISSUED", "the certificate was never released; nobody accepts it"))
        }
        CertificateState::Issued if certificate.not_after <= now => {
            Err(Error::precondition("CERTIFICATE_EXPIRED", "the certificate has expired; nobody accepts it"))
        }
        CertificateState::Issued => Ok(false),
    }
}

/// Takes the certificate off the list of those that its holder has, if it is on it.
fn without(holder: Versioned<Principal>, serial: &Serial) -> Option<Write> {
    let Versioned { mut value, version } = holder;
    value.forget(serial).then(|| Write::replace(value, version))
}
