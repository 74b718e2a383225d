//! The socket and its connections.

mod guard;

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use futures::stream;
use nix::sys::{
    resource::{Resource, getrlimit, setrlimit},
    socket::{setsockopt, sockopt},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{UnixListener, UnixStream},
    time::Instant,
};
use tonic::{
    Code,
    service::interceptor::InterceptedService,
    transport::{Server, server::Connected},
};

use self::guard::Guard;
use super::{
    authority::Authority,
    caller::Caller,
    ext_authz::ExtAuthz,
    offers::Offers,
    sds::Sds,
    session::{Held, Limits, Peer, Shares, look},
    svids::{WorkloadApi, check_header},
    wire::{
        ext_authz::authorization_server::AuthorizationServer,
        sds::secret_discovery_service_server::SecretDiscoveryServiceServer,
        spiffe::spiffe_workload_api_server::SpiffeWorkloadApiServer,
    },
};

/// Connections, about 30 kB each.
const CONNECTIONS: usize = 3072;
/// File descriptors of one: the socket, and the caller's process.
const FILES: usize = 2;
/// File descriptors for everything else.
const RESERVE: usize = 256;
/// One in so many connections may be of callers that no rule admits.
const STRANGERS: usize = 8;
/// Streams of one connection.
const STREAMS: u32 = 64;
/// SPIFFE's requests are empty, or name an audience.
const MAX_SPIFFE: usize = 4 * 1024;
/// SDS requests are lists of names, and what Envoy says of itself: 61 kB of it are the names of its extensions.
const MAX_SDS: usize = 128 * 1024;
/// A certificate and what Envoy says of a request, by default with all of its headers: 60 kB at most.
const MAX_EXT_AUTHZ: usize = 128 * 1024;
/// Reading /proc takes 20 µs, of each request through Envoy; and here no key is sent.
const A_SECOND: Duration = Duration::from_secs(1);
/// What may come of one stream before it is read.
const STREAM_WINDOW: u32 = 16 * 1024;
/// RFC 9113 section 6.9.2: it cannot be smaller.
const CONNECTION_WINDOW: u32 = 65_535;
const MAX_HEADERS: u32 = 8 * 1024;
/// What the kernel keeps of answers that are not read; it doubles that.
const SEND_BUFFER: usize = 16 * 1024;
const STRANGERS_SEND_BUFFER: usize = 4 * 1024;
/// What is read at once of callers that no rule admits: a few calls.
const STRANGERS_READ: usize = 512;
/// How often the log says that connections are refused.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// Answers for ever.
pub(crate) async fn serve(listener: UnixListener, offers: Offers) {
    let door = Door::new(connections(open_files()), offers.clone());
    let connections = stream::unfold((listener, door), |(listener, mut door)| async move {
        loop {
            let connection = match listener.accept().await {
                Ok((stream, _)) => door.admit(stream),
                // No more files: some are closed soon.
                Err(error) => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    Err(error)
                }
            };
            match connection {
                Ok(connection) => return Some((Ok::<_, io::Error>(connection), (listener, door))),
                Err(error) => door.refuse(&error, Instant::now()),
            }
        }
    });
    let spiffe = SpiffeWorkloadApiServer::new(WorkloadApi { offers: offers.clone() });
    let spiffe = Guard { inner: spiffe, offers: offers.clone(), most: MAX_SPIFFE, trusts: Duration::ZERO };
    let sds = SecretDiscoveryServiceServer::new(Sds { offers: offers.clone() });
    let sds = Guard { inner: sds, offers: offers.clone(), most: MAX_SDS, trusts: Duration::ZERO };
    let ext_authz = AuthorizationServer::new(ExtAuthz { offers: offers.clone() });
    let ext_authz = Guard { inner: ext_authz, offers, most: MAX_EXT_AUTHZ, trusts: A_SECOND };
    let served = Server::builder()
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_max_header_list_size(MAX_HEADERS)
        .add_service(InterceptedService::new(spiffe, check_header))
        .add_service(sds)
        .add_service(ext_authz)
        .serve_with_incoming(connections)
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the workload API ended");
    }
}

