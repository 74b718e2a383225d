//! Whether the holder of a token still has its permissions: the control plane is asked, on our own thread.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use signet_client::{Authorizer, Question, QuestionSubject, ShownToken, jittered};
use tokio::{runtime, task::JoinHandle, time::sleep};

/// How soon it is asked again what nobody answered: the session goes on by the last word meanwhile. Twice as long each
/// time, and for each session another time, since all of them lose the control plane together.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// A session that may meanwhile be another's, or gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Handle {
    pub(crate) slot: usize,
    pub(crate) number: u64,
}

/// Sessions whose tokens are good no more.
#[derive(Clone, Debug)]
pub(crate) struct Watcher {
    runtime: runtime::Handle,
    lost: Arc<Mutex<Vec<Handle>>>,
}

/// Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Watch(Vec<JoinHandle<()>>);

impl Watcher {
    pub(crate) fn new(runtime: runtime::Handle) -> Self {
        Self { runtime, lost: Arc::default() }
    }

    /// Looks after the permissions of a session's token.
    pub(crate) fn watch<'a>(
        &self,
        authorizer: &Authorizer,
        shown: &ShownToken,
        permissions: impl Iterator<Item = &'a String>,
        session: Handle,
    ) -> Watch {
        let each = permissions.map(|permission| {
            let (authorizer, lost) = (authorizer.clone(), Arc::clone(&self.lost));
            let question = Question::of(QuestionSubject::AccessToken(shown.clone()), permission.as_str().into());
            self.runtime.spawn(async move {
                until_denied(&authorizer, &question).await;
                lost.lock().unwrap_or_else(PoisonError::into_inner).push(session);
            })
        });
        Watch(each.collect())
    }

    /// Those that were lost since the last call.
    pub(crate) fn lost(&self) -> Vec<Handle> {
        std::mem::take(&mut self.lost.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn until_denied(authorizer: &Authorizer, question: &Question) {
    let mut pause = FIRST_PAUSE;
    loop {
        let why = match authorizer.hold(question.clone()).await {
            Ok((_, ongoing)) => {
                pause = FIRST_PAUSE;
                ongoing.ended().await;
                ongoing.why()
            }
            Err(why) => why,
        };
        if !why.is_unavailable() && !why.is_too_many() {
            return;
        }
        sleep(jittered(pause)).await;
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}
