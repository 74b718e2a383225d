//! The suspension of a principal whose calls were refused too often, by Signet itself.

use std::net::IpAddr;

use signet_core::{
    Error, PrincipalId, PrincipalType, TenantId, principals::PrincipalStatus, tenants::FailureLimit,
    trust::change::Change,
};

use crate::{App, AuditEntry, Call, Chore, Planned, ledger, principals, reads};

/// Why a principal is suspended by itself.
pub const FAILURE_LIMIT_REACHED: &str = "FAILURE_LIMIT_REACHED";

/// The refused call that reached the limit.
#[derive(Clone, Debug)]
pub struct RefusedCall {
    /// The limit that it reached.
    pub limit: FailureLimit,
    /// The RPC.
    pub operation: &'static str,
    /// Why it was refused.
    pub reason: &'static str,
    /// Where it came from.
    pub source: Option<IpAddr>,
}

impl RefusedCall {
    /// For the audit event.
    pub fn details(&self) -> [(&'static str, String); 4] {
        [
            ("failures", self.limit.failures.to_string()),
            ("window_seconds", self.limit.window.as_seconds().to_string()),
            ("last_operation", self.operation.to_owned()),
            ("last_reason", self.reason.to_owned()),
        ]
    }
}

/// Suspends a principal as [`principals::suspend_principal`] does; whether it was active before. Admins are never
/// suspended by themselves: somebody must be able to activate the others.
pub async fn suspend_for_failures(
    app: &App,
    chore: &Chore,
    tenant: &TenantId,
    id: &PrincipalId,
    last: &RefusedCall,
) -> Result<bool, Error> {
    let call = &Call { operation: "SuspendPrincipal", source: last.source, ..(**chore).clone() };
    let scope = &chore.keeper.tenant(tenant);
    let _turn = principals::turn_to_write(app, scope, id).await;
    let plan = || async {
        let mut found = reads::read_principal(app, scope, id, call.now).await??;
        let principal = &mut found.value;
        if principal.status != PrincipalStatus::Active || principal.principal_type == PrincipalType::Admin {
            return Ok(Planned::Unchanged(false));
        }
        principal.status = PrincipalStatus::Suspended;
        principal.generation += 1;
        let until = principal.outlived_at(call.now);
        let details = [("reason", FAILURE_LIMIT_REACHED.to_owned())].into_iter().chain(last.details());
        let entry =
            details.fold(AuditEntry::done(call, "principal", id), |entry, (name, value)| entry.detail(name, value));
        let change = Change::PrincipalDenied { principal: id.clone(), until };
        let (commit, _) = principals::change_audited(app, call, entry, found, Some((change, until)));
        Ok(Planned::Commit(Box::new(commit), true))
    };
    ledger::mutate(app, call, tenant, id, plan, |_| async { Ok(false) }).await
}
