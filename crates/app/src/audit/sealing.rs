//! The sealer: a while after a minute closes, states and signs which events every tenant had in it.
//!
//! Any number of nodes may do this at once. A minute's seals are written in batches, each on condition that the head
//! still stands before that minute; the last batch moves the head and adds the minute's checkpoint. Whoever loses a
//! race leaves off and looks again later.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{PoisonError, atomic::Ordering},
};

use futures::{StreamExt, TryStreamExt, future::try_join_all, stream};
use signet_core::{
    Error, KeyError, KeyRef, Lifetime, StoreError, TenantId, Time, Uptime,
    audit::{
        AUDIT_SHARDS, AuditEvent, LATE_MINUTES, Seal, SealHead, SealStatement, batch,
        checkpoint::{Checkpoint, Head, MOST_TAGS, Tag},
        merkle::Digest,
        sealing::{EventLeaf, PlannedSeal, plan},
    },
    store::{
        Query, Table, Versioned,
        commit::{Commit, Write},
        scope::{Books, TenantScope},
    },
    tenants::Tenant,
};
use signet_x509::PublicKey;

use crate::{
    App, Call, Chore,
    audit::checkpoints::{self, BEFORE_EXPIRY},
    ledger,
};

/// Most minutes that one call looks at; after a long downtime the next calls go on.
const MINUTES_A_CALL: i64 = 720;
/// Most seals in a batch: a transaction holds 100 writes, one of which is the head.
const BATCH_SEALS: usize = 90;
/// Largest batch in bytes, roughly: DynamoDB takes 4 MB a transaction.
const BATCH_BYTES: usize = 1_000_000;
/// Minutes that sealing may be ahead of a clock that is well: nodes' clocks differ, and one that was set lately may
/// jump by [`LATE_MINUTES`].
const MOST_AHEAD: i64 = 2 * LATE_MINUTES;
/// How many tenants' seals are read at once.
const CONCURRENT_READS: usize = 16;
/// The leaves of all tenants' events, by minute.
type Window = BTreeMap<i64, HashMap<TenantId, Vec<EventLeaf>>>;

/// The minutes of the seals that the last checkpoints name.
type NamedSeals = HashMap<Tag, i64>;

/// What a minute is sealed with.
#[derive(Default)]
struct MinutePlan {
    seals: Vec<PlannedSeal>,
    /// Of all seals of the minute, those included that a run before has written, the tag of what it follows, and its
    /// digest.
    all: Vec<(Tag, Digest)>,
}

/// As [`seal_due`], on a node beside others: one whose clock is ahead does not seal by it
/// ([`signet_core::audit::sealing::HeadWatch`]). To be called every few seconds. `uptime`: the machine's; `is_unset`:
/// whether its clock was not set lately.
pub async fn seal_beside_others(
    app: &App,
    chore: &Chore,
    key: &KeyRef,
    uptime: Uptime,
    is_unset: bool,
) -> Result<u32, Error> {
    let through = |head, closed| {
        let mut watch = app.head_watch.lock().unwrap_or_else(PoisonError::into_inner);
        watch.may_seal_through(head, closed, uptime, is_unset)
    };
    seal_through(app, chore, key, through).await
}

/// Seals the minutes that closed at least `seal_delay` ago, with the audit `key`. Returns how many minutes got seals;
/// minutes without events cost reads only.
pub async fn seal_due(app: &App, chore: &Chore, key: &KeyRef) -> Result<u32, Error> {
    seal_through(app, chore, key, |_, closed| closed).await
}

/// As [`seal_due`], on a lone node whose clock was set lately: no further ahead than what is then written can still be
/// named as late, for it may be set right again.
pub async fn seal_near(app: &App, chore: &Chore, key: &KeyRef) -> Result<u32, Error> {
    let near = |head: i64, closed: i64| if closed.saturating_sub(head) <= LATE_MINUTES { closed } else { head };
    seal_through(app, chore, key, near).await
}

