//! The purge of deleted tenants: their keys are ended, and what has no end of its own is removed.
//!
//! One step after the other, each one commit: a run that is cut off leaves what the next one goes on with, and of two
//! runs at once one is refused and goes on behind the other. What ends by itself is left to that: certificates, whose
//! records revocation lists are made of, tokens, requests, versions of
//! authorization models, and the audit log. Refusals do not wait for it: the tenant's
//! record refuses all that it ever had, and stays for good.

use signet_core::{
    Error, StoreError, TenantId, TenantScope,
    authorities::{Ca, CaState},
    authorization::model::AuthorizationModel,
    enrollment::rule::EnrollmentRule,
    messages::{MessageKey, MessageSecret},
    principals::Principal,
    store::{
        Cursor, Index, LISTING_SHARDS, Query, Table, Versioned,
        body::Record,
        commit::{Commit, Write},
        scope::{Books, Listed},
    },
    tenants::{
        Deletion, Purge, Tenant,
        quota::{Quota, QuotaCount},
    },
    tokens::TokenKeys,
    trust::change::Change,
};

use crate::{
    App, AuditEntry, Chore, GoOn, ObjectStore, TaskReport,
    call::{self, LOST_AFTER},
    ledger::{self, ATTEMPTS, pause},
    reads,
    trust::publication,
};

pub use signet_core::restore::since::PURGE;

/// Records that one commit removes or changes: with the others, below the 100 writes of a transaction.
const AT_ONCE: u32 = 80;

/// What a step of a purge came to.
enum Step {
    /// The next one follows.
    Taken,
    /// There is none: the tenant is purged.
    Last(String),
    /// There is none: another run was faster with the last one, or the tenant was undeleted before the first.
    None,
    /// Time is over.
    Late,
}

/// How far a run has come with what a tenant has many of. Their index may still show those that were removed.
#[derive(Clone, Default)]
struct Place {
    secrets: ListPlace,
    principals: ListPlace,
}

/// A place in a list.
#[derive(Clone, Default)]
struct ListPlace {
    shard: u32,
    after: Option<Cursor>,
}

/// A tenant whose purge is due, as it was read for one step.
struct Doomed {
    tenant: Versioned<Tenant>,
    deletion: Deletion,
    purge: Purge,
}

/// Purges the deleted tenants whose grace time is over. `bucket`: where bundles are published, if anywhere. Any number
/// of processes may do this at once.
pub async fn purge_tenants(
    app: &App,
    chore: &Chore,
    bucket: Option<&dyn ObjectStore>,
    go_on: GoOn<'_>,
) -> Result<TaskReport, Error> {
    let mut report = TaskReport::default();
    let (tenants, unreadable) = reads::all_tenants(app, chore.keeper, chore.now).await?;
    report.cannot_read(unreadable);
    for tenant in tenants.into_iter().filter(|tenant| tenant.is_purge_due(chore.now)) {
        match purge(app, chore, bucket, &tenant.id, go_on).await {
            Ok(Step::Last(done)) => report.done.push(done),
            Ok(Step::Late) => {
                report.unfinished = true;
                break;
            }
            Ok(Step::None | Step::Taken) => {}
            Err(error) => report.failed.push((format!("the purge of {}", tenant.id), error)),
        }
    }
    Ok(report)
}

/// Takes steps until there is none.
async fn purge(
    app: &App,
    chore: &Chore,
    bucket: Option<&dyn ObjectStore>,
    id: &TenantId,
    go_on: GoOn<'_>,
) -> Result<Step, Error> {
    let (mut place, mut failed) = (Place::default(), 0);
    loop {
        let Some(now) = go_on() else { return Ok(Step::Late) };
        pause(app, failed).await;
        match step(app, &chore.at(now), bucket, &chore.keeper.tenant(id), &mut place).await {
            Ok(Step::Taken) => failed = 0,
            // Another run was faster with this step.
            Err(Error::Conflict(_)) if failed < ATTEMPTS => failed = failed.saturating_add(1),
            ended => return ended,
        }
    }
}

