//! Security events by poll (RFC 8936): `proto/openapi/security-events.yaml` is the contract.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc};

use axum::{
    Extension, Json, Router,
    body::{self, Bytes},
    extract::{DefaultBodyLimit, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use futures::stream;
use metrics::counter;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use signet_app::trust::security_events::PollSecurityEvents;

use super::receiver::{MOST, Receiver, Told};
use crate::{
    authorization::security_events as paths,
    gate::Passed,
    node::Node,
    services::{api::Api, authorization::authzen::shape, caller::Caller},
};

/// Most bytes of a request: two thousand acknowledgements.
const MAX_BODY: usize = 64 * 1024;
/// Reports of errors (RFC 8935 section 2.4, RFC 8936 section 2.6), as the metric has them.
const ERRORS: [&str; 7] = [
    "invalid_request",
    "invalid_key",
    "invalid_issuer",
    "invalid_audience",
    "invalid_state",
    "authentication_failed",
    "access_denied",
];
/// The one that passes: the receiver does not have the tenant's present key yet.
const INVALID_KEY: &str = "invalid_key";
/// Most refused events of a poll that have a line in the log.
const MOST_LINES: usize = 3;
/// Most characters of a receiver's words in the log.
const MOST_TEXT: usize = 200;

/// RFC 8936 section 2.2. Members that it does not have are left out.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Request {
    max_events: Option<u64>,
    return_immediately: bool,
    ack: Vec<String>,
    set_errs: BTreeMap<String, SetError>,
}

#[derive(Debug, Deserialize)]
struct SetError {
    err: String,
    #[serde(default)]
    description: String,
}

/// For behind the gate.
pub(crate) fn router(node: &Arc<Node>) -> Router {
    Router::new()
        .route(paths::POLL, post(poll))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Api { node: Arc::clone(node) })
}

async fn poll(
    State(api): State<Api>,
    Extension(passed): Extension<Passed>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let caller = Caller::new(&api.node, passed);
    let request = match read(&headers, &body) {
        Ok(request) => request,
        Err(text) => return invalid(&text),
    };
    let most = request.max_events.map_or(MOST, |most| usize::try_from(most).unwrap_or(MOST).min(MOST));
    let refused = request.set_errs.keys().cloned().collect();
    let poll = PollSecurityEvents { acknowledged: acknowledged(&request), refused, most };
    let told = async {
        let receiver = Receiver::new(&api.node, &caller)?;
        let told = receiver.look(&poll).await?;
        report(&api.node, &caller, &request, &told.refused);
        Ok((receiver, told))
    };
    match told.await {
        // Nothing is wanted, or nothing is waited for.
        Ok((_, told)) if !told.is_empty() || request.return_immediately || most == 0 => answer(told),
        Ok((receiver, told)) => {
            let later = async move { Ok::<_, Infallible>(Bytes::from(text(receiver.wait(told, most).await))) };
            let body = body::Body::from_stream(stream::once(later));
            ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], body).into_response()
        }
        Err(error) => {
            api.failed(&caller.call, caller.session.as_deref(), &error);
            signet_enroll_http::Problem::from(&error).into_response()
        }
    }
}

/// What the receiver is done with. What it could not verify since it has old keys it is told again, with the key of
/// that time; what it refuses for another reason would be the same the next time.
fn acknowledged(request: &Request) -> Vec<String> {
    let passes = |(_, error): &(&String, &SetError)| error.err == INVALID_KEY;
    let refused = request.set_errs.iter().filter(|refused| !passes(refused));
    request.ack.iter().chain(refused.map(|(id, _)| id)).cloned().collect()
}

/// Tells of what a receiver refuses of its events.
fn report(node: &Node, caller: &Caller, request: &Request, refused: &[String]) {
    let short = |text: &str| text.chars().take(MOST_TEXT).collect::<String>();
    let receiver = caller.identity().ok().map(|identity| identity.principal.as_str());
    for (number, id) in (1..).zip(refused) {
        let Some(SetError { err, description }) = request.set_errs.get(id) else { continue };
        let known = ERRORS.into_iter().find(|known| known == err).unwrap_or("other");
        node.metrics.with(|| counter!("signet_security_event_errors_total", "err" => known).increment(1));
        if number <= MOST_LINES {
            let (err, description, of) = (short(err), short(description), refused.len());
            tracing::warn!(target: "signet::rpc", receiver, event = id, number, of, err, description, "a receiver refuses a security event");
        }
    }
}

fn read(headers: &HeaderMap, body: &Result<Bytes, BytesRejection>) -> Result<Request, String> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err("the body must be application/json".into());
    }
    let body = body.as_ref().map_err(|_| format!("the body is incomplete, or has more than {MAX_BODY} bytes"))?;
    let value = shape::read(body).map_err(|error| format!("the body is not what is asked for: {error}"))?;
    serde_json::from_value(value).map_err(|error| format!("the body is not what is asked for: {error}"))
}

/// RFC 8936 section 2.3.
fn answer(told: Told) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (headers, text(told)).into_response()
}

fn text(told: Told) -> String {
    let Told { sets, more, .. } = told;
    let sets: Map<String, Value> = sets.into_iter().map(|(id, set)| (id, set.into())).collect();
    let mut answer = Map::from_iter([("sets".to_owned(), Value::Object(sets))]);
    if more {
        answer.insert("moreAvailable".into(), true.into());
    }
    Value::Object(answer).to_string()
}

/// RFC 8935 section 2.3.
fn invalid(description: &str) -> Response {
    let answer = Json(json!({ "err": "invalid_request", "description": description }));
    (StatusCode::BAD_REQUEST, [(header::CACHE_CONTROL, "no-store")], answer).into_response()
}
