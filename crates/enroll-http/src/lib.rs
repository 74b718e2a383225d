//! EnrollmentApi and out-of-band renewal as JSON over HTTP; `proto/openapi/enrollment.yaml` is the contract.
//!
//! The one implementation behind the `enroll` Lambda and signetd's mTLS port. Whoever mounts the [`router`] puts an
//! [`Origin`] into each request's extensions and limits the time of a call.

mod handlers;
mod limits;
mod problem;
mod wire;

use std::{fmt, net::IpAddr, num::NonZeroU32, sync::Arc};

use axum::{Router, extract::DefaultBodyLimit, routing::post};
use signet_app::App;
use signet_core::Time;

pub use problem::{PROBLEM_JSON, Problem};

use limits::Limits;

/// Path of [`router`]'s enrollment.
pub const ENROLL: &str = "/v1/enroll";
/// Path of [`router`]'s renewal.
pub const RENEW: &str = "/v1/renew";
/// Most bytes of a request: a CSR, a chain and a proof take a few KiB.
pub const MAX_BODY: usize = 64 * 1024;

/// Where a request comes from, as the mount knows.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The caller's address, never one that the caller chose.
    pub source: IpAddr,
    /// What log, audit events and the answer name this call by.
    pub correlation_id: String,
}

/// What the handlers share.
pub struct EnrollmentApi {
    app: Arc<App>,
    clock: Box<dyn Fn() -> Time + Send + Sync>,
    limits: Option<Limits>,
}

impl fmt::Debug for EnrollmentApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enrollment").field("app", &self.app).finish_non_exhaustive()
    }
}

impl EnrollmentApi {
    /// `clock` is read once a call. For who limits its callers otherwise.
    pub fn new(app: Arc<App>, clock: impl Fn() -> Time + Send + Sync + 'static) -> Self {
        Self { app, clock: Box::new(clock), limits: None }
    }

    /// The same with so many calls a second of one source, an IPv4 address or an IPv6 /64; ten times as many after a
    /// quiet time.
    #[must_use]
    pub fn limited(self, per_second: NonZeroU32) -> Self {
        Self { limits: Some(Limits::new(per_second)), ..self }
    }
}

/// `POST /v1/enroll` and `POST /v1/renew`; no fallback, so that it can be merged with other routes.
pub fn router(enrollment: Arc<EnrollmentApi>) -> Router {
    Router::new()
        .route(ENROLL, post(handlers::enroll).fallback(handlers::wrong_method))
        .route(RENEW, post(handlers::renew).fallback(handlers::wrong_method))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(enrollment)
}

/// The answer to any other path, for mounts that have nothing else to offer.
pub async fn not_found() -> Problem {
    no_such_path()
}

/// The same, for who decides by itself that a path leads nowhere.
pub fn no_such_path() -> Problem {
    Problem::new(http::StatusCode::NOT_FOUND, "NOT_FOUND", "there is no such path; see the API's description")
}