async fn step(
    app: &App,
    chore: &Chore,
    bucket: Option<&dyn ObjectStore>,
    scope: &TenantScope,
    place: &mut Place,
) -> Result<Step, Error> {
    let tenant = reads::versioned_tenant(app, scope, chore.now).await?;
    let Some(deletion) = tenant.value.deletion.clone().filter(|_| tenant.value.is_purge_due(chore.now)) else {
        return Ok(Step::None);
    };
    let Some(purge) = deletion.purge.clone() else { return begin(app, chore, tenant, deletion).await };
    let doomed = Doomed { tenant, deletion, purge };
    let (cas, unreadable) = reads::cas_and_unreadable(app, scope, chore.now).await?;
    if let Some(unreadable) = unreadable.into_iter().next() {
        // Its key would be paid for and never be found again.
        return Err(StoreError::from(unreadable).into());
    }
    if cas.iter().any(|ca| ca.value.state.is_trusted()) {
        return retire(app, chore, scope.tenant(), cas).await;
    }
    if let Some(ca) = cas.into_iter().next() {
        return end_key(app, chore, doomed, ca).await;
    }
    let (removals, next) = removals(app, chore, scope, place.clone()).await?;
    if !removals.is_empty() {
        let removed = remove(app, chore, doomed, removals).await?;
        *place = next;
        return Ok(removed);
    }
    if let Some(bucket) = bucket {
        publication::publish_last_bundle(app, chore, bucket, scope.tenant()).await?;
    }
    finish(app, chore, doomed).await
}

/// From here on nothing brings the tenant back, and every node has no anchor of it.
async fn begin(app: &App, chore: &Chore, mut tenant: Versioned<Tenant>, deletion: Deletion) -> Result<Step, Error> {
    let purge = Some(Purge::began(chore.now));
    tenant.value.deletion = Some(Deletion { purge, ..deletion });
    let entry = entry(chore, &tenant.value.id).detail("state", "begun");
    commit(app, chore, heard(audited(app, chore, &entry), chore, &tenant.value.id).write(replaced(chore, tenant))).await
}

/// Before a key is ended, its CA is trusted by nobody who asks.
async fn retire(app: &App, chore: &Chore, owner: &TenantId, cas: Vec<Versioned<Ca>>) -> Result<Step, Error> {
    let trusted = cas.into_iter().filter(|ca| ca.value.state.is_trusted()).take(AT_ONCE as usize);
    let (mut steps, mut writes) = (Vec::new(), Vec::new());
    for Versioned { value, version } in trusted {
        steps.push(format!("retired {}", value.id));
        writes.push(Write::replace(Ca { state: CaState::Retired, updated_at: chore.now, ..value }, version));
    }
    let entry = AuditEntry::done(chore, "certificate_authority", owner).detail("steps", steps.join("; "));
    commit(app, chore, call::tenant_commit(app, chore, owner, &entry).writes(writes)).await
}

/// The log of the operator says of each key that it is about to be ended, and that it was.
async fn end_key(app: &App, chore: &Chore, doomed: Doomed, ca: Versioned<Ca>) -> Result<Step, Error> {
    let owner = doomed.tenant.value.id.clone();
    let entry = |state: &str| {
        let entry = AuditEntry::done(chore, "key", &ca.value.key).detail("tenant", &owner);
        entry.detail("certificate_authority", &ca.value.id).detail("state", state)
    };
    commit(app, chore, audited(app, chore, &entry("ending"))).await?;
    app.keys.end(&ca.value.key, &owner).await?;
    let removed = Write::Delete(Ca::key_of(&owner, &ca.value.id), ca.version.clone());
    let ended = audited(app, chore, &entry("ended")).write(removed);
    commit(app, chore, ended.write(doomed.counted(chore, 1, 1))).await
}

/// What is to be removed next, at most as much as one commit takes, and the place behind it.
async fn removals(
    app: &App,
    chore: &Chore,
    scope: &TenantScope,
    mut place: Place,
) -> Result<(Vec<Write>, Place), Error> {
    let (store, now) = (&*app.store, chore.now);
    let page = scope.page(store, &reads::all_of(scope.tenant()).limit(AT_ONCE), now).await?;
    let rules = deletes::<EnrollmentRule>(page)?;
    if !rules.is_empty() {
        return Ok((rules, place));
    }
    let models = deletes::<AuthorizationModel>(scope.page(store, &AuthorizationModel::of(scope.tenant()), now).await?)?;
    if !models.is_empty() {
        return Ok((models, place));
    }
    let keys = deletes::<TokenKeys>(scope.page(store, &TokenKeys::all_of(scope.tenant()), now).await?)?;
    if !keys.is_empty() {
        return Ok((keys, place));
    }
    let key = MessageKey::key_of(scope.tenant());
    if let Some(found) = scope.get::<MessageKey>(store, &key, now).await? {
        return Ok((vec![Write::Delete(key, found.version)], place));
    }
    let query = |shard| MessageSecret::list(scope.tenant(), shard);
    let secrets = listed::<MessageSecret>(app, chore, scope, &mut place.secrets, query).await?;
    if !secrets.is_empty() {
        return Ok((secrets, place));
    }
    let query = |shard| Query::index(Table::Principals, Index::Listing, Principal::listing(scope.tenant(), shard));
    let principals = listed::<Principal>(app, chore, scope, &mut place.principals, query).await?;
    if !principals.is_empty() {
        return Ok((principals, place));
    }
    for quota in Quota::ALL {
        let page = Books.page(store, &QuotaCount::all_of(scope.tenant(), quota).limit(AT_ONCE), now).await?;
        let counts = deletes::<QuotaCount>(page)?;
        if !counts.is_empty() {
            return Ok((counts, place));
        }
    }
    Ok((Vec::new(), place))
}

