//! The chain of checkpoints as it is read, published and watched: see [`signet_core::audit::checkpoint`].

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{Mutex, PoisonError},
};

use signet_core::{
    Error, StoreError, TenantScope, Time,
    audit::checkpoint::{Checkpoint, Head},
    store::{Versioned, scope::Books},
};

use crate::{App, Call, Object, ObjectMeta, ObjectStore, PageRequest, Put, object_store::object, paging};

/// As many checkpoints as a sealer looks at for seals that queries do not see yet: each is of a transaction of its own,
/// and whoever has no answer to one leaves off.
const END: u32 = 10;

/// By this clock nothing has expired that is still there.
pub(crate) const BEFORE_EXPIRY: Time = Time::from_unix_millis(0);
/// The published head's name.
const HEAD: &str = "audit/head.json";

/// Up to a page of checkpoints, and where to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointPage {
    /// Newest first.
    pub checkpoints: Vec<Checkpoint>,
    /// Empty: that was the last page.
    pub next_page_token: String,
}

/// The newest head that this process has seen.
#[derive(Debug, Default)]
pub(crate) struct SeenHead(Mutex<Option<Head>>);

impl SeenHead {
    fn get(&self) -> Option<Head> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn set(&self, head: Head) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.is_none_or(|seen| seen.sequence <= head.sequence) {
            *seen = Some(head);
        }
    }
}

/// Lists the environment's checkpoints, newest first. They say nothing of any tenant to those who cannot read its
/// seals.
pub async fn list_audit_checkpoints(
    app: &App,
    call: &Call,
    _scope: &TenantScope,
    page: &PageRequest,
) -> Result<CheckpointPage, Error> {
    const LISTING: &str = "checkpoints";
    let after = paging::position(page, LISTING)?.map(Checkpoint::older_than);
    let query = after.unwrap_or_else(Checkpoint::newest_first).limit(page.size()?);
    let found = Books.page::<Checkpoint>(&*app.store, &query, call.now).await?;
    let next_page_token = match found.next {
        Some(cursor) => paging::token_after(LISTING, cursor.sort)?,
        None => String::new(),
    };
    let checkpoints = found.records.into_iter().map(|found| found.value).collect();
    Ok(CheckpointPage { checkpoints, next_page_token })
}

/// The checkpoints of `minute` and later, oldest first.
pub(crate) async fn chain_since(app: &App, call: &Call, minute: i64) -> Result<Vec<Checkpoint>, Error> {
    let (mut chain, mut after) = (Vec::new(), None);
    loop {
        let query = Checkpoint::newest_first().limit(100).after(after);
        // One that cannot be read is left out, and the chain is broken there.
        let found = Books.page::<Checkpoint>(&*app.store, &query, call.now).await?;
        chain.extend(found.records.into_iter().map(|found| found.value));
        after = found.next;
        if after.is_none() || chain.last().is_some_and(|oldest| oldest.minute < minute) {
            break;
        }
    }
    chain.retain(|checkpoint| checkpoint.minute >= minute);
    chain.reverse();
    Ok(chain)
}

/// The end of the chain. An error if it does not hold what this process has seen of it.
async fn chain_head(app: &App, now: Time) -> Result<Option<Head>, Error> {
    Ok(chain_end(app, now).await?.last().map(Checkpoint::head))
}

