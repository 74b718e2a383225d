//! Cuts a connection from outside: the next read or write fails, and pending ones wake up.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll},
};

use futures::task::AtomicWaker;

#[derive(Debug, Default)]
pub(crate) struct Switch {
    cut: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Switch {
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.reader.wake();
        self.writer.wake();
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// Ready with an error once cut; else remembers the reader.
    pub(crate) fn poll_read(&self, cx: &Context<'_>) -> Poll<io::Error> {
        self.poll(&self.reader, cx)
    }

    /// Ready with an error once cut; else remembers the writer.
    pub(crate) fn poll_write(&self, cx: &Context<'_>) -> Poll<io::Error> {
        self.poll(&self.writer, cx)
    }

    fn poll(&self, waker: &AtomicWaker, cx: &Context<'_>) -> Poll<io::Error> {
        // Register first, look second: a cut between the two still wakes.
        waker.register(cx.waker());
        if self.is_cut() { Poll::Ready(io::ErrorKind::ConnectionAborted.into()) } else { Poll::Pending }
    }
}