/// The writes that delete the next page of a list of the tenant's that has any, behind `place`.
async fn listed<E: Record>(
    app: &App,
    chore: &Chore,
    scope: &TenantScope,
    place: &mut ListPlace,
    query: impl Fn(u32) -> Query,
) -> Result<Vec<Write>, Error> {
    while place.shard < LISTING_SHARDS {
        let query = query(place.shard).limit(AT_ONCE).after(place.after.take());
        let page = scope.page(&*app.store, &query, chore.now).await?;
        place.after = page.next.clone();
        place.shard = place.shard.saturating_add(u32::from(page.next.is_none()));
        let writes = deletes::<E>(page)?;
        if !writes.is_empty() {
            return Ok(writes);
        }
    }
    Ok(Vec::new())
}

/// The writes that delete a page of records, those that cannot be read too.
fn deletes<E: Record>(page: Listed<E>) -> Result<Vec<Write>, Error> {
    let readable = page.records.into_iter().map(|found| Ok(Write::Delete(found.value.key(), found.version)));
    let others = page.unreadable.into_iter().map(|found| match found.version.clone() {
        Some(version) => Ok(Write::Delete(found.key, version)),
        None => Err(StoreError::from(found).into()),
    });
    readable.chain(others).collect()
}

async fn remove(app: &App, chore: &Chore, doomed: Doomed, removals: Vec<Write>) -> Result<Step, Error> {
    let records = removals.len() as u64;
    let id = doomed.tenant.value.id.clone();
    let entry = entry(chore, &id).detail("state", "removing").detail("records", records);
    let removed = audited(app, chore, &entry).writes(removals);
    commit(app, chore, removed.write(doomed.counted(chore, 0, records))).await
}

/// What is left is the tenant's record: its id is never given again.
async fn finish(app: &App, chore: &Chore, doomed: Doomed) -> Result<Step, Error> {
    let Doomed { mut tenant, deletion, purge } = doomed;
    let id = tenant.value.id.clone();
    let Purge { keys, records, .. } = purge;
    let entry = entry(chore, &id).detail("state", "done").detail("keys", keys).detail("records", records);
    let purge = Some(Purge { done_at: Some(chore.now), ..purge });
    tenant.value = tenant.value.tombstone(Deletion { purge, ..deletion });
    commit(app, chore, heard(audited(app, chore, &entry), chore, &id).write(replaced(chore, tenant))).await?;
    Ok(Step::Last(format!("{id}: {keys} keys ended, {records} records removed")))
}

impl Doomed {
    /// The tenant's record with what a step has removed; nobody else has taken it meanwhile.
    fn counted(self, chore: &Chore, keys: u64, records: u64) -> Write {
        let Self { mut tenant, deletion, purge } = self;
        let (keys, records) = (purge.keys.saturating_add(keys), purge.records.saturating_add(records));
        tenant.value.deletion = Some(Deletion { purge: Some(Purge { keys, records, ..purge }), ..deletion });
        replaced(chore, tenant)
    }
}

fn replaced(chore: &Chore, tenant: Versioned<Tenant>) -> Write {
    Write::replace(Tenant { updated_at: chore.now, ..tenant.value }, tenant.version)
}

/// What the purge does is in the log of the operator.
fn audited(app: &App, chore: &Chore, entry: &AuditEntry) -> Commit {
    call::audited(app, chore, &TenantId::system(), entry)
}

fn entry(chore: &Chore, id: &TenantId) -> AuditEntry {
    AuditEntry::done(chore, "tenant", id)
}

/// Every node reads the tenant again.
fn heard(commit: Commit, chore: &Chore, id: &TenantId) -> Commit {
    commit.announce(id, Change::TenantChanged, chore.now.plus(LOST_AFTER).plus(LOST_AFTER))
}

async fn commit(app: &App, chore: &Chore, commit: Commit) -> Result<Step, Error> {
    match ledger::commit(app, &commit, chore.now).await {
        Ok(()) => Ok(Step::Taken),
        // What was written, if anything, the next step sees.
        Err(StoreError::Conflict { .. } | StoreError::Unknown(_)) => Err(Error::Conflict("the tenant")),
        Err(error) => Err(error.into()),
    }
}
