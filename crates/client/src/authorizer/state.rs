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

use super::{
    answers::Answers,
    connection::Connection,
    question::{AccessAnswer, Question, QuestionSubject},
};

/// How long kept answers are believed while nothing is heard of the control plane.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a question waits for a connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// Answers, where to ask for more, and what goes on by them.
pub(super) struct Inner {
    pub(super) answers: Answers,
    pub(super) connection: watch::Sender<Option<Arc<Connection>>>,
    /// When the control plane was heard last, in milliseconds after `began`; 0: never.
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
        let slot = self.answers.slot(question);
        // Who asks the same waits for the same answer.
        let _asking = slot.asking.lock().await;
        if let Some(kept) = self.kept(question) {
            return kept;
        }
        let mut connections = self.connection.subscribe();
        let connected = timeout(PATIENCE, connections.wait_for(Option::is_some)).await;
        let connection = connected.ok().and_then(Result::ok).and_then(|found| found.clone());
        let Some(connection) = connection else { return Arc::new(AccessAnswer::unavailable("it cannot be reached")) };
        let asked = self.answers.now();
        let answers = connection.ask(std::slice::from_ref(question)).await;
        match answers.map(|mut answers| answers.pop()) {
            Ok(Some(answer)) => self.answers.keep(question, answer, asked),
            Ok(None) => Arc::new(AccessAnswer::unavailable("it gave no answer")),
            Err(error) => Arc::new(AccessAnswer::unavailable(&error.to_string())),
        }
    }

    /// A kept answer that holds.
    fn kept(&self, question: &Question) -> Option<Arc<AccessAnswer>> {
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

    pub(super) fn heard(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard.store(millis.max(1), Ordering::Release);
    }

    /// What goes on by answers that hold no more.
    fn doubtful(&self) -> Vec<Arc<Live>> {
        let lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        lives.values().filter(|live| self.kept(&live.question).is_none()).map(Arc::clone).collect()
    }

    /// Asks again for what goes on, and ends what is allowed no more.
    pub(super) async fn review(&self, connection: Option<&Connection>) {
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
                None => lives.iter().for_each(|live| live.end(Arc::new(AccessAnswer::unavailable("it is silent")))),
            }
        }
    }
}

impl Live {
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
        let live = Arc::new(Live { question, end: CancellationToken::new(), why: Mutex::default() });
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
