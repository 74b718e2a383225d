//! A unary RPC with authentication and authorization, against the same tonic server with neither, both over TLS.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use futures::{
    StreamExt, TryStreamExt,
    future::{Either, Ready, ready},
    stream,
};
use signet_client::{Connector, Credentials};
use signet_control_plane::authorization::{Access, Table};
use signet_core::{
    Clock, PrincipalType,
    authorization::{self, Grants, Permit, Policy},
    trust::Trust,
};
use signet_mtls::ConnectInfo;
use signet_proto::v1::{
    CreateEnrollmentRuleRequest, CreateTokenRequest, CreateTokenResponse, DeleteEnrollmentRuleRequest,
    DeleteEnrollmentRuleResponse, EnrollRequest, EnrollmentRule, IssuedCertificate, ListEnrollmentRulesRequest,
    ListEnrollmentRulesResponse, ListTokensRequest, ListTokensResponse, RevokeTokenRequest, TestEnrollmentRulesRequest,
    TestEnrollmentRulesResponse, Token,
    enrollment_service_client::EnrollmentServiceClient,
    enrollment_service_server::{EnrollmentService, EnrollmentServiceServer},
};
use tokio::runtime::Runtime;
use tonic::{Request, Response, Status, body::Body, transport::Channel};
use tower::{Layer, Service};

use crate::{
    Result, Scale,
    clock::system_clock,
    front,
    measure::{in_turn, micros_each},
    pki::Pki,
    report::{Budget, Row},
    server::{Server, runtime},
};

/// Calls under way at once, on one connection.
const AT_ONCE: usize = 32;

pub(crate) fn rows(pki: &Pki, rounds: usize, scale: Scale) -> Result<Vec<Row>> {
    let trust = front::trust(pki);
    let (plain, ours) = (plain(pki)?, ours(pki, &trust)?);
    let (here, count) = (runtime()?, scale.of(30_000));
    let (to_plain, to_ours) = (channel(pki, &plain, &here)?, channel(pki, &ours, &here)?);
    let round = |server: &Server, channel: &Channel| here.block_on(calls(server, channel, count));
    let pair = in_turn(rounds, || round(&plain, &to_plain), || round(&ours, &to_ours))?;
    let mut rate = pair;
    // Calls a second of one core.
    (rate.ours, rate.floor) = (per_second(pair.ours), per_second(pair.floor));
    rate.ratio = inverse(pair.ratio);
    Ok(vec![
        Row::pair("unary RPC with authentication and authorization", "us", &pair)
            .note("floor: the same tonic server over TLS with neither; CPU of the server's thread"),
        Row::alone("  what both add", "us", pair.difference).budget(Budget::AtMost(1.0)),
        Row::pair("  calls a second and core", "/s", &rate).budget(Budget::RatioAtLeast(0.97)),
    ])
}

fn per_second(micros: crate::measure::Spread) -> crate::measure::Spread {
    let of = |micros: f64| 1e6 / micros;
    crate::measure::Spread { median: of(micros.median), min: of(micros.max), max: of(micros.min) }
}

fn inverse(ratio: crate::measure::Spread) -> crate::measure::Spread {
    crate::measure::Spread { median: 1.0 / ratio.median, min: 1.0 / ratio.max, max: 1.0 / ratio.min }
}

/// Microseconds of a call on the server's thread.
async fn calls(server: &Server, channel: &Channel, count: usize) -> Result<f64> {
    let client = EnrollmentServiceClient::new(channel.clone());
    let before = server.cpu().await?;
    let calls = stream::iter(0..count).map(|_| {
        let mut client = client.clone();
        async move { client.list_tokens(ListTokensRequest::default()).await }
    });
    calls.buffer_unordered(AT_ONCE).try_for_each(|_| async { Ok(()) }).await?;
    Ok(micros_each(server.cpu().await? - before, count))
}

fn channel(pki: &Pki, server: &Server, here: &Runtime) -> Result<Channel> {
    let holder = pki.holder(PrincipalType::Admin, "admin")?;
    let roots = pki.root_der();
    let credentials = Credentials::new(holder.chain_der, roots.clone(), holder.key)?;
    let connector = Connector::new(&format!("https://{}", server.address), &roots, Some(&credentials))?;
    let connector = connector.with_server_name("localhost")?;
    Ok(here.block_on(connector.connect())?)
}

