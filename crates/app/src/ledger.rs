//! How operations write: read, plan, commit; again from the start if somebody else was faster; once per request id.

use std::{future::Future, time::Duration};

use serde::Serialize;
use signet_core::{
    Entropy, Error, StoreError, TenantId, Time,
    audit::sha256_hex,
    commit::{Bookkeeping, Commit, Write},
    request::{Outcome, RequestRecord},
    scope::EnvironmentScope,
    signer::random,
};

use crate::{App, Call};

/// How often an operation starts over because what it had read was changed by others.
pub(crate) const ATTEMPTS: u32 = 8;

/// Longest pause after the first attempt; a round trip to the store takes about as long.
const SHORTEST_PAUSE_MILLIS: u64 = 5;
/// Longest pause of all: with it the attempts take less than two seconds of a request's ten.
const LONGEST_PAUSE_MILLIS: u64 = 200;

/// What an operation decided on.
#[derive(Debug)]
pub enum Planned<T> {
    /// Write this; then the answer is that.
    Commit(Box<Commit>, T),
    /// All is as asked already.
    Unchanged(T),
}

impl App {
    /// Applies a commit; what it announces goes through [`crate::announcing`]. A conflict is the caller's to resolve.
    pub(crate) async fn commit(&self, commit: &Commit, now: Time) -> Result<(), StoreError> {
        match commit.feed_shard() {
            Some(shard) => self.announcer.commit(shard, commit, now).await,
            None => self.store.transact(commit.to_transaction(None)).await,
        }
    }

    /// Carries out a mutating operation once per request id. `plan` reads and decides, and is asked again after a
    /// conflict; `replay` answers a repeated request. `arguments` tell one request from another.
    pub(crate) async fn mutate<T, P, PF, R, RF>(
        &self,
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
            self.pause(attempt).await;
            if let Some(outcome) = self.outcome_of(call, tenant, &fingerprint).await? {
                return replay(outcome).await;
            }
            let (commit, answer) = match plan().await {
                // This too is recorded: repeated after somebody else's change, the request would undo that.
                Ok(Planned::Unchanged(answer)) if call.request_id.is_none() => return Ok(answer),
                Ok(Planned::Unchanged(answer)) => (Commit::bookkeeping(Bookkeeping::Unchanged, call.now), answer),
                Ok(Planned::Commit(commit, answer)) => (*commit, answer),
                // The refusal may come of this very request's first attempt: "exists already".
                Err(refusal) => match self.outcome_of(call, tenant, &fingerprint).await? {
                    Some(outcome) => return replay(outcome).await,
                    None => return Err(refusal),
                },
            };
            let record = request_record(call, tenant, &fingerprint, Outcome::Done);
            let commit = commit.writes(record.map(Write::create));
            match self.commit(&commit, call.now).await {
                Ok(()) => return Ok(answer),
                Err(error @ (StoreError::Conflict { .. } | StoreError::Unknown(_))) => conflict = error.into(),
                Err(error) => return Err(error.into()),
            }
        }
        Err(conflict)
    }

    /// Waits before another attempt at what others were faster with; not before the first.
    pub(crate) async fn pause(&self, attempt: u32) {
        if let Some(before) = attempt.checked_sub(1) {
            tokio::time::sleep(full_jitter(&*self.entropy, before)).await;
        }
    }

    /// What came of this request before; an error if its id was used for something else.
    pub(crate) async fn outcome_of(
        &self,
        call: &Call,
        tenant: &TenantId,
        fingerprint: &str,
    ) -> Result<Option<Outcome>, Error> {
        let Some(id) = &call.request_id else { return Ok(None) };
        let key = RequestRecord::key_of(tenant, &call.actor.key(), id);
        let scope = EnvironmentScope::housekeeping();
        let Some(found) = scope.get::<RequestRecord>(&*self.store, &key, call.now).await? else { return Ok(None) };
        if found.value.fingerprint == fingerprint {
            return Ok(Some(found.value.outcome));
        }
        let message = "was used for another request; take a new id for every new request";
        Err(Error::invalid("request_id", "REQUEST_ID_REUSED", message))
    }
}

/// A pause after `failed` + 1 attempts: anything up to a longest that doubles, so that those who met spread.
pub(crate) fn full_jitter(entropy: &dyn Entropy, failed: u32) -> Duration {
    let longest = SHORTEST_PAUSE_MILLIS.checked_shl(failed).unwrap_or(u64::MAX).min(LONGEST_PAUSE_MILLIS);
    let drawn = u64::from_be_bytes(random(entropy)).checked_rem(longest.saturating_add(1));
    Duration::from_millis(drawn.unwrap_or(longest))
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
