//! A restore from an earlier state of the store, beside the present one: its records come back, and nothing that was
//! refused, revoked or used up since.
//!
//! The run puts a marker into the store, and waits until nobody else writes ([`crate::ledger::gate`]). Then it reads
//! what was decided since, and writes record after record ([`signet_core::restore::merge`]). Each write is safe by
//! itself, so that a run that is cut off leaves a store in which only the restore goes on.

mod earlier;
mod records;
mod report;
mod since;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use signet_core::{
    Error, Serial, StoreError, TenantId, Time,
    authorities::signer::random,
    restore::{Restoration, since::Since},
    store::{Table, Versioned, commit::Write, scope::Books},
    trust::change::{ChangeHead, FEED_SHARDS},
};

use crate::{
    App, AuditEntry, Call, Planned, call,
    ledger::{self, gate::QUIET_AFTER},
    restore::earlier::refuse_foreign,
};

pub use earlier::EarlierStore;
pub use report::{RestoreReport, TableReport};

/// The tables that come back. The changes feed does not: it holds refusals, and the present one has the most.
pub const RESTORED: [Table; 6] =
    [Table::Tenants, Table::Principals, Table::Certificates, Table::Enrollments, Table::Requests, Table::Audit];

/// The restore that is under way, if one is.
pub async fn under_way(app: &App, now: Time) -> Result<Option<Restoration>, Error> {
    Ok(marker(app, now).await?.map(|marker| marker.value))
}

async fn marker(app: &App, now: Time) -> Result<Option<Versioned<Restoration>>, Error> {
    Ok(Books.get::<Restoration>(&*app.store, &Restoration::key_of(), now).await?)
}

/// Says what [`restore`] would do now. Changes nothing.
pub async fn survey(app: &App, call: &Call, source: &EarlierStore<'_>) -> Result<RestoreReport, Error> {
    refuse_foreign(app, source, call.now).await?;
    let cut_off = refuse_another(app, source, call.now).await?;
    let lost = feed_is_lost(app, call.now).await?;
    let report = carry_out(app, call, source, lost, false).await?;
    // What a run before has written of the audit log hides that it was lost.
    Ok(RestoreReport { audit_lost: report.audit_lost || cut_off.is_some_and(|run| run.audit_lost), ..report })
}

/// Restores what `survey` has told. Run again after it was cut off, it goes on.
pub async fn restore(
    app: &App,
    call: &Call,
    source: &EarlierStore<'_>,
    survey: &RestoreReport,
) -> Result<RestoreReport, Error> {
    refuse_foreign(app, source, call.now).await?;
    refuse_another(app, source, call.now).await?;
    let begun = begin(app, call, source, survey.audit_lost).await?;
    source.tell("waiting until nobody else writes", 0);
    tokio::time::sleep(QUIET_AFTER).await;
    if begun.feed_lost {
        renew_heads(app, call).await?;
    }
    let report = carry_out(app, call, source, begun.feed_lost, true).await?;
    let report = RestoreReport { audit_lost: report.audit_lost || begun.audit_lost, ..report };
    if end(app, call, "finished").await? {
        return Ok(report);
    }
    let message = "the restore was ended by another run before this one was done: what is restored may be incomplete";
    Err(Error::precondition("RESTORE_ENDED", message))
}

/// Ends a restore that was cut off and cannot go on. What it has written stays. Returns whether there was one.
pub async fn give_up(app: &App, call: &Call) -> Result<bool, Error> {
    let Some(marker) = under_way(app, call.now).await? else { return Ok(false) };
    app.gate.act_as(&marker.run);
    end(app, call, "given up").await
}

async fn carry_out(
    app: &App,
    call: &Call,
    source: &EarlierStore<'_>,
    feed_lost: bool,
    writes: bool,
) -> Result<RestoreReport, Error> {
    let since = since::read(app, source, call.now).await?;
    let mut report = RestoreReport { feed_lost, ..of_since(&since) };
    for table in RESTORED {
        records::restore_table(app, call, source, (&since, writes), table, &mut report).await?;
    }
    report.audit_lost = report.tables.iter().any(|table| table.table == Table::Audit.name() && table.missing > 0);
    if writes {
        records::remember_proofs(app, call, &since).await?;
        if feed_lost {
            records::announce_all(app, call, source).await?;
            records::announce_lost(app, call, &since).await?;
        }
    }
    Ok(report)
}

fn of_since(since: &Since) -> RestoreReport {
    RestoreReport {
        events_since: since.events,
        refusals_since: since.refusals(),
        withheld: since.purged.iter().map(|id| format!("tenant {id} was purged: nothing of it comes back")).collect(),
        unreadable: since.unreadable.clone(),
        ..RestoreReport::default()
    }
}

