//! The one way to write: an operation's changes, their feed entries and its audit event, or nothing.

use crate::{
    TenantId, Time,
    audit::AuditEvent,
    store::{
        body::{Body, Record},
        layout::{Key, shard_of},
        stored::{Version, Versioned},
    },
    trust::change::{Change, ChangeEntry, ChangeHead, FEED_SHARDS, LEAST_LIFE, Notice},
};

/// One conditional write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// There must be no (unexpired) record at the key.
    Create(Body),
    /// The record must be at this version; it gets the next one.
    Replace(Body, Version),
    /// The record must be at this version; it is removed.
    Delete(Key, Version),
    /// The record must be at this version; nothing is written.
    Check(Key, Version),
}

impl Write {
    /// Creates an entity.
    pub fn create(entity: impl Record) -> Self {
        Self::Create(entity.into())
    }

    /// Replaces an entity that was read at `version`.
    pub fn replace(entity: impl Record, version: Version) -> Self {
        Self::Replace(entity.into(), version)
    }

    /// The key written to or checked.
    pub fn key(&self) -> Key {
        match self {
            Self::Create(body) | Self::Replace(body, _) => body.key(),
            Self::Delete(key, _) | Self::Check(key, _) => key.clone(),
        }
    }
}

/// What an operation wants written. Made with its audit event, so that no state change goes without.
#[derive(Clone, Debug)]
#[must_use]
pub struct Commit {
    now: Time,
    writes: Vec<Write>,
    changes: Vec<(Change, Time)>,
    notices: Vec<Notice>,
    tenant: Option<TenantId>,
}

impl Commit {
    /// A commit with its audit event. `now` judges what has expired: the event may be of a later minute, where those
    /// before it are sealed.
    pub fn audited(event: AuditEvent, now: Time) -> Self {
        Self { now, writes: vec![Write::create(event)], changes: Vec::new(), notices: Vec::new(), tenant: None }
    }

    /// A commit that needs none: it changes no state anybody could ask about (a reservation before a signature, whose
    /// issuance has the event; seals, counts, notes of what was told or answered).
    pub fn bookkeeping(now: Time) -> Self {
        Self { now, writes: Vec::new(), changes: Vec::new(), notices: Vec::new(), tenant: None }
    }

    /// Adds a write.
    pub fn write(mut self, write: Write) -> Self {
        self.writes.push(write);
        self
    }

    /// Adds writes.
    pub fn writes(mut self, writes: impl IntoIterator<Item = Write>) -> Self {
        self.writes.extend(writes);
        self
    }

    /// Announces a change of `tenant` to every node. `until`: when it can no longer matter to anybody; its entry lives
    /// for [`LEAST_LIFE`] at least. All changes of one commit are of one tenant; they share a feed entry.
    pub fn announce(mut self, tenant: &TenantId, change: Change, until: Time) -> Self {
        debug_assert!(self.tenant.as_ref().is_none_or(|known| known == tenant), "one tenant a commit");
        self.tenant = Some(tenant.clone());
        self.changes.push((change, until));
        self
    }

    /// Tells every node what turns no decision of it, for [`LEAST_LIFE`]: who was away for longer asks anew. Of one
    /// tenant with all else that the commit announces.
    pub fn notify(mut self, tenant: &TenantId, notice: Notice) -> Self {
        debug_assert!(self.tenant.as_ref().is_none_or(|known| known == tenant), "one tenant a commit");
        self.tenant = Some(tenant.clone());
        self.notices.push(notice);
        self
    }

    /// The feed shard whose head this commit moves; `None` if it announces nothing. What may be taken back or changed
    /// again must stay in order, so it is in its tenant's shard, as it always was. Revocations are for good and may be
    /// applied in any order: they spread over all shards, so that no tenant's many fill the shard of another.
    pub fn feed_shard(&self) -> Option<u32> {
        let tenant = self.tenant.as_ref()?;
        match self.changes.first() {
            Some((Change::CertificateRevoked { serial, .. }, _)) if self.only_revokes() => {
                Some(shard_of(&serial.to_string(), FEED_SHARDS))
            }
            _ => Some(ChangeHead::shard_of(tenant)),
        }
    }

    /// Whether all that it announces is revoked certificates. Suspensions, roles and changes of tenants are rarer and
    /// refuse more at once: they go first.
    pub fn only_revokes(&self) -> bool {
        self.notices.is_empty()
            && self.changes.iter().all(|(change, _)| matches!(change, Change::CertificateRevoked { .. }))
    }

