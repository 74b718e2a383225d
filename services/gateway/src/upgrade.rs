//! A WebSocket, as long as its caller may have it.

use std::{future::pending, time::Duration};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::time::{sleep, timeout};

use crate::{
    pump,
    stream::{Ends, idle, over, token_over},
};

/// For both sides to have written and read the answer that changes the protocol.
const PATIENCE: Duration = Duration::from_secs(10);

/// Carries frames, unread, until one side ends, or the caller may no more.
pub(crate) async fn carry(client: OnUpgrade, server: OnUpgrade, mut ends: Ends) {
    let upgraded = timeout(PATIENCE, async { tokio::try_join!(client, server) });
    let Ok(Ok((client, server))) = upgraded.await else { return };
    let token = async {
        match ends.token_left {
            Some(left) => sleep(left).await,
            None => pending().await,
        }
    };
    let (client, server) = (TokioIo::new(client), TokioIo::new(server));
    let cut = tokio::select! {
        biased;
        () = ends.access.ended() => over(&ends.access),
        () = token => token_over(),
        was_silent = pump::carry(client, server, Some(ends.idle)) => match was_silent {
            true => idle(),
            false => return,
        },
    };
    ends.cut(&cut);
}
