//! How operations write: read, plan, commit; again from the start if somebody else was faster; once per request id.

use std::{future::Future, time::Duration};

use serde::Serialize;
use signet_core::{
    Error, StoreError, TenantId, Time,
    audit::sha256_hex,
    change::ChangeHead,
    commit::{Commit, Write},
    request::{Outcome, RequestRecord},
    scope::EnvironmentScope,
    store::Versioned,
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

impl App {
    /// Applies a commit. On a moved feed head it reads the head again and retries; every other conflict is the
    /// caller's to resolve.
    pub(crate) async fn commit(&self, commit: &Commit, now: Time) -> Result<(), StoreError> {
        let Some(shard) = commit.feed_shard() else {
            return self.store.transact(commit.to_transaction(None)).await;
        };
        let lock = self.feed_locks.get(shard as usize);
        let _turn = match lock {
            Some(lock) => Some(lock.lock().await),
            None => None,
        };
        let mut wait = Duration::from_millis(2);
        loop {
            let head: Option<Versioned<ChangeHead>> =
                EnvironmentScope::housekeeping().get(&*self.store, &ChangeHead::key_of(shard), now).await?;
            match self.store.transact(commit.to_transaction(head.as_ref())).await {
                Err(StoreError::Conflict { write }) if commit.is_feed_write(write) => {
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(Duration::from_millis(200));
                }
                other => {
                    self.committed.notify_one();
                    return other;
                }
            }
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
        for _ in 0..ATTEMPTS {
            if let Some(outcome) = self.outcome_of(call, tenant, &fingerprint).await? {
                return replay(outcome).await;
            }
            let (commit, answer) = match plan().await {
                Ok(Planned::Unchanged(answer)) => return Ok(answer),
                Ok(Planned::Commit(commit, answer)) => (commit, answer),
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
