//! What the clones of an authorizer share.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt, stream};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{
    answers::{Answers, DOUBT},
    connection::Connection,
    question::{AccessAnswer, Question, QuestionSubject},
};
use crate::error::ClientError;

/// How long kept answers are believed while nothing is heard of the control plane.
const SILENCE: Duration = DOUBT;
/// How long a caller waits for an answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Questions that are asked together.
const AT_ONCE: usize = 50;
/// How many such requests are under way.
const CHUNKS_AT_ONCE: usize = 4;

/// Answers, where to ask for more, and what goes on by them.
pub(super) struct Inner {
    pub(super) answers: Answers,
    connection: watch::Sender<Option<Arc<Connection>>>,
    /// Whether the control plane has refused us ourselves: nothing that it said before holds.
    refused: AtomicBool,
    /// Something changed that what goes on may depend on.
    pub(super) changed: Notify,
    /// When the control plane was heard last, in milliseconds after `began`.
    heard: AtomicU64,
    began: Instant,
    /// What goes on by an answer, and ends with it.
    lives: Mutex<HashMap<u64, Arc<Live>>>,
    next_live: AtomicU64,
}

/// Something that an answer allowed and that goes on.
pub(super) struct Live {
    question: Question,
    /// Cancelled when it is allowed no more.
    end: CancellationToken,
    why: Mutex<Option<Arc<AccessAnswer>>>,
    /// What goes with it.
    released: OnceLock<Weak<dyn Released>>,
    /// Since when its answer does not hold, or may not.
    doubted: Mutex<Option<Instant>>,
}

/// What goes at once when a [`Live`] ends, and waits for nobody to look at it.
pub(super) trait Released: Send + Sync {
    fn release(&self);
}

/// Keeps a [`Live`] on the list.
pub(super) struct Guard {
    inner: Arc<Inner>,
    number: u64,
    live: Arc<Live>,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            answers: Answers::default(),
            connection: watch::Sender::new(None),
            refused: AtomicBool::new(false),
            changed: Notify::new(),
            heard: AtomicU64::new(0),
            began: Instant::now(),
            lives: Mutex::default(),
            next_live: AtomicU64::new(0),
        }
    }
}

impl Inner {
    pub(super) async fn decide(&self, question: &Question) -> Arc<AccessAnswer> {
        if let Some(kept) = self.kept(question) {
            return kept;
        }
        if let QuestionSubject::Certificate(certificate) = &question.subject
            && certificate.serial().is_none()
        {
            return Arc::new(AccessAnswer::denied("CERTIFICATE_MALFORMED"));
        }
        match timeout(PATIENCE, self.ask_in_turn(question)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => Arc::new(AccessAnswer::unavailable(&error.to_string())),
            Err(_) => Arc::new(AccessAnswer::unavailable("no answer in time")),
        }
    }

    /// Who asks the same waits for the same answer.
    async fn ask_in_turn(&self, question: &Question) -> Result<Arc<AccessAnswer>, ClientError> {
        let slot = self.answers.slot(question);
        let _asking = slot.asking.lock().await;
        if let Some(kept) = self.kept(question) {
            return Ok(kept);
        }
        if !self.answers.may_ask(question) {
            // What is kept and not believed is nobody's fault.
            let is_believed = self.is_believed(Instant::now());
            let answer = if is_believed { AccessAnswer::too_many() } else { AccessAnswer::unavailable("it is silent") };
            return Ok(Arc::new(answer));
        }
        self.ask(question).await
    }

