//! The other end of a connection: who it is, and whether it takes what it is sent.

use std::{
    future::poll_fn,
    io,
    sync::{Arc, Mutex, PoisonError},
    task::{Poll, Waker},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    super::caller::{Caller, Facts},
    asking::Asking,
    shares::Shares,
};

/// Streams of all callers, some kB each.
const STREAMS: usize = 4096;
/// What the streams of all callers keep for requests, bytes: Envoy's have 60 kB.
const REQUESTS: usize = 48 * 1024 * 1024;
/// Answers of all callers that are not taken yet, bytes.
const ANSWERS: usize = 64 * 1024 * 1024;

/// What all callers together may have.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) streams: Shares,
    pub(crate) requests: Shares,
    pub(crate) answers: Shares,
    /// Tokens that the control plane is asked for.
    pub(crate) asking: Asking,
}

impl Default for Limits {
    fn default() -> Self {
        let (streams, requests, answers) = (Shares::new(STREAMS), Shares::new(REQUESTS), Shares::new(ANSWERS));
        Self { streams, requests, answers, asking: Asking::default() }
    }
}

/// See the module's words.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) caller: Caller,
    pub(crate) limits: Arc<Limits>,
    flushes: Mutex<Flushes>,
    /// When what rules may ask of it was read last.
    facts: Mutex<Option<(Instant, Facts)>>,
}

/// How often everything that could be sent was.
#[derive(Debug, Default)]
struct Flushes {
    count: u64,
    waiting: Vec<Waker>,
}

impl Peer {
    pub(crate) fn new(caller: Caller, limits: Arc<Limits>) -> Self {
        Self { caller, limits, flushes: Mutex::default(), facts: Mutex::default() }
    }

    /// What rules may ask of the caller, of no longer ago than that. That it still runs is asked each time.
    pub(crate) fn facts(&self, no_older: Duration) -> io::Result<Facts> {
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read, facts)) = &*facts
            && read.elapsed() < no_older
            && self.caller.surely_lives()
        {
            return Ok(facts.clone());
        }
        let (now, read) = (Instant::now(), self.caller.facts()?);
        *facts = Some((now, read.clone()));
        Ok(read)
    }

    /// The socket has taken all that was written.
    pub(crate) fn flushed(&self) {
        let mut flushes = self.flushes.lock().unwrap_or_else(PoisonError::into_inner);
        flushes.count = flushes.count.wrapping_add(1);
        flushes.waiting.drain(..).for_each(Waker::wake);
    }

    pub(crate) fn flushes(&self) -> u64 {
        self.flushes.lock().unwrap_or_else(PoisonError::into_inner).count
    }

    /// Waits for the first flush after that one.
    pub(crate) async fn flush_after(&self, count: u64) {
        poll_fn(|cx| {
            let mut flushes = self.flushes.lock().unwrap_or_else(PoisonError::into_inner);
            if flushes.count != count {
                return Poll::Ready(());
            }
            if !flushes.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                flushes.waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::FutureExt;

    use super::{Caller, Duration, Facts, Limits, Peer};

    #[tokio::test(start_paused = true)]
    async fn what_was_read_of_a_caller_is_used_again_for_a_while() {
        let (one, _other) = tokio::net::UnixStream::pair().unwrap();
        let peer = Peer::new(Caller::of(&one).unwrap(), Arc::new(Limits::default()));
        let truth = peer.facts(Duration::ZERO).unwrap();
        let other = Facts { uid: truth.uid + 1, ..truth.clone() };
        peer.facts.lock().unwrap().as_mut().unwrap().1 = other.clone();
        let second = Duration::from_secs(1);
        assert_eq!(peer.facts(second).unwrap(), other);
        tokio::time::advance(second).await;
        assert_eq!(peer.facts(second).unwrap(), truth);
        peer.facts.lock().unwrap().as_mut().unwrap().1 = other;
        assert_eq!(peer.facts(Duration::ZERO).unwrap(), truth, "where keys are sent");
    }

    #[tokio::test]
    async fn an_answer_is_taken_once_the_socket_has_it() {
        let (one, _other) = tokio::net::UnixStream::pair().unwrap();
        let peer = Peer::new(Caller::of(&one).unwrap(), Arc::new(Limits::default()));
        let before = peer.flushes();
        let mut waiting = Box::pin(peer.flush_after(before));
        assert!(waiting.as_mut().now_or_never().is_none());
        peer.flushed();
        waiting.await;
        assert!(peer.flush_after(peer.flushes()).now_or_never().is_none());
    }
}
