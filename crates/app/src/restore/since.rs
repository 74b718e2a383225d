//! What the present audit log and changes feed say of the time since an earlier state.

use futures::{StreamExt, TryStreamExt, stream};
use signet_core::{
    Error, Lifetime, Store, StoreError, Time,
    audit::{AUDIT_SHARDS, AuditEvent, SealHead},
    restore::since::Since,
    store::{Body, Query, Segment, Table, scope::Books},
    trust::change::{ChangeEntry, FEED_SHARDS},
};

use crate::{
    App,
    restore::earlier::{EarlierStore, roots_in},
};

/// Events of the last minutes before the source's last seal may have been written after it was made.
const BEFORE_SEAL: i64 = 15;
/// Clocks of nodes differ, and an event may be of a later minute where those before it are sealed.
const AHEAD: Lifetime = Lifetime::hours(1);
/// How many parts of minutes are read at once.
const CONCURRENT_READS: usize = 16;

/// Reads all that was decided since `source` was the state of the store.
pub(super) async fn read(app: &App, source: &EarlierStore<'_>, now: Time) -> Result<Since, Error> {
    let mut since = Since::default();
    let first = sealed_through(source.store, now).await?.saturating_sub(BEFORE_SEAL);
    // This machine's clock may be behind those that wrote.
    let last = now.minute().max(first).max(sealed_through(&*app.store, now).await?);
    let last = last.saturating_add(i64::from(AHEAD.as_seconds() / 60));
    let parts = (first..=last).map(|minute| read_minute(app, minute, now));
    let mut minutes = stream::iter(parts).buffered(CONCURRENT_READS);
    let mut read = 0_u64;
    while let Some((events, unreadable)) = minutes.try_next().await? {
        read = read.saturating_add(1);
        source.tell("minutes of the audit log since then", read);
        events.iter().for_each(|event| since.audited(event));
        since.unreadable.extend(unreadable);
    }
    drop(minutes);
    find_purged(app, now, &mut since).await?;
    for shard in 0..FEED_SHARDS {
        let mut query = ChangeEntry::after(shard, 0);
        loop {
            let page = Books.page::<ChangeEntry>(&*app.store, &query, now).await?;
            page.records.iter().for_each(|entry| since.announced(&entry.value));
            since.unreadable.extend(page.unreadable.iter().map(|entry| entry.key.to_string()));
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
    }
    Ok(since)
}

/// The records say of which tenants nothing comes back, also where the log has forgotten it.
async fn find_purged(app: &App, now: Time, since: &mut Since) -> Result<(), Error> {
    let mut query = Query::segment(Table::Tenants, Segment { number: 0, of: 1 });
    loop {
        let page = app.store.query(&query, now).await?;
        for record in page.records {
            if let Body::Tenant(tenant) = record.value {
                since.found(&tenant);
            }
        }
        query.after = page.next;
        if query.after.is_none() {
            return Ok(());
        }
    }
}

/// The last minute that was sealed in `source`: it is no older than that. Without one, the minute it was made.
async fn sealed_through(source: &dyn Store, now: Time) -> Result<i64, Error> {
    match Books.get::<SealHead>(source, &SealHead::key_of(), now).await {
        Ok(Some(head)) => return Ok(head.value.minute),
        Ok(None) | Err(StoreError::Corrupt { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let roots = roots_in(source, now).await?;
    Ok(roots.iter().map(|root| root.not_before.minute()).min().unwrap_or(0))
}

/// All tenants' events of a minute, in the order of time, and what cannot be read of them.
async fn read_minute(app: &App, minute: i64, now: Time) -> Result<(Vec<AuditEvent>, Vec<String>), Error> {
    let (mut events, mut unreadable) = (Vec::new(), Vec::new());
    for shard in 0..AUDIT_SHARDS {
        let mut query = Query::table(Table::Audit, AuditEvent::minute_partition(minute, shard)).limit(1000);
        loop {
            let page = app.store.query(&query, now).await?;
            events.extend(page.records.into_iter().filter_map(|record| match record.value {
                Body::AuditEvent(event) => Some(event),
                _ => None,
            }));
            unreadable.extend(page.unreadable.iter().map(|record| record.key.to_string()));
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
    }
    events.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
    Ok((events, unreadable))
}
