//! The agent's socket: a line is asked, one JSON document answered. `status`: the report. `renew NAME`: the report,
//! once the identity has been told to renew now.

use std::{io, path::Path, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::watch,
    time::timeout,
};

use crate::report::Report;

const LIMIT: Duration = Duration::from_secs(5);
const MAX_LINE: u64 = 200;

/// Asks an identity to renew now; false if there is none of this name.
pub(crate) type Renew = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Answers for ever.
pub(crate) async fn serve(listener: UnixListener, report: watch::Receiver<Report>, renew: Renew) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        // Who hangs up or says nothing gets nothing.
        tokio::spawn(timeout(LIMIT, answer(stream, report.clone(), Arc::clone(&renew))));
    }
}

async fn answer(stream: UnixStream, report: watch::Receiver<Report>, renew: Renew) -> io::Result<()> {
    let mut line = String::new();
    let mut stream = BufReader::new(stream);
    (&mut stream).take(MAX_LINE).read_line(&mut line).await?;
    let known = match line.trim_end().split_once(' ') {
        None => line.trim_end() == "status",
        Some((verb, name)) => verb == "renew" && renew(name),
    };
    let text = if known { serde_json::to_vec(&*report.borrow())? } else { b"null".to_vec() };
    stream.write_all(&text).await?;
    stream.shutdown().await
}

/// Asks a running agent; `None` if it knows nothing of what is asked.
pub(crate) async fn ask(path: &Path, line: &str) -> Result<Option<Report>, String> {
    let failed = |error: io::Error| format!("no agent answers at {}: {error}; is it running?", path.display());
    let work = async {
        let mut stream = UnixStream::connect(path).await?;
        stream.write_all(format!("{line}\n").as_bytes()).await?;
        let mut text = Vec::new();
        stream.read_to_end(&mut text).await.map(|_| text)
    };
    let text = timeout(LIMIT, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(failed)?;
    serde_json::from_slice(&text).map_err(|error| format!("the agent's answer cannot be read: {error}"))
}
