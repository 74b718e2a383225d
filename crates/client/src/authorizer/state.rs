//! What the clones of an authorizer share.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
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
const PATIENCE: Duration = Duration::from_secs(5);
/// Questions that are asked together.
const AT_ONCE: usize = 50;
/// Answers, where to ask for more, and what goes on by them.
pub(super) struct Inner {
    pub(super) answers: Answers,
    pub(super) connection: watch::Sender<Option<Arc<Connection>>>,
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
    /// Since when its answer does not hold, or may not.
    doubted: Mutex<Option<Instant>>,
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
            let is_silent = self.silence(Instant::now()) > SILENCE;
            let answer = if is_silent { AccessAnswer::unavailable("it is silent") } else { AccessAnswer::too_many() };
            return Ok(Arc::new(answer));
        }
        self.ask(question).await
    }

    async fn ask(&self, question: &Question) -> Result<Arc<AccessAnswer>, ClientError> {
        let mut connections = self.connection.subscribe();
        let is_usual = self.silence(Instant::now()) <= SILENCE;
        // Who has been without one for long does not let each caller wait for it.
        let connection = match is_usual {
            true => connections.wait_for(Option::is_some).await.ok().and_then(|found| found.clone()),
            false => connections.borrow().clone(),
        };
        let connection = connection.ok_or_else(|| Status::unavailable("it cannot be reached"))?;
        let asked = self.answers.now();
        let answer = connection.check(question).await?;
        Ok(self.answers.keep(question, answer, asked))
    }

    /// A kept answer that holds.
    fn kept(&self, question: &Question) -> Option<Arc<AccessAnswer>> {
        let now = Instant::now();
        let kept = self.answers.kept(question, now)?;
        (self.silence(now) <= SILENCE).then_some(kept)
    }

    /// How long nothing is heard, from the beginning on.
    fn silence(&self, now: Instant) -> Duration {
        let heard = Duration::from_millis(self.heard.load(Ordering::Acquire));
        now.saturating_duration_since(self.began).saturating_sub(heard)
    }

    pub(super) fn heard(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard.store(millis, Ordering::Release);
    }

    /// Asks again for what goes on by answers that hold no more, and ends what is allowed no more; also what nobody
    /// could be asked about for too long.
    pub(super) async fn review(&self, connection: Option<&Connection>) {
        let now = Instant::now();
        let lives: Vec<_> = self.lives.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let is_silent = self.silence(now) > SILENCE;
        let doubtful: Vec<_> = lives
            .iter()
            .filter(|live| {
                let certain = self.answers.certain(&live.question, now).filter(|_| !is_silent);
                live.is_doubtful(certain, now)
            })
            .collect();
        for lives in doubtful.chunks(AT_ONCE) {
            let questions: Vec<&Question> = lives.iter().map(|live| &live.question).collect();
            let asked = self.answers.now();
            let answers = match connection {
                Some(connection) => timeout(PATIENCE, connection.check_all(&questions)).await.unwrap_or_else(|_| {
                    Err(Status::deadline_exceeded("no answer in time").into())
                }),
                None => Err(Status::unavailable("it cannot be reached").into()),
            };
            match answers {
                Ok(answers) => lives.iter().zip(answers).for_each(|(live, answer)| {
                    let decision = self.answers.keep(&live.question, answer, asked);
                    live.settle();
                    if !decision.allowed {
                        live.end(decision);
                    }
                }),
                // A node that restarts is back before anybody has to go.
                Err(error) => {
                    let why = Arc::new(AccessAnswer::unavailable(&error.to_string()));
                    let overdue = lives.iter().filter(|live| live.is_overdue(now));
                    overdue.for_each(|live| live.end(Arc::clone(&why)));
                }
            }
        }
    }
}

impl Live {
    /// Whether it must be asked for again. What is certainly denied ends.
    fn is_doubtful(&self, certain: Option<Arc<AccessAnswer>>, now: Instant) -> bool {
        match certain {
            Some(answer) if answer.allowed => self.settle(),
            Some(answer) => self.end(answer),
            None => {
                self.doubted.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(now);
                return true;
            }
        }
        false
    }

    fn settle(&self) {
        *self.doubted.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn is_overdue(&self, now: Instant) -> bool {
        let doubted = *self.doubted.lock().unwrap_or_else(PoisonError::into_inner);
        doubted.is_some_and(|since| now.saturating_duration_since(since) > SILENCE)
    }

    fn end(&self, why: Arc<AccessAnswer>) {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        self.end.cancel();
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
            doubted: Mutex::default(),
        });
        let number = inner.next_live.fetch_add(1, Ordering::Relaxed);
        inner.lives.lock().unwrap_or_else(PoisonError::into_inner).insert(number, Arc::clone(&live));
        Self { inner: Arc::clone(inner), number, live }
    }

    pub(super) fn end(&self) -> &CancellationToken {
        &self.live.end
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
