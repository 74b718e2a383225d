//! Looks at who calls before anything of the request is read, and sees that requests come in whole.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, BodyDataStream, Bytes};
use futures::{
    StreamExt,
    future::{Either, Ready, ready},
    stream,
};
use tokio::time::Instant;
use tonic::{
    Status,
    codegen::{Service, http},
    server::NamedService,
};

use super::super::{
    caller::Facts,
    offers::{Nothing, Offers},
    sds::{FETCH, Once, STREAM},
    session::{Held, Peer, refusal},
};

/// How long a request may take to come in.
const PATIENCE: Duration = Duration::from_secs(10);
/// gRPC over HTTP/2: whether it is compressed, and the message's length.
const PREFIX: usize = 5;

/// A service, for callers that a rule admits.
#[derive(Clone, Debug)]
pub(crate) struct Guard<S> {
    pub(crate) inner: S,
    pub(crate) offers: Offers,
    /// The largest message that the service reads.
    pub(crate) most: usize,
    /// How long it may rely on what was read of the caller: not at all where it sends keys.
    pub(crate) trusts: Duration,
}

impl<S: NamedService> NamedService for Guard<S> {
    const NAME: &'static str = S::NAME;
}

type Answer = http::Response<tonic::body::Body>;

impl<S> Service<http::Request<tonic::body::Body>> for Guard<S>
where
    S: Service<http::Request<Body>, Response = Answer, Error = Infallible>,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<Answer, Infallible>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        match admit(&parts.extensions, &self.offers, self.trusts) {
            Ok((peer, facts, stream)) => {
                parts.extensions.insert(Arc::new(stream));
                parts.extensions.insert(facts);
                let goes_on = parts.uri.path() == STREAM;
                if parts.uri.path() == FETCH {
                    parts.extensions.insert(Once);
                    parts.uri = http::Uri::from_static(STREAM);
                }
                let body = Requests::new(Body::new(body), peer, self.most, goes_on).into_body();
                Either::Left(self.inner.call(http::Request::from_parts(parts, body)))
            }
            Err(status) => Either::Right(ready(Ok(status.into_http()))),
        }
    }
}

/// The caller as it is now, and a stream of its share.
fn admit(extensions: &http::Extensions, offers: &Offers, trusts: Duration) -> Result<(Arc<Peer>, Facts, Held), Status> {
    let peer = extensions.get::<Arc<Peer>>().ok_or_else(|| Status::internal("the connection has no caller"))?;
    let facts = peer.facts(trusts).map_err(|error| Status::permission_denied(error.to_string()))?;
    // Whom a rule admits, the method tells itself why there is nothing.
    if let Err(nothing @ Nothing::Denied) = offers.of(&facts) {
        return Err(refusal(&peer.caller, &facts, nothing));
    }
    let held = peer.limits.streams.take(peer.caller.uid, 1);
    let held = held.ok_or_else(|| Status::resource_exhausted("this user has too many streams"))?;
    Ok((Arc::clone(peer), facts, held))
}

/// The messages that come in.
struct Requests {
    body: BodyDataStream,
    peer: Arc<Peer>,
    most: usize,
    /// More may follow at any time.
    goes_on: bool,
    prefix: Vec<u8>,
    /// Bytes of the message that are still to come.
    left: usize,
    /// The share of the largest message: the decoder keeps a buffer of that size.
    held: Option<(usize, Held)>,
    /// `None`: nothing has come in part.
    deadline: Option<Instant>,
}

impl Requests {
    fn new(body: Body, peer: Arc<Peer>, most: usize, goes_on: bool) -> Self {
        let deadline = Some(Instant::now() + PATIENCE);
        let body = body.into_data_stream();
        Self { body, peer, most, goes_on, prefix: Vec::with_capacity(PREFIX), left: 0, held: None, deadline }
    }

