//! An example: a tenant's own job service, in gRPC and HTTP, that lets in whom the tenant's rules allow.
//!
//! Nothing here looks at certificates or keeps a list of who may what: that is [`app`]'s few lines.

mod jobs;
mod service;

use std::sync::Arc;

use axum::{Json, Router, extract::State, routing::get};
use signet_client::Authorizer;
use tonic::service::Routes;

pub use jobs::Jobs;

/// Messages and clients of `proto/jobs.proto`.
#[expect(
    missing_docs,
    unused_qualifications,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    reason = "generated; the .proto file carries the documentation"
)]
pub mod v1 {
    tonic::include_proto!("jobs.v1");
}

use v1::job_service_server::JobServiceServer;

/// What each call needs; a call that is not here is refused.
const PERMISSIONS: [(&str, &str); 7] = [
    ("/jobs.v1.JobService/SubmitJob", "jobs:submit"),
    ("/jobs.v1.JobService/DequeueJob", "jobs:dequeue"),
    ("/jobs.v1.JobService/CompleteJob", "jobs:complete"),
    ("/jobs.v1.JobService/ListJobs", "jobs:list"),
    ("/jobs.v1.JobService/CancelJob", "jobs:cancel"),
    ("/jobs.v1.JobService/PublishEvent", "events:publish"),
    ("/jobs.v1.JobService/StreamEvents", "events:stream"),
];

/// The service, protected: tonic's part by path, axum's page by itself, and once more for those who show access tokens.
pub fn app(jobs: &Arc<Jobs>, authorizer: &Authorizer) -> Router {
    let grpc = JobServiceServer::new(service::Service { jobs: Arc::clone(jobs), authorizer: authorizer.clone() });
    let grpc = Routes::new(grpc).into_axum_router().layer(authorizer.require_by_path(PERMISSIONS));
    let page = get(async |State(jobs): State<Arc<Jobs>>| Json(jobs.summary()));
    let by_token = Router::new().route("/oauth/summary", page.clone());
    let by_token = by_token.layer(authorizer.require("jobs:list").with_access_token());
    let page = Router::new().route("/summary", page).layer(authorizer.require("jobs:list"));
    grpc.merge(page.merge(by_token).with_state(Arc::clone(jobs)))
}
