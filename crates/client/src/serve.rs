//! A listener for the tenant's principals: mutual TLS from an identity, HTTP/1.1 and HTTP/2, tonic's services and
//! axum's.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::Future,
    hash::Hash,
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{Request, Response};
use http_body::Body;
use hyper::body::{Bytes, Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use signet_core::{PrincipalId, PrincipalType};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{BoxError, Service, ServiceBuilder};

use crate::{error::ConnectError, identity::Identity, peer::PeerPolicy};

/// Most connections.
const CONNECTIONS: usize = 4096;
/// Most connections of one principal.
const OF_ONE_PRINCIPAL: usize = 64;
/// Most handshakes at once, so that strangers do not take all places.
const HANDSHAKES: usize = 2048;
/// Most of them from one address, or one IPv6 network of 64 bits.
const HANDSHAKES_OF_ONE: usize = 128;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a request's headers may take.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(15);
/// Below the 350 s after which AWS's NLB forgets an idle connection.
const KEEPALIVE: Duration = Duration::from_secs(60);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
const MAX_STREAMS: u32 = 200;
/// Time for calls in flight once a connection, or all, should end.
const GRACE: Duration = Duration::from_secs(15);
/// After the system refused a connection, for want of descriptors mostly.
const REST: Duration = Duration::from_millis(100);

/// Serves principals of `identity`'s tenant that `policy` wants, until `stop`; then new calls are refused, and those in
/// flight have 15 seconds. `identity` must be a service's.
///
/// Each request carries an `Arc<Peer>` and the `SocketAddr` of its peer as extensions. A connection ends with its
/// peer's certificate. Who may do what is for [`crate::Authorizer::require`].
pub async fn serve<S, B>(
    listener: TcpListener,
    identity: &Identity,
    policy: PeerPolicy,
    service: S,
    stop: impl Future<Output = ()>,
) -> Result<(), ConnectError>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send> + Clone + Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let mut config = identity.server_config(policy)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let door = Door {
        acceptor: TlsAcceptor::from(Arc::new(config)),
        identity: identity.clone(),
        places: Arc::new(Semaphore::new(CONNECTIONS)),
        handshakes: Arc::new(Semaphore::new(HANDSHAKES)),
        sources: Arc::default(),
        principals: Arc::default(),
        stop: CancellationToken::new(),
    };
    let tasks = TaskTracker::new();
    let mut stop = pin!(stop);
    loop {
        let arrived = tokio::select! {
            () = &mut stop => break,
            arrived = door.next(&listener) => arrived,
        };
        match arrived {
            Ok(arrived) => drop(tasks.spawn(door.clone().serve(arrived, service.clone()))),
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted; retrying");
                sleep(REST).await;
            }
        }
    }
    drop(listener);
    door.stop.cancel();
    tasks.close();
    tasks.wait().await;
    Ok(())
}

/// What each connection comes through.
#[derive(Clone)]
struct Door {
    acceptor: TlsAcceptor,
    identity: Identity,
    places: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    sources: Arc<Counts<IpAddr>>,
    principals: Arc<Counts<(PrincipalType, PrincipalId)>>,
    stop: CancellationToken,
}

/// A connection with its place among the handshakes.
struct Arrived {
    tcp: TcpStream,
    remote: SocketAddr,
    handshake: OwnedSemaphorePermit,
}

impl Door {
    async fn next(&self, listener: &TcpListener) -> io::Result<Arrived> {
        let closed = |_| io::Error::other("the semaphore is closed");
        let handshake = Arc::clone(&self.handshakes).acquire_owned().await.map_err(closed)?;
        let (tcp, remote) = listener.accept().await?;
        Ok(Arrived { tcp, remote, handshake })
    }

    async fn serve<S, B>(self, arrived: Arrived, service: S)
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send>
            + Clone
            + Send
            + 'static,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let Arrived { tcp, remote, handshake } = arrived;
        let Some(of_source) = self.sources.count(source(remote.ip()), HANDSHAKES_OF_ONE) else {
            return tracing::info!(%remote, "an address has as many handshakes under way as it may: closed");
        };
        let shaken = timeout(HANDSHAKE_TIMEOUT, async {
            tcp.set_nodelay(true)?;
            self.acceptor.accept(tcp).await
        });
        let Ok(Ok(tls)) = shaken.await else { return };
        drop((handshake, of_source));
        let Some(peer) = self.identity.peer(tls.get_ref().1.peer_certificates()).map(Arc::new) else { return };
        let principal = (peer.principal_type, peer.principal.clone());
        // Only now: who has shown no certificate takes no connection's place.
        let Ok(_place) = self.places.try_acquire() else {
            return tracing::info!(peer = %peer.principal, "there are as many connections as there may be: closed");
        };
        let Some(_of_principal) = self.principals.count(principal, OF_ONE_PRINCIPAL) else {
            return tracing::info!(peer = %peer.principal, "a principal has as many connections as it may");
        };
        let left = peer.not_after.millis_since(self.identity.now());
        let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
        let with_peer = move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Arc::clone(&peer));
            request.extensions_mut().insert(remote);
            request
        };
        let service = TowerToHyperService::new(ServiceBuilder::new().map_request(with_peer).service(service));
        let builder = builder();
        let mut connection = pin!(builder.serve_connection(TokioIo::new(tls), service));
        tokio::select! {
            _ = connection.as_mut() => return,
            () = sleep(left) => {}
            () = self.stop.cancelled() => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = timeout(GRACE, connection).await;
    }
}

/// How many places each has.
struct Counts<K>(Mutex<HashMap<K, usize>>);

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// A place; given back when it is dropped.
struct Counted<K: Eq + Hash> {
    counts: Arc<Counts<K>>,
    key: K,
}

impl<K: Eq + Hash + Clone> Counts<K> {
    fn count(self: &Arc<Self>, key: K, most: usize) -> Option<Counted<K>> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(key.clone()).or_default();
        *count = Some(count.saturating_add(1)).filter(|count| *count <= most)?;
        Some(Counted { counts: Arc::clone(self), key })
    }
}

impl<K: Eq + Hash> Drop for Counted<K> {
    fn drop(&mut self) {
        let mut counts = self.counts.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

/// Who has one address of an IPv6 network of 64 bits has all.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        v4 => v4,
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS);
    builder
}
