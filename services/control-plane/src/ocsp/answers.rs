//! Answers that were signed, so many of them; the CA that has most makes room.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::http::HeaderValue;
use bytes::Bytes;
use lru::LruCache;
use signet_core::{CaId, Time, audit::sha256_hex};
use signet_x509::ocsp::{CertId, CertStatus};

use crate::plain::date;

/// Answers of all CAs, about 1.5 kB each.
const MOST: usize = 32_768;

/// An answer for everybody.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) status: CertStatus,
    pub(crate) der: Bytes,
    /// Tells it from every other.
    pub(crate) tag: HeaderValue,
    pub(crate) last_modified: HeaderValue,
    pub(crate) expires: HeaderValue,
    pub(crate) next_update: Time,
    made_at: Time,
}

impl Kept {
    pub(super) fn new(status: CertStatus, der: Vec<u8>, made_at: Time, next_update: Time) -> Self {
        let header = |text: String| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
        let tag = header(format!("\"{}\"", sha256_hex(&der)));
        let (last_modified, expires) = (header(date(made_at)), header(date(next_update)));
        Self { status, der: der.into(), tag, last_modified, expires, next_update, made_at }
    }

    /// Whether it has reached half of its life; a clock that was set back tells nothing.
    pub(super) fn is_fresh(&self, now: Time) -> bool {
        let age = now.millis_since(self.made_at);
        (0..=self.next_update.millis_since(self.made_at) / 2).contains(&age)
    }
}

/// See the module's words.
#[derive(Default)]
pub(super) struct Answers(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    of: HashMap<CaId, OfCa>,
    number: usize,
}

/// Who asks for what was never issued pushes out no answer about what was.
struct OfCa {
    issued: LruCache<CertId, Arc<Kept>>,
    unknown: LruCache<CertId, Arc<Kept>>,
}

impl OfCa {
    fn len(&self) -> usize {
        self.issued.len().max(self.unknown.len())
    }

    /// Takes the oldest of the kind of which there are more.
    fn make_room(&mut self) -> bool {
        let most = if self.unknown.len() > self.issued.len() { &mut self.unknown } else { &mut self.issued };
        most.pop_lru().is_some()
    }
}

impl Answers {
    pub(super) fn get(&self, ca: &CaId, id: &CertId) -> Option<Arc<Kept>> {
        let mut inner = self.lock();
        let of = inner.of.get_mut(ca)?;
        of.issued.get(id).or_else(|| of.unknown.get(id)).cloned()
    }

    pub(super) fn keep(&self, ca: &CaId, id: CertId, kept: Arc<Kept>) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let new = || OfCa { issued: LruCache::unbounded(), unknown: LruCache::unbounded() };
        let of = inner.of.entry(ca.clone()).or_insert_with(new);
        let is_unknown = kept.status == CertStatus::Unknown;
        let (into, other) =
            if is_unknown { (&mut of.unknown, &mut of.issued) } else { (&mut of.issued, &mut of.unknown) };
        let before = usize::from(other.pop(&id).is_some()) + usize::from(into.put(id, kept).is_some());
        inner.number = inner.number.saturating_add(1).saturating_sub(before);
        if inner.number > MOST
            && let Some(most) = inner.of.values_mut().max_by_key(|of| of.len())
            && most.make_room()
        {
            inner.number = inner.number.saturating_sub(1);
        }
    }

    /// A poisoned lock means that another thread panicked between two operations on the maps; they are whole.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use signet_x509::ocsp::OcspRequest;

    use super::*;

    /// The identifier of a certificate with this number.
    fn id(number: u16) -> CertId {
        let start: [u8; 24] =
            [0x30, 0x1a, 0x30, 7, 6, 5, 0x2b, 0x0e, 3, 2, 0x1a, 4, 4, 1, 1, 1, 1, 4, 4, 2, 2, 2, 2, 2];
        let [high, low] = number.to_be_bytes();
        let id = [&start[..], &[3, 1, high, low]].concat();
        let wrapped = (0..4).fold(id, |content, _| [&[0x30, content.len() as u8], &content[..]].concat());
        OcspRequest::from_der(&wrapped).unwrap().first
    }

    fn kept(status: CertStatus) -> Arc<Kept> {
        let now = Time::from_unix_seconds(1_800_000_000);
        Arc::new(Kept::new(status, vec![1], now, now))
    }

    #[test]
    fn the_ca_with_the_most_answers_makes_room() {
        let answers = Answers::default();
        let (small, large): (CaId, CaId) = ("acme.1".parse().unwrap(), "globex.1".parse().unwrap());
        (0..10).for_each(|number| answers.keep(&small, id(number), kept(CertStatus::Good)));
        (0..20).for_each(|number| answers.keep(&large, id(number), kept(CertStatus::Good)));
        let most = u16::try_from(MOST).unwrap();
        (100..100 + most).for_each(|number| answers.keep(&large, id(number), kept(CertStatus::Unknown)));
        let total = |answers: &Answers| answers.lock().of.values().map(|of| of.issued.len() + of.unknown.len()).sum();
        let held: usize = total(&answers);
        assert_eq!((held, answers.lock().number), (MOST, MOST));
        assert!((0..10).all(|number| answers.get(&small, &id(number)).is_some()));
        assert!((0..20).all(|number| answers.get(&large, &id(number)).is_some()), "unknown ones make room first");
        assert!(answers.get(&large, &id(100)).is_none() && answers.get(&large, &id(99 + most)).is_some());
    }

    #[test]
    fn the_last_answer_is_the_one_that_counts() {
        let (answers, ca): (Answers, CaId) = (Answers::default(), "acme.1".parse().unwrap());
        for status in [CertStatus::Unknown, CertStatus::Good, CertStatus::Unknown] {
            answers.keep(&ca, id(1), kept(status));
            assert_eq!((answers.get(&ca, &id(1)).unwrap().status, answers.lock().number), (status, 1));
        }
    }
}