    async fn ask(&self, question: &Question) -> Result<Arc<AccessAnswer>, ClientError> {
        loop {
            let connection = self.usable().await?;
            let asked = self.answers.now();
            match connection.check(question).await {
                Ok(answer) => return Ok(self.answers.keep(question, answer, asked)),
                // A node that goes away is followed by another.
                Err(_) if connection.over.is_cancelled() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A connection that questions can go over. Who has been without one for long does not let each caller wait for it.
    pub(super) async fn usable(&self) -> Result<Arc<Connection>, ClientError> {
        let usable = |found: &Option<Arc<Connection>>| found.as_ref().is_some_and(|one| !one.over.is_cancelled());
        let mut connections = self.connection.subscribe();
        let found = if self.is_believed(Instant::now()) {
            connections.wait_for(usable).await.ok().and_then(|found| found.clone())
        } else {
            connections.borrow().clone().filter(|one| !one.over.is_cancelled())
        };
        found.ok_or_else(|| Status::unavailable("it cannot be reached").into())
    }

    pub(super) fn connected(&self, connection: &Arc<Connection>) {
        self.refused.store(false, Ordering::Release);
        self.connection.send_replace(Some(Arc::clone(connection)));
    }

    /// `refused`: since we are, until we are let in again. Else what was said holds for a while.
    pub(super) fn disconnected(&self, refused: bool) {
        self.refused.fetch_or(refused, Ordering::AcqRel);
        self.connection.send_replace(None);
        self.answers.doubt();
        self.changed.notify_one();
    }

    /// Whether what the control plane said is still believed.
    fn is_believed(&self, now: Instant) -> bool {
        !self.refused.load(Ordering::Acquire) && self.silence(now) <= SILENCE
    }

    /// A kept answer that holds. One of a connection that has ended only while there is no other.
    fn kept(&self, question: &Question) -> Option<Arc<AccessAnswer>> {
        let now = Instant::now();
        let kept = match self.connection.borrow().is_some() {
            true => self.answers.certain(question, now)?,
            false => self.answers.kept(question, now)?,
        };
        self.is_believed(now).then_some(kept)
    }

    /// How long nothing is heard, from the beginning on.
    pub(super) fn silence(&self, now: Instant) -> Duration {
        let heard = Duration::from_millis(self.heard.load(Ordering::Acquire));
        now.saturating_duration_since(self.began).saturating_sub(heard)
    }

    pub(super) fn heard(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard.store(millis, Ordering::Release);
    }

    /// Asks again for what goes on by answers that hold no more, and ends what is allowed no more; also what nobody
    /// could be asked about for too long.
    pub(super) async fn review(&self) {
        let now = Instant::now();
        let lives: Vec<_> = self.lives.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        if !self.is_believed(now) {
            let why = Arc::new(AccessAnswer::unavailable("it is silent, or refuses this service"));
            return lives.iter().for_each(|live| live.end(Arc::clone(&why)));
        }
        let mut doubtful: HashMap<&Question, Vec<&Live>> = HashMap::new();
        for live in &lives {
            if live.is_doubtful(self.answers.certain(&live.question, now), now) {
                doubtful.entry(&live.question).or_default().push(live);
            }
        }
        let connection = self.connection.borrow().clone();
        let questions: Vec<&Question> = doubtful.keys().copied().collect();
        let mut chunks = Vec::new();
        for chunk in questions.chunks(AT_ONCE) {
            chunks.push(self.review_some(connection.as_deref(), chunk, &doubtful));
        }
        stream::iter(chunks).buffer_unordered(CHUNKS_AT_ONCE).for_each(|()| async {}).await;
    }

    async fn review_some(
        &self,
        connection: Option<&Connection>,
        questions: &[&Question],
        lives: &HashMap<&Question, Vec<&Live>>,
    ) {
        let (now, asked) = (Instant::now(), self.answers.now());
        let answers = match connection {
            Some(connection) => match timeout(PATIENCE, connection.check_all(questions)).await {
                Ok(Ok(answers)) => answers,
                Ok(Err(_)) | Err(_) => vec![None; questions.len()],
            },
            None => vec![None; questions.len()],
        };
        for (question, answer) in questions.iter().zip(answers) {
            let of = lives.get(question).map(Vec::as_slice).unwrap_or_default();
            match answer {
                Some(answer) => {
                    let decision = self.answers.keep(question, answer, asked);
                    of.iter().for_each(|live| live.decide(&decision));
                }
                // A node that restarts is back before anybody has to go.
                None => of.iter().filter(|live| live.is_overdue(now)).for_each(|live| {
                    live.end(Arc::new(AccessAnswer::unavailable("it gives no answer")));
                }),
            }
        }
    }
}

impl Live {
    /// Whether it must be asked for again. What is certainly denied ends.
    fn is_doubtful(&self, certain: Option<Arc<AccessAnswer>>, now: Instant) -> bool {
        match certain {
            Some(answer) => self.decide(&answer),
            None => {
                self.doubted.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(now);
                return true;
            }
        }
        false
    }

    fn decide(&self, answer: &Arc<AccessAnswer>) {
        *self.doubted.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if !answer.allowed {
            self.end(Arc::clone(answer));
        }
    }

    fn is_overdue(&self, now: Instant) -> bool {
        let doubted = *self.doubted.lock().unwrap_or_else(PoisonError::into_inner);
        doubted.is_some_and(|since| now.saturating_duration_since(since) > SILENCE)
    }

    fn end(&self, why: Arc<AccessAnswer>) {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        self.end.cancel();
        if let Some(released) = self.released.get().and_then(Weak::upgrade) {
            released.release();
        }
    }
}

impl Guard {
    pub(super) fn question(&self) -> &Question {
        &self.live.question
    }

    pub(super) fn new(inner: &Arc<Inner>, question: Question) -> Self {
        let live = Arc::new(Live {
            question,
            end: CancellationToken::new(),
            why: Mutex::default(),
            released: OnceLock::new(),
            doubted: Mutex::default(),
        });
        let number = inner.next_live.fetch_add(1, Ordering::Relaxed);
        inner.lives.lock().unwrap_or_else(PoisonError::into_inner).insert(number, Arc::clone(&live));
        Self { inner: Arc::clone(inner), number, live }
    }

    pub(super) fn end(&self) -> &CancellationToken {
        &self.live.end
    }

    /// Lets something go when it ends.
    pub(super) fn releases<R: Released + 'static>(&self, released: &Arc<R>) {
        let weak: Weak<R> = Arc::downgrade(released);
        if self.live.released.set(weak).is_ok() && self.live.end.is_cancelled() {
            released.release();
        }
    }

    /// Why it ended.
    pub(super) fn why(&self) -> Arc<AccessAnswer> {
        let why = self.live.why.lock().unwrap_or_else(PoisonError::into_inner);
        why.clone().unwrap_or_else(|| Arc::new(AccessAnswer::denied("PERMISSION_MISSING")))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.inner.lives.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use signet_proto::v1::CheckResponse;
    use tonic::transport::Endpoint;

    use super::*;

    fn connection() -> Arc<Connection> {
        let nowhere = Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
        Arc::new(Connection::new(nowhere))
    }

    fn keep(inner: &Inner) -> Question {
        let subject = QuestionSubject::SpiffeId("spiffe://acme.example.com/worker/w-1".into());
        let question = Question::of(subject, "jobs:submit".into());
        let max_age = Some(prost_types::Duration { seconds: 300, nanos: 0 });
        let answer = CheckResponse { allowed: true, max_age, ..CheckResponse::default() };
        inner.answers.keep(&question, answer, inner.answers.now());
        question
    }

    #[tokio::test]
    async fn answers_of_before_a_gap_help_in_it_and_not_after_it() {
        let inner = Inner::default();
        inner.connected(&connection());
        let question = keep(&inner);
        assert!(inner.kept(&question).is_some());
        inner.disconnected(false);
        assert!(inner.kept(&question).is_some(), "nobody can be asked");
        inner.connected(&connection());
        assert!(inner.kept(&question).is_none(), "what changed in the gap was told to nobody");
    }

    #[tokio::test]
    async fn who_is_refused_itself_believes_nothing_any_more() {
        let inner = Arc::new(Inner::default());
        inner.connected(&connection());
        let question = keep(&inner);
        let guard = Guard::new(&inner, question.clone());
        inner.disconnected(true);
        assert!(inner.kept(&question).is_none());
        inner.review().await;
        assert!(guard.end().is_cancelled() && guard.why().is_unavailable());
        // The next attempt fails for another reason: that is no pardon.
        inner.disconnected(false);
        assert!(inner.kept(&question).is_none());
    }
}
