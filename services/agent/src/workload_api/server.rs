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

/// Connections, about 30 kB each.
const CONNECTIONS: usize = 3072;
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

/// Whether a user may have one more: it has less than what is left, so that nobody keeps others from theirs.
fn admit(counts: &mut BTreeMap<u32, usize>, uid: u32) -> bool {
    let left = CONNECTIONS.saturating_sub(counts.values().sum());
    let has = counts.get(&uid).copied().unwrap_or_default();
    if has < left {
        counts.insert(uid, has + 1);
    }
    has < left
}

struct Connection {
    stream: UnixStream,
    authority: Authority,
    caller: Arc<Caller>,
    users: Users,
}

impl Connection {
    fn new(stream: UnixStream, users: &Users) -> io::Result<Self> {
        let caller = Arc::new(Caller::of(&stream)?);
        if !admit(&mut users.lock().unwrap_or_else(PoisonError::into_inner), caller.uid) {
            return Err(io::Error::other(format!("user {} has too many connections", caller.uid)));
        }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{CONNECTIONS, admit};

    #[test]
    fn each_user_leaves_some_connections_to_others() {
        let mut counts = BTreeMap::new();
        let all = [1, 2, 3].map(|uid| std::iter::repeat_with(|| admit(&mut counts, uid)).take_while(|ok| *ok).count());
        assert_eq!(all, [CONNECTIONS / 2, CONNECTIONS / 4, CONNECTIONS / 8]);
    }
}
