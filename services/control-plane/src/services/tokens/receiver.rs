//! Whoever is told of security events: what it has acknowledged, what it has not, and the wait for the next one.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use metrics::counter;
use signet_app::{
    Call,
    trust::security_events::{OpenEvents, PollSecurityEvents, poll_security_events},
};
use signet_core::{Error, PrincipalId, TenantScope};
use tokio::time::{Instant, sleep_until};

use super::set;
use crate::{
    authorization::{Access, Route},
    gate,
    node::{Node, Session},
    services::caller::Caller,
};

/// Most tokens of an answer.
pub(super) const MOST: usize = 100;
/// How long a receiver waits for the next event, unless it says that it does not.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How many tokens are made at once: each may read a record or two.
const AT_ONCE: usize = 16;

/// See the module's words.
pub(super) struct Receiver {
    node: Arc<Node>,
    call: Call,
    session: Arc<Session>,
    route: Arc<Route>,
    scope: TenantScope,
    id: PrincipalId,
}

/// An answer.
#[derive(Default)]
pub(super) struct Told {
    /// Tokens by their `jti`, the oldest first.
    pub(super) sets: Vec<(String, String)>,
    pub(super) more: bool,
    /// Events that it refuses.
    pub(super) refused: Vec<String>,
    /// For [`signet_core::trust::Trust::has_security_events`].
    seen: u64,
}

impl Told {
    pub(super) fn is_empty(&self) -> bool {
        self.sets.is_empty() && !self.more
    }
}

impl Receiver {
    /// The caller, about its own tenant.
    pub(super) fn new(node: &Arc<Node>, caller: &Caller) -> Result<Self, Error> {
        let identity = caller.identity()?;
        let session = caller.session.clone().ok_or(signet_core::authorization::Denial::Anonymous)?;
        Ok(Self {
            node: Arc::clone(node),
            call: caller.call.clone(),
            session,
            route: Arc::clone(&caller.route),
            scope: caller.permit()?.tenant(&identity.tenant, None)?,
            id: identity.principal.clone(),
        })
    }

    /// What there is for it now.
    pub(super) async fn look(&self, poll: &PollSecurityEvents) -> Result<Told, Error> {
        let Self { node, call, scope, id, .. } = self;
        let idle = || node.idle_receivers.get(&node.trust, scope.tenant(), id, call.now);
        if poll.acknowledged.is_empty()
            && poll.refused.is_empty()
            && let Some(seen) = idle()
        {
            return Ok(Told { seen, ..Told::default() });
        }
        // Who has no name for its tokens gets none, and begins no stream.
        node.issuer.of(scope.tenant())?;
        let open = poll_security_events(&node.app, &node.trust, call, (scope, id), poll).await?;
        let told = self.tokens(&open, poll.most).await?;
        let count = |outcome: &'static str, number: usize| {
            node.metrics
                .with(|| counter!("signet_security_events_total", "outcome" => outcome).increment(number as u64));
        };
        count("acknowledged", open.acknowledged);
        count("told", told.sets.len());
        if told.is_empty() && open.stream.is_known {
            node.idle_receivers.note(scope.tenant(), id, open.seen, call.now);
        }
        Ok(told)
    }

    async fn tokens(&self, open: &OpenEvents, most: usize) -> Result<Told, Error> {
        let OpenEvents { stream, events, more, seen, refused, .. } = open;
        let subject = (&*self.node, stream, self.session.identity().principal_type, self.call.now);
        let (first, mut more) = (!stream.is_known, *more);
        let mut sets = Vec::new();
        if first && most > 0 {
            sets.push(set::begins(subject).await?);
        }
        more |= (first && most == 0) || sets.len().saturating_add(events.len()) > most;
        let room = most.saturating_sub(sets.len());
        let each: Vec<_> = events.iter().take(room).map(|event| set::revoked(subject, &self.scope, event)).collect();
        sets.extend(stream::iter(each).buffered(AT_ONCE).try_collect::<Vec<_>>().await?);
        Ok(Told { sets, more, refused: refused.clone(), seen: *seen })
    }

    /// The next events after what was `told`, which was nothing. Nothing if none comes in time, or once the caller may
    /// not hear of it any more: its next call is told why.
    pub(super) async fn wait(mut self, told: Told, most: usize) -> Told {
        let (end, mut seen) = (Instant::now() + LONGEST_WAIT, told.seen);
        let (mut epochs, drained) = (self.node.epochs.clone(), self.node.drained.clone());
        let session = Arc::clone(&self.session);
        loop {
            // Seen before the look: a change during it leads to another.
            epochs.mark_unchanged();
            self.call.now = self.node.now();
            if self.ask().is_err() {
                return Told::default();
            }
            if self.node.trust.has_security_events(seen, self.scope.tenant()) {
                match self.look(&PollSecurityEvents { most, ..Default::default() }).await {
                    Ok(told) if told.is_empty() => seen = told.seen,
                    Ok(told) => return told,
                    Err(error) => {
                        // Its head is sent; the next call is answered with it.
                        tracing::warn!(target: "signet::rpc", operation = self.call.operation, ?error, "a wait for security events ends");
                        return Told::default();
                    }
                }
            }
            tokio::select! {
                _ = session.ended() => return Told::default(),
                () = drained.cancelled() => return Told::default(),
                () = sleep_until(end) => return Told::default(),
                changed = epochs.changed() => if changed.is_err() { return Told::default() },
            }
        }
    }

    fn ask(&self) -> Result<(), Error> {
        let Access::Rule(rule) = self.route.access() else { return Ok(()) };
        let permit = gate::permit(&self.node, rule, &self.session, self.call.now)?;
        Ok(permit.tenant(self.scope.tenant(), None).map(drop)?)
    }
}
