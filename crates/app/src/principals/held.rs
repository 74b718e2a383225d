//! What a principal holds, when it is deleted.

use signet_core::{
    Error, PrincipalId, StoreError, TenantId, TenantScope, Time,
    certificates::{Certificate, CertificateState, RevocationReason},
    messages::MessageSecret,
    principals::{HeldCertificate, Principal},
    store::{
        Versioned,
        commit::{Commit, Write},
    },
};

use crate::{
    App,
    certificates::lineage::{announce_revoked, revoke},
    reads::read_held,
};

/// Most certificates that are revoked in one transaction: it takes 100 writes, some of which are others.
pub(crate) const AT_ONCE: usize = 80;

/// Takes as many certificates off a principal's lists as one transaction can revoke.
pub(crate) async fn take_held(
    app: &App,
    scope: &TenantScope,
    principal: &mut Principal,
    now: Time,
) -> Result<Held, Error> {
    let all = principal.certificates.iter().chain(&principal.superseded).take(AT_ONCE);
    let taken: Vec<HeldCertificate> = all.cloned().collect();
    let read = taken.iter().map(|held| read_held(app, scope, held, now));
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

/// Removes what a device signs messages with, if anything.
pub(crate) async fn message_secrets(
    app: &App,
    scope: &TenantScope,
    id: &PrincipalId,
    now: Time,
) -> Result<Option<Write>, Error> {
    let key = MessageSecret::key_of(scope.tenant(), id);
    match scope.get::<MessageSecret>(&*app.store, &key, now).await {
        Ok(found) => Ok(found.map(|found| Write::Delete(key, found.version))),
        // It stays, and is of no use: the principal is refused, and the id's next life is another.
        Err(StoreError::Corrupt { .. }) => Ok(None),
        Err(error) => Err(error.into()),
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
