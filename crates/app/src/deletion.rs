//! The end of a principal: refused everywhere and for good, and all that it held is revoked, so that those who read revocation
//! lists learn of it too.

use signet_core::{
    Error, PrincipalId, StoreError, TenantId, TenantScope, Time,
    authz::Permit,
    certificate::{Certificate, CertificateState, RevocationReason},
    commit::Commit,
    principal::{HeldCertificate, Principal, PrincipalStatus},
    store::Versioned,
};

use crate::{
    App, Call, Planned,
    lineage::{announce_revoked, revoke},
};

/// Most certificates that are revoked in one transaction: it takes 100 writes, some of which are others.
const AT_ONCE: usize = 80;

impl App {
    /// Refuses the principal everywhere and for good, and revokes what it holds. Its id is free when nothing of it can be renewed
    /// any more. Repeating it completes what was broken off.
    pub async fn delete_principal(
        &self,
        call: &Call,
        permit: &Permit,
        scope: &TenantScope,
        id: &PrincipalId,
    ) -> Result<Principal, Error> {
        let mut deleted = self.set_principal_status(call, permit, scope, id, PrincipalStatus::Deleted).await?;
        while !(deleted.certificates.is_empty() && deleted.superseded.is_empty()) {
            deleted = self.revoke_held(call, scope, id).await?;
        }
        Ok(deleted)
    }

    /// Revokes what did not fit into the transaction of the deletion.
    async fn revoke_held(&self, call: &Call, scope: &TenantScope, id: &PrincipalId) -> Result<Principal, Error> {
        // Not once per request id: the deletion has that.
        let call = &Call { request_id: None, ..call.clone() };
        let plan = || async {
            let mut found = self.principal(scope, id, call.now).await?;
            let held = self.take_held(scope, &mut found.value, call.now).await?;
            let (commit, changed) = self.change_principal(call, found, None);
            Ok(Planned::Commit(Box::new(revoke_all(commit, held, scope.tenant(), call.now)), changed))
        };
        self.mutate(call, scope.tenant(), id, plan, |_| self.get_principal(call, scope, id)).await
    }

    /// Takes as many certificates off a principal's lists as one transaction can revoke.
    pub(crate) async fn take_held(
        &self,
        scope: &TenantScope,
        principal: &mut Principal,
        now: Time,
    ) -> Result<Held, Error> {
        let all = principal.certificates.iter().chain(&principal.superseded).take(AT_ONCE);
        let taken: Vec<HeldCertificate> = all.cloned().collect();
        let read = taken.iter().map(|held| self.read_held(scope, held, now));
        let found = futures::future::try_join_all(read).await?;
        let mut held = Held::default();
        for (taken, found) in taken.into_iter().zip(found) {
            principal.forget(&taken.serial);
            match found {
                Some(Ok(found)) if found.value.state == CertificateState::Issued => held.valid.push(found),
                Some(Err(_)) => held.unread.push(taken),
                Some(Ok(_)) | None => {}
            }
        }
        Ok(held)
    }

    /// A certificate that a principal has on its list, if it is still kept; inside `Corrupt`, if that cannot be read.
    pub(crate) async fn read_held(
        &self,
        scope: &TenantScope,
        held: &HeldCertificate,
        now: Time,
    ) -> Result<Option<Result<Versioned<Certificate>, StoreError>>, Error> {
        match self.read_certificate(scope, &held.issuer, &held.serial, now).await {
            Ok(found) => Ok(Some(found)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What a deleted principal held.
#[derive(Default)]
pub(crate) struct Held {
    /// Certificates that are still valid.
    valid: Vec<Versioned<Certificate>>,
    /// Those whose records cannot be read: they may be.
    unread: Vec<HeldCertificate>,
}

/// Adds the revocations of what a deleted principal held.
pub(crate) fn revoke_all(commit: Commit, held: Held, tenant: &TenantId, now: Time) -> Commit {
    let reason = RevocationReason::CessationOfOperation;
    let commit = held.valid.into_iter().fold(commit, |commit, held| revoke(commit, held, reason, false, now));
    held.unread.iter().fold(commit, |commit, held| announce_revoked(commit, tenant, held.serial, held.not_after))
}
