//! Warnings of what nears its end and was not replaced.

use std::fmt;

use async_trait::async_trait;
use futures::{StreamExt, stream};
use signet_core::{
    Error, StoreError, TenantId, TenantScope, Time,
    authorities::{CaKind, CaState},
    certificates::{
        Certificate, CertificateKind,
        expiry::{BrokenOff, Ending, ExpiryWarning, ScanCursor, due, is_unreplaced},
    },
    principals::{Principal, PrincipalStatus},
    store::{
        Cursor, Entity, Index, Query, Table, Versioned,
        commit::{Commit, Write},
        scope::{Books, Housekeeper},
    },
};

use crate::{App, AuditEntry, Call, Chore, GoOn, TaskReport, authorities::reservation::CREATED, call, ledger, reads};

/// Where warnings go.
#[async_trait]
pub trait Notifier: Send + Sync + fmt::Debug {
    /// Tells of all of them, at most [`BATCH`]. Returns those that could not be told, by index, and why.
    async fn tell(&self, warnings: &[ExpiryWarning]) -> Vec<(usize, String)>;
}

/// Warnings told at once: EventBridge takes ten entries a call.
pub const BATCH: usize = 10;

/// Certificates whose holders are looked up at once.
const AT_ONCE: usize = 8;

/// Warnings on their way.
struct Round<'a> {
    /// Of the present piece of work.
    chore: Chore,
    notifier: &'a dyn Notifier,
    claimed: Vec<ExpiryWarning>,
    report: TaskReport,
}

/// A run's way through the certificates.
struct Walk {
    /// Where the run before was broken off.
    met: Option<ScanCursor>,
    /// From what ends first to there, or to the end.
    front: Option<ScanCursor>,
    /// From there to the end.
    rest: Option<ScanCursor>,
    /// Whose turn it is.
    is_rests: bool,
}

impl Walk {
    fn new(broken_off: Option<ScanCursor>, now: Time) -> Self {
        let met = broken_off.filter(|place| !place.is_over(now));
        let front = Some(ScanCursor::first(now));
        Self { rest: met.clone(), met, front, is_rests: true }
    }

    /// The next place to look at; `None`: all was.
    fn turn(&mut self) -> Option<&ScanCursor> {
        self.is_rests = self.rest.is_some() && (!self.is_rests || self.front.is_none());
        if self.is_rests { self.rest.as_ref() } else { self.front.as_ref() }
    }

    /// The page at the last turn's place was looked at.
    fn went_on(&mut self, after: Option<Cursor>, now: Time) {
        let side = if self.is_rests { &mut self.rest } else { &mut self.front };
        *side = side.take().and_then(|place| place.next(after, now));
        if let Some(met) = &self.met {
            self.front.take_if(|front| front.has_reached(met, now));
        }
    }

    /// Where the next run goes on; `None`: since one began anew, all was looked at.
    fn place(&self) -> Option<&ScanCursor> {
        if self.met.is_some() { self.rest.as_ref() } else { self.front.as_ref() }
    }
}

/// Warns of CAs, of the server's certificate and of principals' certificates that pass a threshold unreplaced. Each
/// warning is claimed in the store before it is told, so that it is told once, whoever else does this now; a claim
/// whose telling failed is given up. (A process that dies between the two takes that one warning along; the next
/// threshold follows.)
pub async fn warn_expiries(
    app: &App,
    chore: &Chore,
    notifier: &dyn Notifier,
    go_on: GoOn<'_>,
) -> Result<TaskReport, Error> {
    let mut round = Round { chore: chore.clone(), notifier, claimed: Vec::new(), report: TaskReport::default() };
    let looked = look_for_endings(app, &mut round, go_on).await;
    // What was claimed is told, whatever went wrong after.
    tell(app, &mut round).await;
    looked?;
    Ok(round.report)
}

