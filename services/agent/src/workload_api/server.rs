//! The socket and its connections.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::stream;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{UnixListener, UnixStream},
};
use tonic::{
    service::interceptor::InterceptedService,
    transport::{Server, server::Connected},
};

use super::{
    authority::Authority,
    caller::Caller,
    offers::Offers,
    sds::Sds,
    svids::{WorkloadApi, check_header},
    wire::{
        sds::secret_discovery_service_server::SecretDiscoveryServiceServer,
        spiffe::spiffe_workload_api_server::SpiffeWorkloadApiServer,
    },
};

/// Connections of one user: nobody keeps others from their certificates.
const CONNECTIONS_PER_USER: usize = 2048;
/// Streams of one connection.
const STREAMS: u32 = 64;
/// Requests are lists of names.
const MAX_REQUEST: usize = 64 * 1024;

/// Opens the socket for everybody: who connects is asked for by the rules. The lock is held: what is there already is a
/// leftover.
pub(crate) fn open(path: &Path) -> Result<UnixListener, String> {
    let failed = |error: io::Error| format!("workload_api.socket: {} cannot be opened: {error}", path.display());
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).map_err(failed)?;
    Ok(listener)
}

/// Answers for ever.
pub(crate) async fn serve(listener: UnixListener, offers: Offers) {
    let users = Users::default();
    let connections = stream::unfold(listener, |listener| {
        let users = users.clone();
        async move {
            loop {
                let connection = match listener.accept().await {
                    Ok((stream, _)) => Connection::new(stream, &users),
                    // No more files: some are closed soon.
                    Err(error) => {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        Err(error)
                    }
                };
                match connection {
                    Ok(connection) => return Some((Ok::<_, io::Error>(connection), listener)),
                    Err(error) => tracing::debug!(%error, "no connection to the workload API"),
                }
            }
        }
    });
    let svids = SpiffeWorkloadApiServer::new(WorkloadApi { offers: offers.clone() });
    let sds = SecretDiscoveryServiceServer::new(Sds { offers }).max_decoding_message_size(MAX_REQUEST);
    let served = Server::builder()
        .max_concurrent_streams(STREAMS)
        .add_service(InterceptedService::new(svids.max_decoding_message_size(MAX_REQUEST), check_header))
        .add_service(sds)
        .serve_with_incoming(connections)
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the workload API ended");
    }
}

/// How many connections each user has.
type Users = Arc<Mutex<BTreeMap<u32, usize>>>;

struct Connection {
    stream: UnixStream,
    authority: Authority,
    caller: Arc<Caller>,
    users: Users,
}

impl Connection {
    fn new(stream: UnixStream, users: &Users) -> io::Result<Self> {
        let caller = Arc::new(Caller::of(&stream)?);
        let mut counts = users.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(caller.uid).or_default();
        if *count >= CONNECTIONS_PER_USER {
            return Err(io::Error::other(format!("user {} has too many connections", caller.uid)));
        }
        *count += 1;
        Ok(Self { stream, authority: Authority::default(), caller, users: Arc::clone(users) })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut counts = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.caller.uid) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.caller.uid);
            }
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Arc<Caller>;

    fn connect_info(&self) -> Arc<Caller> {
        Arc::clone(&self.caller)
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, into))?;
        if let Some(read) = into.filled_mut().get_mut(before..) {
            self.authority.pass(read);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
