//! What nears its end although somebody should have replaced it: when to warn, and what was warned of.

use serde::{Deserialize, Serialize};

use crate::{
    CaId, Lifetime, PrincipalId, PrincipalType, Serial, TenantId, Time,
    certificates::{Certificate, CertificateKind, CertificateState, DEADLINE_SHARDS, sort_time},
    store::layout::{Cursor, Entity, Index, Key, Query, SortRange, Table},
};

/// Whole days before the end at which to warn.
const DAYS: [u32; 3] = [30, 7, 1];
/// Shares of a life that are left, in percent. A fleet renews in the middle third, and a server certificate is replaced
/// when a third is left, so that a quarter means trouble.
const SHARES: [u32; 2] = [25, 10];
/// From this life on days tell enough.
const LONG_LIFE: Lifetime = Lifetime::days(120);
/// How far ahead of the end warnings begin at most.
pub const HORIZON: Lifetime = Lifetime::days(30);

/// A point before the end at which a warning is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Threshold {
    /// So many days before.
    Days(u32),
    /// When so many percent of the life are left.
    Percent(u32),
}

impl Threshold {
    /// Its name, in keys and events: `30d`, `25pct`.
    pub fn name(self) -> String {
        match self {
            Self::Days(days) => format!("{days}d"),
            Self::Percent(percent) => format!("{percent}pct"),
        }
    }

    /// How long before the end it is, for a life of `life_millis`.
    fn millis_left(self, life_millis: i64) -> i64 {
        match self {
            Self::Days(days) => Lifetime::days(days).millis(),
            Self::Percent(percent) => life_millis / 100 * i64::from(percent),
        }
    }
}

/// The latest threshold that lies behind at `now`; `None`: none does, or the end does. Days count only where they are
/// at most a quarter of the life; a life below 120 days has shares of itself besides. One that was passed without
/// notice is not made up for once a later one is passed.
pub fn due(not_before: Time, not_after: Time, now: Time) -> Option<Threshold> {
    let (life, left) = (not_after.millis_since(not_before), not_after.millis_since(now));
    if left <= 0 {
        return None;
    }
    let days = DAYS.map(Threshold::Days).into_iter().filter(|days| days.millis_left(life) <= life / 4);
    let shares = SHARES.map(Threshold::Percent).into_iter().filter(|_| life < LONG_LIFE.millis());
    let behind = days.chain(shares).filter(|threshold| left <= threshold.millis_left(life));
    behind.min_by_key(|threshold| threshold.millis_left(life))
}

/// Whether nobody has replaced a principal's certificate, so far as its own record says.
pub fn is_unreplaced(certificate: &Certificate) -> bool {
    certificate.kind == CertificateKind::Leaf
        && certificate.state == CertificateState::Issued
        && certificate.lineage.successor.is_none()
        && certificate.lineage.locked_at.is_none()
}

/// What ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub enum Ending {
    /// The environment's root.
    Root { ca: CaId },
    /// Another CA.
    Ca { ca: CaId },
    /// The control plane's certificate.
    Server { serial: Serial },
    /// A principal's certificate.
    Leaf {
        principal: PrincipalId,
        /// The holder's type.
        principal_type: PrincipalType,
        /// Who signed it.
        issuer: CaId,
        serial: Serial,
    },
}

impl Ending {
    /// Names it among all that may end.
    fn name(&self) -> String {
        match self {
            Self::Root { ca } | Self::Ca { ca } => format!("ca#{ca}"),
            Self::Server { serial } | Self::Leaf { serial, .. } => format!("certificate#{serial}"),
        }
    }
}

/// That somebody was warned. Its record makes a warning one that is given once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct ExpiryWarning {
    /// Whose it is.
    pub tenant: TenantId,
    #[serde(flatten)]
    pub ending: Ending,
    /// Which threshold was passed.
    pub threshold: Threshold,
    /// When it ends.
    pub not_after: Time,
    /// When the warning was given.
    pub at: Time,
}

impl Entity for ExpiryWarning {
    fn key(&self) -> Key {
        let sort = format!("{}#{}", self.ending.name(), self.threshold.name());
        Key::new(Table::Requests, format!("{}#expiry", self.tenant), &sort)
    }
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn expires_at(&self) -> Option<Time> {
        Some(self.not_after.plus(Lifetime::days(1)))
    }
}

const HOUR: i64 = 3600;
const DAY: i64 = 86_400;
/// What ends this soon is looked at hour by hour, and the rest day by day: of what is in the same step, any may come
/// first.
const SOON: Lifetime = Lifetime::days(1);

/// How far a look at the certificates that end within [`HORIZON`] has come. What ends first comes first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanCursor {
    from: Time,
    until: Time,
    shard: u32,
    after: Option<Cursor>,
}

impl ScanCursor {
    /// The beginning.
    pub fn first(now: Time) -> Self {
        Self { from: now, until: step_end(now, now), shard: 0, after: None }
    }

    /// The page at this place.
    pub fn query(&self, limit: u32) -> Query {
        let partition = Certificate::expiring(self.from.unix_seconds().div_euclid(DAY), self.shard);
        let range = SortRange::Between(sort_time(self.from), sort_time(self.until));
        Query::index(Table::Certificates, Index::ByDeadline, partition)
            .range(range)
            .limit(limit)
            .after(self.after.clone())
    }

    /// What comes after that page, which ended with `after`; `None`: that was all.
    pub fn next(self, after: Option<Cursor>, now: Time) -> Option<Self> {
        if after.is_some() {
            return Some(Self { after, ..self });
        }
        if self.shard + 1 < DEADLINE_SHARDS {
            return Some(Self { shard: self.shard + 1, after, ..self });
        }
        let from = self.until;
        (from < now.plus(HORIZON)).then(|| Self { from, until: step_end(from, now), shard: 0, after })
    }

    /// Whether all that was to be looked at here has ended.
    pub fn is_over(&self, now: Time) -> bool {
        self.until <= now
    }

    /// Whether a look that began at `now` and has come here has reached `other`.
    pub fn has_reached(&self, other: &Self, now: Time) -> bool {
        (self.from, self.shard) >= (other.from.max(now), other.shard)
    }
}

/// The end of the step that begins at `from`; no step goes beyond its UTC day.
fn step_end(from: Time, now: Time) -> Time {
    let step = if from < now.plus(SOON) { HOUR } else { DAY };
    Time::from_unix_seconds((from.unix_seconds().div_euclid(step) + 1) * step)
}

/// A look that was broken off, for the next one to go on. `system` has the one record of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct BrokenOff {
    /// Whose it is.
    pub tenant: TenantId,
    pub place: ScanCursor,
    pub at: Time,
}

impl BrokenOff {
    /// Its key.
    pub fn key_of(tenant: &TenantId) -> Key {
        Key::new(Table::Requests, format!("{tenant}#expiry"), "broken-off")
    }
}

impl Entity for BrokenOff {
    fn key(&self) -> Key {
        Self::key_of(&self.tenant)
    }
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn expires_at(&self) -> Option<Time> {
        Some(self.at.plus(Lifetime::days(1)))
    }
}