async fn look_for_endings(app: &App, round: &mut Round<'_>, go_on: GoOn<'_>) -> Result<(), Error> {
    let (now, keeper) = (round.chore.now, round.chore.keeper);
    let (cas, unreadable) = reads::all_cas(app, keeper, now).await?;
    round.report.cannot_read(unreadable);
    for ca in cas.into_iter().filter(|ca| ca.state == CaState::Active) {
        let id = ca.id.clone();
        let ending = if ca.kind == CaKind::Root { Ending::Root { ca: id } } else { Ending::Ca { ca: id } };
        let warning = unclaimed(app, keeper, now, &ca.tenant, ending, (ca.not_before, ca.not_after)).await;
        claim(app, round, ca.id.to_string(), warning).await?;
    }
    let server = match newest_server_certificate(app, now).await {
        Err(error @ Error::Unreadable { .. }) => {
            round.report.failed.push(("the server's certificate".to_owned(), error));
            None
        }
        found => found?,
    };
    if let Some(server) = server {
        let ending = Ending::Server { serial: server.serial };
        let life = (server.not_before, server.not_after);
        let warning = unclaimed(app, keeper, now, &server.tenant, ending, life).await;
        claim(app, round, "the server's certificate".to_owned(), warning).await?;
    }
    let before = match broken_off(app, now).await {
        // It begins anew.
        Err(Error::Unreadable { .. }) => None,
        found => found?,
    };
    let mut walk = Walk::new(before.as_ref().map(|before| before.value.place.clone()), now);
    let looked = look_at_leaves(app, round, &mut walk, go_on).await;
    round.report.unfinished = walk.place().is_some();
    keep_place(app, walk.place(), before, now).await?;
    looked
}

/// Page after page, by turns from what ends first and from where the run before was broken off: the most urgent is
/// looked at in every run, and all else in so many.
async fn look_at_leaves(app: &App, round: &mut Round<'_>, walk: &mut Walk, go_on: GoOn<'_>) -> Result<(), Error> {
    let (now, keeper) = (round.chore.now, round.chore.keeper);
    while let Some(place) = walk.turn() {
        let Some(at) = go_on() else { return Ok(()) };
        round.chore = round.chore.at(at);
        let query = place.query(app.settings.expiry_page);
        let page = keeper.environment().page::<Certificate>(&*app.store, &query, now).await?;
        round.report.cannot_read(page.unreadable);
        let looks = page.records.into_iter().map(|found| async move {
            let name = format!("{}: {}/{}", found.value.tenant, found.value.issuer, found.value.serial);
            (name, leaf_warning(app, keeper, now, found.value).await)
        });
        let due: Vec<_> = stream::iter(looks).buffered(AT_ONCE).collect().await;
        for (name, warning) in due {
            claim(app, round, name, warning).await?;
        }
        walk.went_on(page.next, now);
    }
    Ok(())
}

async fn broken_off(app: &App, now: Time) -> Result<Option<Versioned<BrokenOff>>, Error> {
    let key = BrokenOff::key_of(&TenantId::system());
    Ok(Books.get::<BrokenOff>(&*app.store, &key, now).await?)
}

