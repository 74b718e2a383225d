//! One call of one caller: what it gets now, and what it gets when that changes.

mod asking;
mod peer;
mod shares;

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tonic::{Request, Status};

pub(crate) use self::{
    peer::{Limits, Peer},
    shares::{Held, Shares},
};
use super::{
    caller::{Caller, Facts},
    offers::{Changes, Nothing, Offers, Svid},
};

/// Larger answers count as this: each must fit a user's share. A revocation list of 100,000 entries makes one so large.
const LARGEST: usize = 16 * 1024 * 1024;
/// How often a caller that takes nothing is looked at.
const AGAIN: Duration = Duration::from_millis(100);

/// See the module's words.
pub(crate) struct Session {
    peer: Arc<Peer>,
    offers: Offers,
    changes: Changes,
    sent: Vec<Arc<Svid>>,
    /// How often the connection was flushed before the last answer, and the answer's share.
    last: Option<(u64, Held)>,
    /// The stream's share.
    _held: Option<Arc<Held>>,
}

impl Session {
    /// The error is what the call is answered.
    pub(crate) fn open<T>(request: &Request<T>, offers: &Offers) -> Result<Self, Status> {
        let peer = request.extensions().get::<Arc<Peer>>();
        let peer = Arc::clone(peer.ok_or_else(|| Status::internal("the connection has no caller"))?);
        let held = request.extensions().get::<Arc<Held>>().cloned();
        let changes = offers.changes();
        let sent = look(&peer.caller, offers)?;
        let names: Vec<_> = sent.iter().map(|svid| svid.name.as_str()).collect();
        tracing::info!(pid = peer.caller.pid, uid = peer.caller.uid, identities = ?names, "workload admitted");
        Ok(Self { peer, offers: offers.clone(), changes, sent, last: None, _held: held })
    }

    /// What the caller was told last, or is told first.
    pub(crate) fn svids(&self) -> &[Arc<Svid>] {
        &self.sent
    }

    /// Asks again who holds the connection, once what it is to get has come from elsewhere.
    pub(crate) fn look_again(&self) -> Result<Vec<Arc<Svid>>, Status> {
        look(&self.peer.caller, &self.offers)
    }

    /// Counts a token that the control plane is to be asked for.
    pub(crate) fn may_ask(&self) -> Result<(), Status> {
        let may = self.peer.limits.asking.take(self.peer.caller.process(), Instant::now());
        let message = "this process asks for tokens of too many different audiences: retry in a second";
        if may { Ok(()) } else { Err(Status::resource_exhausted(message)) }
    }

    /// Waits until [`Self::svids`] are others. The error ends the call: nothing is the caller's any longer.
    pub(crate) async fn change(&mut self) -> Result<(), Status> {
        loop {
            self.changes.next().await;
            match look(&self.peer.caller, &self.offers) {
                Ok(svids) if is_same(&svids, &self.sent) => {}
                Ok(svids) => {
                    self.sent = svids;
                    return Ok(());
                }
                // Between two certificates the last one has to do.
                Err(status) if status.code() == tonic::Code::Unavailable => {}
                Err(status) => return Err(status),
            }
        }
    }

    /// Waits until the last answer was taken: a caller that does not read has one for each stream.
    pub(crate) async fn taken(&mut self) {
        if let Some((flushes, _)) = &self.last {
            self.peer.flush_after(*flushes).await;
        }
        self.last = None;
    }

    /// Waits until there is room for an answer, which is made at once then.
    pub(crate) async fn room(&mut self) {
        let (uid, size) = (self.peer.caller.uid, self.sent.iter().map(|svid| size(svid)).sum::<usize>().min(LARGEST));
        self.last = None;
        let held = loop {
            if let Some(held) = self.peer.limits.answers.take(uid, size) {
                break held;
            }
            tokio::time::sleep(AGAIN).await;
        };
        self.last = Some((self.peer.flushes(), held));
    }
}

/// Each time a key may be sent, it is asked again who holds the connection.
pub(crate) fn look(caller: &Caller, offers: &Offers) -> Result<Vec<Arc<Svid>>, Status> {
    let facts = caller.facts().map_err(|error| Status::permission_denied(error.to_string()))?;
    offers.of(&facts).map_err(|nothing| refusal(caller, &facts, nothing))
}

pub(crate) fn refusal(caller: &Caller, facts: &Facts, nothing: Nothing) -> Status {
    match nothing {
        Nothing::Denied | Nothing::Refused => {
            tracing::debug!(pid = caller.pid, ?facts, "no identity for this caller");
            Status::permission_denied("no identity is for this caller")
        }
        Nothing::NotReady => Status::unavailable("this caller's identity has no certificate yet"),
    }
}

/// About what an identity takes in an answer, where its certificate may be twice, as PEM.
fn size(svid: &Svid) -> usize {
    let keys = svid.svid_keys.jwks().len();
    let ders = svid.chain_der.iter().chain(&svid.anchors_der).chain(svid.revocations.lists());
    3 * ders.map(Vec::len).sum::<usize>() + keys + 1024
}

fn is_same(one: &[Arc<Svid>], other: &[Arc<Svid>]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| Arc::ptr_eq(one, other))
}
