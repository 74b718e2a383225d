//! Calls for many devices at once: when the server asks for a pause, all of them pause.

use std::{
    future::Future,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use signet_client::{ClientError, RpcError, jittered};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tonic::{Code, Request, Response, Status, transport::Channel};

use crate::{failure::Failure, output::Printer, session::Session};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Of the pauses that the server asks for, altogether for one call: more, and it is not a matter of speed.
const PATIENCE: Duration = Duration::from_secs(600);

/// A session that is used for many devices at once.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) session: Session,
    printer: Printer,
    resume_at: Mutex<Option<Instant>>,
}

impl Caller {
    pub(super) const fn new(session: Session, printer: Printer) -> Self {
        Self { session, printer, resume_at: Mutex::new(None) }
    }

    /// As [`Session::call`], at the pace that the server asks for, and without a sign of life of its own.
    pub(super) async fn call<Q, A, F>(
        &self,
        what: &str,
        request: Q,
        send: impl Fn(Channel, Request<Q>) -> F,
    ) -> Result<A, Failure>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let limit = self.session.timeout();
        let attempt = || {
            let mut request = Request::new(request.clone());
            request.set_timeout(limit);
            let answer = timeout(limit, send(self.session.channel(), request));
            let late = move |_| Status::deadline_exceeded(format!("no answer within {limit:?}"));
            async move { Ok(answer.await.map_err(late).and_then(|answer| answer)?.into_inner()) }
        };
        self.patiently(what, attempt).await.map_err(|error| self.session.failure(error))
    }

    /// Repeats what is safe to repeat: as long as the server asks for pauses, or else for the session's time limit.
    pub(super) async fn patiently<T, F>(&self, what: &str, attempt: impl Fn() -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let (mut pause, mut unanswered, mut held_up) = (FIRST_PAUSE, Duration::ZERO, Duration::ZERO);
        loop {
            self.turn().await;
            let started = Instant::now();
            let error = match attempt().await {
                Err(error) if error.is_transient() => error,
                done => return done,
            };
            self.printer.detail(&format!("{what}: {error}; retrying"));
            if let Some(asked) = asked_pause(&error) {
                held_up = held_up.saturating_add(asked);
                if held_up > PATIENCE {
                    return Err(error);
                }
                self.pause_all(asked);
                continue;
            }
            unanswered = unanswered.saturating_add(started.elapsed()).saturating_add(pause);
            if unanswered >= self.session.timeout() {
                return Err(error);
            }
            sleep(pause / 2 + jittered(pause / 2)).await;
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }

    /// Waits as long as the server asked any of us to.
    async fn turn(&self) {
        loop {
            let resume_at = *self.resume_at.lock().unwrap_or_else(PoisonError::into_inner);
            match resume_at {
                Some(resume_at) if resume_at > Instant::now() => sleep_until(resume_at).await,
                _ => return,
            }
        }
    }

    fn pause_all(&self, asked: Duration) {
        let until = Instant::now().checked_add(asked.saturating_add(jittered(asked / 2)));
        let mut resume_at = self.resume_at.lock().unwrap_or_else(PoisonError::into_inner);
        *resume_at = (*resume_at).max(until);
    }
}

/// What the server asks for because there are too many calls.
fn asked_pause(error: &ClientError) -> Option<Duration> {
    match error {
        ClientError::Rpc(RpcError { code: Code::ResourceExhausted, retry_after: Some(pause), .. }) => {
            Some((*pause).max(FIRST_PAUSE))
        }
        _ => None,
    }
}
