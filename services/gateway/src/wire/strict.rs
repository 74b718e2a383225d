//! A connection that carries no request which two parsers could read in two ways.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    chunks::Chunks,
    head::{self, Framing, WireFault},
};

/// Largest head, bytes; hyper has the same limit and says 431.
pub(crate) const MAX_HEAD: usize = 16 * 1024;

/// What is known of a connection's requests, shared with who serves it.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    fault: OnceLock<WireFault>,
    upgraded: AtomicBool,
}

impl Verdict {
    /// Why a request was refused.
    pub(crate) fn fault(&self) -> Option<WireFault> {
        self.fault.get().copied()
    }

    /// What follows the present request is not HTTP. To be said before the client is told.
    pub(crate) fn upgrade(&self) {
        self.upgraded.store(true, Ordering::Release);
    }
}

#[derive(Debug)]
enum Place {
    Head(Vec<u8>),
    Sized(u64),
    Chunked(Chunks),
    /// Not HTTP any more.
    Beyond,
    /// Nothing is read any more.
    Refused,
}

/// See the module's words. After a fault, hyper gets a byte that no request may have, and answers 400 by itself.
#[derive(Debug)]
pub(crate) struct Strict<T> {
    inner: T,
    place: Place,
    verdict: Arc<Verdict>,
}

/// What hyper's parser takes nowhere.
const POISON: &[u8] = b"\0";

impl<T> Strict<T> {
    pub(crate) fn new(inner: T) -> (Self, Arc<Verdict>) {
        let verdict = Arc::<Verdict>::default();
        (Self { inner, place: Place::Head(Vec::new()), verdict: Arc::clone(&verdict) }, verdict)
    }

    /// Looks at new bytes.
    fn look(&mut self, mut bytes: &[u8]) -> Result<(), WireFault> {
        if self.verdict.upgraded.load(Ordering::Acquire) {
            self.place = Place::Beyond;
        }
        while !bytes.is_empty() {
            let taken = match &mut self.place {
                Place::Beyond | Place::Refused => return Ok(()),
                Place::Head(head) => {
                    let (taken, framing) = take_head(head, bytes)?;
                    match framing {
                        Some(Framing::Sized(length)) => self.place = Place::Sized(length),
                        Some(Framing::Chunked) => self.place = Place::Chunked(Chunks::default()),
                        None => {}
                    }
                    taken
                }
                Place::Sized(left) => {
                    let taken = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left = left.saturating_sub(taken as u64);
                    taken
                }
                Place::Chunked(chunks) => {
                    let (taken, over) = chunks.take(bytes)?;
                    if over {
                        self.place = Place::Head(Vec::new());
                    }
                    taken
                }
            };
            if matches!(self.place, Place::Sized(0)) {
                self.place = Place::Head(Vec::new());
            }
            bytes = bytes.get(taken..).unwrap_or_default();
        }
        Ok(())
    }
}

/// Adds bytes to a head; returns how many were its own, and its framing once it is whole.
fn take_head(head: &mut Vec<u8>, bytes: &[u8]) -> Result<(usize, Option<Framing>), WireFault> {
    let mut taken = 0_usize;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        head.extend_from_slice(line);
        taken = taken.saturating_add(line.len());
        if head.len() > MAX_HEAD {
            return Err("the head is larger than 16 KiB");
        }
        if line.last() != Some(&b'\n') {
            break;
        }
        if !head.ends_with(b"\r\n") {
            return Err("a line ends with LF alone");
        }
        // hyper skips empty lines before a request line (RFC 9112 section 2.2); so does a smuggler.
        if *head == *b"\r\n" {
            return Err("there is an empty line before the request");
        }
        if head.ends_with(b"\r\n\r\n") {
            return head::read(head).map(|framing| (taken, Some(framing)));
        }
    }
    Ok((taken, None))
}

impl<T: AsyncRead + Unpin> AsyncRead for Strict<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if matches!(self.place, Place::Refused) {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        match Pin::new(&mut self.inner).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) => {}
            other => return other,
        }
        let new = buffer.filled().get(before..).unwrap_or_default();
        if let Err(fault) = self.look(new) {
            let _ = self.verdict.fault.set(fault);
            self.place = Place::Refused;
            buffer.set_filled(before);
            buffer.put_slice(POISON);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Strict<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    async fn read(bytes: &[u8]) -> (Vec<u8>, Option<WireFault>) {
        let (mut strict, verdict) = Strict::new(bytes);
        let mut out = Vec::new();
        strict.read_to_end(&mut out).await.unwrap();
        (out, verdict.fault())
    }

    #[tokio::test]
    async fn good_requests_pass_as_they_are() {
        let all = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n\n\r\0GET /b HTTP/1.1\r\nHost: a\r\n\r\n\
                    PUT /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\0\r\n0\r\n\r\n\
                    GET /d HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(read(all).await, (all.to_vec(), None));
    }

    #[tokio::test]
    async fn a_request_that_is_hidden_behind_another_is_not_seen() {
        let hidden = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\nTransfer-Encoding: chunked\r\n\r\n\
                       0\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n";
        let (out, fault) = read(hidden).await;
        let out = String::from_utf8(out).unwrap();
        assert!(fault.is_some() && out.ends_with('\0') && !out.contains("GET /b"), "{out:?}");
        for start in ["\r\nGET /a", "\nGET /a", "GET /a HTTP/1.1\nHost: a\n\n"] {
            assert!(read(start.as_bytes()).await.1.is_some(), "{start:?}");
        }
    }
}
