//! What programs hold of an authorizer.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{
    follow,
    issuer::Issuer,
    question::{AccessAnswer, Question},
    state::{Guard, Inner},
};
use crate::identity::{Shared, Task};

/// Asks the control plane what peers may do, and keeps its answers as long as they hold; from
/// [`crate::Identity::authorizer`]. Clones share their answers.
///
/// The identity must be allowed to ask: a service may, about everybody in its tenant.
#[derive(Clone)]
pub struct Authorizer {
    pub(super) inner: Arc<Inner>,
    pub(super) issuer: Arc<Issuer>,
    _follower: Arc<Task>,
}

impl Authorizer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let inner = Arc::<Inner>::default();
        let issuer = Issuer::new(shared.anchors.tenant.clone(), Arc::clone(&shared.settings.clock));
        let follower = Task::spawn(follow::run(shared, Arc::clone(&inner)));
        Self { inner, issuer: Arc::new(issuer), _follower: Arc::new(follower) }
    }

    /// Whether it is allowed at this moment. A denial is an answer, and so is that the control plane cannot be asked:
    /// [`AccessAnswer::is_unavailable`].
    pub async fn decide(&self, question: &Question) -> Arc<AccessAnswer> {
        self.inner.decide(question).await
    }

    /// As [`Self::decide`], for something that goes on, e.g. an open connection: until the returned [`OngoingAccess`]
    /// ends. A refusal is the error.
    pub async fn hold(&self, question: Question) -> Result<(Arc<AccessAnswer>, OngoingAccess), Arc<AccessAnswer>> {
        let (answer, guard) = self.admit(question).await?;
        Ok((answer, OngoingAccess(guard)))
    }

    /// How long nothing is heard of the control plane, from the start on.
    pub fn silence(&self) -> Duration {
        self.inner.silence(Instant::now())
    }

    /// As [`Self::decide`], for something that goes on: until the returned [`Guard`] says otherwise.
    pub(super) async fn admit(&self, question: Question) -> Result<(Arc<AccessAnswer>, Guard), Arc<AccessAnswer>> {
        // On the list first: what changes in between ends it.
        let guard = Guard::new(&self.inner, question);
        let decision = self.inner.decide(guard.question()).await;
        if decision.allowed { Ok((decision, guard)) } else { Err(decision) }
    }
}

/// Something that was allowed and goes on; it must end when this does. From [`Authorizer::hold`].
pub struct OngoingAccess(Guard);

impl OngoingAccess {
    /// Completes when it is allowed no more: within a second after the control plane knows.
    pub fn ended(&self) -> WaitForCancellationFutureOwned {
        self.0.end().clone().cancelled_owned()
    }

    /// Why it ended.
    pub fn why(&self) -> Arc<AccessAnswer> {
        self.0.why()
    }
}

impl fmt::Debug for OngoingAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OngoingAccess")
    }
}

impl fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorizer")
    }
}
