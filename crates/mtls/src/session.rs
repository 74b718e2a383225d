//! An identity on one connection, and whether it may still act.

use std::{
    fmt,
    ops::Deref,
    sync::{Arc, OnceLock},
};

use arc_swap::{ArcSwap, Guard};
use signet_core::{
    Identity, Role, Time,
    trust::{Refusal, Trust},
};
use tokio_util::sync::CancellationToken;

/// Makes, from an identity and the roles in force, what the upper layer wants at hand in every call (its grants).
/// Called once per connection, and again only when the roles changed.
pub type Authorize<A> = Arc<dyn Fn(&Identity, &[Role]) -> A + Send + Sync>;

/// Why a connection or its session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The identity is no longer admitted.
    Refused(Refusal),
    /// The connection reached its maximum age: connect again.
    MaxAge,
    /// This node shuts down: connect again, elsewhere.
    Drained,
    /// The peer did not take an answer in time.
    AnswerUnread,
    /// The peer or a transport error closed it.
    Closed,
}

impl Ended {
    /// UPPER_SNAKE_CASE, for metrics, audit events and `google.rpc.ErrorInfo`.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.reason(),
            Self::MaxAge => "CONNECTION_MAX_AGE",
            Self::Drained => "NODE_DRAINING",
            Self::AnswerUnread => "ANSWER_UNREAD",
            Self::Closed => "CLOSED",
        }
    }
}

/// What was decided at one trust epoch.
struct Admission<A> {
    epoch: u64,
    roles: Arc<[Role]>,
    grants: Arc<A>,
}

/// A verified identity on one connection.
pub struct Session<A> {
    identity: Arc<Identity>,
    admission: ArcSwap<Admission<A>>,
    grant: Authorize<A>,
    ended: CancellationToken,
    reason: OnceLock<Ended>,
}

/// The right to carry out a call now, if [`Session::check`] gave it: dereferences to the grants. Drop it when the
/// call's decision is made.
pub struct Admitted<A>(Guard<Arc<Admission<A>>>);

impl<A: Send + Sync + 'static> Session<A> {
    /// A session that has not been admitted yet: its first [`Self::check`] decides.
    pub(crate) fn new(identity: Arc<Identity>, grant: Authorize<A>) -> Self {
        let roles = Arc::clone(&identity.roles);
        let grants = Arc::new(grant(&identity, &roles));
        // Trust epochs start at 1.
        let admission = ArcSwap::from_pointee(Admission { epoch: 0, roles, grants });
        Self { identity, admission, grant, ended: CancellationToken::new(), reason: OnceLock::new() }
    }

    /// Who it is. Verified, but admitted only as [`Self::check`] says.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// Whether the identity may act at `now`. While the trust epoch stands still this costs an atomic load and two
    /// comparisons; after it moved, one look at `trust`. Never waits on anything remote.
    pub fn check(&self, trust: &Trust, now: Time) -> Result<Admitted<A>, Refusal> {
        let held = self.admission.load();
        if held.epoch != trust.epoch() {
            return self.admit(trust, now);
        }
        if trust.refuses_all() {
            return Err(Refusal::Stale);
        }
        if now >= self.identity.not_after {
            return Err(Refusal::Expired);
        }
        if now < self.identity.not_before {
            return Err(Refusal::NotYetValid);
        }
        Ok(Admitted(held))
    }

    /// What was decided last, whether or not it still holds: for numbers that are kept with it, and never for a right.
    pub fn latest(&self) -> Admitted<A> {
        Admitted(self.admission.load())
    }

    fn admit(&self, trust: &Trust, now: Time) -> Result<Admitted<A>, Refusal> {
        // Read before the decision: what changes meanwhile leads to another look.
        let epoch = trust.epoch();
        let roles = trust.admit(&self.identity, now)?;
        let held = self.admission.load();
        let same = held.roles == roles;
        let grants = if same { Arc::clone(&held.grants) } else { Arc::new((self.grant)(&self.identity, &roles)) };
        let admission = Arc::new(Admission { epoch, roles, grants });
        // A slower thread must not put an older decision over a newer one.
        self.admission.rcu(|present| Arc::clone(if present.epoch > epoch { present } else { &admission }));
        Ok(Admitted(Guard::from_inner(admission)))
    }

    /// Completes when the session ends. A stream that outlives its call's check must select on it and finish; the
    /// connection is cut shortly after.
    pub async fn ended(&self) -> Ended {
        self.ended.cancelled().await;
        self.reason.get().copied().unwrap_or(Ended::Closed)
    }

    /// Ends it for the first reason given.
    pub(crate) fn end(&self, reason: Ended) {
        self.reason.get_or_init(|| reason);
        self.ended.cancel();
    }
}

impl<A> Admitted<A> {
    /// The roles in force.
    pub fn roles(&self) -> &Arc<[Role]> {
        &self.0.roles
    }

    /// The grants, to keep.
    pub fn grants(&self) -> &Arc<A> {
        &self.0.grants
    }
}

impl<A> Deref for Admitted<A> {
    type Target = A;
    fn deref(&self) -> &A {
        &self.0.grants
    }
}

impl<A> fmt::Debug for Admitted<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admitted").field("epoch", &self.0.epoch).field("roles", &self.0.roles).finish()
    }
}

impl<A> fmt::Debug for Session<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let epoch = self.admission.load().epoch;
        f.debug_struct("Session").field("identity", &self.identity).field("epoch", &epoch).finish_non_exhaustive()
    }
}
