//! Record by record: what was, beside what is.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt, future::try_join_all, stream};
use signet_core::{
    Error, StoreError, TenantId, Time,
    restore::{
        merge::{Merged, announcements, merge, withheld},
        since::Since,
    },
    store::{
        Body, Key, Query, Segment, SortRange, Table, Version, Versioned,
        commit::{Commit, Write},
    },
    trust::change::Change,
};

use crate::{
    App, AuditEntry, Call,
    call::{self, LOST_AFTER},
    ledger::{self, ATTEMPTS, pause},
    restore::{
        earlier::EarlierStore,
        report::{RestoreReport, TableReport},
    },
};

/// Records of one transaction: with their announcements, and with certificates, far below what a store takes.
const AT_ONCE: usize = 25;
/// How many of these are under way.
const CONCURRENT: usize = 8;
/// Most that is told in words.
const MOST_TOLD: usize = 1000;

/// What is under a key now.
enum Live {
    None,
    Found(Box<Versioned<Body>>),
    /// It is written anew.
    Unreadable(Version),
}

impl Live {
    fn body(&self) -> Option<&Body> {
        match self {
            Self::Found(found) => Some(&found.value),
            Self::None | Self::Unreadable(_) => None,
        }
    }
}

/// What came of some records.
#[derive(Default)]
struct Done {
    missing: u64,
    changed: u64,
    withheld: Vec<String>,
}

