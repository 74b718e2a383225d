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
/// Questions about one subject that are asked at once after a quiet time, and how long it takes until one more may be:
/// far fewer than the control plane takes of us.
const ASKED_AT_ONCE: u32 = 50;
const ONE_MORE_EACH: Duration = Duration::from_millis(200);
/// How long a denial is kept that may be another at the next moment: who knocks on and on asks once a second.
const DENIED: Duration = Duration::from_secs(1);
/// How long answers of an ended connection are believed while they are asked for anew.
pub(super) const DOUBT: Duration = Duration::from_secs(30);

/// See the module's words.
#[derive(Default)]
pub(super) struct Answers {
    of: RwLock<HashMap<QuestionSubject, Arc<OfSubject>>>,
    /// By [`QuestionSubject::name`]: when all that were asked are forgotten, if no more are.
    asked_until: Mutex<HashMap<String, Instant>>,
    /// Rises with each change: an answer that was asked for before it is not kept.
    changes: AtomicU64,
}

/// What is known of one subject.
#[derive(Default)]
struct OfSubject {
    slots: RwLock<HashMap<Matter, Arc<Slot>>>,
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

    /// One that nobody has to ask for again.
    pub(super) fn certain(&self, question: &Question, now: Instant) -> Option<Arc<AccessAnswer>> {
        self.find(question, |kept| (now < kept.until && !kept.doubtful).then(|| Arc::clone(&kept.decision)))
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
        let (name, now) = (question.subject.name(), Instant::now());
        let mut asked = self.asked_until.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.len() >= MOST_SUBJECTS {
            asked.retain(|_, until| *until > now);
        }
        let until = asked.get(name).map_or(now, |until| *until).max(now);
        let next = until.checked_add(ONE_MORE_EACH);
        let has_room = |next: &Instant| next.saturating_duration_since(now) <= ONE_MORE_EACH * ASKED_AT_ONCE;
        next.filter(has_room).map(|next| asked.insert(name.to_owned(), next)).is_some()
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
            let named = |subject: &str| subject.is_empty() || subject.rsplit('/').next() == Some(id);
            let is_subject = match subject {
                QuestionSubject::SpiffeId(subject) => named(subject),
                QuestionSubject::AccessToken(shown) => shown.is_about(id),
                QuestionSubject::Certificate(_) => named(&decision.spiffe_id),
            };
            is_subject || matter.is_about(id)
        }
        Of::SerialNumber(serial) => match subject {
            QuestionSubject::Certificate(certificate) => certificate.serial() == Some(serial),
            QuestionSubject::AccessToken(shown) => shown.serial() == Some(serial),
            QuestionSubject::SpiffeId(_) => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::authorizer::question::QuestionResource;

    fn question(id: &str) -> Question {
        let subject = QuestionSubject::SpiffeId(format!("spiffe://acme.example.com/worker/{id}").into());
        Question::of(subject, "jobs:submit".into())
    }

    fn allowed(seconds: i64) -> CheckResponse {
        let max_age = Some(prost_types::Duration { seconds, nanos: 0 });
        CheckResponse { allowed: true, reason: "GRANTED".into(), max_age, ..CheckResponse::default() }
    }

    fn is_kept(answers: &Answers, question: &Question) -> bool {
        answers.kept(question, Instant::now()).is_some()
    }

    #[test]
    fn an_answer_is_kept_until_a_change_is_about_it() {
        let (answers, ann, bob) = (Answers::default(), question("ann"), question("bob"));
        let about_bob = question("carl").about(QuestionResource { id: "bob".into(), ..QuestionResource::default() });
        for one in [&ann, &bob, &about_bob] {
            answers.keep(one, allowed(60), answers.now());
        }
        answers.change(&Of::PrincipalId("bob".into()));
        assert!(is_kept(&answers, &ann) && !is_kept(&answers, &bob) && !is_kept(&answers, &about_bob));
        answers.change(&Of::All(true));
        assert!(!is_kept(&answers, &ann));
    }

    #[test]
    fn an_answer_that_was_asked_for_before_a_change_is_not_kept() {
        let (answers, ann) = (Answers::default(), question("ann"));
        let asked = answers.now();
        answers.change(&Of::PrincipalId("somebody".into()));
        assert!(answers.keep(&ann, allowed(60), asked).allowed, "it was true when it was given");
        assert!(!is_kept(&answers, &ann));
    }

    #[test]
    fn what_time_may_turn_is_not_kept_and_a_denial_is_for_a_second() {
        let (answers, ann) = (Answers::default(), question("ann"));
        answers.keep(&ann, CheckResponse { max_age: None, ..allowed(0) }, answers.now());
        assert!(!is_kept(&answers, &ann));
        answers.keep(
            &ann,
            CheckResponse { reason: "PRINCIPAL_DENIED".into(), ..CheckResponse::default() },
            answers.now(),
        );
        let later = |millis| Instant::now() + Duration::from_millis(millis);
        assert!(answers.kept(&ann, later(500)).is_some() && answers.kept(&ann, later(1100)).is_none());
    }

    #[test]
    fn answers_of_an_ended_connection_are_believed_for_a_while_and_asked_for_anew() {
        let (answers, ann) = (Answers::default(), question("ann"));
        answers.keep(&ann, allowed(300), answers.now());
        assert!(answers.certain(&ann, Instant::now()).is_some());
        answers.doubt();
        assert!(is_kept(&answers, &ann) && answers.certain(&ann, Instant::now()).is_none());
        assert!(answers.kept(&ann, Instant::now() + DOUBT).is_none());
        answers.keep(&ann, allowed(300), answers.now());
        assert!(answers.certain(&ann, Instant::now()).is_some());
    }

    #[test]
    fn one_who_asks_ever_other_things_takes_nobody_elses_place() {
        let answers = Answers::default();
        let of = |n: u32| question("ann").about(QuestionResource { id: n.to_string(), ..QuestionResource::default() });
        let asked = (0..10_000).filter(|n| answers.may_ask(&of(*n))).count();
        assert!((50..60).contains(&asked), "{asked}");
        assert!(answers.may_ask(&question("bob")));
        answers.keep(&question("bob"), allowed(60), answers.now());
        (0..10_000).for_each(|n| drop(answers.keep(&of(n), allowed(60), answers.now())));
        assert!(is_kept(&answers, &question("bob")));
        let kept: usize = answers.of.read().unwrap().values().map(|of| of.slots.read().unwrap().len()).sum();
        assert!(kept <= MOST_OF_ONE + 1, "{kept}");
        assert_eq!(Arc::strong_count(&answers.slot(&of(9_999))), 2, "the last is still there");
    }
}