    fn into_body(self) -> Body {
        let next = |mut requests: Self| async move {
            let next = requests.next().await.transpose()?;
            Some((next, requests))
        };
        Body::from_stream(stream::unfold(self, next))
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        let next = self.body.next();
        let next = match self.deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, next)
                .await
                .map_err(|_| Status::deadline_exceeded("the request did not come in whole in time"))?,
            None => next.await,
        };
        let Some(bytes) = next.transpose().map_err(|error| Status::cancelled(error.to_string()))? else {
            return Ok(None);
        };
        self.pass(&bytes)?;
        Ok(Some(bytes))
    }

    fn pass(&mut self, mut bytes: &[u8]) -> Result<(), Status> {
        while !bytes.is_empty() {
            let part = if self.prefix.len() < PREFIX { PREFIX - self.prefix.len() } else { self.left };
            let (part, rest) = bytes.split_at(part.min(bytes.len()));
            bytes = rest;
            if self.prefix.len() < PREFIX {
                self.deadline.get_or_insert_with(|| Instant::now() + PATIENCE);
                self.prefix.extend_from_slice(part);
                self.begin()?;
            } else {
                self.left -= part.len();
            }
            if self.prefix.len() == PREFIX && self.left == 0 {
                self.prefix.clear();
                if self.goes_on {
                    self.deadline = None;
                }
            }
        }
        Ok(())
    }

    /// Once a message's length is known.
    fn begin(&mut self) -> Result<(), Status> {
        let &[_, first, second, third, fourth] = self.prefix.as_slice() else { return Ok(()) };
        self.left = u32::from_be_bytes([first, second, third, fourth]).try_into().unwrap_or(usize::MAX);
        if self.left > self.most {
            return Err(Status::resource_exhausted(format!("requests have at most {} bytes", self.most)));
        }
        if self.held.as_ref().is_some_and(|(most, _)| *most >= self.left) {
            return Ok(());
        }
        self.held = None;
        let held = self.peer.limits.requests.take(self.peer.caller.uid, self.left);
        let held = held.ok_or_else(|| Status::resource_exhausted("this user's requests are too large in all"))?;
        self.held = Some((self.left, held));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::{StreamExt, stream};
    use tokio::net::UnixStream;
    use tonic::Code;

    use super::{
        super::super::{caller::Caller, session::Limits},
        Body, Bytes, PATIENCE, Peer, Requests, Status,
    };

    /// What of a request is passed on, and why it ends; then it may wait for ever.
    async fn read(parts: &[&'static [u8]], goes_on: bool) -> (usize, Result<(), Code>, Arc<Peer>) {
        let (one, _other) = UnixStream::pair().unwrap();
        let peer = Arc::new(Peer::new(Caller::of(&one).unwrap(), Arc::new(Limits::default())));
        let parts: Vec<Result<Bytes, Status>> = parts.iter().map(|part| Ok(Bytes::from_static(part))).collect();
        let body = Body::from_stream(stream::iter(parts).chain(stream::pending()));
        let mut requests = Requests::new(body, Arc::clone(&peer), 16, goes_on);
        let mut passed = 0;
        loop {
            // Time does not pass for a deadline that is not there.
            let next = tokio::time::timeout(2 * PATIENCE, requests.next()).await;
            match next {
                Err(_) => return (passed, Ok(()), peer),
                Ok(Ok(bytes)) => passed += bytes.unwrap().len(),
                Ok(Err(status)) => return (passed, Err(status.code()), peer),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_of_one_user_have_a_share() {
        let (_, _, peer) = read(&[], false).await;
        let (mut all, most) = (Vec::new(), 1024 * 1024);
        let one = || Requests::new(Body::empty(), Arc::clone(&peer), most, true);
        let whole = [&[0, 0, 8, 0, 0][..], &[0; 512 * 1024]].concat();
        let refused = loop {
            let mut requests = one();
            match requests.pass(&whole) {
                Ok(()) => all.push(requests),
                Err(status) => break status,
            }
        };
        assert_eq!((all.len(), refused.code()), (48, Code::ResourceExhausted));
        all[0].pass(&whole).unwrap();
        all.pop();
        one().pass(&whole).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_comes_in_whole_and_soon() {
        let whole: &[u8] = b"\0\0\0\0\x03abc";
        let late = Err(Code::DeadlineExceeded);
        for (parts, goes_on, passed, end) in [
            (&[][..], false, 0, late),
            (&[], true, 0, late),
            (&[&whole[..4]], true, 4, late),
            (&[&whole[..7]], true, 7, late),
            (&[whole], false, 8, late),
            (&[whole], true, 8, Ok(())),
            (&[&whole[..2], &whole[2..6], &whole[6..], whole], true, 16, Ok(())),
            (&[whole, &whole[..6]], true, 14, late),
            (&[b"\0\0\0\0\x11"], true, 0, Err(Code::ResourceExhausted)),
        ] {
            let found = read(parts, goes_on).await;
            assert_eq!((found.0, found.1), (passed, end), "{parts:?}, {goes_on}");
        }
    }
}
