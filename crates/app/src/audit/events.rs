//! The audit log as it is read: listing, following, seals, verification; and refusals as they are written.

use std::collections::BTreeSet;

use futures::future::try_join_all;
use serde::Serialize;
use signet_core::{
    Error, Lifetime, TenantId, TenantScope, Time,
    audit::{
        AUDIT_SHARDS, AuditEvent, Finding, LATE_MINUTES, Seal, SealHead, Span,
        checkpoint::{ChainFinding, Checkpoint, missing_seals, verify_chain},
        merkle::Digest,
        verify,
    },
    store::{Index, Query, SortRange, Table, scope::Books},
    tenants::Tenant,
};

use crate::{
    App, AuditEntry, Call, PageRequest,
    audit::{
        checkpoints,
        sealing::{self, start_of_minute},
    },
    call, ledger,
    paging::{self, day_of},
    reads,
};

/// Days that one page looks through before it says "ask again".
const DAYS_A_PAGE: i64 = 31;
/// Most bytes of payloads on a page. About twice as much is sent, and callers' gRPC libraries take 4 MiB: nobody may
/// keep a log from being read by what it writes there.
const MAX_PAGE_BYTES: usize = 1024 * 1024;
/// Windows of up to so many minutes are read from the table, strongly consistent; longer ones from an index, which may
/// lag by seconds and must not make an event look removed.
const CONSISTENT_MINUTES: i64 = 5;
/// How long after its time an event may still turn up for a follower: longest operation, index lag and clock skew.
const TAIL_OVERLAP: Lifetime = Lifetime::seconds(60);
/// How much a follower reads of the time behind what is sealed, where that is ahead: few enough minutes for the table.
const TAIL_AHEAD: Lifetime = Lifetime::minutes(4);
/// Most events that a follower gets at once.
const TAIL_PAGE: u32 = 1000;

/// A stretch of time: from `start` on, before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditWindow {
    /// First instant.
    pub start: Time,
    /// First instant after it.
    pub end: Time,
}

impl AuditWindow {
    /// What a caller asks for; the last 24 hours where it does not say.
    pub fn new(start: Option<Time>, end: Option<Time>, now: Time) -> Result<Self, Error> {
        let end = end.unwrap_or(now.plus(Lifetime::seconds(1)));
        let start = start.unwrap_or(end.minus(Lifetime::days(1)));
        if start > end {
            return Err(Error::invalid("start_time", "OUT_OF_RANGE", "must not be after end_time"));
        }
        Ok(Self { start, end })
    }
}

/// A page of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditPage {
    /// Oldest first.
    pub events: Vec<AuditEvent>,
    /// Empty: that was the last page.
    pub next_page_token: String,
}

/// Up to a page of a tenant's seals, and where to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealPage {
    /// Oldest first.
    pub seals: Vec<Seal>,
    /// Empty: that was the last page.
    pub next_page_token: String,
    /// The last minute that sealing has finished; `None`: it has not started.
    pub sealed_through: Option<i64>,
    /// On the first page: the tenant's last seal before the window.
    pub before: Option<Seal>,
}

/// What a verification saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// First minute judged.
    pub from: i64,
    /// Last minute judged; before `from`: none of them is sealed yet.
    pub to: i64,
    /// Events seen in these minutes.
    pub events: usize,
    /// Seals seen.
    pub seals: usize,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What is wrong with the environment's checkpoints, or by their word with the tenant's seals.
    pub chain: Vec<ChainFinding>,
}

/// Where a follower of a tenant's log stands.
#[derive(Clone, Debug)]
pub struct AuditTail {
    since: Time,
    /// Ids of events since then that were handed out.
    seen: BTreeSet<String>,
}

impl AuditTail {
    /// Follows from `since` on.
    pub fn new(since: Time) -> Self {
        Self { since, seen: BTreeSet::new() }
    }
}

/// What a caller asks for; from 24 hours ago to the newest event where it does not say.
pub fn audit_window(app: &App, start: Option<Time>, end: Option<Time>, now: Time) -> Result<AuditWindow, Error> {
    let soon = now.plus(Lifetime::seconds(1));
    let start = start.or_else(|| end.is_none().then(|| soon.minus(Lifetime::days(1))));
    AuditWindow::new(start, end.or(Some(soon.max(sealing::newest_event(app, now)))), now)
}

