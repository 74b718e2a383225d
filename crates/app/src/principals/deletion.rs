//! The end of a principal: refused everywhere and for good, and all that it held is revoked, so that those who read
//! revocation lists learn of it too.

use signet_core::{
    Error, PrincipalId, TenantScope,
    authorization::Permit,
    principals::{Principal, PrincipalStatus},
};

use crate::{
    App, Call, Planned, ledger,
    principals::{self, held},
    reads,
};

/// Refuses the principal everywhere and for good, and revokes what it holds. Its id is free when nothing of it can be
/// renewed any more. Repeating it completes what was broken off.
pub async fn delete_principal(
    app: &App,
    call: &Call,
    permit: &Permit,
    scope: &TenantScope,
    id: &PrincipalId,
) -> Result<Principal, Error> {
    let mut deleted = principals::set_principal_status(app, call, permit, scope, id, PrincipalStatus::Deleted).await?;
    while deleted.holds_any() {
        deleted = revoke_held(app, call, scope, id).await?;
    }
    Ok(deleted)
}

/// Revokes what did not fit into the transaction of the deletion.
async fn revoke_held(app: &App, call: &Call, scope: &TenantScope, id: &PrincipalId) -> Result<Principal, Error> {
    // Not once per request id: the deletion has that.
    let call = &Call { request_id: None, ..call.clone() };
    let plan = || async {
        let mut found = reads::principal(app, scope, id, call.now).await?;
        let held = held::take_held(app, scope, &mut found.value, call.now).await?;
        let (commit, changed) = principals::change_principal(app, call, found, None);
        Ok(Planned::Commit(Box::new(held::revoke_all(commit, held, scope.tenant(), call.now)), changed))
    };
    ledger::mutate(app, call, scope.tenant(), id, plan, |_| principals::get_principal(app, call, scope, id)).await
}
