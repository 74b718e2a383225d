//! The `enroll` Lambda: `signet_enroll_http` behind API Gateway (a REST API, or an HTTP API of payload version 2.0) or
//! a function URL.

use std::{
    convert::Infallible,
    net::SocketAddr,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, http::header::HOST, response::IntoResponse};
use lambda_http::{
    LambdaEvent, Request, RequestExt, Response,
    request::{LambdaRequest, RequestContext},
};
use signet_app::{App, ServerNames, sync::detached};
use signet_control_plane::{
    Config,
    cli::system_clock,
    wiring::{WiringError, open_lazily},
};
use signet_enroll_http::{ENROLL, EnrollmentApi, Origin, Problem, RENEW, not_found, router};
use tokio::time::timeout;
use tower::ServiceExt;

/// Time for one call: below the function's own limit and API Gateway's, so that the caller gets an answer with sense.
const TIME_LIMIT: Duration = Duration::from_secs(12);

/// Time for what a call has decided and not carried out at its time limit; then AWS stops the clock for all of it.
const LAST_MOMENT: Duration = Duration::from_secs(2);

/// The function, ready for calls.
#[derive(Clone, Debug)]
pub struct Function {
    app: Arc<App>,
    router: Router,
}

/// Stands for every path that is none of ours.
const ELSEWHERE: &str = "/";

impl Function {
    /// Opens what the configuration names and mounts the handlers. Asks nobody anything.
    pub async fn open(config: &Config) -> Result<Self, WiringError> {
        // The key that signs for operators is closed to what serves the internet (infra/ROLES.md).
        let opened = open_lazily(config, Some(control_plane(&config.server))).await?;
        let rate = NonZeroU32::new(config.limits.anonymous_calls_per_second_per_address).unwrap_or(NonZeroU32::MIN);
        let clock = system_clock();
        let enrollment = EnrollmentApi::new(Arc::clone(&opened.app), move || clock()).limited(rate);
        Ok(Self { app: opened.app, router: router(Arc::new(enrollment)).fallback(not_found) })
    }

    /// Answers one event.
    pub async fn call(&self, mut request: Request) -> Result<Response<axum::body::Body>, Infallible> {
        let Some(origin) = origin(&request) else {
            tracing::error!("the event does not say where the request comes from; is it API Gateway's?");
            let detail = "the request does not contain its source address";
            let problem = Problem::new(lambda_http::http::StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", detail);
            return Ok(problem.into_response());
        };
        let (correlation_id, started) = (origin.correlation_id.clone(), Instant::now());
        request.extensions_mut().insert(origin);
        let answer = match timeout(TIME_LIMIT, self.router.clone().oneshot(request)).await {
            Ok(answer) => answer?,
            Err(_) => {
                tracing::warn!(correlation_id, "the time limit of a call has passed");
                let _in_time = timeout(LAST_MOMENT, detached::wait_detached(&self.app)).await;
                Problem::timed_out().correlated(&correlation_id).into_response()
            }
        };
        let (status, duration_ms) = (answer.status().as_u16(), started.elapsed().as_micros() as f64 / 1000.0);
        tracing::info!(correlation_id, status, duration_ms, "call");
        Ok(answer)
    }
}

/// What of an event makes the request: no query, no host, no stage, and a path as URLs have it. None of them means
/// anything here, and the runtime's conversion panics over bytes that no URL holds.
#[must_use]
pub fn essential(mut event: LambdaEvent<LambdaRequest>) -> LambdaEvent<LambdaRequest> {
    let known =
        |path: Option<&str>| [ENROLL, RENEW].into_iter().find(|known| path == Some(*known)).unwrap_or(ELSEWHERE);
    match &mut event.payload {
        LambdaRequest::ApiGatewayV2(request) => {
            request.raw_query_string = None;
            request.query_string_parameters = Default::default();
            request.headers.remove(HOST);
            request.request_context.domain_name = None;
            request.request_context.stage = None;
            request.raw_path = Some(known(request.raw_path.as_deref()).to_owned());
        }
        LambdaRequest::ApiGatewayV1(request) => {
            request.query_string_parameters = Default::default();
            request.multi_value_query_string_parameters = Default::default();
            request.headers.remove(HOST);
            request.multi_value_headers.remove(HOST);
            request.request_context.domain_name = None;
            request.request_context.stage = None;
            request.path = Some(known(request.path.as_deref()).to_owned());
        }
        _ => {}
    }
    event
}

/// The control plane's address, by the first name in its certificate; its load balancer listens on the usual port.
fn control_plane(server: &ServerNames) -> String {
    let address = || server.ip.iter().map(|ip| SocketAddr::new(*ip, 443).to_string()).next();
    format!("https://{}", server.dns.first().cloned().or_else(address).unwrap_or_default())
}

/// Who asks, as API Gateway saw the connection; and its id for the request, which its access log has too. A REST API
/// takes `requestId` from the caller's `x-amzn-RequestId`, not the extended one. Emulators send only the first.
fn origin(request: &Request) -> Option<Origin> {
    let (source, id) = match request.request_context_ref()? {
        RequestContext::ApiGatewayV1(context) => {
            let extended = context.other.get("extendedRequestId").and_then(|id| id.as_str());
            (&context.identity.source_ip, extended.or(context.request_id.as_deref()))
        }
        RequestContext::ApiGatewayV2(context) => (&context.http.source_ip, context.request_id.as_deref()),
        _ => return None,
    };
    Some(Origin { source: source.as_ref()?.parse().ok()?, correlation_id: id?.to_owned() })
}
