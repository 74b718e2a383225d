//! The plain HTTP listeners: public material for everybody, health for balancers, metrics for the operator.
//!
//! Health has a listener of its own beside the public one, so that no stranger can keep a balancer's check from being
//! answered. On all of them a connection holds a place only until a newer one needs it, a source has a share of the
//! places, and nobody is waited for before he is accepted.

mod caching;
mod client;
pub(crate) mod issuers;
mod ocsp;
mod public;

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{Router, http::header, response::IntoResponse, routing::get};
use http::{HeaderValue, Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::Service};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
    service::TowerToHyperService,
};
use signet_core::Cidr;
use signet_mtls::{
    Budget, Place,
    proxy::{self, Header, ProxyError, SIGNATURE},
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

pub(crate) use self::caching::date;
use self::client::Client;
use crate::node::Node;

/// Connections at once, per listener; the oldest makes room.
pub(crate) const MAX_CONNECTIONS: usize = 512;
/// Of these, from one source.
const MAX_OF_ONE_SOURCE: usize = 64;
/// Most bytes of a request's head. hyper's own limit is 400 KB, which 512 connections would make 200 MB.
const MOST_HEADER_BYTES: usize = 16 * 1024;
/// For a PROXY header; and from the opening of a connection, or the answer before, to the end of a request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest life of a connection, and the most it may ask.
const MAX_AGE: Duration = Duration::from_secs(60);
const MAX_REQUESTS: u32 = 100;
/// After the system gave no connection.
const PAUSE: Duration = Duration::from_millis(100);
/// For answers under way at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Serves public material and health to strangers until `shutdown`. The `balancers` may say in a PROXY v2 header whose
/// connection it is.
pub(crate) async fn serve_public(
    node: Arc<Node>,
    listener: TcpListener,
    balancers: Vec<Cidr>,
    shutdown: CancellationToken,
) {
    serve(listener, public::router(node), Proxies::Of(balancers.into()), shutdown).await
}

/// Serves health to balancers until `shutdown`. They check with a PROXY v2 header (AWS NLB, where the target group has
/// it on) or without one.
pub(crate) async fn serve_health(node: Arc<Node>, listener: TcpListener, shutdown: CancellationToken) {
    serve(listener, public::health(node), Proxies::Ignored, shutdown).await
}

/// Serves `/metrics` until `shutdown`.
pub(crate) async fn serve_metrics(node: Arc<Node>, listener: TcpListener, shutdown: CancellationToken) {
    let render = move || {
        let node = Arc::clone(&node);
        async move {
            crate::upkeep::gauges(&node);
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], node.metrics.render())
                .into_response()
        }
    };
    serve(listener, Router::new().route("/metrics", get(render)), Proxies::Ignored, shutdown).await
}

/// Whose PROXY header counts.
#[derive(Clone)]
enum Proxies {
    /// That of these networks.
    Of(Arc<[Cidr]>),
    /// Nobody's: one is read over, since the address matters to no limit.
    Ignored,
}

impl Proxies {
    /// The client's address, from its balancer's header if there is one.
    async fn client(&self, stream: &mut TcpStream, socket: SocketAddr) -> Result<IpAddr, ProxyError> {
        let may_come = match self {
            Self::Of(networks) => networks.iter().any(|network| network.contains(socket.ip())),
            Self::Ignored => true,
        };
        if may_come && starts_like_a_header(stream).await? {
            let header = proxy::read(stream).await?;
            if let (Self::Of(_), Header::Relayed(client)) = (self, header) {
                return Ok(client.ip());
            }
        }
        Ok(socket.ip())
    }

    /// The source that counts before the header; a balancer's own address is nobody's share.
    fn known(&self, socket: SocketAddr) -> Option<IpAddr> {
        match self {
            Self::Of(networks) if networks.iter().any(|network| network.contains(socket.ip())) => None,
            Self::Of(_) | Self::Ignored => Some(socket.ip()),
        }
    }
}

/// No HTTP request starts with a carriage return.
async fn starts_like_a_header(stream: &TcpStream) -> Result<bool, ProxyError> {
    let mut first = [0];
    let length = stream.peek(&mut first).await?;
    Ok(length == 1 && SIGNATURE.starts_with(&first))
}

/// HTTP/1.1 until `shutdown`, with limits on what a slow or greedy client can hold.
async fn serve(listener: TcpListener, router: Router, proxies: Proxies, shutdown: CancellationToken) {
    let (budget, open) = (Budget::new(MAX_CONNECTIONS, MAX_OF_ONE_SOURCE), GracefulShutdown::new());
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, socket)) = accepted else {
            // Out of file descriptors, most likely: closing connections bring some back.
            sleep(PAUSE).await;
            continue;
        };
        let place = budget.take(proxies.known(socket));
        let service = TowerToHyperService::new(router.clone());
        let (proxies, watcher) = (proxies.clone(), open.watcher());
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = converse(stream, socket, &proxies, &place, service, watcher) => {}
                () = place.evicted() => {}
                () = sleep(MAX_AGE) => {}
            }
        });
    }
    drop(listener);
    let _ = timeout(LAST_ANSWERS, open.shutdown()).await;
}

/// One connection to its end. Whatever a client did wrong, it is over.
async fn converse(
    mut stream: TcpStream,
    socket: SocketAddr,
    proxies: &Proxies,
    place: &Place,
    service: TowerToHyperService<Router>,
    watcher: Watcher,
) {
    let Ok(Ok(client)) = timeout(HEADER_TIMEOUT, proxies.client(&mut stream, socket)).await else { return };
    place.assign(client);
    let service = Limited { service, client: Client(client), asked: AtomicU32::new(0) };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .max_buf_size(MOST_HEADER_BYTES)
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let _ = watcher.watch(connection).await;
}

/// Tells who asks, and closes a connection after so many answers.
struct Limited {
    service: TowerToHyperService<Router>,
    client: Client,
    asked: AtomicU32,
}

impl Service<Request<Incoming>> for Limited {
    type Response = Response<axum::body::Body>;
    type Error = std::convert::Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.client);
        let last = self.asked.fetch_add(1, Ordering::Relaxed).saturating_add(1) >= MAX_REQUESTS;
        let answer = self.service.call(request);
        Box::pin(async move {
            let mut answer = answer.await?;
            if last {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(answer)
        })
    }
}