    /// Whose changes it announces.
    pub const fn announces_for(&self) -> Option<&TenantId> {
        self.tenant.as_ref()
    }

    /// What it announces.
    pub fn announced(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().map(|(change, _)| change)
    }

    /// What it writes or checks, without the feed.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        self.writes.iter().map(Write::key)
    }

    /// The transaction, given the feed head read just now (`None`: the shard is new).
    pub fn to_transaction(&self, head: Option<&Versioned<ChangeHead>>) -> Transaction {
        let end = head.map_or_else(FeedEnd::default, FeedEnd::from);
        match self.feed_shard() {
            Some(shard) => Group::new(shard, [self], end).transaction,
            None => Transaction { now: self.now, writes: self.writes.clone() },
        }
    }
}

/// Where a feed shard ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedEnd {
    /// The head's version; `None`: there is no head yet.
    pub version: Option<Version>,
    /// Sequence number of the last entry. More than the head says if the head was put back to an earlier state.
    pub last: u64,
}

impl From<&Versioned<ChangeHead>> for FeedEnd {
    fn from(head: &Versioned<ChangeHead>) -> Self {
        Self { version: Some(head.version.clone()), last: head.value.last }
    }
}

/// Several commits that announce in one feed shard, as one transaction: all or none, with one move of the head and one
/// entry a tenant.
#[derive(Clone, Debug)]
pub struct Group {
    /// To be applied.
    pub transaction: Transaction,
    /// Where the shard ends once it is applied.
    pub end: FeedEnd,
    /// For each commit the index behind its last write; the feed's writes follow.
    ends: Vec<usize>,
}

/// What stood in a group's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The condition of a commit's own write did not hold.
    Commit {
        /// Which commit of the group.
        index: usize,
        /// Which of its own writes.
        write: usize,
    },
    /// The shard does not end where it was thought to.
    Feed,
}

impl Group {
    /// `commits` of one `shard`, no two of which write or check one key. `end`: where the shard is thought to end.
    pub fn new<'a>(shard: u32, commits: impl IntoIterator<Item = &'a Commit>, end: FeedEnd) -> Self {
        let (mut writes, mut ends, mut entries) = (Vec::new(), Vec::new(), Vec::<ChangeEntry>::new());
        let mut now = Time::from_unix_millis(i64::MIN);
        for commit in commits {
            now = now.max(commit.now);
            writes.extend(commit.writes.iter().cloned());
            ends.push(writes.len());
            let Some(tenant) = &commit.tenant else { continue };
            let until = commit.changes.first().map_or(commit.now, |(_, until)| *until);
            let known = entries.iter_mut().find(|entry| entry.tenant == *tenant);
            let (changes, notices, tenant) = (Vec::new(), Vec::new(), tenant.clone());
            let entry = match known {
                Some(entry) => entry,
                None => entries.push_mut(ChangeEntry {
                    shard,
                    sequence: 0,
                    tenant,
                    at: commit.now,
                    until,
                    changes,
                    notices,
                }),
            };
            let least = commit.now.plus(LEAST_LIFE).max(entry.until);
            entry.until = commit.changes.iter().map(|(_, until)| *until).fold(least, Time::max);
            entry.changes.extend(commit.changes.iter().map(|(change, _)| change.clone()));
            entry.notices.extend(commit.notices.iter().cloned());
        }
        let mut last = end.last;
        for entry in &mut entries {
            last = last.saturating_add(1);
            entry.sequence = last;
        }
        let head = ChangeHead { tenant: TenantId::system(), shard, last };
        let version = end.version.as_ref().map_or(Version::new(1), Version::next);
        writes.push(match end.version {
            None => Write::create(head),
            Some(version) => Write::replace(head, version),
        });
        writes.extend(entries.into_iter().map(Write::create));
        Self { transaction: Transaction { now, writes }, end: FeedEnd { version: Some(version), last }, ends }
    }

    /// What write `index` of the transaction is about.
    pub fn obstacle(&self, index: usize) -> Obstacle {
        let commit = self.ends.partition_point(|end| *end <= index);
        let first = commit.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let write = index.saturating_sub(first);
        if commit < self.ends.len() { Obstacle::Commit { index: commit, write } } else { Obstacle::Feed }
    }
}

/// Writes to be applied together; only a [`Commit`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    now: Time,
    writes: Vec<Write>,
}

impl Transaction {
    /// The instant at which expiry is judged.
    pub const fn now(&self) -> Time {
        self.now
    }

    /// The writes, in order.
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }
}