/// This process' limit of file descriptors, raised as far as it goes.
fn open_files() -> usize {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
    let there = if setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft };
    usize::try_from(there).unwrap_or(usize::MAX)
}

/// How many connections so many file descriptors are enough for.
fn connections(open_files: usize) -> usize {
    let all = CONNECTIONS.min(open_files.saturating_sub(RESERVE) / FILES);
    if all < CONNECTIONS {
        tracing::warn!(open_files, connections = all, "the workload API has fewer connections: raise LimitNOFILE");
    }
    all
}

/// Who may connect.
struct Door {
    offers: Offers,
    limits: Arc<Limits>,
    /// Connections of callers that a rule admits.
    known: Shares,
    /// Connections of all others.
    strangers: Shares,
    /// When the log last said that connections are refused, and how many were since.
    said: Option<Instant>,
    refused: u64,
}

impl Door {
    fn new(connections: usize, offers: Offers) -> Self {
        let strangers = connections / STRANGERS;
        let (known, strangers) = (Shares::new(connections - strangers), Shares::new(strangers));
        Self { offers, limits: Arc::default(), known, strangers, said: None, refused: 0 }
    }

    fn admit(&self, stream: UnixStream) -> io::Result<Connection> {
        let caller = Caller::of(&stream)?;
        let is_known = look(&caller, &self.offers).map_or_else(|status| status.code() == Code::Unavailable, |_| true);
        let (shares, buffer) =
            if is_known { (&self.known, SEND_BUFFER) } else { (&self.strangers, STRANGERS_SEND_BUFFER) };
        let held = shares.take(caller.uid, 1);
        let held = held.ok_or_else(|| io::Error::other(format!("user {} has too many connections", caller.uid)))?;
        setsockopt(&stream, sockopt::SndBuf, &buffer)?;
        Ok(Connection {
            stream,
            authority: Authority::default(),
            peer: Arc::new(Peer::new(caller, Arc::clone(&self.limits))),
            is_blocked: false,
            reader: None,
            is_stranger: !is_known,
            has_read: false,
            _held: held,
        })
    }

    fn refuse(&mut self, error: &io::Error, now: Instant) {
        // The caller has gone.
        if error.kind() == io::ErrorKind::NotFound {
            return;
        }
        self.refused += 1;
        if self.said.is_none_or(|said| now.saturating_duration_since(said) >= SAY_AGAIN) {
            tracing::warn!(%error, refused = self.refused, "connections to the workload API are refused");
            (self.said, self.refused) = (Some(now), 0);
        }
    }
}

struct Connection {
    stream: UnixStream,
    authority: Authority,
    peer: Arc<Peer>,
    /// The caller does not read. Nothing is read of it meanwhile: it would only have to be answered.
    is_blocked: bool,
    reader: Option<Waker>,
    /// It gets refusals only: little is read of it at once, so that few of its calls are there at any time.
    is_stranger: bool,
    has_read: bool,
    _held: Held,
}

impl Connected for Connection {
    type ConnectInfo = Arc<Peer>;

