//! How operations write: read, plan, commit; again from the start if somebody else was faster; once per request id.

pub(crate) mod announcing;
pub(crate) mod gate;
pub(crate) mod reporting;
pub(crate) mod revocations;

use std::future::Future;

use serde::Serialize;
use signet_core::{
    Error, StoreError, TenantId, Time,
    audit::sha256_hex,
    store::{
        commit::{Commit, Write},
        request::{Outcome, RequestRecord},
        scope::Books,
    },
};

use crate::{App, Call};

/// How often an operation starts over because what it had read was changed by others.
pub(crate) const ATTEMPTS: u32 = 8;

/// What an operation decided on.
#[derive(Debug)]
pub enum Planned<T> {
    /// Write this; then the answer is that.
    Commit(Box<Commit>, T),
    /// All is as asked already.
    Unchanged(T),
}

/// Applies a commit; what it announces goes through [`crate::ledger::announcing`]. A conflict is the caller's to
/// resolve.
pub(crate) async fn commit(app: &App, commit: &Commit, now: Time) -> Result<(), StoreError> {
    match commit.feed_shard() {
        Some(shard) => {
            app.announcer.commit(shard, commit, now).await?;
            app.revocations.note_commit(commit);
            Ok(())
        }
        None => app.store.transact(commit.to_transaction(None)).await,
    }
}

/// Carries out a mutating operation once per request id. `plan` reads and decides, and is asked again after a
/// conflict; `replay` answers a repeated request. `arguments` tell one request from another.
pub(crate) async fn mutate<T, P, PF, R, RF>(
    app: &App,
    call: &Call,
    tenant: &TenantId,
    arguments: &impl Serialize,
    plan: P,
    replay: R,
) -> Result<T, Error>
where
    P: Fn() -> PF,
    PF: Future<Output = Result<Planned<T>, Error>>,
    R: Fn(Outcome) -> RF,
    RF: Future<Output = Result<T, Error>>,
{
    let fingerprint = fingerprint(call, arguments)?;
    let mut conflict = Error::Conflict("the record");
    for attempt in 0..ATTEMPTS {
        pause(app, attempt).await;
        if let Some(outcome) = outcome_of(app, call, tenant, &fingerprint).await? {
            return replay(outcome).await;
        }
        let (commit, answer) = match plan().await {
            Ok(Planned::Unchanged(answer)) if call.request_id.is_none() => return Ok(answer),
            // A repetition that comes late must not change what others have decided since.
            Ok(Planned::Unchanged(answer)) => (Commit::bookkeeping(call.now), answer),
            Ok(Planned::Commit(commit, answer)) => (*commit, answer),
            // The refusal may come of this very request's first attempt: "exists already".
            Err(refusal) => match outcome_of(app, call, tenant, &fingerprint).await? {
                Some(outcome) => return replay(outcome).await,
                None => return Err(refusal),
            },
        };
        let record = request_record(call, tenant, &fingerprint, Outcome::Done);
        let commit = commit.writes(record.map(Write::create));
        match self::commit(app, &commit, call.now).await {
            Ok(()) => return Ok(answer),
            Err(error @ (StoreError::Conflict { .. } | StoreError::Unknown(_))) => conflict = error.into(),
            Err(error) => return Err(error.into()),
        }
    }
    Err(conflict)
}

/// Waits before another attempt at what others were faster with; not before the first.
pub(crate) async fn pause(app: &App, attempt: u32) {
    if let Some(before) = attempt.checked_sub(1) {
        tokio::time::sleep(announcing::full_jitter(&*app.entropy, before)).await;
    }
}

/// What came of this request before; an error if its id was used for something else.
pub(crate) async fn outcome_of(
    app: &App,
    call: &Call,
    tenant: &TenantId,
    fingerprint: &str,
) -> Result<Option<Outcome>, Error> {
    let Some(id) = &call.request_id else { return Ok(None) };
    let key = RequestRecord::key_of(tenant, &call.actor.key(), id);
    let Some(found) = Books.get::<RequestRecord>(&*app.store, &key, call.now).await? else { return Ok(None) };
    if found.value.fingerprint == fingerprint {
        return Ok(Some(found.value.outcome));
    }
    let message = "was used for another request; use a new id for every new request";
    Err(Error::invalid("request_id", "REQUEST_ID_REUSED", message))
}

/// A digest of the operation and its arguments.
pub(crate) fn fingerprint(call: &Call, arguments: &impl Serialize) -> Result<String, Error> {
    let text = serde_json::to_vec(&(call.operation, arguments)).map_err(Error::internal)?;
    Ok(sha256_hex(&text))
}

/// The record that makes a repetition known; `None` if the caller gave no id.
pub(crate) fn request_record(
    call: &Call,
    tenant: &TenantId,
    fingerprint: &str,
    outcome: Outcome,
) -> Option<RequestRecord> {
    Some(RequestRecord {
        tenant: tenant.clone(),
        actor: call.actor.key(),
        id: call.request_id.clone()?,
        fingerprint: fingerprint.to_owned(),
        outcome,
        at: call.now,
    })
}
