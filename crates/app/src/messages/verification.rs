//! Messages, verified on a node: by the records, so that nothing of it is stale; and accepted once on all nodes.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures::{StreamExt, stream};
use signet_core::{
    Error, PrincipalId, StoreError, TenantId, TenantScope, Time,
    audit::sha256_hex,
    authorities::signer::random,
    messages::{MessageSecret, SeenMessage},
    store::{
        Entity, Versioned,
        commit::{Commit, Write},
        scope::Books,
    },
};
use signet_messages::{MessageRefusal, ReplayRoom, Replays, SecretPair, SignedBy, SignedMessage};

use super::{
    keys, secrets,
    senders::{Admits, note_late_use, require_sender},
};
use crate::{
    App, Call,
    ledger::{self, ATTEMPTS, pause},
    reads,
};

/// Devices whose secrets are read at once.
const READS_AT_ONCE: usize = 16;

/// A message, and who is said to have sent it.
#[derive(Clone, Copy, Debug)]
pub struct MessageQuestion<'a> {
    /// The device.
    pub principal: &'a PrincipalId,
    /// What came.
    pub message: SignedMessage<'a>,
}

/// A message that is to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptedMessage {
    /// Which secret has signed it.
    pub by: SignedBy,
    /// Until when the one before verifies, where that has.
    pub grace_until: Option<Time>,
}

/// Whether a message is to be believed, or why not.
pub type MessageVerdict = Result<AcceptedMessage, MessageRefusal>;

/// How many messages this node has accepted of each device in the last ten minutes: a bound for each, and what is known
/// here needs no question to the store.
#[derive(Debug)]
pub(crate) struct Accepting(Mutex<Replays<(TenantId, PrincipalId)>>);

impl Default for Accepting {
    fn default() -> Self {
        // The store has what other processes accepted before this one began.
        Self(Mutex::new(Replays::new(ReplayRoom::default(), i64::MIN)))
    }
}

impl Accepting {
    fn lock(&self) -> MutexGuard<'_, Replays<(TenantId, PrincipalId)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Once it is full the store alone decides, so that no tenant takes what others need.
    fn note(
        &self,
        whose: (TenantId, PrincipalId),
        message: &SignedMessage<'_>,
        now: i64,
    ) -> Result<(), MessageRefusal> {
        let mut seen = self.lock();
        if seen.is_full() { Ok(()) } else { seen.note(whose, message, now) }
    }
}

/// Forgets messages that could not be verified any more. Call it on a timer.
pub fn forget_messages(app: &App, now: Time) {
    app.accepting.lock().forget(now.unix_seconds());
}

/// What is read of a device before its messages are looked at.
enum Sender {
    Known(Box<Versioned<MessageSecret>>, SecretPair),
    Refused(MessageRefusal),
}

/// Whether a message is to be believed. It costs nothing where it cannot be read or is too old, one read where its
/// signature is not good, and else another read and a write. Repeated with the call's request id, it is no replay.
pub async fn verify_message(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    admits: Admits<'_>,
    question: MessageQuestion<'_>,
) -> Result<MessageVerdict, Error> {
    if let Err(refusal) = question.message.require_fresh(call.now.unix_seconds()) {
        return Ok(Err(refusal));
    }
    let sender = sender(app, call, scope, admits, question.principal).await?;
    judged(app, call, scope, &sender, (question, None)).await
}

/// The same of several, in their order; all or, where the store or a key fails, none: those that were accepted then are
/// accepted again with the call's request id.
pub async fn verify_messages(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    admits: Admits<'_>,
    questions: &[MessageQuestion<'_>],
) -> Result<Vec<MessageVerdict>, Error> {
    let now = call.now.unix_seconds();
    let fresh = questions.iter().filter(|question| question.message.require_fresh(now).is_ok());
    let mut devices: Vec<&PrincipalId> = fresh.map(|question| question.principal).collect();
    devices.sort_unstable();
    devices.dedup();
    // Not by closures: what these return lives for one call only.
    let mut reads = Vec::with_capacity(devices.len());
    for device in devices {
        reads.push(named_sender(app, call, scope, admits, device));
    }
    let senders: Senders<'_> = stream::iter(reads).buffer_unordered(READS_AT_ONCE).collect().await;
    let mut each = Vec::with_capacity(questions.len());
    for (place, question) in questions.iter().enumerate() {
        each.push(one_of_many(app, call, scope, &senders, (*question, Some(place))));
    }
    // Each to its end: what is accepted is noted before anything is answered.
    let judged: Vec<Result<MessageVerdict, Error>> = stream::iter(each).buffered(READS_AT_ONCE).collect().await;
    judged.into_iter().collect()
}

/// A question, and its place in a call with several.
type Placed<'a> = (MessageQuestion<'a>, Option<usize>);

type Senders<'a> = HashMap<&'a PrincipalId, Result<Sender, Error>>;

async fn named_sender<'a>(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    admits: Admits<'_>,
    device: &'a PrincipalId,
) -> (&'a PrincipalId, Result<Sender, Error>) {
    (device, sender(app, call, scope, admits, device).await)
}