fn plain(pki: &Pki) -> Result<Server> {
    let config = pki.plain_server(false)?;
    Server::start(move |listener, _| async move {
        let incoming = front::plain_incoming(listener, config);
        let router = tonic::transport::Server::builder().add_service(EnrollmentServiceServer::new(Empty));
        // It ends with the program.
        let _ = router.serve_with_incoming(incoming).await;
    })
}

fn ours(pki: &Pki, trust: &Arc<Trust>) -> Result<Server> {
    let acceptor = front::acceptor(&pki.environment, pki.server_identity()?, front::registry(trust))?;
    let table = Table::from_descriptors(signet_proto::DESCRIPTORS, &Policy::new())?;
    let rules = Rules { table: Arc::new(table), trust: Arc::clone(trust), clock: system_clock() };
    Server::start(move |listener, stop| async move {
        let incoming = acceptor.listen(listener, stop);
        let router = tonic::transport::Server::builder().layer(rules).add_service(EnrollmentServiceServer::new(Empty));
        let _ = router.serve_with_incoming(incoming).await;
    })
}

/// The control plane's gate without its metrics, logs and deadlines.
#[derive(Clone)]
struct Rules {
    table: Arc<Table>,
    trust: Arc<Trust>,
    clock: Clock,
}

impl<S> Layer<S> for Rules {
    type Service = Checked<S>;
    fn layer(&self, inner: S) -> Checked<S> {
        Checked { rules: self.clone(), inner }
    }
}

#[derive(Clone)]
struct Checked<S> {
    rules: Rules,
    inner: S,
}

impl<S> Service<http::Request<Body>> for Checked<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<std::result::Result<S::Response, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<std::result::Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        match self.rules.decide(&request) {
            Some(permit) => {
                request.extensions_mut().insert(permit);
                Either::Left(self.inner.call(request))
            }
            None => Either::Right(ready(Ok(Status::permission_denied("refused").into_http()))),
        }
    }
}

impl Rules {
    fn decide(&self, request: &http::Request<Body>) -> Option<Permit> {
        let Access::Rule(rule) = self.table.route(request.uri().path())?.access() else { return None };
        let session = request.extensions().get::<Arc<ConnectInfo<Grants>>>()?.session.as_ref()?;
        let grants = session.check(&self.trust, (self.clock)()).ok()?;
        authorization::permit(session.identity(), &grants, rule).ok()
    }
}

/// A service with nothing behind it.
struct Empty;

#[tonic::async_trait]
impl EnrollmentService for Empty {
    async fn create_token(
        &self,
        _: Request<CreateTokenRequest>,
    ) -> std::result::Result<Response<CreateTokenResponse>, Status> {
        Ok(Response::new(CreateTokenResponse::default()))
    }
    async fn list_tokens(
        &self,
        _: Request<ListTokensRequest>,
    ) -> std::result::Result<Response<ListTokensResponse>, Status> {
        Ok(Response::new(ListTokensResponse::default()))
    }
    async fn revoke_token(&self, _: Request<RevokeTokenRequest>) -> std::result::Result<Response<Token>, Status> {
        Ok(Response::new(Token::default()))
    }
    async fn create_enrollment_rule(
        &self,
        _: Request<CreateEnrollmentRuleRequest>,
    ) -> std::result::Result<Response<EnrollmentRule>, Status> {
        Ok(Response::new(EnrollmentRule::default()))
    }
    async fn list_enrollment_rules(
        &self,
        _: Request<ListEnrollmentRulesRequest>,
    ) -> std::result::Result<Response<ListEnrollmentRulesResponse>, Status> {
        Ok(Response::new(ListEnrollmentRulesResponse::default()))
    }
    async fn delete_enrollment_rule(
        &self,
        _: Request<DeleteEnrollmentRuleRequest>,
    ) -> std::result::Result<Response<DeleteEnrollmentRuleResponse>, Status> {
        Ok(Response::new(DeleteEnrollmentRuleResponse::default()))
    }
    async fn test_enrollment_rules(
        &self,
        _: Request<TestEnrollmentRulesRequest>,
    ) -> std::result::Result<Response<TestEnrollmentRulesResponse>, Status> {
        Ok(Response::new(TestEnrollmentRulesResponse::default()))
    }
    async fn enroll(&self, _: Request<EnrollRequest>) -> std::result::Result<Response<IssuedCertificate>, Status> {
        Ok(Response::new(IssuedCertificate::default()))
    }
}