/// Lists the tenant's events, oldest first. A page may be short or empty and yet not be the last. No event is older
/// than the retention, or newer than a day from the first minute that is not sealed. A window of up to five minutes
/// shows every event that was committed before; in a longer one the newest may be missing for some seconds.
pub async fn list_audit_events(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    window: &AuditWindow,
    page: &PageRequest,
) -> Result<AuditPage, Error> {
    let size = page.size()?;
    let of = format!("events/{}", scope.tenant());
    let oldest = call.now.minus(app.settings.audit_retention).minus(Lifetime::days(1));
    let newest = sealing::newest_event(app, call.now).plus(Lifetime::days(1));
    let mut first = id_bound(window.start.max(oldest));
    if let Some(after) = paging::position(page, &of)? {
        first = first.max(behind(&after));
    }
    let (mut events, end) = (Vec::new(), window.end.min(newest));
    let slots = Slots::of(window);
    let (mut slot, last) = (slots.at(time_of_id(&first)), slots.at(end));
    let stop = slot.saturating_add(DAYS_A_PAGE);
    while first < id_bound(end) && slot <= last {
        let wanted = (size as usize).saturating_sub(events.len());
        if wanted == 0 || slot >= stop {
            return page_until(&of, events, || id_bound(slots.start(slot)));
        }
        let shards = (0..AUDIT_SHARDS).map(|shard| {
            let query = slots.query(scope.tenant(), slot, shard, (&first, &id_bound(end)));
            self::slot(app, scope, query, wanted, call.now)
        });
        let mut found = try_join_all(shards).await?.concat();
        found.sort_by(|a, b| a.id.cmp(&b.id));
        let more = found.len() > wanted;
        found.truncate(wanted);
        events.extend(found);
        if cut(&mut events) {
            return page_until(&of, events, String::new);
        }
        slot = slot.saturating_add(i64::from(!more));
    }
    if events.is_empty() {
        reads::require_tenant(app, scope, call.now).await?;
    }
    Ok(AuditPage { events, next_page_token: String::new() })
}

/// A page that is not the last; without events, the next begins `at`.
fn page_until(of: &str, events: Vec<AuditEvent>, at: impl FnOnce() -> String) -> Result<AuditPage, Error> {
    let after = events.last().map_or_else(at, |event| event.id.clone());
    Ok(AuditPage { events, next_page_token: paging::token_after(of, after)? })
}

/// Leaves what fits on a page, one event at least; whether that was not all.
fn cut(events: &mut Vec<AuditEvent>) -> bool {
    let mut bytes = 0usize;
    let fits = |event: &&AuditEvent| {
        bytes = bytes.saturating_add(event.payload.len());
        bytes <= MAX_PAGE_BYTES
    };
    let fitting = events.iter().take_while(fits).count().max(1);
    let is_cut = fitting < events.len();
    events.truncate(fitting);
    is_cut
}

/// The first `wanted` events of `query`, or all if there are fewer. One that cannot be read is left out; its seal tells
/// on it.
async fn slot(
    app: &App,
    scope: &TenantScope,
    query: Query,
    wanted: usize,
    now: Time,
) -> Result<Vec<AuditEvent>, Error> {
    let (mut events, mut after) = (Vec::new(), None);
    let limit = u32::try_from(wanted.saturating_add(1)).unwrap_or(TAIL_PAGE).min(TAIL_PAGE);
    loop {
        let found = scope.page::<AuditEvent>(&*app.store, &query.clone().limit(limit).after(after), now).await?;
        events.extend(found.records.into_iter().map(|event| event.value));
        after = found.next;
        if after.is_none() || events.len() > wanted {
            return Ok(events);
        }
    }
}

/// Events that were not handed out to this follower before; at most a thousand, oldest first, none: ask again later.
/// Events may turn up out of order, so the last minute is read again each time, and the one behind what is sealed,
/// where that is ahead.
pub async fn audit_events_since(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    tail: &mut AuditTail,
) -> Result<Vec<AuditEvent>, Error> {
    let window = AuditWindow { start: tail.since, end: call.now.plus(TAIL_OVERLAP) };
    let (mut fresh, is_all) = unseen(app, call, scope, &window, tail).await?;
    let recent = call.now.minus(TAIL_OVERLAP);
    let last = fresh.last().filter(|_| !is_all);
    let settled = last.map_or(recent, |last| recent.min(last.at));
    let newest = sealing::newest_event(app, call.now);
    if newest > window.end {
        let ahead = AuditWindow { start: window.end.max(newest.minus(TAIL_AHEAD)), end: newest };
        let room = (TAIL_PAGE as usize).saturating_sub(fresh.len());
        fresh.extend(unseen(app, call, scope, &ahead, tail).await?.0.into_iter().take(room));
    }
    tail.since = tail.since.max(settled);
    tail.seen.extend(fresh.iter().map(|event| event.id.clone()));
    tail.seen = tail.seen.split_off(&id_bound(tail.since));
    Ok(fresh)
}