/// `through`: up to which minute, by the last one sealed and the last one closed.
async fn seal_through(
    app: &App,
    chore: &Chore,
    key: &KeyRef,
    through: impl Fn(i64, i64) -> i64 + Send,
) -> Result<u32, Error> {
    // Before the head, which another node may move meanwhile: the chain is never further.
    let end = checkpoints::chain_end(app, chore.now).await?;
    let mut chain = end.last().map(Checkpoint::head);
    let named: NamedSeals = end.iter().flat_map(|point| point.tags().map(|tag| (tag, point.minute))).collect();
    let Some(mut head) = seal_head(app, chore).await? else { return Ok(0) };
    // What has a checkpoint is sealed, even if the head was put back.
    let start = chain.map_or(head.value.minute, |chain| chain.minute.max(head.value.minute));
    knows_sealed(app, start);
    let closed = chore.now.minus(app.settings.seal_delay).minute().saturating_sub(1);
    // A head that was never moved counts as that of the minute before the environment was made: others still write in
    // the next.
    let is_first = head.version.number() == 1 && chain.is_none();
    let before_all = if is_first { LATE_MINUTES.saturating_sub(1) } else { 0 };
    let last = through(start.saturating_add(before_all), closed).min(closed);
    let last = last.min(start.saturating_add(MINUTES_A_CALL));
    let (mut window, mut sealed, mut written) = (Window::new(), 0, start);
    for minute in start.saturating_add(1)..=last {
        fill(app, chore, &mut window, minute).await?;
        let plan = plan_seals(app, chore, minute, &window, &named).await?;
        head.value.minute = minute;
        if plan.all.is_empty() {
            continue;
        }
        let checkpoints = sign_checkpoints(app, key, minute, chain, &plan.all).await?;
        chain = checkpoints.last().map(Checkpoint::head);
        if !write_seals(app, chore, key, &head, plan.seals, checkpoints).await? {
            return Ok(sealed);
        }
        head.version = head.version.next();
        (written, sealed) = (minute, sealed + 1);
        knows_sealed(app, minute);
    }
    if head.value.minute > written {
        let minute = head.value.minute;
        // A conflict means that another node has come further.
        let commit = Commit::bookkeeping(chore.now).write(Write::replace(head.value, head.version));
        match ledger::commit(app, &commit, chore.now).await {
            Ok(()) | Err(StoreError::Conflict { .. }) => knows_sealed(app, minute),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(sealed)
}

/// Reads what is sealed, before this process writes its first event by a clock that may be behind.
pub(crate) async fn learn_sealed(app: &App, now: Time) -> Result<(), Error> {
    let sealed = async {
        let found = Books.get::<SealHead>(&*app.store, &SealHead::key_of(), now).await?;
        match found {
            Some(head) => Ok(Some(head.value.minute)),
            None => before_all(app, now).await,
        }
    };
    match sealed.await {
        Ok(minute) => minute.into_iter().for_each(|minute| knows_sealed(app, minute)),
        // The sealer tells it; nobody is kept out for that.
        Err(StoreError::Corrupt { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Minutes of the audit log that are over and, as far as this process knows, not sealed; `None` before it knows
/// anything.
pub fn unsealed_minutes(app: &App, now: Time) -> Option<i64> {
    let first = Time::from_unix_millis(app.unsealed_from.load(Ordering::Acquire));
    (first.unix_millis() > 0).then(|| now.minute().saturating_sub(first.minute()).max(0))
}

/// An error if minutes are sealed that are far in the future by `now`: some node's clock was ahead when it sealed them,
/// or this one's is behind. Events are then kept in later minutes still, and a verification ends before them.
pub fn require_not_ahead(app: &App, now: Time) -> Result<(), Error> {
    let first = Time::from_unix_millis(app.unsealed_from.load(Ordering::Acquire));
    let ahead = first.minute().saturating_sub(now.minute());
    if ahead <= MOST_AHEAD {
        return Ok(());
    }
    let cause = format!(
        "it is sealed {ahead} minutes into the future of this machine's clock; check the clocks of all nodes: \
         until then new events lie in later minutes, and `principal audit verify` ends before them"
    );
    Err(Error::Misconfigured { what: "the audit log", cause })
}

/// The end of the time in which there may be events: none is written in a minute that is sealed, and a clock that was
/// ahead may have sealed minutes that are still to come.
pub(crate) fn newest_event(app: &App, now: Time) -> Time {
    let unsealed = Time::from_unix_millis(app.unsealed_from.load(Ordering::Acquire));
    now.max(unsealed.plus(Lifetime::minutes(1)))
}

fn knows_sealed(app: &App, minute: i64) {
    let next = start_of_minute(minute.saturating_add(1));
    app.unsealed_from.fetch_max(next.unix_millis(), Ordering::AcqRel);
}

/// How far sealing has come. The first time it starts a little before the environment was made; `None` before that.
async fn seal_head(app: &App, call: &Call) -> Result<Option<Versioned<SealHead>>, Error> {
    let key = SealHead::key_of();
    if let Some(head) = Books.get::<SealHead>(&*app.store, &key, call.now).await? {
        return Ok(Some(head));
    }
    let Some(minute) = before_all(app, call.now).await? else { return Ok(None) };
    let head = SealHead { tenant: TenantId::system(), minute };
    let commit = Commit::bookkeeping(call.now).write(Write::create(head));
    match ledger::commit(app, &commit, call.now).await {
        Ok(()) | Err(StoreError::Conflict { .. }) => Ok(Books.get(&*app.store, &key, call.now).await?),
        Err(error) => Err(error.into()),
    }
}

/// The minute before the first that is sealed, however long ago by a clock that may be ahead; `None` before there is an
/// environment.
async fn before_all(app: &App, now: Time) -> Result<Option<i64>, StoreError> {
    let key = Tenant::key_of(&TenantId::system());
    let made = TenantScope::system().get::<Tenant>(&*app.store, &key, now).await?;
    Ok(made.map(|made| made.value.created_at.minute().saturating_sub(LATE_MINUTES)))
}

/// Reads `minute` and those before it that are looked at again, unless this call has read them already. What has
/// expired is judged by the minute: passed over by a clock that is ahead, its events would seem to have been put in
/// afterwards.
async fn fill(app: &App, chore: &Chore, window: &mut Window, minute: i64) -> Result<(), Error> {
    let first = minute.saturating_sub(LATE_MINUTES);
    window.retain(|known, _| *known >= first);
    for wanted in first..=minute {
        if window.contains_key(&wanted) {
            continue;
        }
        let mut tenants: HashMap<TenantId, Vec<EventLeaf>> = HashMap::new();
        for (tenant, event) in try_join_all((0..AUDIT_SHARDS).map(|s| leaves(app, chore, wanted, s))).await?.concat() {
            tenants.entry(tenant).or_default().push(event);
        }
        window.insert(wanted, tenants);
    }
    Ok(())
}

async fn leaves(app: &App, chore: &Chore, minute: i64, shard: u32) -> Result<Vec<(TenantId, EventLeaf)>, Error> {
    let scope = chore.keeper.environment();
    let (mut leaves, mut after, now) = (Vec::new(), None, start_of_minute(minute));
    loop {
        let partition = AuditEvent::minute_partition(minute, shard);
        let query = Query::table(Table::Audit, partition).limit(1000).after(after);
        // One that cannot be read is not sealed: once mended it is found as added.
        let events = scope.page::<AuditEvent>(&*app.store, &query, now).await?;
        leaves.extend(events.records.into_iter().map(|Versioned { value: event, .. }| {
            let leaf = event.leaf();
            (event.tenant, EventLeaf { id: event.id, leaf })
        }));
        after = events.next;
        if after.is_none() {
            return Ok(leaves);
        }
    }
}

async fn plan_seals(
    app: &App,
    chore: &Chore,
    minute: i64,
    window: &Window,
    named: &NamedSeals,
) -> Result<MinutePlan, Error> {
    // Owned ids: with borrowed ones the future is not known to be `Send` (rust-lang/rust#102211).
    let tenants: BTreeSet<TenantId> = window.values().flat_map(HashMap::keys).cloned().collect();
    let plans = tenants.into_iter().map(|tenant| async move {
        let seals = match last_seals(app, chore, &tenant, named).await {
            // Its chain cannot be gone on with; the others' can.
            Err(StoreError::Corrupt { .. }) => return Ok((None, None)),
            seals => seals?,
        };
        let own = |known: &HashMap<TenantId, Vec<EventLeaf>>| known.get(&tenant).cloned().unwrap_or_default();
        let events = window.iter().map(|(minute, known)| (*minute, own(known))).collect();
        let planned = plan(&tenant, minute, &events, &seals);
        let written = seals.iter().map(|seal| &seal.statement).find(|statement| statement.minute == minute);
        let statement = written.or(planned.as_ref().map(|planned| &planned.statement));
        let named = statement.map(|statement| (Tag::after(&tenant, &statement.previous), statement.digest()));
        Ok::<_, Error>((planned, named))
    });
    let plans: Vec<_> = stream::iter(plans).buffered(CONCURRENT_READS).try_collect().await?;
    let (seals, all): (Vec<_>, Vec<_>) = plans.into_iter().unzip();
    Ok(MinutePlan { seals: seals.into_iter().flatten().collect(), all: all.into_iter().flatten().collect() })
}

/// The minute's checkpoints: one, unless there are very many tenants.
async fn sign_checkpoints(
    app: &App,
    key: &KeyRef,
    minute: i64,
    mut chain: Option<Head>,
    seals: &[(Tag, Digest)],
) -> Result<Vec<Checkpoint>, Error> {
    let mut tags: Vec<Tag> = seals.iter().map(|(tag, _)| *tag).collect();
    tags.push(Tag::of_seals(seals.iter().map(|(_, digest)| *digest)));
    tags.sort_unstable();
    let mut checkpoints = Vec::new();
    for tags in tags.chunks(MOST_TAGS) {
        let until = sealed_until(app, minute);
        let mut checkpoint = Checkpoint::next(chain.as_ref(), minute, tags, key.clone(), until);
        checkpoint.signature = sign_audit(app, key, &checkpoint.signed_message()).await?;
        chain = Some(checkpoint.head());
        checkpoints.push(checkpoint);
    }
    Ok(checkpoints)
}

async fn last_seals(app: &App, chore: &Chore, tenant: &TenantId, named: &NamedSeals) -> Result<Vec<Seal>, StoreError> {
    // What is there is followed, whatever a clock says that may be ahead.
    let now = BEFORE_EXPIRY;
    let most = u32::try_from(LATE_MINUTES).unwrap_or(0).saturating_add(1);
    let query = Seal::of(tenant).descending().limit(most);
    let scope = chore.keeper.tenant(tenant);
    let (seals, _) = scope.list::<Seal>(&*app.store, &query, now).await?;
    let mut seals: Vec<Seal> = seals.into_iter().map(|seal| seal.value).collect();
    let mut ends: Vec<_> = seals.iter().map(|seal| seal.statement.digest()).chain([[0; 32]]).collect();
    // What was just written a query may not see yet; whoever went on without it would break the chain.
    while let Some(end) = ends.pop() {
        let Some(minute) = named.get(&Tag::after(tenant, &end)) else { continue };
        if seals.iter().any(|seal| seal.statement.minute == *minute) {
            continue;
        }
        if let Some(seal) = scope.get::<Seal>(&*app.store, &Seal::key_of(tenant, *minute), now).await? {
            ends.push(seal.value.statement.digest());
            seals.push(seal.value);
        }
    }
    Ok(seals)
}

/// Writes the seals of one minute, and `head` and the checkpoints with the last of them. False: another node was
/// faster.
async fn write_seals(
    app: &App,
    call: &Call,
    key: &KeyRef,
    head: &Versioned<SealHead>,
    plans: Vec<PlannedSeal>,
    mut checkpoints: Vec<Checkpoint>,
) -> Result<bool, Error> {
    let mut batches = in_batches(plans).into_iter().peekable();
    loop {
        let seals = match batches.next() {
            Some(plans) => sign_batch(app, key, head.value.minute, plans).await?,
            None => Vec::new(),
        };
        let last = batches.peek().is_none();
        let throttle = if last {
            Write::replace(head.value.clone(), head.version.clone())
        } else {
            Write::Check(SealHead::key_of(), head.version.clone())
        };
        let chain = if last { std::mem::take(&mut checkpoints) } else { Vec::new() };
        let writes = seals.into_iter().map(Write::create).chain(chain.into_iter().map(Write::create));
        let commit = Commit::bookkeeping(call.now).writes(writes).write(throttle);
        match ledger::commit(app, &commit, call.now).await {
            Ok(()) => {}
            Err(StoreError::Conflict { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        if last {
            return Ok(true);
        }
    }
}

async fn sign_batch(app: &App, key: &KeyRef, minute: i64, plans: Vec<PlannedSeal>) -> Result<Vec<Seal>, Error> {
    let statements: Vec<SealStatement> = plans.iter().map(|planned| planned.statement.clone()).collect();
    let (paths, message) = batch(minute, &statements);
    let signature = sign_audit(app, key, &message).await?;
    let batch_size = u32::try_from(plans.len()).map_err(Error::internal)?;
    let keep_until = sealed_until(app, minute);
    let seals = plans.into_iter().zip(paths).zip(0..).map(|((planned, batch_path), batch_index)| Seal {
        statement: planned.statement,
        batch_index,
        batch_size,
        batch_path,
        key: key.clone(),
        cover: planned.cover,
        signature: signature.clone(),
        keep_until,
    });
    Ok(seals.collect())
}

async fn sign_audit(app: &App, key: &KeyRef, message: &[u8]) -> Result<Vec<u8>, Error> {
    let signer = app.signer(key).await?;
    let signature = signer.sign(message).await?;
    let public = PublicKey::from_spki_der(signer.spki_der()).map_err(Error::internal)?;
    public.verify(message, &signature).map_err(|_| KeyError::BadSignature(key.to_string()))?;
    Ok(signature)
}

/// How long a minute's seals are kept: no longer than the first of its events, so that whoever starts with the first
/// seal there is misses none.
fn sealed_until(app: &App, minute: i64) -> Time {
    start_of_minute(minute).plus(app.settings.audit_retention)
}

pub(crate) fn start_of_minute(minute: i64) -> Time {
    Time::from_unix_seconds(minute.saturating_mul(60))
}

fn in_batches(plans: Vec<PlannedSeal>) -> Vec<Vec<PlannedSeal>> {
    let mut batches: Vec<Vec<PlannedSeal>> = Vec::new();
    let mut room = 0;
    for planned in plans {
        // Cover in base64; per late event an id, a digest in hexadecimal and JSON around; the rest is about 1 kB.
        let bytes = 1024 + planned.cover.len() * 2 + planned.statement.late.len() * 160;
        match batches.last_mut() {
            Some(batch) if batch.len() < BATCH_SEALS && bytes <= room => {
                batch.push(planned);
                room -= bytes;
            }
            _ => {
                batches.push(vec![planned]);
                room = BATCH_BYTES.saturating_sub(bytes);
            }
        }
    }
    batches
}
