//! Answers that hold, by who they are about: nobody's questions push out another's answers, or keep it from asking.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use signet_proto::v1::{CheckResponse, decisions_change::Of};
use tokio::time::Instant;

use super::question::{AccessAnswer, Matter, Question, QuestionSubject};

/// Most subjects whose answers are kept.
const MOST_SUBJECTS: usize = 65_536;
/// Most answers that are kept of one subject.
const MOST_OF_ONE: usize = 1000;
/// Most questions about one subject that are asked in a second.
const ASKED_A_SECOND: u32 = 50;
/// How long a denial is kept that may be another at the next moment: who knocks on and on asks once a second.
const DENIED: Duration = Duration::from_secs(1);
/// How long answers of an ended connection are believed while they are asked for anew.
pub(super) const DOUBT: Duration = Duration::from_secs(30);

/// See the module's words.
#[derive(Default)]
pub(super) struct Answers {
    of: RwLock<HashMap<QuestionSubject, Arc<OfSubject>>>,
    /// Rises with each change: an answer that was asked for before it is not kept.
    changes: AtomicU64,
}

/// What is known of one subject.
#[derive(Default)]
struct OfSubject {
    slots: RwLock<HashMap<Matter, Arc<Slot>>>,
    /// Since when how many questions were asked.
    asked: Mutex<Option<(Instant, u32)>>,
}

/// A place for an answer.
#[derive(Default)]
pub(super) struct Slot {
    kept: ArcSwapOption<Kept>,
    /// Held by who asks.
    pub(super) asking: tokio::sync::Mutex<()>,
}

struct Kept {
    decision: Arc<AccessAnswer>,
    until: Instant,
    /// Of a connection that has ended.
    doubtful: bool,
}

/// Before which changes something was asked.
#[derive(Clone, Copy)]
pub(super) struct Asked(u64);

impl Answers {
    /// To be taken before a question is asked.
    pub(super) fn now(&self) -> Asked {
        Asked(self.changes.load(Ordering::Acquire))
    }

    /// An answer that holds.
    pub(super) fn kept(&self, question: &Question, now: Instant) -> Option<Arc<AccessAnswer>> {
        self.find(question, |kept| (now < kept.until).then(|| Arc::clone(&kept.decision)))
    }

    /// Whether there is one that nobody has to ask for again.
    pub(super) fn is_certain(&self, question: &Question, now: Instant) -> bool {
        self.find(question, |kept| (now < kept.until && !kept.doubtful).then_some(())).is_some()
    }

    fn find<T>(&self, question: &Question, read: impl FnOnce(&Kept) -> Option<T>) -> Option<T> {
        let subjects = self.of.read().unwrap_or_else(PoisonError::into_inner);
        let slots = subjects.get(&question.subject)?.slots.read().unwrap_or_else(PoisonError::into_inner);
        let kept = slots.get(&question.matter)?.kept.load();
        read(kept.as_ref()?)
    }

    fn subject(&self, subject: &QuestionSubject) -> Arc<OfSubject> {
        let mut subjects = self.of.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = subjects.get(subject) {
            return Arc::clone(found);
        }
        if subjects.len() >= MOST_SUBJECTS {
            let now = Instant::now();
            subjects.retain(|_, of| of.is_in_use(now));
            if subjects.len() >= MOST_SUBJECTS {
                subjects.clear();
            }
        }
        Arc::clone(subjects.entry(subject.clone()).or_default())
    }

    pub(super) fn slot(&self, question: &Question) -> Arc<Slot> {
        self.subject(&question.subject).slot(&question.matter)
    }

    /// Counts a question that is about to be asked; false: there were too many about its subject.
    pub(super) fn may_ask(&self, question: &Question) -> bool {
        let (of, now) = (self.subject(&question.subject), Instant::now());
        let mut asked = of.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, count) = asked.unwrap_or((now, 0));
        let fresh = now.saturating_duration_since(since) >= Duration::from_secs(1);
        let (since, count) = if fresh { (now, 1) } else { (since, count.saturating_add(1)) };
        *asked = Some((since, count));
        count <= ASKED_A_SECOND
    }

    /// Keeps an answer for as long as it holds, unless something changed since it was asked for.
    pub(super) fn keep(&self, question: &Question, answer: CheckResponse, asked: Asked) -> Arc<AccessAnswer> {
        let age = answer.max_age.and_then(|age| Duration::try_from(age).ok());
        let decision = Arc::new(AccessAnswer::from(answer));
        let age = if decision.allowed { age } else { Some(age.unwrap_or_default().max(DENIED)) };
        let slot = self.slot(question);
        let kept = age.and_then(|age| Instant::now().checked_add(age));
        let kept = kept.map(|until| Kept { decision: Arc::clone(&decision), until, doubtful: false });
        slot.kept.store(kept.map(Arc::new));
        // After it is there: a change from now on finds it.
        if self.changes.load(Ordering::Acquire) != asked.0 {
            slot.kept.store(None);
        }
        decision
    }

    /// Forgets what a change was about.
    pub(super) fn change(&self, of: &Of) {
        self.each(|subject, matter, kept| !concerns(of, subject, matter, &kept.decision), None);
    }

    /// The connection has ended that told of changes: all there is must be asked for again, soon.
    pub(super) fn doubt(&self) {
        self.each(|_, _, _| false, Instant::now().checked_add(DOUBT));
    }

    /// What is not to stay is believed until `then`, or no more.
    fn each(&self, stays: impl Fn(&QuestionSubject, &Matter, &Kept) -> bool, then: Option<Instant>) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        let subjects = self.of.read().unwrap_or_else(PoisonError::into_inner);
        for (subject, of) in subjects.iter() {
            let slots = of.slots.read().unwrap_or_else(PoisonError::into_inner);
            for (matter, slot) in slots.iter() {
                let Some(kept) = slot.kept.load_full() else { continue };
                if !stays(subject, matter, &kept) {
                    let decision = Arc::clone(&kept.decision);
                    let doubted = then.map(|then| Kept { decision, until: then.min(kept.until), doubtful: true });
                    slot.kept.store(doubted.map(Arc::new));
                }
            }
        }
    }
}

impl OfSubject {
    fn slot(&self, matter: &Matter) -> Arc<Slot> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(matter) {
            return Arc::clone(slot);
        }
        if slots.len() >= MOST_OF_ONE {
            slots.clear();
        }
        Arc::clone(slots.entry(matter.clone()).or_default())
    }

    fn is_in_use(&self, now: Instant) -> bool {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.values().any(|slot| slot.kept.load().as_ref().is_some_and(|kept| now < kept.until))
    }
}

fn concerns(of: &Of, subject: &QuestionSubject, matter: &Matter, decision: &AccessAnswer) -> bool {
    match of {
        Of::All(_) => true,
        Of::PrincipalId(id) => {
            let subject = match subject {
                QuestionSubject::SpiffeId(subject) => subject,
                QuestionSubject::Certificate(_) => decision.spiffe_id.as_str(),
            };
            let is_subject = subject.is_empty() || subject.rsplit('/').next() == Some(id);
            is_subject || matter.is_about(id)
        }
        Of::SerialNumber(serial) => match subject {
            QuestionSubject::Certificate(certificate) => certificate.serial() == Some(serial),
            QuestionSubject::SpiffeId(_) => false,
        },
    }
}