    fn connect_info(&self) -> Arc<Peer> {
        Arc::clone(&self.peer)
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_blocked {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if self.is_stranger {
            self.has_read = !self.has_read;
            if !self.has_read {
                // What came is answered first.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        let before = into.filled().len();
        if self.is_stranger {
            let mut space = [0; STRANGERS_READ];
            let mut part = ReadBuf::new(space.get_mut(..into.remaining().min(STRANGERS_READ)).unwrap_or_default());
            if Pin::new(&mut self.stream).poll_read(cx, &mut part)?.is_pending() {
                self.has_read = false;
                return Poll::Pending;
            }
            into.put_slice(part.filled());
        } else {
            ready!(Pin::new(&mut self.stream).poll_read(cx, into))?;
        }
        if let Some(read) = into.filled_mut().get_mut(before..) {
            self.authority.pass(read);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.is_blocked = written.is_pending();
        if !self.is_blocked
            && let Some(reader) = self.reader.take()
        {
            reader.wake();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.peer.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::Pin, task::Context};

    use futures::task::noop_waker_ref;
    use tokio::{
        io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
        net::UnixStream,
    };

    use super::{CONNECTIONS, Connection, Door, Offers, connections};

    /// This process connects as often as it can.
    fn admitted(door: &Door) -> Vec<(UnixStream, Connection)> {
        let one = || {
            let (ours, theirs) = UnixStream::pair().unwrap();
            door.admit(theirs).ok().map(|connection| (ours, connection))
        };
        std::iter::from_fn(one).collect()
    }

    fn known() -> Offers {
        let (offers, us) = (Offers::default(), nix::unistd::getuid());
        let text =
            format!("name = \"web\"\nenroll = {{ join_token_file = \"token\" }}\nworkloads = [{{ uid = \"{us}\" }}]\n");
        let toml = <figment::providers::Toml as figment::providers::Format>::string(&text);
        offers.configure(&[figment::Figment::from(toml).extract().unwrap()]);
        offers
    }

    #[tokio::test]
    async fn strangers_share_an_eighth_and_known_users_the_rest() {
        let mut door = Door::new(80, Offers::default());
        let strangers = admitted(&door);
        assert_eq!(strangers.len(), 5, "half of 10");
        door.offers = known();
        assert_eq!(admitted(&door).len(), 35, "half of 70");
    }

    #[tokio::test]
    async fn little_is_read_of_a_stranger_at_once() {
        let door = Door::new(80, Offers::default());
        let (mut ours, mut connection) = admitted(&door).pop().unwrap();
        ours.write_all(&[7; 2048]).await.unwrap();
        connection.stream.readable().await.unwrap();
        let mut cx = Context::from_waker(noop_waker_ref());
        let (mut space, mut found) = ([0; 2048], Vec::new());
        let mut into = ReadBuf::new(&mut space);
        for _ in 0..4 {
            let read = Pin::new(&mut connection).poll_read(&mut cx, &mut into);
            found.push((read.is_ready(), into.filled().len()));
        }
        assert_eq!(found, [(true, 512), (false, 512), (true, 1024), (false, 1024)]);
    }

    #[tokio::test]
    async fn nothing_is_read_of_a_caller_that_does_not_read() {
        let door = Door::new(80, known());
        let (mut ours, mut connection) = admitted(&door).pop().unwrap();
        ours.write_all(b"more").await.unwrap();
        let mut cx = Context::from_waker(noop_waker_ref());
        while Pin::new(&mut connection).poll_write(&mut cx, &[0; 1024]).is_ready() {}
        let mut space = [0; 4];
        let mut into = ReadBuf::new(&mut space);
        assert!(Pin::new(&mut connection).poll_read(&mut cx, &mut into).is_pending());

        let reading = tokio::spawn(async move { ours.read_to_end(&mut Vec::new()).await });
        let read = tokio::spawn(async move {
            let (mut reader, mut writer) = tokio::io::split(connection);
            let mut bytes = [0; 4];
            tokio::join!(reader.read_exact(&mut bytes), writer.write_all(&[0; 1024])).0.unwrap();
            bytes
        });
        assert_eq!(&read.await.unwrap(), b"more");
        reading.await.unwrap().unwrap();
    }

    #[test]
    fn connections_leave_file_descriptors_for_the_rest() {
        let all = [0, 256, 1024, 6399, 6400, 1 << 20].map(connections);
        assert_eq!(all, [0, 0, 384, 3071, CONNECTIONS, CONNECTIONS]);
    }
}