/// The first events of the window that this follower has not got, and whether there are no more.
async fn unseen(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    window: &AuditWindow,
    tail: &AuditTail,
) -> Result<(Vec<AuditEvent>, bool), Error> {
    let mut page = PageRequest { size: TAIL_PAGE, token: String::new() };
    loop {
        let found = list_audit_events(app, call, scope, window, &page).await?;
        let is_new = |event: &AuditEvent| !tail.seen.contains(&event.id);
        let fresh: Vec<AuditEvent> = found.events.into_iter().filter(is_new).collect();
        page.token = found.next_page_token;
        if page.token.is_empty() || !fresh.is_empty() {
            return Ok((fresh, page.token.is_empty()));
        }
    }
}

/// Lists the seals of the window's minutes, oldest first.
pub async fn list_audit_seals(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    window: &AuditWindow,
    page: &PageRequest,
) -> Result<SealPage, Error> {
    let of = format!("seals/{}", scope.tenant());
    let mut first = Seal::sort(window.start.minute());
    let mut before = None;
    match paging::position(page, &of)? {
        Some(after) => first = first.max(behind(&after)),
        None => before = seal_before(app, call, scope, window.start.minute()).await?,
    }
    let last = Seal::sort(last_minute(window));
    let sealed_through = sealed_through(app, call).await?;
    if first > last {
        return Ok(SealPage { seals: Vec::new(), next_page_token: String::new(), sealed_through, before });
    }
    let query = Seal::of(scope.tenant()).range(SortRange::Between(first.clone(), last)).limit(page.size()?);
    let (found, next) = scope.list::<Seal>(&*app.store, &query, call.now).await?;
    let next_page_token = next.map_or_else(|| Ok(String::new()), |cursor| paging::token_after(&of, cursor.sort))?;
    let seals: Vec<Seal> = found.into_iter().map(|seal| seal.value).collect();
    if seals.is_empty() && before.is_none() {
        reads::require_tenant(app, scope, call.now).await?;
    }
    Ok(SealPage { seals, next_page_token, sealed_through, before })
}

/// The last minute that sealing has finished, for all tenants; `None` before the first.
pub async fn sealed_through(app: &App, call: &Call) -> Result<Option<i64>, Error> {
    let head = Books.get::<SealHead>(&*app.store, &SealHead::key_of(), call.now).await?;
    Ok(head.map(|head| head.value.minute))
}

/// Checks the tenant's events of the window against its seals. `check(message, signature)` answers for the audit key.
/// The whole window is held in memory.
pub async fn verify_audit(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    window: &AuditWindow,
    check: &(dyn Fn(&[u8], &[u8]) -> bool + Sync),
) -> Result<VerifyReport, Error> {
    // Before the seals, of which there may be more by then, but not fewer.
    let chain = checkpoints::chain_since(app, call, window.start.minute()).await?;
    let sealed_through = sealed_through(app, call).await?.unwrap_or(i64::MIN);
    let kept = call.now.minus(app.settings.audit_retention).minute().saturating_add(1);
    let from = window.start.minute().max(kept);
    let to = last_minute(window).min(sealed_through);
    if to < from {
        let (findings, chain) = Default::default();
        return Ok(VerifyReport { from, to, events: 0, seals: 0, findings, chain });
    }
    let last = to.saturating_add(LATE_MINUTES).min(sealed_through);
    let seals = seals(app, call, scope, from, last).await?;
    let mut events = events(app, call, scope, from, to).await?;
    let previous = digest_before(app, call, scope, from).await?;
    let span = Span { from, to, sealed_through, previous };
    let mut findings = verify(&events, &seals, &span, check);
    let again: BTreeSet<i64> = findings.iter().filter_map(Finding::read_again).collect();
    if !again.is_empty() {
        events.retain(|event| !again.contains(&event.at.minute()));
        for minute in again {
            events.extend(self::events(app, call, scope, minute, minute).await?);
        }
        findings = verify(&events, &seals, &span, check);
    }
    let mut in_chain = verify_chain(&chain, &[], check);
    let judged: Vec<Checkpoint> = chain.into_iter().filter(|checkpoint| checkpoint.minute <= last).collect();
    in_chain.extend(missing_seals(&judged, scope.tenant(), &seals, previous));
    Ok(VerifyReport { from, to, events: events.len(), seals: seals.len(), findings, chain: in_chain })
}

async fn seals(app: &App, call: &Call, scope: &TenantScope, from: i64, to: i64) -> Result<Vec<Seal>, Error> {
    let window = AuditWindow { start: start_of_minute(from), end: start_of_minute(to.saturating_add(1)) };
    let mut page = PageRequest { size: TAIL_PAGE, token: String::new() };
    let mut seals = Vec::new();
    loop {
        let found = list_audit_seals(app, call, scope, &window, &page).await?;
        seals.extend(found.seals);
        page.token = found.next_page_token;
        if page.token.is_empty() {
            return Ok(seals);
        }
    }
}

