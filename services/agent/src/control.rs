//! The socket that `status` asks: whoever connects gets the report as one JSON document.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::watch,
    time::timeout,
};

use crate::report::Report;

const LIMIT: Duration = Duration::from_secs(5);

/// Opens the socket, for this user and its group. The lock is held: what is there already is a leftover.
pub(crate) fn open(path: &Path) -> Result<UnixListener, String> {
    let failed = |error: io::Error| format!("the socket {} cannot be opened: {error}", path.display());
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(failed)?;
    Ok(listener)
}

/// Answers for ever.
pub(crate) async fn serve(listener: UnixListener, report: watch::Receiver<Report>) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let text = serde_json::to_vec(&*report.borrow()).unwrap_or_default();
        tokio::spawn(timeout(LIMIT, async move {
            // Who hangs up has had enough.
            let _ = stream.write_all(&text).await;
            let _ = stream.shutdown().await;
        }));
    }
}

/// Asks a running agent.
pub(crate) async fn ask(path: &Path) -> Result<Report, String> {
    let failed = |error: io::Error| format!("no agent answers at {}: {error}; is it running?", path.display());
    let work = async {
        let mut stream = UnixStream::connect(path).await?;
        let mut text = Vec::new();
        stream.read_to_end(&mut text).await.map(|_| text)
    };
    let text = timeout(LIMIT, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(failed)?;
    serde_json::from_slice(&text).map_err(|error| format!("the agent's answer cannot be read: {error}"))
}
