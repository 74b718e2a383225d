//! HTTP/1.1 on the mTLS port: what is JSON there, for clients that have nothing else. gRPC is HTTP/2.
//!
//! A connection has one request at a time and passes the same gate; the registry ends it as any other.

use std::{convert::Infallible, error::Error, future::ready, io, pin::pin, sync::Arc, time::Duration};

use futures::{Stream, StreamExt};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use signet_mtls::Connection;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::body::Body;
use tower::{Service, ServiceExt};

use crate::node::Rights;

/// Header lists hold a token of a few hundred bytes at most; those of HTTP/2 are as long.
pub(crate) const MAX_HEADERS: u16 = 16 * 1024;
/// From the opening of a connection, or the answer before, to the end of a request's head: who is silent for longer, or
/// sends its head by single bytes, is closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// What connections of HTTP/1.1 share.
#[derive(Clone)]
pub(crate) struct Http1<S> {
    /// The gate, with the services behind it.
    pub(crate) service: S,
    /// A connection takes no further request after this time.
    pub(crate) max_age: Duration,
    /// Those that are open.
    pub(crate) connections: TaskTracker,
    /// No further requests, on no connection.
    pub(crate) stop: CancellationToken,
}

impl<S, B> Http1<S>
where
    S: Service<http::Request<Body>, Response = http::Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// Serves the connections that speak HTTP/1.1, and gives on the others.
    pub(crate) fn split(
        self,
        incoming: impl Stream<Item = io::Result<Connection<Rights>>>,
    ) -> impl Stream<Item = io::Result<Connection<Rights>>> {
        incoming.filter_map(move |connection| {
            ready(match connection {
                Ok(connection) if connection.speaks_http1() => {
                    let (http1, peer) = (self.clone(), Arc::clone(connection.peer()));
                    self.connections.spawn(async move { http1.converse(connection, peer).await });
                    None
                }
                other => Some(other),
            })
        })
    }

    /// One connection to its end. Whatever a client did wrong, it is over. `peer` is in the extensions of its requests.
    async fn converse<P>(&self, connection: impl AsyncRead + AsyncWrite + Unpin, peer: P)
    where
        P: Clone + Send + Sync + 'static,
    {
        let answer = service_fn(|mut request: http::Request<Incoming>| {
            request.extensions_mut().insert(peer.clone());
            self.service.clone().oneshot(request.map(Body::new))
        });
        let mut connection = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .max_buf_size(MAX_HEADERS.into())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(connection), answer)
        );
        tokio::select! {
            _ = &mut connection => return,
            () = self.stop.cancelled() => {}
            () = sleep(self.max_age) => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;
    use http_body_util::Full;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        sync::Semaphore,
        task::JoinHandle,
        time::{Instant, timeout},
    };
    use tower::service_fn as tower_fn;

    use super::*;

    const MAX_AGE: Duration = Duration::from_secs(3600);
    const GET: &[u8] = b"GET /x HTTP/1.1\r\nhost: test\r\n\r\n";

    struct Served {
        client: DuplexStream,
        ended: JoinHandle<()>,
        stop: CancellationToken,
        /// Requests that were begun; each waits for a permit of `go`.
        begun: Arc<AtomicUsize>,
        go: Arc<Semaphore>,
    }

    fn served() -> Served {
        let (begun, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let service = tower_fn({
            let (begun, go) = (Arc::clone(&begun), Arc::clone(&go));
            move |request: http::Request<Body>| {
                assert_eq!(request.extensions().get(), Some(&"the peer"));
                begun.fetch_add(1, Ordering::SeqCst);
                let go = Arc::clone(&go);
                async move {
                    go.acquire().await.unwrap().forget();
                    Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from_static(b"answer"))))
                }
            }
        });
        let stop = CancellationToken::new();
        let http1 = Http1 { service, max_age: MAX_AGE, connections: TaskTracker::new(), stop: stop.clone() };
        let (client, server) = duplex(1024 * 1024);
        let ended = tokio::spawn(async move { http1.converse(server, "the peer").await });
        Served { client, ended, stop, begun, go }
    }

    /// What comes until the server closes.
    async fn rest(client: &mut DuplexStream) -> String {
        let mut read = Vec::new();
        client.read_to_end(&mut read).await.unwrap();
        String::from_utf8(read).unwrap()
    }

    async fn answer(client: &mut DuplexStream) -> String {
        let mut read = Vec::new();
        while !read.ends_with(b"answer") {
            read.push(client.read_u8().await.unwrap());
        }
        String::from_utf8(read).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_silent_or_sends_its_head_by_single_bytes_is_closed_in_time() {
        let started = Instant::now();
        for bytes in [&b""[..], b"GET /x HT", b"GET /x HTTP/1.1\r\nx: "] {
            let mut served = served();
            served.client.write_all(bytes).await.unwrap();
            let dripping = async {
                // One more byte every second, as long as somebody takes it.
                while !bytes.is_empty() && served.client.write_all(b"x").await.is_ok() {
                    sleep(Duration::from_secs(1)).await;
                }
                rest(&mut served.client).await
            };
            drop(timeout(HEAD_TIMEOUT * 2, dripping).await.expect("it is still open"));
            served.ended.await.unwrap();
            assert_eq!(served.begun.load(Ordering::SeqCst), 0);
        }
        assert!(started.elapsed() < HEAD_TIMEOUT * 4, "{:?}", started.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_closed_in_time() {
        let mut served = served();
        served.go.add_permits(1);
        served.client.write_all(GET).await.unwrap();
        answer(&mut served.client).await;
        let answered = Instant::now();
        assert_eq!(rest(&mut served.client).await, "");
        assert!((HEAD_TIMEOUT..HEAD_TIMEOUT * 2).contains(&answered.elapsed()), "{:?}", answered.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_is_too_large_is_refused() {
        let mut served = served();
        let large = format!("GET /x HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(2 * usize::from(MAX_HEADERS)));
        served.client.write_all(large.as_bytes()).await.unwrap();
        assert!(rest(&mut served.client).await.starts_with("HTTP/1.1 431 "));
        assert_eq!(served.begun.load(Ordering::SeqCst), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_of_a_connection_are_answered_one_at_a_time() {
        let mut served = served();
        served.client.write_all(&GET.repeat(100)).await.unwrap();
        for answered in 1..=3 {
            // Time passes only when nobody has anything to do.
            sleep(Duration::from_millis(1)).await;
            assert_eq!(served.begun.load(Ordering::SeqCst), answered);
            served.go.add_permits(1);
            answer(&mut served.client).await;
        }
    }

    /// So that the registry knows whose answers nobody takes.
    #[tokio::test(start_paused = true)]
    async fn an_answer_is_kept_until_it_is_read() {
        struct Answer {
            _held: Arc<()>,
        }
        impl AsRef<[u8]> for Answer {
            fn as_ref(&self) -> &[u8] {
                b"answer"
            }
        }
        let held = Arc::new(());
        let service = tower_fn({
            let held = Arc::clone(&held);
            move |_: http::Request<Body>| {
                let answer = Bytes::from_owner(Answer { _held: Arc::clone(&held) });
                ready(Ok::<_, Infallible>(http::Response::new(Full::new(answer))))
            }
        });
        let http1 =
            Http1 { service, max_age: MAX_AGE, connections: TaskTracker::new(), stop: CancellationToken::new() };
        let (mut client, server) = duplex(64);
        let connection = tokio::spawn(async move { http1.converse(server, ()).await });
        let idle = Arc::strong_count(&held);
        client.write_all(GET).await.unwrap();
        sleep(Duration::from_secs(1)).await;
        assert!(Arc::strong_count(&held) > idle, "it was copied");
        answer(&mut client).await;
        sleep(Duration::from_secs(1)).await;
        assert_eq!(Arc::strong_count(&held), idle);
        connection.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_too_old_or_of_a_node_that_stops_ends_after_its_answer() {
        for is_old in [true, false] {
            let mut served = served();
            served.client.write_all(GET).await.unwrap();
            sleep(Duration::from_millis(1)).await;
            if is_old {
                sleep(MAX_AGE).await
            } else {
                served.stop.cancel()
            }
            sleep(Duration::from_millis(1)).await;
            assert!(!served.ended.is_finished(), "a request is under way");
            served.go.add_permits(1);
            let answer = rest(&mut served.client).await;
            assert!(answer.contains("connection: close") && answer.ends_with("answer"), "{answer}");
            served.ended.await.unwrap();
        }
        let idle = served();
        sleep(Duration::from_millis(1)).await;
        idle.stop.cancel();
        timeout(Duration::from_secs(1), idle.ended).await.expect("nobody waits for it").unwrap();
    }
}
