//! May this peer do that? The control plane decides; its answers are kept for as long as it says that they hold.
//!
//! Answers are asked for and told of over one connection: what changes while a question is under way is heard before the
//! next answer. Who hears nothing for [`SILENCE`] denies everything, as a node of the control plane itself does.

mod answers;
mod follow;
mod guarded;
mod layer;
mod question;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use answers::Answers;
use follow::Connection;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::identity::{Shared, Task};

pub use guarded::Guarded;
pub use layer::{Require, Required};
pub use question::{Decision, PeerCertificate, Question, Resource, Subject};

/// How long kept answers are believed while nothing is heard of the control plane.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a question waits for a connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a denial is kept that may be another at the next moment: who knocks on and on asks once a second.
const DENIED: Duration = Duration::from_secs(1);

/// See the module's words; from [`crate::Identity::authorizer`]. Clones share their answers.
///
/// The identity must be allowed to ask: a service may, about everybody in its tenant.
#[derive(Clone)]
pub struct Authorizer {
    inner: Arc<Inner>,
    _follower: Arc<Task>,
}

pub(crate) struct Inner {
    answers: Answers,
    connection: watch::Sender<Option<Arc<Connection>>>,
    /// When the control plane was heard last, in milliseconds after `began`; 0: never.
    heard: AtomicU64,
    began: Instant,
    /// What goes on by an answer, and ends with it.
    lives: Mutex<HashMap<u64, Arc<Live>>>,
    next_live: AtomicU64,
}

/// Something that an answer allowed and that goes on.
pub(crate) struct Live {
    question: Question,
    /// Cancelled when it is allowed no more.
    end: CancellationToken,
    why: Mutex<Option<Arc<Decision>>>,
}

/// Keeps a [`Live`] on the list.
pub(crate) struct Guard {
    inner: Arc<Inner>,
    number: u64,
    live: Arc<Live>,
}

impl Authorizer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let inner = Arc::new(Inner {
            answers: Answers::default(),
            connection: watch::Sender::new(None),
            heard: AtomicU64::new(0),
            began: Instant::now(),
            lives: Mutex::default(),
            next_live: AtomicU64::new(0),
        });
        let follower = Task::spawn(follow::run(shared, Arc::clone(&inner)));
        Self { inner, _follower: Arc::new(follower) }
    }

    /// Whether it is allowed at this moment. A denial is an answer, and so is that the control plane cannot be asked:
    /// [`Decision::is_unavailable`].
    pub async fn decide(&self, question: &Question) -> Arc<Decision> {
        self.inner.decide(question).await
    }

    /// As [`Self::decide`], for something that goes on: until the returned [`Guard`] says otherwise.
    pub(crate) async fn admit(&self, question: Question) -> Result<(Arc<Decision>, Guard), Arc<Decision>> {
        // On the list first: what changes in between ends it.
        let guard = Guard::new(&self.inner, question);
        let decision = self.inner.decide(&guard.live.question).await;
        if decision.allowed { Ok((decision, guard)) } else { Err(decision) }
    }
}

impl Inner {
    async fn decide(&self, question: &Question) -> Arc<Decision> {
        if let Some(kept) = self.kept(question) {
            return kept;
        }
        if let Subject::Certificate(certificate) = &question.subject
            && certificate.serial().is_none()
        {
            return Arc::new(Decision::denied("MALFORMED_CERTIFICATE"));
        }
        let slot = self.answers.slot(question);
        // Who asks the same waits for the same answer.
        let _asking = slot.asking.lock().await;
        if let Some(kept) = self.kept(question) {
            return kept;
        }
        let mut connections = self.connection.subscribe();
        let connected = timeout(PATIENCE, connections.wait_for(Option::is_some)).await;
        let connection = connected.ok().and_then(Result::ok).and_then(|found| found.clone());
        let Some(connection) = connection else { return Arc::new(Decision::unavailable("it cannot be reached")) };
        let asked = self.answers.now();
        let answers = connection.ask(std::slice::from_ref(question)).await;
        match answers.map(|mut answers| answers.pop()) {
            Ok(Some(answer)) => self.answers.keep(question, answer, asked),
            Ok(None) => Arc::new(Decision::unavailable("it gave no answer")),
            Err(error) => Arc::new(Decision::unavailable(&error.to_string())),
        }
    }

    /// A kept answer that holds.
    fn kept(&self, question: &Question) -> Option<Arc<Decision>> {
        let now = Instant::now();
        let kept = self.answers.kept(question, now)?;
        (self.silence(now) <= SILENCE).then_some(kept)
    }

    fn silence(&self, now: Instant) -> Duration {
        match self.heard.load(Ordering::Acquire) {
            0 => Duration::MAX,
            heard => now.saturating_duration_since(self.began).saturating_sub(Duration::from_millis(heard)),
        }
    }

    fn heard(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard.store(millis.max(1), Ordering::Release);
    }

    /// What goes on by answers that hold no more.
    fn doubtful(&self) -> Vec<Arc<Live>> {
        let lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        lives.values().filter(|live| self.kept(&live.question).is_none()).map(Arc::clone).collect()
    }

    /// Asks again for what goes on, and ends what is allowed no more.
    async fn review(&self, connection: Option<&Connection>) {
        const AT_ONCE: usize = 50;
        let doubtful = self.doubtful();
        for lives in doubtful.chunks(AT_ONCE) {
            let questions: Vec<Question> = lives.iter().map(|live| live.question.clone()).collect();
            let asked = self.answers.now();
            let answers = match connection {
                Some(connection) => connection.ask(&questions).await.ok(),
                None => None,
            };
            match answers {
                Some(answers) => lives.iter().zip(answers).for_each(|(live, answer)| {
                    let decision = self.answers.keep(&live.question, answer, asked);
                    if !decision.allowed {
                        live.end(decision);
                    }
                }),
                // A node that restarts is back before anybody has to go.
                None if self.silence(Instant::now()) <= SILENCE => return,
                None => lives.iter().for_each(|live| live.end(Arc::new(Decision::unavailable("it is silent")))),
            }
        }
    }
}

impl Live {
    fn end(&self, why: Arc<Decision>) {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        self.end.cancel();
    }
}

impl Guard {
    fn new(inner: &Arc<Inner>, question: Question) -> Self {
        let live = Arc::new(Live { question, end: CancellationToken::new(), why: Mutex::default() });
        let number = inner.next_live.fetch_add(1, Ordering::Relaxed);
        inner.lives.lock().unwrap_or_else(PoisonError::into_inner).insert(number, Arc::clone(&live));
        Self { inner: Arc::clone(inner), number, live }
    }

    fn end(&self) -> &CancellationToken {
        &self.live.end
    }

    /// Why it ended.
    fn why(&self) -> Arc<Decision> {
        let why = self.live.why.lock().unwrap_or_else(PoisonError::into_inner);
        why.clone().unwrap_or_else(|| Arc::new(Decision::denied("PERMISSION_MISSING")))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.inner.lives.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

impl fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorizer")
    }
}
