//! Security events as a tenant's receivers are told of them: each until it is acknowledged, by whatever node. The feed
//! keeps what happened for as long as it matters; a receiver's record says how far it knows of it.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use signet_core::{
    Error, PrincipalId, PrincipalType, StoreError, TenantScope, Time,
    certificates::{Certificate, CertificateState},
    principals::{Principal, PrincipalStatus},
    store::{
        Version, Versioned,
        commit::{Commit, Write},
        scope::Books,
    },
    trust::{
        EventPlace, KnownEvents, MAX_STREAMS, PerShard, RevokedSession, SecurityEvent, SecurityEventStream, Trust,
        change::{ChangeEntry, ChangeHead, FEED_SHARDS},
        security_events,
    },
};

use crate::{App, AuditEntry, Call, call, ledger, tokens::claims::token_id};

/// Most pages of the feed that are read at once for a receiver that was away, a thousand entries each.
const MOST_PAGES: u32 = 4;
/// Most events that are looked at together.
const MOST_OPEN: usize = 1000;
/// Nothing is later.
const NO_EVENTS: PerShard = [u64::MAX; FEED_SHARDS as usize];

/// What a receiver says.
#[derive(Clone, Debug, Default)]
pub struct PollSecurityEvents {
    /// `jti` of what it need not be told again.
    pub acknowledged: Vec<String>,
    /// `jti` of what it cannot take, whether it is to be told again or not.
    pub refused: Vec<String>,
    /// Most events that it wants.
    pub most: usize,
}

/// What it is told.
#[derive(Clone, Debug)]
pub struct OpenEvents {
    /// On which stream.
    pub stream: SecurityEventStream,
    /// The oldest first.
    pub events: Vec<SecurityEvent>,
    /// Whether there may be more.
    pub more: bool,
    /// For [`Trust::has_security_events`]: what is later was not looked at.
    pub seen: u64,
    /// How many were acknowledged.
    pub acknowledged: usize,
    /// Those of [`PollSecurityEvents::refused`] that are on the stream, and were not acknowledged before.
    pub refused: Vec<String>,
}

/// Whose session is over, and what is known of why.
#[derive(Clone, Debug, Default)]
pub struct RevokedFacts {
    /// The holder.
    pub holder: Option<(PrincipalType, PrincipalId)>,
    /// The certificate, as access tokens name it.
    pub certificate: Option<String>,
    /// For administrators.
    pub reason: Option<String>,
    /// Whether nobody but Signet itself decided so.
    pub by_system: bool,
}

/// Notes what `receiver` has acknowledged, and finds what it has not. A receiver that is new hears of what happens from
/// now on. `scope`: its tenant's.
pub async fn poll_security_events(
    app: &App,
    trust: &Trust,
    call: &Call,
    (scope, receiver): (&TenantScope, &PrincipalId),
    poll: &PollSecurityEvents,
) -> Result<OpenEvents, Error> {
    let mut conflict = Error::Conflict("the stream of security events");
    for attempt in 0..ledger::ATTEMPTS {
        ledger::pause(app, attempt).await;
        let Begun { mut stream, before, version, gone } = begun(app, trust, call, scope, receiver).await?;
        if before.is_some() {
            require_feed(app, trust, &mut stream, call.now).await?;
        }
        let found = find(app, trust, &stream, call.now).await?;
        let Answered { acknowledged, refused } = answered(&mut stream, &found.events, poll);
        let Found { mut events, reached, is_whole, seen } = found;
        events.retain(|_, event| stream.is_open(event));
        stream.go_on(&reached, events.keys());
        let is_due = before.is_none_or(|before| {
            acknowledged > 0 || stream.is_due(&before, call.now) || (!is_whole && stream != before)
        });
        let write = is_due.then(|| {
            stream.written_at = call.now;
            version.map_or_else(|| Write::create(stream.clone()), |version| Write::replace(stream.clone(), version))
        });
        if let Some(write) = write
            && let Err(error) = written(app, call, &stream, [Some(write), gone].into_iter().flatten().collect()).await
        {
            match error {
                StoreError::Conflict { .. } | StoreError::Unknown(_) => conflict = error.into(),
                error => return Err(error.into()),
            }
            continue;
        }
        let mut events: Vec<SecurityEvent> = events.into_values().collect();
        events.sort_by_key(|event| (event.at, event.place));
        let more = !is_whole || events.len() > poll.most;
        events.truncate(poll.most);
        return Ok(OpenEvents { stream, events, more, seen, acknowledged, refused });
    }
    Err(conflict)
}

/// A receiver's stream.
struct Begun {
    stream: SecurityEventStream,
    /// As it was read. `None`: it is new.
    before: Option<SecurityEventStream>,
    /// What it takes the place of.
    version: Option<Version>,
    /// What ends a stream in whose place this one comes.
    gone: Option<Write>,
}

