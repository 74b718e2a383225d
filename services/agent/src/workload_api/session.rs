//! One call of one caller: what it gets now, and what it gets when that changes.

use std::sync::Arc;

use tonic::{Request, Status};

use super::{
    caller::Caller,
    offers::{Changes, Nothing, Offers, Svid},
};

/// See the module's words.
pub(crate) struct Session {
    caller: Arc<Caller>,
    offers: Offers,
    changes: Changes,
    sent: Vec<Arc<Svid>>,
}

impl Session {
    /// The error is what the call is answered.
    pub(crate) fn open<T>(request: &Request<T>, offers: &Offers) -> Result<Self, Status> {
        let caller = request.extensions().get::<Arc<Caller>>();
        let caller = Arc::clone(caller.ok_or_else(|| Status::internal("the connection has no caller"))?);
        let changes = offers.changes();
        let mut session = Self { caller, offers: offers.clone(), changes, sent: Vec::new() };
        session.sent = session.look()?;
        let names: Vec<_> = session.sent.iter().map(|svid| svid.name.as_str()).collect();
        tracing::info!(pid = session.caller.pid, uid = session.caller.uid, identities = ?names, "workload admitted");
        Ok(session)
    }

    /// What the caller was told last, or is told first.
    pub(crate) fn svids(&self) -> &[Arc<Svid>] {
        &self.sent
    }

    /// Waits until [`Self::svids`] are others. The error ends the call: nothing is the caller's any longer.
    pub(crate) async fn change(&mut self) -> Result<(), Status> {
        loop {
            self.changes.next().await;
            match self.look() {
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

    /// Each time a key may be sent, it is asked again who holds the connection.
    fn look(&self) -> Result<Vec<Arc<Svid>>, Status> {
        let facts = self.caller.facts().map_err(|error| Status::permission_denied(error.to_string()))?;
        self.offers.of(&facts).map_err(|nothing| match nothing {
            Nothing::Denied => {
                tracing::debug!(pid = self.caller.pid, ?facts, "no identity for this caller");
                Status::permission_denied("no identity is for this caller")
            }
            Nothing::NotReady => Status::unavailable("this caller's identity has no certificate yet"),
        })
    }
}

fn is_same(one: &[Arc<Svid>], other: &[Arc<Svid>]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| Arc::ptr_eq(one, other))
}