async fn events(app: &App, call: &Call, scope: &TenantScope, from: i64, to: i64) -> Result<Vec<AuditEvent>, Error> {
    let window = AuditWindow { start: start_of_minute(from), end: start_of_minute(to.saturating_add(1)) };
    let mut page = PageRequest { size: TAIL_PAGE, token: String::new() };
    let mut events = Vec::new();
    loop {
        let found = list_audit_events(app, call, scope, &window, &page).await?;
        events.extend(found.events);
        page.token = found.next_page_token;
        if page.token.is_empty() {
            return Ok(events);
        }
    }
}

/// The digest of the tenant's last seal before `minute`; zeros if there never was one, `None` if there may have been
/// one that has expired.
async fn digest_before(app: &App, call: &Call, scope: &TenantScope, minute: i64) -> Result<Option<Digest>, Error> {
    if let Some(seal) = seal_before(app, call, scope, minute).await? {
        return Ok(Some(seal.statement.digest()));
    }
    let tenant = scope.get::<Tenant>(&*app.store, &Tenant::key_of(scope.tenant()), call.now).await?;
    let all_kept = |tenant: Tenant| tenant.created_at.plus(app.settings.audit_retention) > call.now;
    Ok(tenant.is_some_and(|tenant| all_kept(tenant.value)).then_some([0; 32]))
}

async fn seal_before(app: &App, call: &Call, scope: &TenantScope, minute: i64) -> Result<Option<Seal>, Error> {
    if minute <= 0 {
        return Ok(None);
    }
    let range = SortRange::Between(Seal::sort(0), Seal::sort(minute.saturating_sub(1)));
    let query = Seal::of(scope.tenant()).range(range).descending().limit(1);
    let (found, _) = scope.list::<Seal>(&*app.store, &query, call.now).await?;
    Ok(found.into_iter().next().map(|seal| seal.value))
}

/// Records a refusal in `tenant`'s log. An error means that it may be missing there: log it.
pub async fn refuse(app: &App, call: &Call, tenant: &TenantId, entry: &AuditEntry) -> Result<(), Error> {
    let commit = call::audited(app, call, tenant, entry);
    Ok(ledger::commit(app, &commit, call.now).await?)
}

/// How a window is read: by days of the index, or by minutes of the table.
#[derive(Clone, Copy)]
enum Slots {
    Days,
    Minutes,
}

impl Slots {
    fn of(window: &AuditWindow) -> Self {
        let minutes = last_minute(window).saturating_sub(window.start.minute()).saturating_add(1);
        if minutes <= CONSISTENT_MINUTES { Self::Minutes } else { Self::Days }
    }

    fn at(self, time: Time) -> i64 {
        match self {
            Self::Days => day_of(time),
            Self::Minutes => time.minute(),
        }
    }

    fn start(self, slot: i64) -> Time {
        match self {
            Self::Days => Time::from_unix_seconds(slot.saturating_mul(86_400)),
            Self::Minutes => start_of_minute(slot),
        }
    }

    /// The tenant's events of a slot and shard, between two ids.
    fn query(self, tenant: &TenantId, slot: i64, shard: u32, (first, last): (&str, &str)) -> Query {
        match self {
            Self::Days => Query::index(Table::Audit, Index::Listing, AuditEvent::day_partition(tenant, slot, shard))
                .range(SortRange::Between(first.to_owned(), last.to_owned())),
            Self::Minutes => {
                let prefix = AuditEvent::tenant_prefix(tenant);
                Query::table(Table::Audit, AuditEvent::minute_partition(slot, shard))
                    .range(SortRange::Between(format!("{prefix}{first}"), format!("{prefix}{last}")))
            }
        }
    }
}

/// The minute of the window's last millisecond.
fn last_minute(window: &AuditWindow) -> i64 {
    Time::from_unix_millis(window.end.unix_millis().saturating_sub(1)).minute()
}

/// Not above the id of any event at `time` or later, and above the ids of all earlier ones: a UUIDv7 starts with its
/// milliseconds in 12 hexadecimal digits.
fn id_bound(time: Time) -> String {
    format!("{:012x}", time.unix_millis().max(0))
}

/// The time in the id or bound `id`.
fn time_of_id(id: &str) -> Time {
    let millis = id.get(..12).and_then(|digits| i64::from_str_radix(digits, 16).ok());
    Time::from_unix_millis(millis.unwrap_or(0))
}

/// The first text after `text` among sort keys that are not longer, nor continue it with a `0`: no id has one there,
/// since the digit after the milliseconds is the UUID's version, 7.
fn behind(text: &str) -> String {
    format!("{text}0")
}
