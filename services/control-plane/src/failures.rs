//! Refused calls of principals that have proved their keys: counted, and at the tenant's limit the principal is
//! suspended. A certificate that is refused counts for nobody, since anybody may show it; nor does a call of somebody
//! who may not act any more.

use std::sync::Arc;

use signet_app::{
    Call,
    principals::failures::{FAILURE_LIMIT_REACHED, RefusedCall},
};
use signet_core::{Actor, Identity, Time};
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::{metrics::Metrics, refusals::Refusals, shares::Account, waiting::Waiting};

/// Principals that wait to be suspended. Of others the failures count anew.
const WAITING: usize = 1024;
/// Of these, one tenant's.
const WAITING_OF_TENANT: usize = WAITING / 8;

/// A principal that has reached its limit.
pub(crate) struct Offender {
    pub(crate) identity: Arc<Identity>,
    pub(crate) last: RefusedCall,
    pub(crate) account: Arc<Account>,
}

/// Takes principals that shall be suspended, from calls that must not wait.
pub(crate) struct Offenders {
    queue: mpsc::Sender<Offender>,
    waiting: Waiting,
    metrics: Arc<Metrics>,
}

/// What [`Offenders`] took.
pub(crate) struct OffenderQueue(pub(crate) mpsc::Receiver<Offender>);

impl Offenders {
    pub(crate) fn new(metrics: Arc<Metrics>) -> (Self, OffenderQueue) {
        let (queue, receiver) = mpsc::channel(WAITING);
        (Self { queue, waiting: Waiting::new(WAITING_OF_TENANT), metrics }, OffenderQueue(receiver))
    }

    /// Counts who has reached a limit: `outcome` is what came of it.
    pub(crate) fn told(&self, outcome: &'static str) {
        self.metrics.count("signet_failure_limits_total", "outcome", outcome);
    }

    /// Has the principal suspended.
    pub(crate) fn offer(&self, offender: Offender) {
        if !self.waiting.enter(&offender.identity.tenant) {
            return self.told("dropped");
        }
        offender.account.failures.set_waiting(true);
        if let Err(TrySendError::Full(offender) | TrySendError::Closed(offender)) = self.queue.try_send(offender) {
            self.done(&offender);
            self.told("dropped");
        }
    }

    /// It waits no more.
    pub(crate) fn done(&self, offender: &Offender) {
        offender.account.failures.set_waiting(false);
        self.waiting.leave(&offender.identity.tenant);
    }
}

/// What is told of an admin, who is not suspended.
pub(crate) fn record_admin(refusals: &Refusals, identity: &Identity, last: &RefusedCall, now: Time) {
    let (actor, source) = (Actor::from(identity), last.source);
    let call = Call { operation: last.operation, now, actor, request_id: None, source, correlation_id: None };
    refusals.record(call, identity.tenant.clone(), FAILURE_LIMIT_REACHED, last.details().to_vec());
}

#[cfg(test)]
mod tests {
    use signet_core::{
        Lifetime, PrincipalType, Serial, TenantId, Uptime,
        authorization::{Denial, Policy},
        tenants::FailureLimit,
    };

    use super::*;
    use crate::{
        authorization::Table,
        shares::{Shares, tests::limits},
    };

    fn offender(shares: &Shares, tenant: &str, id: &str) -> Offender {
        let (tenant, principal): (TenantId, _) = (tenant.parse().unwrap(), id.parse().unwrap());
        let now = Time::from_unix_seconds(1_800_000_000);
        let account = shares.account(&tenant, &principal);
        let identity = Identity {
            issuer: format!("{tenant}.1").parse().unwrap(),
            tenant,
            principal,
            principal_type: PrincipalType::Worker,
            roles: [].into(),
            serial: Serial::new(now, [0; 10]),
            not_before: now,
            not_after: now.plus(Lifetime::hours(1)),
            spki_sha256: [0; 32],
            certificate_sha256: [0; 32],
        };
        let last = RefusedCall {
            limit: FailureLimit::default(),
            operation: "ListPrincipals",
            reason: Denial::Permission.reason(),
            source: None,
        };
        Offender { identity: Arc::new(identity), last, account }
    }

    #[test]
    fn who_waits_counts_no_more_and_a_tenants_crowd_leaves_room_for_others() {
        let table = Table::from_descriptors(signet_proto::DESCRIPTORS, &Policy::new()).unwrap();
        let (offenders, OffenderQueue(mut queue)) = Offenders::new(Arc::new(Metrics::new(&table).unwrap()));
        let shares = Shares::new(&limits());
        (0..1000).for_each(|n| offenders.offer(offender(&shares, "acme", &format!("w-{n}"))));
        offenders.offer(offender(&shares, "globex", "w-1"));
        let mut waiting = Vec::new();
        while let Ok(offender) = queue.try_recv() {
            waiting.push(offender);
        }
        assert_eq!(waiting.len(), WAITING_OF_TENANT + 1);
        let limit = FailureLimit { failures: 1, window: Lifetime::minutes(5) };
        let fails = |offender: &Offender| offender.account.failures.add(Uptime::from_millis(1), limit);
        let last = waiting.pop().unwrap();
        assert!(last.identity.tenant.as_str() == "globex" && !fails(&last), "it waits already");
        offenders.done(&last);
        assert!(fails(&last));
        waiting.iter().for_each(|offender| offenders.done(offender));
        assert!(offenders.waiting.is_empty());
        assert!(fails(&offender(&shares, "acme", "w-999")), "what was dropped counts anew");
    }
}