/// Restores one table, or with `writes` false counts only.
pub(super) async fn restore_table(
    app: &App,
    call: &Call,
    source: &EarlierStore<'_>,
    (since, writes): (&Since, bool),
    table: Table,
    report: &mut RestoreReport,
) -> Result<(), Error> {
    let mut told = TableReport { table: table.name(), ..TableReport::default() };
    let mut query = Query::segment(table, Segment { number: 0, of: 1 });
    loop {
        let page = source.store.query(&query, call.now).await?;
        report.unreadable.extend(page.unreadable.iter().map(|record| record.key.to_string()));
        told.read = told.read.saturating_add(page.records.len() as u64);
        let pieces = pieces(page.records.into_iter().map(|record| record.value));
        let pieces = stream::iter(
            pieces
                .iter()
                .map(|(tenant, piece)| restore_piece(app, call, source.name, (since, writes), (tenant, piece))),
        );
        let mut pieces = pieces.buffer_unordered(CONCURRENT);
        while let Some(done) = pieces.try_next().await? {
            told.missing = told.missing.saturating_add(done.missing);
            told.changed = told.changed.saturating_add(done.changed);
            let room = MOST_TOLD.saturating_sub(report.withheld.len());
            report.withheld.extend(done.withheld.into_iter().take(room));
        }
        source.tell(table.name(), told.read);
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    report.tables.push(told);
    Ok(())
}

/// A commit is about one tenant.
fn pieces(records: impl Iterator<Item = Body>) -> Vec<(TenantId, Vec<Body>)> {
    let mut by_tenant: BTreeMap<TenantId, Vec<Body>> = BTreeMap::new();
    for record in records {
        by_tenant.entry(record.tenant().clone()).or_default().push(record);
    }
    let split = |(tenant, records): (TenantId, Vec<Body>)| {
        let pieces: Vec<_> = records.chunks(AT_ONCE).map(|piece| (tenant.clone(), piece.to_vec())).collect();
        pieces
    };
    by_tenant.into_iter().flat_map(split).collect()
}

async fn restore_piece(
    app: &App,
    call: &Call,
    source: &str,
    (since, writes): (&Since, bool),
    (tenant, kept): (&TenantId, &Vec<Body>),
) -> Result<Done, Error> {
    let mut failed = Error::Conflict("the record");
    for attempt in 0..ATTEMPTS {
        pause(app, attempt).await;
        let live = try_join_all(kept.iter().map(|body| live(app, body.key(), call))).await?;
        let (mut done, mut changes, mut written) = (Done::default(), Vec::new(), Vec::new());
        for (kept, live) in kept.iter().zip(live) {
            let merged = merge(kept, live.body(), since, call.now);
            let count = if matches!(live, Live::None) { &mut done.missing } else { &mut done.changed };
            *count = count.saturating_add(u64::from(merged != Merged::Same));
            written.extend(match (merged, live) {
                (Merged::Same, _) | (Merged::Deleted, Live::None) => None,
                (Merged::Changed(body), live) => {
                    done.withheld.extend(withheld(kept, &body));
                    changes.extend(announcements(&body, live.body(), call.now));
                    Some(match live {
                        Live::None => Write::Create(*body),
                        Live::Found(found) => Write::Replace(*body, found.version),
                        Live::Unreadable(version) => Write::Replace(*body, version),
                    })
                }
                (Merged::Deleted, Live::Found(found)) => Some(Write::Delete(kept.key(), found.version)),
                (Merged::Deleted, Live::Unreadable(version)) => Some(Write::Delete(kept.key(), version)),
            });
        }
        if written.is_empty() || !writes {
            return Ok(done);
        }
        let first = written.first().map(|write| write.key().to_string()).unwrap_or_default();
        let entry = AuditEntry::done(call, "restore", source).detail("records", written.len()).detail("first", first);
        let commit = call::audited(app, call, tenant, &entry).writes(written);
        match ledger::commit(app, &announcing(commit, tenant, changes, call), call.now).await {
            Ok(()) => return Ok(done),
            Err(error @ (StoreError::Conflict { .. } | StoreError::Unknown(_))) => failed = error.into(),
            Err(error) => return Err(error.into()),
        }
    }
    Err(failed)
}

fn announcing(commit: Commit, tenant: &TenantId, changes: Vec<(Change, Time)>, call: &Call) -> Commit {
    changes.into_iter().fold(commit, |commit, (change, until)| {
        // Who starts reads the tenants themselves.
        let until = if change == Change::TenantChanged { call.now.plus(LOST_AFTER).plus(LOST_AFTER) } else { until };
        commit.announce(tenant, change, until)
    })
}

async fn live(app: &App, key: Key, call: &Call) -> Result<Live, Error> {
    let unreadable = match app.store.get(&key, call.now).await {
        Ok(None) => return Ok(Live::None),
        Ok(Some(found)) => return Ok(Live::Found(Box::new(found))),
        Err(error @ StoreError::Corrupt { .. }) => error,
        Err(error) => return Err(error.into()),
    };
    // Its version stands beside its body, and only a page shows it.
    let range = SortRange::Between(key.sort.clone(), key.sort.clone());
    let page = app.store.query(&Query::table(key.table, key.partition).range(range), call.now).await?;
    let version = page.unreadable.into_iter().find_map(|record| record.version);
    version.map(Live::Unreadable).ok_or_else(|| unreadable.into())
}

/// Bearer proofs that were used since, where the store has lost that.
pub(super) async fn remember_proofs(app: &App, call: &Call, since: &Since) -> Result<(), Error> {
    let proofs = since.proofs.values().filter(|proof| proof.until > call.now).map(|proof| Body::from(proof.clone()));
    for (tenant, piece) in pieces(proofs) {
        restore_piece(app, call, "the audit log", (since, true), (&tenant, &piece)).await?;
    }
    Ok(())
}

/// Tells every node of what was refused since and has no record any more.
pub(super) async fn announce_lost(app: &App, call: &Call, since: &Since) -> Result<(), Error> {
    let mut by_tenant: BTreeMap<TenantId, Vec<(Change, Time)>> = BTreeMap::new();
    for (tenant, change, until) in since.announcements(call.now) {
        by_tenant.entry(tenant).or_default().push((change, until));
    }
    for (tenant, changes) in by_tenant {
        for changes in changes.chunks(AT_ONCE) {
            announce(app, call, &tenant, changes.to_vec()).await?;
        }
    }
    Ok(())
}

async fn announce(app: &App, call: &Call, tenant: &TenantId, changes: Vec<(Change, Time)>) -> Result<(), Error> {
    let entry = AuditEntry::done(call, "restore", "refusals").detail("announced", changes.len());
    let commit = call::audited(app, call, tenant, &entry);
    Ok(ledger::commit(app, &announcing(commit, tenant, changes, call), call.now).await?)
}

/// Tells every node again of all that is refused.
pub(super) async fn announce_all(app: &App, call: &Call, source: &EarlierStore<'_>) -> Result<(), Error> {
    let mut announced = 0_u64;
    for table in [Table::Principals, Table::Certificates] {
        let mut query = Query::segment(table, Segment { number: 0, of: 1 });
        loop {
            let page = app.store.query(&query, call.now).await?;
            for (tenant, piece) in pieces(page.records.into_iter().map(|record| record.value)) {
                let changes: Vec<_> = piece.iter().flat_map(|body| announcements(body, Some(body), call.now)).collect();
                if changes.is_empty() {
                    continue;
                }
                announced = announced.saturating_add(changes.len() as u64);
                announce(app, call, &tenant, changes).await?;
                source.tell("refusals announced again", announced);
            }
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
    }
    Ok(())
}
