//! A tenant that enrolls somebody, and the others that vouch.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::Request, response::Response};
use signet_attest::{Attestors, Options};
use signet_core::{
    TenantId, Time,
    enrollment::{
        attestation::{AttestationError, Challenge, Evidence, Facts},
        rule::Source,
    },
};
use tokio::net::TcpListener;

pub(crate) const SERVER_ID: &str = "test.example.com";

/// Sunday 22 November 2026, 06:00 UTC.
pub(crate) const NOW: Time = Time::from_unix_seconds(1_795_327_200);

pub(crate) fn key() -> String {
    "ab".repeat(32)
}

/// Attests for the tenant `acme`, whose rules believe `sources`.
pub(crate) async fn attest(
    attestors: &Attestors,
    evidence: &Evidence,
    sources: &[Source],
    now: Time,
) -> Result<Facts, AttestationError> {
    use signet_core::enrollment::attestation::Attestor as _;
    let (tenant, key): (TenantId, String) = ("acme".parse().unwrap(), key());
    let challenge = Challenge { server_id: SERVER_ID, tenant: &tenant, key_sha256: &key, sources, caller: None, now };
    attestors.attest(evidence, &challenge).await
}

/// The reason of a refusal, `UNAVAILABLE`, or `OK`.
pub(crate) fn outcome(result: &Result<Facts, AttestationError>) -> &'static str {
    match result {
        Ok(_) => "OK",
        Err(AttestationError::Refused { reason, .. }) => reason,
        Err(AttestationError::Unavailable { .. } | AttestationError::Busy { .. }) => "UNAVAILABLE",
    }
}

/// One value of a fact; empty if there is none or more than one.
pub(crate) fn value<'a>(facts: &'a Facts, name: &str) -> &'a str {
    match facts.values.get(name).map(Vec::as_slice) {
        Some([one]) => one,
        _ => "",
    }
}

pub(crate) fn quick() -> Options {
    Options { timeout: Duration::from_millis(1500), ..Options::default() }
}

/// An HTTP server that counts its requests.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) async fn start<F, R>(answer: F) -> Self
    where
        F: Fn(Request) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self { address: listener.local_addr().unwrap(), requests: Arc::default() };
        let requests = Arc::clone(&server.requests);
        let router = Router::new().fallback(move |request: Request| {
            requests.fetch_add(1, Ordering::SeqCst);
            answer(request)
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

pub(crate) fn response(status: u16, body: impl Into<axum::body::Body>) -> Response {
    Response::builder().status(status).body(body.into()).unwrap()
}

/// Never answers.
pub(crate) async fn silence() -> Response {
    std::future::pending().await
}
