//! A connection's requests.

use std::{
    convert::Infallible,
    future::pending,
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hyper::{
    Request,
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use signet_mtls::Connection;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    audit::Event,
    caller::Caller,
    handle::handle,
    metrics::Counted,
    shared::Shared,
    subject::Subject,
    wire::{MAX_HEAD, Strict},
};

/// How long a request's head may take; also how long a connection of HTTP/1.1 may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Below the 350 s after which AWS's NLB forgets an idle connection.
const KEEPALIVE: Duration = Duration::from_secs(60);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
const MAX_STREAMS: u32 = 200;
const MAX_HEADER_LIST: u32 = 16 * 1024;
/// Room for the largest head that [`Strict`] lets through.
const BUFFER: usize = MAX_HEAD * 2;
/// Time for a refused principal to read why.
const TO_BE_TOLD: Duration = Duration::from_secs(3);
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// Time for calls in flight once all should end.
const GRACE: Duration = Duration::from_secs(15);
/// How long a connection without a certificate may be without a request, over HTTP/2 up to twice as long.
const ANONYMOUS_IDLE: Duration = HEAD_TIMEOUT;
/// How old it gets before it takes no more requests: what it has begun ends within the 15 minutes of a token.
const ANONYMOUS_AGE: Duration = Duration::from_secs(45 * 60);

/// Serves a connection until it ends, or `stop`.
pub(crate) async fn converse(shared: Arc<Shared>, connection: Connection<()>, stop: CancellationToken) {
    let peer = Arc::clone(connection.peer());
    let leaf = connection.certificates().first();
    let subject = leaf
        .zip(peer.session.as_ref())
        .map(|(der, session)| Arc::new(Subject::of_certificate(der, session.identity(), &shared.suffix)));
    let (identity_tokens, busy) = Default::default();
    let caller = Caller { remote: peer.remote, subject, identity_tokens, verdict: None, busy };
    let subject = caller.subject.clone();
    let conversation = async {
        if connection.speaks_http1() {
            converse_http1(Arc::clone(&shared), caller, connection, stop).await;
        } else {
            converse_http2(Arc::clone(&shared), caller, connection, stop).await;
        }
    };
    tokio::select! {
        () = conversation => {}
        // Also what it still sends, and what it does not read.
        () = refused(&shared, subject.as_deref()) => {}
    }
}

/// Completes a little after the holder of the connection's certificate may do nothing at all, whatever it has open.
async fn refused(shared: &Shared, subject: Option<&Subject>) {
    let Some(subject) = subject else { return pending().await };
    loop {
        match shared.authorizer.hold(subject.good_at_all()).await {
            Ok((_, held)) => held.ended().await,
            Err(answer) if answer.is_unavailable() || answer.is_too_many() => sleep(ASK_AGAIN).await,
            Err(_) => return sleep(TO_BE_TOLD).await,
        }
    }
}

async fn converse_http1(shared: Arc<Shared>, mut caller: Caller, connection: Connection<()>, stop: CancellationToken) {
    let (connection, verdict) = Strict::new(connection);
    caller.verdict = Some(Arc::clone(&verdict));
    let caller = Arc::new(caller);
    let service = {
        let (shared, caller) = (Arc::clone(&shared), Arc::clone(&caller));
        service_fn(move |request: Request<Incoming>| {
            let answer = handle(Arc::clone(&shared), Arc::clone(&caller), request);
            async move { Ok::<_, Infallible>(answer.await) }
        })
    };
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(connection), service)
        .with_upgrades();
    let ended = until_over(pin!(served), |served| served.graceful_shutdown(), (&caller, stop)).await;
    let by_hyper = ended.and_then(Result::err).filter(hyper::Error::is_parse);
    let status = if by_hyper.as_ref().is_some_and(hyper::Error::is_parse_too_large) { 431 } else { 400 };
    let by_hyper = by_hyper.map(|error| error.to_string());
    if let Some(fault) = verdict.fault().map(str::to_owned).or(by_hyper) {
        unreadable(&shared, &caller, fault, status);
    }
}

/// hyper has answered with `status`.
fn unreadable(shared: &Shared, caller: &Caller, fault: String, status: u16) {
    shared.metrics.count(Counted::Requests, "AMBIGUOUS_REQUEST");
    let mut event = Event::failure("request", "AMBIGUOUS_REQUEST").sourced(caller.remote.ip()).detailed(fault);
    if let Some(subject) = &caller.subject {
        event = event.by(subject);
    }
    event.status = Some(status);
    shared.audit.write(&event);
}

async fn converse_http2(shared: Arc<Shared>, caller: Caller, connection: Connection<()>, stop: CancellationToken) {
    let caller = Arc::new(caller);
    let asking = Arc::clone(&caller);
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = handle(Arc::clone(&shared), Arc::clone(&asking), request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let served = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST)
        .serve_connection(TokioIo::new(connection), service);
    until_over(pin!(served), |served| served.graceful_shutdown(), (&caller, stop)).await;
}

/// Its result, unless it goes on for too long after `stop`.
async fn until_over<F: Future>(
    mut served: Pin<&mut F>,
    shut_down: impl Fn(Pin<&mut F>),
    (caller, stop): (&Caller, CancellationToken),
) -> Option<F::Output> {
    tokio::select! {
        ended = served.as_mut() => return Some(ended),
        () = stop.cancelled() => {}
        () = retires(caller) => {
            shut_down(served.as_mut());
            tokio::select! {
                ended = served.as_mut() => return Some(ended),
                () = stop.cancelled() => {}
            }
        }
    }
    shut_down(served.as_mut());
    timeout(GRACE, served).await.ok()
}

/// Completes when a connection without a certificate has been idle for too long, or is old.
async fn retires(caller: &Caller) {
    if caller.subject.is_some() {
        return pending().await;
    }
    let (begun, mut seen) = (Instant::now(), 0);
    loop {
        sleep(ANONYMOUS_IDLE).await;
        let requests = caller.busy.load(Ordering::Relaxed);
        // One is the caller's own.
        let is_idle = requests == seen && Arc::strong_count(&caller.busy) == 1;
        if is_idle || begun.elapsed() >= ANONYMOUS_AGE {
            return;
        }
        seen = requests;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stranger() -> Caller {
        let (identity_tokens, busy) = Default::default();
        Caller { remote: ([127, 0, 0, 1], 1).into(), subject: None, identity_tokens, verdict: None, busy }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_certificate_ends_when_it_is_idle_or_old() {
        let (caller, begun) = (stranger(), Instant::now());
        retires(&caller).await;
        assert_eq!(begun.elapsed(), ANONYMOUS_IDLE);
        // A stream is open.
        let open = Arc::clone(&caller.busy);
        let begun = Instant::now();
        retires(&caller).await;
        assert_eq!(begun.elapsed(), ANONYMOUS_AGE);
        drop(open);
        // Requests come, and then none.
        let begun = Instant::now();
        let asking = async {
            for _ in 0..10 {
                caller.busy.fetch_add(1, Ordering::Relaxed);
                sleep(ANONYMOUS_IDLE / 2).await;
            }
            pending::<()>().await;
        };
        tokio::select! { () = retires(&caller) => {}, () = asking => {} }
        assert!(begun.elapsed() > ANONYMOUS_IDLE * 5 && begun.elapsed() <= ANONYMOUS_IDLE * 7, "{:?}", begun.elapsed());
    }
}
