//! Answers that hold.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use signet_proto::v1::{CheckResponse, decisions_change::Of};
use tokio::{sync::Mutex, time::Instant};

use super::{
    DENIED,
    question::{Decision, Question, Subject},
};

/// Most answers that are kept; who asks about more than that asks anew.
const MOST: usize = 65_536;

/// The answers by their questions.
#[derive(Default)]
pub(super) struct Answers {
    slots: RwLock<HashMap<Question, Arc<Slot>>>,
    /// Rises with each change: an answer that was asked for before it is not kept.
    changes: AtomicU64,
}

/// A place for an answer.
#[derive(Default)]
pub(super) struct Slot {
    kept: ArcSwapOption<Kept>,
    /// Held by who asks.
    pub(super) asking: Mutex<()>,
}

struct Kept {
    decision: Arc<Decision>,
    until: Instant,
}

/// Before which changes something was asked.
#[derive(Clone, Copy)]
pub(super) struct Asked(u64);

impl Answers {
    /// To be taken before a question is asked.
    pub(super) fn now(&self) -> Asked {
        Asked(self.changes.load(Ordering::Acquire))
    }

    pub(super) fn kept(&self, question: &Question, now: Instant) -> Option<Arc<Decision>> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let kept = slots.get(question)?.kept.load();
        kept.as_ref().filter(|kept| now < kept.until).map(|kept| Arc::clone(&kept.decision))
    }

    pub(super) fn slot(&self, question: &Question) -> Arc<Slot> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(question) {
            return Arc::clone(slot);
        }
        if slots.len() >= MOST {
            let now = Instant::now();
            slots.retain(|_, slot| slot.kept.load().as_ref().is_some_and(|kept| now < kept.until));
            if slots.len() >= MOST {
                slots.clear();
            }
        }
        Arc::clone(slots.entry(question.clone()).or_default())
    }

    /// Keeps an answer for as long as it holds, unless something changed since it was asked for.
    pub(super) fn keep(&self, question: &Question, answer: CheckResponse, asked: Asked) -> Arc<Decision> {
        let age = answer.max_age.and_then(|age| Duration::try_from(age).ok());
        let decision = Arc::new(Decision::from(answer));
        let age = if decision.allowed { age } else { Some(age.unwrap_or_default().max(DENIED)) };
        if let Some(until) = age.and_then(|age| Instant::now().checked_add(age)) {
            let slot = self.slot(question);
            slot.kept.store(Some(Arc::new(Kept { decision: Arc::clone(&decision), until })));
            // After it is there: a change from now on finds it.
            if self.changes.load(Ordering::Acquire) != asked.0 {
                slot.kept.store(None);
            }
        }
        decision
    }

    /// Forgets what a change was about.
    pub(super) fn change(&self, of: &Of) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        for (question, slot) in slots.iter() {
            if slot.kept.load().as_ref().is_some_and(|kept| concerns(of, question, &kept.decision)) {
                slot.kept.store(None);
            }
        }
    }
}

fn concerns(of: &Of, question: &Question, decision: &Decision) -> bool {
    match of {
        Of::All(_) => true,
        Of::PrincipalId(id) => {
            let subject = match &question.subject {
                Subject::SpiffeId(subject) => subject,
                Subject::Certificate(_) => decision.spiffe_id.as_str(),
            };
            let is_subject = subject.is_empty() || subject.rsplit('/').next() == Some(id);
            is_subject || question.resource.as_ref().is_some_and(|resource| resource.id == *id)
        }
        Of::SerialNumber(serial) => match &question.subject {
            Subject::Certificate(certificate) => certificate.serial() == Some(serial),
            Subject::SpiffeId(_) => false,
        },
    }
}