/// The restore from this source that was cut off, if one was.
async fn refuse_another(app: &App, source: &EarlierStore<'_>, now: Time) -> Result<Option<Restoration>, Error> {
    match under_way(app, now).await? {
        Some(other) if other.source != source.name => {
            let message = format!(
                "a restore from {} was begun and has not ended: run that one again, or end it with `principal restore --give-up`",
                other.source
            );
            Err(Error::precondition("RESTORE_UNDER_WAY", message))
        }
        found => Ok(found),
    }
}

/// From here on nobody else writes.
async fn begin(app: &App, call: &Call, source: &EarlierStore<'_>, audit_lost: bool) -> Result<Restoration, Error> {
    let system = TenantId::system();
    let run = Serial::new(call.now, random(&*app.entropy)).to_string();
    let lost = feed_is_lost(app, call.now).await?;
    let plan = || async {
        let found = marker(app, call.now).await?;
        if let Some(found) = &found {
            // Until this run's name is there, it writes as the one before.
            app.gate.act_as(&found.value.run);
        }
        let before = found.as_ref().map(|found| &found.value);
        let new = Restoration {
            tenant: system.clone(),
            run: run.clone(),
            source: source.name.to_owned(),
            started_at: before.map_or(call.now, |before| before.started_at),
            feed_lost: lost || before.is_some_and(|before| before.feed_lost),
            audit_lost: audit_lost || before.is_some_and(|before| before.audit_lost),
        };
        let write = match found {
            None => Write::create(new.clone()),
            Some(found) if found.value == new => return Ok(Planned::Unchanged(new)),
            Some(found) => Write::replace(new.clone(), found.version),
        };
        let entry = AuditEntry::done(call, "restore", source.name).detail("state", "begun");
        Ok(Planned::Commit(Box::new(call::audited(app, call, &system, &entry).write(write)), new))
    };
    let unexpected = |_| async { Err(Error::internal("a restore has no request id")) };
    let begun = ledger::mutate(app, call, &system, &source.name, plan, unexpected).await?;
    app.gate.act_as(&begun.run);
    Ok(begun)
}

/// From here on everybody writes. `false`: somebody else had ended it.
async fn end(app: &App, call: &Call, how: &'static str) -> Result<bool, Error> {
    let (system, tried) = (TenantId::system(), AtomicBool::new(false));
    let plan = || async {
        let Some(found) = marker(app, call.now).await? else { return Ok(Planned::Unchanged(tried.load(Relaxed))) };
        tried.store(true, Relaxed);
        let entry = AuditEntry::done(call, "restore", &found.value.source).detail("state", how);
        let commit = call::audited(app, call, &system, &entry);
        Ok(Planned::Commit(Box::new(commit.write(Write::Delete(Restoration::key_of(), found.version))), true))
    };
    let unexpected = |_| async { Err(Error::internal("a restore has no request id")) };
    let ended = ledger::mutate(app, call, &system, &how, plan, unexpected).await;
    app.gate.act_as_others();
    ended
}

/// Every environment has announced something of its own tenant.
async fn feed_is_lost(app: &App, now: Time) -> Result<bool, Error> {
    let key = ChangeHead::key_of(ChangeHead::shard_of(&TenantId::system()));
    match Books.get::<ChangeHead>(&*app.store, &key, now).await {
        Ok(head) => Ok(head.is_none()),
        // Whoever announces next mends it.
        Err(StoreError::Corrupt { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A feed that was lost begins at a number that none before has reached, so that no node takes new entries for old.
async fn renew_heads(app: &App, call: &Call) -> Result<(), Error> {
    let last = u64::try_from(call.now.unix_millis()).unwrap_or(0);
    for shard in 0..FEED_SHARDS {
        let plan = || async {
            if Books.get::<ChangeHead>(&*app.store, &ChangeHead::key_of(shard), call.now).await?.is_some() {
                return Ok(Planned::Unchanged(()));
            }
            let tenant = TenantId::system();
            let entry = AuditEntry::done(call, "feed_head", shard).detail("last", last);
            let head = ChangeHead { tenant: tenant.clone(), shard, last };
            let commit = call::audited(app, call, &tenant, &entry).write(Write::create(head));
            Ok(Planned::Commit(Box::new(commit), ()))
        };
        let unexpected = |_| async { Err(Error::internal("a restore has no request id")) };
        ledger::mutate(app, call, &TenantId::system(), &shard, plan, unexpected).await?;
    }
    Ok(())
}