async fn begun(
    app: &App,
    trust: &Trust,
    call: &Call,
    scope: &TenantScope,
    receiver: &PrincipalId,
) -> Result<Begun, Error> {
    let key = SecurityEventStream::key_of(scope.tenant(), receiver);
    let found = readable(scope.get::<SecurityEventStream>(&*app.store, &key, call.now).await)?;
    if let Some(Versioned { value: stream, version }) = found {
        return Ok(Begun { before: Some(stream.clone()), stream, version: Some(version), gone: None });
    }
    let all = SecurityEventStream::all_of(scope.tenant());
    let page = scope.page::<SecurityEventStream>(&*app.store, &all, call.now).await?;
    // One that cannot be read is lost; the new one tells its receiver so.
    let version = page.unreadable.into_iter().find(|record| record.key == key).and_then(|record| record.version);
    let is_full = version.is_none() && page.records.len() >= MAX_STREAMS as usize;
    let gone = if is_full { Some(gone(app, call, scope, page.records).await?) } else { None };
    let KnownEvents { settled, .. } = trust.known_events(scope.tenant(), &NO_EVENTS);
    let id = token_id(&*app.entropy, call.now);
    let stream = SecurityEventStream::new(scope.tenant().clone(), receiver.clone(), id, settled, call.now);
    Ok(Begun { stream, before: None, version, gone })
}

/// Ends the stream of a principal that was deleted. An error if there is none.
async fn gone(
    app: &App,
    call: &Call,
    scope: &TenantScope,
    streams: Vec<Versioned<SecurityEventStream>>,
) -> Result<Write, Error> {
    for Versioned { value: stream, version } in streams {
        let key = Principal::key_of(scope.tenant(), &stream.receiver);
        let found = readable(scope.get::<Principal>(&*app.store, &key, call.now).await)?;
        if found.is_some_and(|found| found.value.status == PrincipalStatus::Deleted) {
            return Ok(Write::replace(stream.ended(call.now), version));
        }
    }
    let message =
        format!("tenant {} has {MAX_STREAMS} receivers of security events, which is the most", scope.tenant());
    Err(Error::Exhausted { reason: "TOO_MANY_RECEIVERS", message, retry_after: None })
}

async fn written(app: &App, call: &Call, stream: &SecurityEventStream, writes: Vec<Write>) -> Result<(), StoreError> {
    let commit = match stream.written_at == stream.created_at {
        true => {
            let entry = AuditEntry::done(call, "security_event_stream", &stream.receiver);
            call::audited(app, call, &stream.tenant, &entry)
        }
        false => Commit::bookkeeping(call.now),
    };
    ledger::commit(app, &commit.writes(writes), call.now).await
}

/// Looks at the feed's end where this node knows of none as late as what the receiver knows: another node may have read
/// further, or the store was put back.
async fn require_feed(app: &App, trust: &Trust, stream: &mut SecurityEventStream, now: Time) -> Result<(), Error> {
    let settled = trust.known_events(&stream.tenant, &NO_EVENTS).settled;
    for ((shard, settled), read) in (0..).zip(settled).zip(stream.read) {
        if read <= settled {
            continue;
        }
        let head = Books.get::<ChangeHead>(&*app.store, &ChangeHead::key_of(shard), now).await?;
        if head.is_none_or(|head| head.value.last < read) {
            tracing::warn!(shard, read, receiver = %stream.receiver, "the feed was put back; a receiver is told all again");
            stream.start_over(shard);
        }
    }
    Ok(())
}

/// What the receiver's words changed.
struct Answered {
    acknowledged: usize,
    refused: Vec<String>,
}

fn answered(
    stream: &mut SecurityEventStream,
    events: &BTreeMap<EventPlace, SecurityEvent>,
    poll: &PollSecurityEvents,
) -> Answered {
    let mut answered = Answered { acknowledged: 0, refused: Vec::new() };
    if poll.acknowledged.is_empty() && poll.refused.is_empty() {
        return answered;
    }
    let open: BTreeMap<String, &SecurityEvent> =
        events.values().filter(|event| stream.is_open(event)).map(|event| (stream.token_id(event), event)).collect();
    let first = (!stream.is_known).then(|| stream.first_token_id());
    let is_open = |id: &&String| open.contains_key(*id) || first.as_ref() == Some(*id);
    answered.refused = poll.refused.iter().filter(is_open).cloned().collect();
    if first.is_some_and(|first| poll.acknowledged.contains(&first)) {
        stream.is_known = true;
        answered.acknowledged = 1;
    }
    for event in poll.acknowledged.iter().filter_map(|id| open.get(id)) {
        answered.acknowledged = answered.acknowledged.saturating_add(usize::from(stream.acknowledge(event)));
    }
    answered
}

/// What there is for a stream, as far as was looked.
struct Found {
    events: BTreeMap<EventPlace, SecurityEvent>,
    /// For each shard: all up to this entry was looked at, and nothing turns up late.
    reached: PerShard,
    /// Whether all was looked at.
    is_whole: bool,
    seen: u64,
}