/// Notes where the next run goes on. Of two runs at once one does; nothing but time is lost.
async fn keep_place(
    app: &App,
    place: Option<&ScanCursor>,
    before: Option<Versioned<BrokenOff>>,
    now: Time,
) -> Result<(), Error> {
    let record = place.map(|place| BrokenOff { tenant: TenantId::system(), place: place.clone(), at: now });
    let write = match (record, before) {
        (None, None) => return Ok(()),
        (None, Some(before)) => Write::Delete(before.value.key(), before.version),
        (Some(record), None) => Write::create(record),
        (Some(record), Some(before)) => Write::replace(record, before.version),
    };
    match ledger::commit(app, &Commit::bookkeeping(now).write(write), now).await {
        Ok(()) | Err(StoreError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn newest_server_certificate(app: &App, now: Time) -> Result<Option<Certificate>, Error> {
    let partition = Certificate::by_kind(&TenantId::system(), CertificateKind::Server);
    let query = Query::index(Table::Certificates, Index::ByPrincipal, partition).descending().limit(1);
    let (found, _) = TenantScope::system().list::<Certificate>(&*app.store, &query, now).await?;
    Ok(found.into_iter().next().map(|found| found.value))
}

/// The warning that is due of a certificate, if it is the last one of a principal that may have one.
async fn leaf_warning(
    app: &App,
    keeper: Housekeeper,
    now: Time,
    certificate: Certificate,
) -> Result<Option<ExpiryWarning>, Error> {
    if !is_unreplaced(&certificate) {
        return Ok(None);
    }
    let ending = Ending::Leaf {
        principal: certificate.principal.clone(),
        principal_type: certificate.principal_type,
        issuer: certificate.issuer.clone(),
        serial: certificate.serial,
    };
    let life = (certificate.not_before, certificate.not_after);
    let Some(warning) = unclaimed(app, keeper, now, &certificate.tenant, ending, life).await? else { return Ok(None) };
    let scope = keeper.tenant(&certificate.tenant);
    let holder = reads::find_principal(app, &scope, &certificate.principal, now).await?;
    Ok(holder.is_some_and(|holder| depends_on(&holder.value, &certificate)).then_some(warning))
}

/// The warning that is due, if any, and that nobody has given. Nobody waits for what a deleted tenant had.
async fn unclaimed(
    app: &App,
    keeper: Housekeeper,
    now: Time,
    tenant: &TenantId,
    ending: Ending,
    (not_before, not_after): (Time, Time),
) -> Result<Option<ExpiryWarning>, Error> {
    let Some(threshold) = due(not_before, not_after, now) else { return Ok(None) };
    let warning = ExpiryWarning { tenant: tenant.clone(), ending, threshold, not_after, at: now };
    let given = Books.get::<ExpiryWarning>(&*app.store, &warning.key(), now).await?;
    Ok((given.is_none() && !is_of_deleted(app, keeper, tenant, now).await?).then_some(warning))
}

/// Whether it is known that the tenant was deleted.
async fn is_of_deleted(app: &App, keeper: Housekeeper, tenant: &TenantId, now: Time) -> Result<bool, Error> {
    match reads::tenant(app, &keeper.tenant(tenant), now).await {
        Ok(tenant) => Ok(tenant.is_deleted()),
        Err(Error::Unreadable { .. } | Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Claims a warning of `what`, if there is one, and tells a full batch. What cannot be read stops no other's warnings.
async fn claim(
    app: &App,
    round: &mut Round<'_>,
    what: String,
    warning: Result<Option<ExpiryWarning>, Error>,
) -> Result<(), Error> {
    let warning = match warning {
        Ok(Some(warning)) => warning,
        Ok(None) => return Ok(()),
        Err(error @ (Error::Unreadable { .. } | Error::Internal { .. })) => {
            round.report.failed.push((what, error));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let call: &Call = &round.chore;
    let entry = AuditEntry::done(call, "expiry_warning", warning.key().sort)
        .detail("threshold", warning.threshold.name())
        .detail("not_after", warning.not_after.unix_seconds());
    let commit = call::audited(app, call, &warning.tenant, &entry).write(Write::create(warning.clone()));
    match ledger::commit(app, &commit, call.now).await {
        Ok(()) => round.claimed.push(warning),
        Err(StoreError::Conflict { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    if round.claimed.len() == BATCH {
        tell(app, round).await;
    }
    Ok(())
}

/// Tells what was claimed; what could not be told is there for the next run.
async fn tell(app: &App, round: &mut Round<'_>) {
    let claimed = std::mem::take(&mut round.claimed);
    if claimed.is_empty() {
        return;
    }
    let untold = round.notifier.tell(&claimed).await;
    for (index, warning) in claimed.iter().enumerate() {
        let text = format!("{}: {}", warning.tenant, warning.key().sort);
        let Some((_, cause)) = untold.iter().find(|(failed, _)| *failed == index) else {
            round.report.done.push(text);
            continue;
        };
        round.report.failed.push((text.clone(), Error::Unavailable { what: "the receiver", cause: cause.clone() }));
        let give_up = Commit::bookkeeping(round.chore.now).write(Write::Delete(warning.key(), CREATED));
        // Whatever becomes of one, the others are given up too.
        if let Err(error) = ledger::commit(app, &give_up, round.chore.now).await {
            round.report.failed.push((format!("{text}: it stays claimed and will not be sent again"), error.into()));
        }
    }
}

/// Whether a principal that may act has nothing that lives longer.
fn depends_on(principal: &Principal, certificate: &Certificate) -> bool {
    let held = &principal.certificates;
    principal.status == PrincipalStatus::Active
        && held.iter().any(|held| held.serial == certificate.serial)
        && held.iter().all(|held| held.not_after <= certificate.not_after)
}