/// The last few checkpoints, oldest first. An error as for `chain_head`.
pub(crate) async fn chain_end(app: &App, now: Time) -> Result<Vec<Checkpoint>, Error> {
    // First what must be there: a chain that grows meanwhile still holds it.
    let seen = app.seen_head.get();
    // One that seems to have expired by a clock that is ahead is followed all the same.
    let query = Checkpoint::newest_first().limit(END);
    let found = Books.page::<Checkpoint>(&*app.store, &query, BEFORE_EXPIRY).await?.records;
    let mut end: BTreeMap<u64, Checkpoint> =
        found.into_iter().map(|found| (found.value.sequence, found.value)).collect();
    // A query may not see yet what was just written (DynamoDB isolates it from single items only); a read by key does.
    let mut next = end.last_key_value().map_or(1, |(last, _)| last.saturating_add(1));
    while let Some(found) = Books.get::<Checkpoint>(&*app.store, &Checkpoint::key_of(next), BEFORE_EXPIRY).await? {
        end.insert(next, found.value);
        next = next.saturating_add(1);
    }
    for between in next.saturating_sub(u64::from(END)).max(1)..next {
        if let Entry::Vacant(missing) = end.entry(between) {
            match Books.get::<Checkpoint>(&*app.store, &Checkpoint::key_of(between), BEFORE_EXPIRY).await {
                Ok(found) => drop(found.map(|found| missing.insert(found.value))),
                // The one after it holds.
                Err(StoreError::Corrupt { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    if let Some(seen) = seen {
        require_held(app, &seen, now).await?;
    }
    if let Some(last) = end.values().last() {
        app.seen_head.set(last.head());
    }
    Ok(end.into_values().collect())
}

/// An error if the chain no longer holds the head `seen`, unless that has expired.
async fn require_held(app: &App, seen: &Head, now: Time) -> Result<(), Error> {
    let key = Checkpoint::key_of(seen.sequence);
    let found: Option<Versioned<Checkpoint>> = Books.get(&*app.store, &key, now).await?;
    let held = match found {
        Some(found) => found.value.digest() == seen.digest,
        None => seen.minute <= now.minus(app.settings.audit_retention).minute(),
    };
    if held {
        return Ok(());
    }
    tracing::error!(sequence = seen.sequence, minute = seen.minute, "the audit log was truncated or rolled back");
    let message = "the newest checkpoints of the audit log are missing: they were removed, or an older store was \
                   restored; see the runbook AuditFinding";
    Err(Error::precondition("AUDIT_LOG_CUT_OFF", message))
}

/// Publishes the end of the chain, which then nobody who can only write to the store can take back.
pub(crate) async fn put_head(app: &App, call: &Call, bucket: &dyn ObjectStore) -> Result<Vec<String>, Error> {
    let there = bucket.look(HEAD).await?;
    if let Some(seen) = there.as_ref().and_then(|there| from_notes(&there.notes)) {
        require_held(app, &seen, call.now).await?;
    }
    replace_head(app, call, bucket, there).await
}

/// Publishes the end of the chain as it is, although it lacks the one that was published: after a restore that the
/// operator knows of. Returns what was put.
pub async fn accept_audit_head(app: &App, call: &Call, bucket: &dyn ObjectStore) -> Result<Vec<String>, Error> {
    app.seen_head.forget();
    let there = bucket.look(HEAD).await?;
    replace_head(app, call, bucket, there).await
}

async fn replace_head(
    app: &App,
    call: &Call,
    bucket: &dyn ObjectStore,
    there: Option<ObjectMeta>,
) -> Result<Vec<String>, Error> {
    let published = there.as_ref().and_then(|there| from_notes(&there.notes));
    let Some(head) = chain_head(app, call.now).await? else { return Ok(Vec::new()) };
    if published == Some(head) {
        return Ok(Vec::new());
    }
    let content = serde_json::to_vec(&head).map_err(Error::internal)?;
    let mut object: Object = object(HEAD.into(), "application/json", content);
    object.notes.extend(to_notes(&head));
    let put = bucket.put(object, there.as_ref().map(|there| there.tag.as_str())).await?;
    Ok(if put == Put::Done { vec![HEAD.into()] } else { Vec::new() })
}

fn to_notes(head: &Head) -> [(String, String); 3] {
    [
        ("sequence".into(), head.sequence.to_string()),
        ("minute".into(), head.minute.to_string()),
        ("digest".into(), hex::encode(head.digest)),
    ]
}

fn from_notes(notes: &BTreeMap<String, String>) -> Option<Head> {
    let mut digest = [0; 32];
    hex::decode_to_slice(notes.get("digest")?, &mut digest).ok()?;
    Some(Head { sequence: notes.get("sequence")?.parse().ok()?, minute: notes.get("minute")?.parse().ok()?, digest })
}