async fn one_of_many(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    senders: &Senders<'_>,
    (question, place): Placed<'_>,
) -> Result<MessageVerdict, Error> {
    if let Err(refusal) = question.message.require_fresh(call.now.unix_seconds()) {
        return Ok(Err(refusal));
    }
    match senders.get(question.principal) {
        Some(Ok(sender)) => judged(app, call, scope, sender, (question, place)).await,
        // One that cannot be read is no trouble of the others.
        Some(Err(Error::Unreadable { .. })) => Ok(Err(MessageRefusal::Unknown)),
        Some(Err(error)) => Err(error.clone()),
        None => Ok(Err(MessageRefusal::Unknown)),
    }
}

async fn sender(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    admits: Admits<'_>,
    device: &PrincipalId,
) -> Result<Sender, Error> {
    if !admits(device) {
        return Ok(Sender::Refused(MessageRefusal::SenderRefused));
    }
    let Some(found) = secrets::record(app, scope, device, call.now).await? else {
        return Ok(Sender::Refused(MessageRefusal::UnknownSender));
    };
    let Some((current, previous)) = keys::pair(app, scope, &found.value, call.now).await? else {
        return Ok(Sender::Refused(MessageRefusal::Unknown));
    };
    let previous = previous.map(|(secret, until)| (secret, until.unix_seconds()));
    Ok(Sender::Known(Box::new(found), SecretPair::new(current, previous)))
}

async fn judged(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    sender: &Sender,
    (question, place): Placed<'_>,
) -> Result<MessageVerdict, Error> {
    let (record, pair) = match sender {
        Sender::Known(record, pair) => (record, pair),
        Sender::Refused(refusal) => return Ok(Err(*refusal)),
    };
    let by = match pair.verify(&question.message, call.now.unix_seconds()) {
        Ok(by) => by,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let principal = reads::find_principal(app, scope, question.principal, call.now).await?;
    if let Err(refusal) = require_sender(principal.as_ref().map(|found| &found.value), record.value.incarnation) {
        return Ok(Err(refusal));
    }
    if let Err(refusal) = accept(app, call, scope, (question, place)).await? {
        return Ok(Err(refusal));
    }
    if by == SignedBy::Previous {
        note_late_use(app, call, scope, record).await;
    }
    let previous = record.value.previous.as_ref().filter(|_| by == SignedBy::Previous);
    Ok(Ok(AcceptedMessage { by, grace_until: previous.map(|previous| previous.until) }))
}

/// Notes the message here, and where all nodes look. What cannot be noted is not accepted.
async fn accept(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    (question, place): Placed<'_>,
) -> Result<Result<(), MessageRefusal>, Error> {
    let MessageQuestion { principal, message } = question;
    let whose = (scope.tenant().clone(), principal.clone());
    // A call without a request id knows its own write, too, if its answer was lost; nobody repeats it.
    let asked_by = secrets::asked_by(call).unwrap_or_else(|| hex::encode(random::<32>(&*app.entropy)));
    // A message that stands twice in one call is a replay of itself.
    let asked_by = match place {
        None => asked_by,
        Some(place) => sha256_hex(format!("{asked_by}#{place}").as_bytes()),
    };
    match app.accepting.note(whose.clone(), &message, call.now.unix_seconds()) {
        Err(MessageRefusal::Replayed) if call.request_id.is_some() => {}
        Err(refusal) => return Ok(Err(refusal)),
        Ok(()) => {}
    }
    let seen = SeenMessage::new(scope.tenant(), principal, message.id, asked_by, call.now);
    // It changes nothing that anybody could ask about, and is gone in a quarter of an hour.
    let commit = Commit::bookkeeping(call.now).write(Write::create(seen.clone()));
    let taken_back = |error: Error| {
        app.accepting.lock().withdraw(&whose, &message);
        Err(error)
    };
    for attempt in 0..ATTEMPTS {
        pause(app, attempt).await;
        match ledger::commit(app, &commit, call.now).await {
            Ok(()) => return Ok(Ok(())),
            // Somebody's, or this call's own whose answer was lost.
            Err(StoreError::Conflict { .. } | StoreError::Unknown(_)) => {}
            Err(error) => return taken_back(error.into()),
        }
        match Books.get::<SeenMessage>(&*app.store, &seen.key(), call.now).await {
            Ok(Some(found)) => {
                let is_own = found.value.asked_by == seen.asked_by;
                return Ok(if is_own { Ok(()) } else { Err(MessageRefusal::Replayed) });
            }
            // Not applied: again.
            Ok(None) => {}
            Err(error) => return taken_back(error.into()),
        }
    }
    taken_back(Error::Conflict("the message"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_that_fills_the_memory_shuts_nobody_out() {
        let accepting = Accepting(Mutex::new(Replays::new(ReplayRoom { of_sender: 2, of_all: 2 }, i64::MIN)));
        let note = |tenant: &str, id: &str| {
            let message = SignedMessage { id, timestamp: "1800000000", signatures: "", body: b"" };
            accepting.note((tenant.parse().unwrap(), "d1".parse().unwrap()), &message, 1_800_000_000)
        };
        assert_eq!((note("acme", "a"), note("acme", "b")), (Ok(()), Ok(())));
        assert_eq!(note("globex", "a"), Ok(()));
    }
}
