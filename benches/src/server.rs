//! A server on a thread of its own, whose processor time is read from within.

use std::{
    net::{Ipv4Addr, SocketAddr},
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    sync::{mpsc, oneshot},
};
use tokio_util::sync::CancellationToken;

use crate::{Result, clock::thread_cpu};

/// Runs until dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    questions: mpsc::UnboundedSender<oneshot::Sender<Duration>>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts `serve` on a listener of 127.0.0.1, in a runtime of one thread.
    pub(crate) fn start<F>(serve: impl FnOnce(TcpListener, CancellationToken) -> F + Send + 'static) -> Result<Self>
    where
        F: Future<Output = ()>,
    {
        let (started, start) = std::sync::mpsc::channel();
        let (questions, mut asked) = mpsc::unbounded_channel::<oneshot::Sender<Duration>>();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let runtime = runtime()?;
        let thread = thread::Builder::new().name("server".into()).spawn(move || {
            runtime.block_on(async {
                let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await else { return };
                // The asker is gone if the program is.
                let _ = started.send(listener.local_addr());
                let answers = async {
                    while let Some(asker) = asked.recv().await {
                        let _ = asker.send(thread_cpu());
                    }
                };
                tokio::select! {
                    () = serve(listener, stopped.clone()) => {}
                    () = answers => {}
                    () = stopped.cancelled() => {}
                }
            });
        })?;
        let address = start.recv()??;
        Ok(Self { address, questions, stop, thread: Some(thread) })
    }

    /// Processor time that its thread has used.
    pub(crate) async fn cpu(&self) -> Result<Duration> {
        let (asker, answer) = oneshot::channel();
        self.questions.send(asker).map_err(|_| "the server has ended")?;
        Ok(answer.await?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // A panic of the server was printed when it happened.
            let _ = thread.join();
        }
    }
}

/// A runtime of one thread.
pub(crate) fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}
