//! The OpenID AuthZEN Authorization API 1.0: `Check` and `BatchCheck` as JSON over HTTPS;
//! `proto/openapi/authzen.yaml` is the contract.

mod search;
pub(crate) mod shape;
mod wire;

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, Uri, header, uri::Authority},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Serialize;
use serde_json::json;
use signet_core::Error;
use signet_enroll_http::Problem;

use self::{
    search::Results,
    wire::{Body, Decision, Evaluations, Semantic, decide},
};
use crate::{
    authorization::authzen as paths,
    errors,
    gate::Passed,
    node::Node,
    services::{api::Api, caller::Caller},
};

/// The standard's paths, for behind the gate.
pub(crate) fn router(node: &Arc<Node>) -> Router {
    Router::new()
        .route(paths::EVALUATION, post(evaluation))
        .route(paths::EVALUATIONS, post(evaluations))
        .route(paths::SEARCH_SUBJECT, post(search_subject))
        .route(paths::SEARCH_RESOURCE, post(search_resource))
        .route(paths::SEARCH_ACTION, post(search_action))
        .route(paths::METADATA, get(own_metadata))
        .layer(DefaultBodyLimit::max(wire::MAX_BODY))
        .with_state(Api { node: Arc::clone(node) })
}

async fn evaluation(State(api): State<Api>, passed: Extension<Passed>, headers: HeaderMap, body: Body) -> Response {
    let caller = caller(&api, passed);
    let decided = async { decide(&api.node, &caller, wire::read(&headers, &body)?).await };
    answer(&api, &caller, decided.await)
}

async fn evaluations(State(api): State<Api>, passed: Extension<Passed>, headers: HeaderMap, body: Body) -> Response {
    let caller = caller(&api, passed);
    let asked = wire::read::<Evaluations>(&headers, &body).and_then(Evaluations::check);
    let ((defaults, all), semantic) = match asked {
        Ok((wire::Several::One(asked), _)) => return answer(&api, &caller, decide(&api.node, &caller, *asked).await),
        Ok((wire::Several::Many(defaults, all), semantic)) => ((defaults, all), semantic),
        Err(error) => return answer::<()>(&api, &caller, Err(error)),
    };
    let mut decisions = Vec::with_capacity(all.len());
    for one in all {
        let decided = async { decide(&api.node, &caller, wire::Asked::of(one, &defaults)?).await };
        let decision = decided.await.unwrap_or_else(|error| {
            let problem = failed(&api, &caller, &error);
            Decision::failed(&error, problem.status())
        });
        let is_last = match semantic {
            Semantic::ExecuteAll => false,
            Semantic::DenyOnFirstDeny => !decision.decision,
            Semantic::PermitOnFirstPermit => decision.decision,
        };
        decisions.push(decision);
        if is_last {
            break;
        }
        // Others' calls go on between two questions.
        tokio::task::yield_now().await;
    }
    Json(json!({ "evaluations": decisions })).into_response()
}

async fn search_subject(State(api): State<Api>, passed: Extension<Passed>, headers: HeaderMap, body: Body) -> Response {
    let caller = caller(&api, passed);
    let found = async { search::subjects(&api.node, &caller, wire::read(&headers, &body)?).await };
    answer::<Results>(&api, &caller, found.await)
}

async fn search_resource(
    State(api): State<Api>,
    passed: Extension<Passed>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let caller = caller(&api, passed);
    let found = async { search::resources(&api.node, &caller, wire::read(&headers, &body)?).await };
    answer::<Results>(&api, &caller, found.await)
}

async fn search_action(State(api): State<Api>, passed: Extension<Passed>, headers: HeaderMap, body: Body) -> Response {
    let caller = caller(&api, passed);
    let found = async { search::actions(&api.node, &caller, wire::read(&headers, &body)?).await };
    answer::<Results>(&api, &caller, found.await)
}

fn caller(api: &Api, Extension(passed): Extension<Passed>) -> Caller {
    Caller::new(&api.node, passed)
}

fn answer<T: Serialize>(api: &Api, caller: &Caller, answer: Result<T, Error>) -> Response {
    match answer {
        Ok(answer) => Json(answer).into_response(),
        Err(error) => failed(api, caller, &error).into_response(),
    }
}

fn failed(api: &Api, caller: &Caller, error: &Error) -> Problem {
    api.failed(&caller.call, caller.session.as_deref(), error);
    let problem = Problem::from(error);
    match &caller.call.correlation_id {
        Some(id) => problem.correlated(id),
        None => problem,
    }
}

/// What this is called is what the client has called it: it must find its own words there (section 9.2.3).
async fn own_metadata(uri: Uri, headers: HeaderMap) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    let named = uri.authority().cloned().or(host).filter(|name| !name.as_str().contains('@'));
    match named {
        Some(name) => metadata(name.as_str()),
        None => Problem::from(&Error::invalid("host", "REQUIRED", "is required")).into_response(),
    }
}

/// Where the API is, for who asks at the port of public material.
pub(crate) fn public_metadata(node: &Node) -> Response {
    match node.endpoint.at() {
        Some(at) => metadata(at.strip_suffix(":443").unwrap_or(at)),
        None => errors::no_endpoint().into_response(),
    }
}

fn metadata(authority: &str) -> Response {
    let at = |path: &str| format!("https://{authority}{path}");
    Json(json!({
        "policy_decision_point": at(""),
        "access_evaluation_endpoint": at(paths::EVALUATION),
        "access_evaluations_endpoint": at(paths::EVALUATIONS),
        "search_subject_endpoint": at(paths::SEARCH_SUBJECT),
        "search_resource_endpoint": at(paths::SEARCH_RESOURCE),
        "search_action_endpoint": at(paths::SEARCH_ACTION),
    }))
    .into_response()
}
