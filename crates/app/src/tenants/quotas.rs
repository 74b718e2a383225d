//! What tenants have, counted, and how they are held to their quotas.

use signet_core::{
    Error, StoreError, TenantId, TenantScope, Time,
    authorities::signer::random,
    principals::{Principal, PrincipalStatus},
    store::{
        Index, LISTING_SHARDS, Query, Table,
        commit::{Commit, Write},
        scope::Books,
        tally::Tally,
    },
    tenants::{
        Tenant,
        quota::{Quota, QuotaCount, Quotas},
    },
};

use crate::{App, Call, Chore, GoOn, TaskReport, ledger, reads, sync::queues::QueueTurn};

/// The part of a tenant's count that one caller of this process may write, until it is dropped: those who met there in
/// the store would start over, and some of many for ever.
#[derive(Debug)]
pub(crate) struct CountTurn<'a> {
    shard: u32,
    _turn: QueueTurn<'a>,
}

impl CountTurn<'_> {
    /// The write that counts `by` more.
    pub(crate) fn count(&self, tally: &Tally, by: i64, until: Option<Time>) -> Write {
        tally.add(by, until, self.shard)
    }
}

/// How much the tenant has, now.
pub async fn quota_use(app: &App, call: &Call, scope: &TenantScope) -> Result<Quotas, Error> {
    let count = |quota| async move { Ok::<_, Error>(tally(app, scope.tenant(), quota, call.now).await?.used()) };
    let rules = async { Ok(reads::rules_of(app, scope.tenant(), call.now).await?.len() as u64) };
    let cas = async { Ok(reads::cas(app, scope, call.now).await?.len() as u64) };
    let (principals, tokens, rules, cas) =
        futures::try_join!(count(Quota::Principals), count(Quota::JoinTokens), rules, cas)?;
    let number = |used: u64| Some(u32::try_from(used).unwrap_or(u32::MAX));
    Ok(Quotas {
        principals: number(principals),
        join_tokens: number(tokens),
        enrollment_rules: number(rules),
        certificate_authorities: number(cas),
    })
}

/// The write that counts one more of `quota`, in the transaction that makes it; an error if the tenant may not have it.
/// Callers at once may each find the last room: then there are as many more as counts that were not the same.
pub(crate) async fn one_more(
    app: &App,
    tenant: &Tenant,
    quota: Quota,
    until: Option<Time>,
    turn: &CountTurn<'_>,
    now: Time,
) -> Result<Write, Error> {
    let tally = tally(app, &tenant.id, quota, now).await?;
    tenant.quotas.check(quota, &tenant.id, tally.used())?;
    Ok(turn.count(&tally, 1, until))
}

/// Waits for a turn to change the count of `quota`, in a part of it that is drawn. Whoever has one waits for nothing
/// but the store, and takes no other.
pub(crate) async fn turn_to_count<'a>(app: &'a App, tenant: &TenantId, quota: Quota) -> CountTurn<'a> {
    let drawn = u32::from_be_bytes(random(&*app.entropy));
    let shard = drawn.checked_rem(quota.shards()).unwrap_or(0);
    let turn = app.counters.take(format!("{tenant}/{}/{shard}", quota.name())).await;
    CountTurn { shard, _turn: turn }
}

/// What is counted of `quota` in a tenant.
pub(crate) async fn tally(app: &App, tenant: &TenantId, quota: Quota, now: Time) -> Result<Tally, Error> {
    let (mut parts, mut unreadable, mut after) = (Vec::new(), Vec::new(), None);
    loop {
        let query = QuotaCount::all_of(tenant, quota).after(after);
        // A part that cannot be read counts nothing: better too much room for some days than none at all.
        let page = Books.page::<QuotaCount>(&*app.store, &query, now).await?;
        parts.extend(page.records);
        unreadable.extend(page.unreadable);
        after = page.next;
        if after.is_none() {
            return Ok(Tally::new(tenant.clone(), quota, parts, unreadable));
        }
    }
}

/// Counts principals one by one in every tenant where that was not done for a week: of a store from before they were
/// counted, and what else went past the counts. Any number of processes may do this at once.
pub async fn recount_quotas(app: &App, chore: &Chore, go_on: GoOn<'_>) -> Result<TaskReport, Error> {
    let mut report = TaskReport::default();
    let (tenants, unreadable) = reads::all_tenants(app, chore.keeper, chore.now).await?;
    report.cannot_read(unreadable);
    for tenant in tenants.into_iter().filter(|tenant| !tenant.is_deleted()) {
        let Some(now) = go_on() else {
            report.unfinished = true;
            break;
        };
        let scope = chore.keeper.tenant(&tenant.id);
        match recount_principals(app, &scope, now).await {
            Ok(None) => {}
            Ok(Some(found)) => report.done.push(format!("{}: {found} principals", tenant.id)),
            Err(error) => report.failed.push((format!("the count of {}", tenant.id), error)),
        }
    }
    Ok(report)
}

async fn recount_principals(app: &App, scope: &TenantScope, now: Time) -> Result<Option<u64>, Error> {
    let tenant = scope.tenant();
    let first = QuotaCount::first_of(tenant, Quota::Principals);
    let first = match scope.get::<QuotaCount>(&*app.store, &first, now).await {
        Err(StoreError::Corrupt { .. }) => None,
        first => first?,
    };
    if !QuotaCount::is_due(first.as_ref().map(|first| &first.value), now) {
        return Ok(None);
    }
    // Before the look: who is made during it counts for itself.
    let tally = tally(app, tenant, Quota::Principals, now).await?;
    let mut live = 0_u64;
    for shard in 0..LISTING_SHARDS {
        let mut after = None;
        loop {
            let query = Query::index(Table::Principals, Index::Listing, Principal::listing(tenant, shard));
            let query = query.limit(1000).after(after);
            let page = scope.page::<Principal>(&*app.store, &query, now).await?;
            let found = page.records.iter().filter(|found| found.value.status != PrincipalStatus::Deleted);
            live = live.saturating_add(found.count() as u64).saturating_add(page.unreadable.len() as u64);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    let commit = Commit::bookkeeping(now).write(tally.recounted(live, now));
    match ledger::commit(app, &commit, now).await {
        Ok(()) => Ok(Some(live)),
        // Somebody counted meanwhile: the next run looks again.
        Err(StoreError::Conflict { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
