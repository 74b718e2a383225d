//! The one way to write: an operation's changes, their feed entries and its audit event, or nothing.

use crate::{
    TenantId, Time,
    audit::AuditEvent,
    change::{Change, ChangeEntry, ChangeHead},
    store::{Body, Entity, Key, Version, Versioned},
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
    pub fn create(entity: impl Entity) -> Self {
        Self::Create(entity.into())
    }

    /// Replaces an entity that was read at `version`.
    pub fn replace(entity: impl Entity, version: Version) -> Self {
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

/// Writes that change no state anybody could ask about, and so have no audit event of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bookkeeping {
    /// A reservation before a signature; the issuance that follows has the event.
    Reservation,
    /// Seals of audit events.
    Seal,
    /// That a warning could not be given after all, and how far a look for them came.
    Warning,
}

/// What an operation wants written. Made with its audit event, so that no state change goes without.
#[derive(Clone, Debug)]
#[must_use]
pub struct Commit {
    now: Time,
    writes: Vec<Write>,
    changes: Vec<(Change, Time)>,
    tenant: Option<TenantId>,
}

impl Commit {
    /// A commit with its audit event.
    pub fn audited(event: AuditEvent) -> Self {
        let now = event.at;
        Self { now, writes: vec![Write::create(event)], changes: Vec::new(), tenant: None }
    }

    /// A commit that needs none.
    pub fn bookkeeping(_kind: Bookkeeping, now: Time) -> Self {
        Self { now, writes: Vec::new(), changes: Vec::new(), tenant: None }
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

    /// Announces a change of `tenant` to every node. `until`: when it can no longer matter to anybody. All changes of
    /// one commit are of one tenant; they share a feed entry.
    pub fn announce(mut self, tenant: &TenantId, change: Change, until: Time) -> Self {
        debug_assert!(self.tenant.as_ref().is_none_or(|known| known == tenant), "one tenant a commit");
        self.tenant = Some(tenant.clone());
        self.changes.push((change, until));
        self
    }

    /// The feed shard whose head this commit moves; `None` if it announces nothing.
    pub fn feed_shard(&self) -> Option<u32> {
        self.tenant.as_ref().map(ChangeHead::shard_of)
    }

    /// Whether write `index` of the transaction is the feed head, so that a conflict there means: read the head
    /// again and retry.
    pub fn is_feed_write(&self, index: usize) -> bool {
        self.tenant.is_some() && index >= self.writes.len()
    }

    /// The transaction, given the feed head read just now (`None`: the shard is new).
    pub fn to_transaction(&self, head: Option<&Versioned<ChangeHead>>) -> Transaction {
        let mut writes = self.writes.clone();
        if let (Some(tenant), Some((_, first_until))) = (&self.tenant, self.changes.first()) {
            let shard = ChangeHead::shard_of(tenant);
            let sequence = head.map_or(0, |head| head.value.last).saturating_add(1);
            let until = self.changes.iter().map(|(_, until)| *until).fold(*first_until, Time::max);
            let next = ChangeHead { tenant: TenantId::system(), shard, last: sequence };
            writes.push(match head {
                None => Write::create(next),
                Some(head) => Write::replace(next, head.version.clone()),
            });
            writes.push(Write::create(ChangeEntry {
                shard,
                sequence,
                tenant: tenant.clone(),
                at: self.now,
                until,
                changes: self.changes.iter().map(|(change, _)| change.clone()).collect(),
            }));
        }
        Transaction { now: self.now, writes }
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