/// From memory; from the feed where the receiver was away for longer than this node remembers.
async fn find(app: &App, trust: &Trust, stream: &SecurityEventStream, now: Time) -> Result<Found, Error> {
    let KnownEvents { mut events, complete_after, settled: mut reached, seen } =
        trust.known_events(&stream.tenant, &stream.read);
    let from = (0..).zip(stream.read.into_iter().zip(complete_after));
    let earlier: Vec<_> = from.filter(|(_, (read, complete_after))| read < complete_after).collect();
    if !earlier.is_empty() {
        app.throttle.feed_read(&stream.tenant, now)?;
    }
    let reads = earlier.into_iter().map(|(shard, (read, end))| read_feed(app, stream, shard, (read, end), now));
    let mut is_whole = true;
    for part in try_join_all(reads).await? {
        events.extend(part.events.into_iter().map(|event| (event.place, event)));
        if let (Some(ended), Some(reached)) = (part.ended_at, reached.get_mut(part.shard as usize)) {
            *reached = ended.min(*reached);
            is_whole = false;
        }
    }
    Ok(Found { events, reached, is_whole, seen })
}

/// A part of the feed.
struct PartRead {
    shard: u32,
    events: Vec<SecurityEvent>,
    /// `Some`: there is more behind it.
    ended_at: Option<u64>,
}

/// The tenant's events after entry `read` of a shard. From `end` on this node remembers them.
async fn read_feed(
    app: &App,
    stream: &SecurityEventStream,
    shard: u32,
    (read, end): (u64, u64),
    now: Time,
) -> Result<PartRead, Error> {
    let mut part = PartRead { shard, events: Vec::new(), ended_at: None };
    let mut query = ChangeEntry::after(shard, read);
    for _ in 0..MOST_PAGES {
        let page = Books.page::<ChangeEntry>(&*app.store, &query, now).await?;
        let of_tenant = page.records.iter().filter(|entry| entry.value.tenant == stream.tenant);
        part.events.extend(of_tenant.flat_map(|entry| security_events(&entry.value)));
        part.ended_at = page.next.as_ref().and_then(ChangeEntry::number_at).filter(|number| *number < end);
        if part.ended_at.is_none() || part.events.len() > MOST_OPEN {
            break;
        }
        query.after = page.next;
    }
    Ok(part)
}

/// Who it is that lost its session, and why, as far as the records tell.
pub async fn revoked_facts(
    app: &App,
    trust: &Trust,
    scope: &TenantScope,
    event: &SecurityEvent,
    now: Time,
) -> Result<RevokedFacts, Error> {
    match &event.of {
        RevokedSession::Principal(id) => {
            let found =
                readable(scope.get::<Principal>(&*app.store, &Principal::key_of(scope.tenant(), id), now).await)?;
            let holder = found.as_ref().map(|found| (found.value.principal_type, id.clone()));
            let is_deleted = found.is_some_and(|found| found.value.status == PrincipalStatus::Deleted);
            let reason = if is_deleted { "the principal was deleted" } else { "the principal was suspended" };
            Ok(RevokedFacts { holder, reason: Some(reason.into()), ..Default::default() })
        }
        RevokedSession::Certificate { serial, issuer } => {
            let mut issuers: Vec<_> = issuer.iter().cloned().collect();
            if issuers.is_empty() {
                let known = trust.tenant(scope.tenant());
                issuers.extend(known.iter().flat_map(|known| known.anchors.iter()).map(|anchor| anchor.ca.clone()));
            }
            for issuer in issuers {
                let key = Certificate::key_of(&issuer, serial);
                if let Some(found) = readable(scope.get::<Certificate>(&*app.store, &key, now).await)? {
                    return Ok(of_certificate(&found.value));
                }
            }
            let certificate = issuer.as_ref().map_or_else(|| serial.to_string(), |issuer| format!("{issuer}/{serial}"));
            let reason = Some("the certificate was revoked".into());
            Ok(RevokedFacts { certificate: Some(certificate), reason, ..Default::default() })
        }
    }
}

fn of_certificate(certificate: &Certificate) -> RevokedFacts {
    let is_recorded = !certificate.is_unrecorded();
    let reason = match &certificate.state {
        CertificateState::Revoked { reason, .. } => format!("the certificate was revoked: {}", reason.as_str()),
        _ => "the certificate was revoked".to_owned(),
    };
    RevokedFacts {
        holder: is_recorded.then(|| (certificate.principal_type, certificate.principal.clone())),
        certificate: Some(format!("{}/{}", certificate.issuer, certificate.serial)),
        reason: Some(reason),
        by_system: certificate.lineage.locked_at.is_some(),
    }
}

/// What cannot be read keeps nobody from hearing that a session is over.
fn readable<E>(found: Result<Option<Versioned<E>>, StoreError>) -> Result<Option<Versioned<E>>, StoreError> {
    match found {
        Err(StoreError::Corrupt { .. }) => Ok(None),
        found => found,
    }
}
