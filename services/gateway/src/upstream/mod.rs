//! A server behind the gateway: connections to it, how many requests it gets, and when it gets none.

mod breaker;
mod places;
mod shares;

use std::{sync::Arc, time::Duration};

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::{Instant, timeout};

use self::breaker::Breaker;
pub(crate) use self::places::{Place, Places};
use crate::{config::UpstreamConfig, refusal::Refusal, request_body::RequestBody};

/// How long a connection that nobody uses is kept; most servers close it later than that.
const IDLE: Duration = Duration::from_secs(20);
/// As the front's.
const MAX_HEAD: usize = 64 * 1024;

/// See the module's words.
pub(crate) struct Upstream {
    pub(crate) config: UpstreamConfig,
    pub(crate) name: Arc<str>,
    client: Client<HttpConnector, RequestBody>,
    places: Places,
    breaker: Breaker,
}

/// Bytes of an answer that nobody reads; RFC 9113 section 6.9.2.
const STREAM_WINDOW: u32 = 64 * 1024;
/// RFC 9113 section 6.9.1.
const MAX_WINDOW: u32 = i32::MAX as u32;

impl Upstream {
    pub(crate) fn new(config: UpstreamConfig) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(config.connect_timeout));
        connector.set_nodelay(true);
        let mut client = Client::builder(TokioExecutor::new());
        client.pool_idle_timeout(IDLE).pool_timer(TokioTimer::new()).timer(TokioTimer::new());
        client.http1_max_buf_size(MAX_HEAD).http2_only(config.http2);
        // All requests share a connection: who does not read an answer must not take the window of others.
        let window = u32::try_from(config.max_requests).unwrap_or(u32::MAX).saturating_mul(STREAM_WINDOW);
        client
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(window.min(MAX_WINDOW));
        Self {
            name: config.name.as_str().into(),
            client: client.build(connector),
            places: Places::new(config.max_requests, config.max_waiting, config.connect_timeout),
            breaker: Breaker::new(config.failures, config.rest),
            config,
        }
    }

    /// A place for a request of a principal, for which some may wait.
    pub(crate) async fn place(&self, whose: &Arc<str>) -> Result<Place, Refusal> {
        let place = self.places.take(whose).await?;
        // The last: whoever is let through to try says how it went, and must not be given up in between.
        if self.breaker.admits(Instant::now()) {
            return Ok(place);
        }
        let title = "the server behind cannot be reached now; try again";
        Err(Refusal::upstream(StatusCode::SERVICE_UNAVAILABLE, "UPSTREAM_UNREACHABLE", title))
    }

    /// Sends a request; the answer's headers are back within the time limit.
    pub(crate) async fn send(&self, request: Request<RequestBody>) -> Result<Response<Incoming>, Refusal> {
        let sent = Sent { breaker: &self.breaker, done: false };
        let answer = timeout(self.config.answer_timeout, self.client.request(request)).await;
        match answer {
            Ok(Ok(answer)) => {
                sent.reached();
                Ok(answer)
            }
            Ok(Err(error)) if error.is_connect() => {
                sent.not_reached();
                tracing::warn!(upstream = %self.name, error = %chain(&error), "the upstream cannot be reached");
                let title = "the server behind cannot be reached; try again";
                Err(Refusal::upstream(StatusCode::BAD_GATEWAY, "UPSTREAM_UNREACHABLE", title))
            }
            Ok(Err(error)) => {
                sent.reached();
                tracing::info!(upstream = %self.name, error = %chain(&error), "the upstream did not answer");
                let title = "the server behind broke off";
                Err(Refusal::upstream(StatusCode::BAD_GATEWAY, "UPSTREAM_FAILED", title))
            }
            Err(_) => {
                sent.reached();
                let title = "the server behind did not answer in time";
                Err(Refusal::upstream(StatusCode::GATEWAY_TIMEOUT, "UPSTREAM_TIMEOUT", title))
            }
        }
    }

    /// Whether it gets no requests, since it cannot be reached.
    pub(crate) fn is_open(&self) -> bool {
        self.breaker.is_open(Instant::now())
    }

    /// Requests under way.
    pub(crate) fn requests(&self) -> usize {
        self.places.taken()
    }
}

/// A request under way; one whose client went away says nothing of the upstream.
struct Sent<'a> {
    breaker: &'a Breaker,
    done: bool,
}

impl Sent<'_> {
    fn reached(mut self) {
        self.done = true;
        self.breaker.reached();
    }

    fn not_reached(mut self) {
        self.done = true;
        self.breaker.not_reached(Instant::now());
    }
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.breaker.gave_up();
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
