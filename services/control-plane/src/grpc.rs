//! The mTLS listener: authenticated connections into tonic, those of HTTP/1.1 into hyper, the gate before every
//! service.

use std::{sync::Arc, time::Duration};

use signet_enroll_http::EnrollmentApi;
use signet_mtls::AcceptSettings;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::service::Routes;
use tower::Layer;

use crate::{
    connections::acceptor,
    gate::GateLayer,
    http1::{Http1, MAX_HEADERS},
    node::Node,
    services::{self, MAX_MESSAGE},
    upkeep::{self, certificate::Keeper},
};

/// Between GOAWAY at a connection's maximum age and its cut: time for calls in flight.
pub(crate) const AFTER_GOAWAY: Duration = Duration::from_secs(15);
/// Below the 350 s after which AWS's NLB forgets an idle connection.
const KEEPALIVE: Duration = Duration::from_secs(60);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// What the listener needs.
pub(crate) struct Server {
    pub(crate) node: Arc<Node>,
    pub(crate) keeper: Keeper,
    pub(crate) settings: AcceptSettings,
    pub(crate) tasks: TaskTracker,
}

impl Server {
    /// Waits for the server's certificate, then serves until `stop`: no new connections, GOAWAY on the open ones, and
    /// the end of those calls that are under way.
    pub(crate) async fn run(self, listener: TcpListener, stop: CancellationToken, tasks_stop: CancellationToken) {
        let Some(certificate) = self.keeper.first(&stop).await else { return };
        self.node.certificate.set(Arc::clone(&certificate));
        let node = self.node;
        let acceptor = match acceptor(&node, self.settings, Arc::clone(&certificate)) {
            Ok(acceptor) => acceptor,
            Err(error) => return tracing::error!(%error, "TLS cannot be set up; not serving"),
        };
        self.tasks.spawn(self.keeper.run(certificate, tasks_stop.clone()));
        let (reporter, health) = tonic_health::server::health_reporter();
        self.tasks.spawn(upkeep::report(Arc::clone(&node), reporter, tasks_stop));
        let routes = match with_reflection(services::routes(&node).add_service(health)) {
            Ok(routes) => with_http(&node, routes),
            Err(error) => return tracing::error!(%error, "reflection cannot be set up; not serving"),
        };

        let http1 = Http1 {
            service: GateLayer(Arc::clone(&node)).layer(routes.clone().prepare()),
            max_age: node.limits.max_connection_age,
            connections: TaskTracker::new(),
            stop: stop.clone(),
        };
        let http1_connections = http1.connections.clone();
        let incoming = http1.split(acceptor.listen(listener, stop.clone()));
        let served = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .http2_max_header_list_size(u32::from(MAX_HEADERS))
            .max_concurrent_streams(u32::try_from(node.limits.max_requests_per_connection).unwrap_or(u32::MAX))
            // No grace: tonic 0.14 would close at its end instead of sending GOAWAY; the registry closes what stays.
            .max_connection_age(node.limits.max_connection_age)
            .layer(GateLayer(node))
            .add_routes(routes)
            .serve_with_incoming_shutdown(incoming, stop.cancelled_owned())
            .await;
        if let Err(error) = served {
            tracing::error!(%error, "the gRPC server ended");
        }
        http1_connections.close();
        http1_connections.wait().await;
    }
}

/// EnrollmentApi, AuthZEN, OAuth and security events as JSON beside the RPCs, behind the same gate.
fn with_http(node: &Arc<Node>, routes: Routes) -> Routes {
    let clock = Arc::clone(&node.clock);
    let enrollment = EnrollmentApi::new(Arc::clone(&node.app), move || clock());
    let http = signet_enroll_http::router(Arc::new(enrollment))
        .merge(services::authzen(node))
        .merge(services::tokens::oauth::router(node))
        .merge(services::tokens::poll::router(node))
        .merge(crate::plain::issuers::router(node));
    routes.into_axum_router().merge(http).into()
}

/// In both versions, each of which lists both: clients of other languages (grpcio's, older grpcurl) know v1alpha only.
fn with_reflection(routes: Routes) -> Result<Routes, tonic_reflection::server::Error> {
    let described = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(signet_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
            .include_reflection_service(false)
    };
    let v1 = described().build_v1()?.max_decoding_message_size(MAX_MESSAGE);
    let v1alpha = described().build_v1alpha()?.max_decoding_message_size(MAX_MESSAGE);
    Ok(routes.add_service(v1).add_service(v1alpha))
}
