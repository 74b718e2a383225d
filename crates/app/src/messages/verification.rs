//! Messages, verified on a node: by the records, so that nothing of it is stale; and accepted once on all nodes.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures::{StreamExt, stream};
use signet_core::{
    Error, PrincipalId, StoreError, TenantId, TenantScope, Time,
    messages::{MessageSecret, SeenMessage},
    store::{
        Entity, Versioned,
        commit::{Commit, Write},
        scope::Books,
    },
};
use signet_messages::{MessageRefusal, ReplayRoom, Replays, SecretPair, SignedBy, SignedMessage};

use super::{fetching::require_sender, keys, secrets};
use crate::{App, AuditEntry, Call, call, ledger, reads};

/// Devices whose secrets are read at once.
const READS_AT_ONCE: usize = 16;

/// Whether a principal of the tenant counts as a sender, by what the node has in memory.
pub type Admits<'a> = &'a (dyn Fn(&PrincipalId) -> bool + Sync);

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
) -> Result<Result<AcceptedMessage, MessageRefusal>, Error> {
    if let Err(refusal) = question.message.require_fresh(call.now.unix_seconds()) {
        return Ok(Err(refusal));
    }
    let sender = sender(app, call, scope, admits, question.principal).await?;
    judged(app, call, scope, &sender, question).await
}

/// The same of several, in their order. What cannot be known of one is [`MessageRefusal::Unknown`].
pub async fn verify_messages(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    admits: Admits<'_>,
    questions: &[MessageQuestion<'_>],
) -> Vec<Result<AcceptedMessage, MessageRefusal>> {
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
    for question in questions {
        each.push(one_of_many(app, call, scope, &senders, *question));
    }
    stream::iter(each).buffered(READS_AT_ONCE).collect().await
}

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
    question: MessageQuestion<'_>,
) -> Result<AcceptedMessage, MessageRefusal> {
    question.message.require_fresh(call.now.unix_seconds())?;
    match senders.get(question.principal) {
        Some(Ok(sender)) => {
            let judged = judged(app, call, scope, sender, question).await;
            judged.unwrap_or(Err(MessageRefusal::Unknown))
        }
        _ => Err(MessageRefusal::Unknown),
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
    let pair = keys::pair(app, scope, &found.value, call.now).await?;
    Ok(Sender::Known(Box::new(found), pair))
}

async fn judged(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    sender: &Sender,
    question: MessageQuestion<'_>,
) -> Result<Result<AcceptedMessage, MessageRefusal>, Error> {
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
    if let Err(refusal) = accept(app, call, scope, question).await? {
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
    question: MessageQuestion<'_>,
) -> Result<Result<(), MessageRefusal>, Error> {
    let MessageQuestion { principal, message } = question;
    let whose = (scope.tenant().clone(), principal.clone());
    let asked_by = secrets::asked_by(call);
    let noted = app.accepting.lock().note(whose.clone(), &message, call.now.unix_seconds());
    match noted {
        Err(MessageRefusal::Replayed) if asked_by.is_some() => {}
        Err(refusal) => return Ok(Err(refusal)),
        Ok(()) => {}
    }
    let seen = SeenMessage::new(scope.tenant(), principal, message.id, asked_by, call.now);
    // It changes nothing that anybody could ask about, and is gone in ten minutes.
    let commit = Commit::bookkeeping(call.now).write(Write::create(seen.clone()));
    let written = ledger::commit(app, &commit, call.now).await;
    let error = match written {
        Ok(()) => return Ok(Ok(())),
        Err(error @ (StoreError::Conflict { .. } | StoreError::Unknown(_))) => error,
        Err(error) => {
            if noted.is_ok() {
                app.accepting.lock().withdraw(&whose, &message);
            }
            return Err(error.into());
        }
    };
    let found = Books.get::<SeenMessage>(&*app.store, &seen.key(), call.now).await?;
    match found {
        Some(found) if found.value.asked_by.is_some() && found.value.asked_by == seen.asked_by => Ok(Ok(())),
        Some(_) => Ok(Err(MessageRefusal::Replayed)),
        // Not applied, as it seems: the caller asks again.
        None => {
            app.accepting.lock().withdraw(&whose, &message);
            Err(error.into())
        }
    }
}

/// Once for each change of secrets: the device may not know of the next one, which it needs in a quarter of an hour.
async fn note_late_use(app: &App, call: &Call, scope: &TenantScope, record: &Versioned<MessageSecret>) {
    let Some(previous) = record.value.previous.as_ref().filter(|previous| previous.is_late(call.now)) else { return };
    let mut noted = record.value.clone();
    if let Some(previous) = noted.previous.as_mut() {
        previous.is_late_noted = true;
    }
    let entry = AuditEntry::done(call, "message_secret", &record.value.principal);
    let entry = entry.detail("used_late", &previous.secret.id).detail("until", previous.until.unix_seconds());
    let commit = call::audited(app, call, scope.tenant(), &entry);
    let commit = commit.write(Write::replace(noted, record.version.clone()));
    // Another node was faster, or its next message is noted.
    if let Err(error) = ledger::commit(app, &commit, call.now).await {
        tracing::debug!(%error, "the late use of a message secret is not noted yet");
    }
}
