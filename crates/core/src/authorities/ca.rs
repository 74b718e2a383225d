//! Certificate authorities and the plan of their life.

use serde::{Deserialize, Serialize};

use crate::{
    CaId, KeyRef, Lifetime, TenantId, Time,
    store::layout::{Entity, Index, IndexEntry, Key, LISTING_SHARDS, Query, SortRange, Table, shard_of},
};

/// What a CA signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CaKind {
    /// The environment's root: signs the other CAs, path length 1.
    Root,
    /// Server certificates of the control plane, path length 0.
    Server,
    /// Leaves of the tenants without a CA of their own, path length 0.
    Shared,
    /// Leaves of one tenant, path length 0.
    Tenant,
}

/// Where a CA is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CaState {
    /// Published in the bundle, so that verifiers know it before it signs.
    Prepared,
    /// Signs; exactly one per issuing name.
    Active,
    /// Verifies what it signed, signs no more.
    Retiring,
    /// Trusted no more.
    Retired,
}

impl CaState {
    /// Whether verifiers accept what it signed.
    pub const fn is_trusted(self) -> bool {
        !matches!(self, Self::Retired)
    }
}

/// A certificate authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ca {
    /// `<tenant>.<generation>` or `root.N`, `shared.N`, `server.N`.
    pub id: CaId,
    /// Owner: the tenant, or `system` for the environment's own.
    pub tenant: TenantId,
    /// What it signs.
    pub kind: CaKind,
    /// Counted from 1 among the CAs of the same kind and owner.
    pub generation: u32,
    /// Where it is in its life.
    pub state: CaState,
    /// Where its key lives.
    pub key: KeyRef,
    /// Its certificate, DER.
    #[serde(with = "crate::store::layout::bytes")]
    pub certificate_der: Vec<u8>,
    /// What relying parties trust, DER: the certificate's twin with the same name and key, signed by the CA itself.
    /// Empty for a root, and for a CA of an earlier release until the next `rotate-cas`.
    #[serde(default, with = "crate::store::layout::bytes", skip_serializing_if = "Vec::is_empty")]
    pub anchor_der: Vec<u8>,
    /// The CA that signed it; itself for a root.
    pub issuer: CaId,
    /// Start of validity.
    pub not_before: Time,
    /// End of validity.
    pub not_after: Time,
    /// When its state last changed.
    pub updated_at: Time,
}

/// How long a CA is published before it signs. Verifiers fetch the bundle every five minutes as it asks them to, those
/// of the bucket ten minutes later, and some hold what they fetched for as long again: before that, they would refuse
/// what it signs.
const PUBLISHED_BEFORE_USE: Lifetime = Lifetime::hours(1);
/// The same for a server CA, whose anchor comes to clients with their next certificate: with lifetimes of a day or less
/// all have it by then.
const SERVER_PUBLISHED_BEFORE_USE: Lifetime = Lifetime::days(1);

impl Ca {
    /// Sort-key prefix of the CAs in their owner's partition.
    pub const SORT_PREFIX: &'static str = "ca#";

    /// Key of the CA `id` of `tenant`.
    pub fn key_of(tenant: &TenantId, id: &CaId) -> Key {
        Key::new(Table::Tenants, tenant.as_str(), &format!("{}{id}", Self::SORT_PREFIX))
    }

    /// The tenant whose CA is at `key`, for one that cannot be read.
    pub fn tenant_in(key: &Key) -> Option<TenantId> {
        key.sort.starts_with(Self::SORT_PREFIX).then(|| key.partition.parse().ok()).flatten()
    }

    /// All CAs of `tenant`, strongly consistent.
    pub fn all_of(tenant: &TenantId) -> Query {
        Query::table(Table::Tenants, tenant.as_str()).range(SortRange::Prefix(Self::SORT_PREFIX.to_owned()))
    }

    /// What verifiers are given to trust, DER: the anchor, or what stands for it.
    pub fn anchor(&self) -> &[u8] {
        if self.anchor_der.is_empty() { &self.certificate_der } else { &self.anchor_der }
    }

    /// Whether it is one whose anchor has still to be made.
    pub fn lacks_anchor(&self) -> bool {
        self.kind != CaKind::Root && self.state.is_trusted() && self.anchor_der.is_empty()
    }

    /// Whether it began, or will within a day. Others are of a clock that was ahead, and neither active nor prepared;
    /// with those of a day it may be this clock that is behind, which must replace nothing.
    pub fn counts(&self, now: Time) -> bool {
        self.has_begun(now.plus(DAY))
    }

    /// Whether its validity has begun.
    pub fn has_begun(&self, now: Time) -> bool {
        self.not_before <= now
    }

    /// Whether it is valid.
    fn is_valid(&self, now: Time) -> bool {
        self.has_begun(now) && now < self.not_after
    }

    /// When verifiers know it, for one that is prepared.
    pub const fn known_at(&self) -> Time {
        let published = match self.kind {
            CaKind::Server => SERVER_PUBLISHED_BEFORE_USE,
            CaKind::Root | CaKind::Shared | CaKind::Tenant => PUBLISHED_BEFORE_USE,
        };
        self.updated_at.plus(published)
    }

    /// Index partition of listing shard `shard`.
    pub fn listing(shard: u32) -> String {
        format!("cas#{shard}")
    }
}

impl Entity for Ca {
    fn key(&self) -> Key {
        Self::key_of(&self.tenant, &self.id)
    }
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn indexes(&self) -> Vec<IndexEntry> {
        let shard = shard_of(self.tenant.as_str(), LISTING_SHARDS);
        vec![IndexEntry::new(Index::Listing, Self::listing(shard), &format!("{}#{}", self.tenant, self.id))]
    }
}

/// One step in the life of the CAs of one kind and owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RotationStep {
    /// Make a key and a certificate for this generation and publish it as `prepared`.
    Prepare {
        /// The generation to make.
        generation: u32,
    },
    /// `prepared` starts to sign, or a retiring one again ([`signer`]); the present active one, if any, becomes
    /// `retiring`.
    Activate {
        /// The one to activate.
        ca: CaId,
        /// The one it replaces.
        replaces: Option<CaId>,
    },
    /// Nothing it signed can still be valid: take it out of the bundle.
    Retire {
        /// The one to retire.
        ca: CaId,
    },
    /// Make the anchor of a CA of an earlier release ([`Ca::anchor_der`]).
    Anchor {
        /// The one that lacks it.
        ca: CaId,
    },
}

impl RotationStep {
    /// Whether it changes the record of `id`: a plan changes each at most once.
    fn changes(&self, id: &CaId) -> bool {
        match self {
            Self::Prepare { .. } => false,
            Self::Activate { ca, replaces } => ca == id || replaces.as_ref() == Some(id),
            Self::Retire { ca } | Self::Anchor { ca } => ca == id,
        }
    }
}

/// New CAs of one kind and owner a day: as many as anybody needs who replaces one twice, since each has a key that is
/// paid for.
pub const PREPARED_A_DAY: usize = 2;
/// The same where the operator asks, e.g. for a tenant whose keys are suspect one after the other.
pub const PREPARED_A_DAY_BY_OPERATOR: usize = 10;
const DAY: Lifetime = Lifetime::days(1);

/// When the next CA of one kind and owner may be prepared, if `most` a day may; `None`: now. The first one came with
/// its owner and does not count.
pub fn prepare_possible_at(cas: &[Ca], most: usize, now: Time) -> Option<Time> {
    let later = cas.iter().filter(|ca| ca.generation > 1 && ca.has_begun(now)).map(|ca| ca.not_before);
    let mut made: Vec<Time> = later.filter(|made| now < made.plus(DAY)).collect();
    made.sort();
    // The one whose day must be over before fewer than `most` are left.
    let index = made.len().checked_sub(most)?;
    made.get(index).map(|made| made.plus(DAY))
}

/// Which of the CAs of one kind and owner signs at `now`: the active one. Where that has not begun, since the clock
/// that activated it was ahead, the one before it does, which verifiers know; if there is none, the active one is named
/// all the same.
pub fn signer(cas: &[Ca], now: Time) -> Option<&Ca> {
    let newest =
        |state| cas.iter().filter(move |ca| ca.state == state).max_by_key(|ca| (ca.has_begun(now), ca.generation));
    let active = newest(CaState::Active)?;
    let before = || newest(CaState::Retiring).filter(|ca| ca.is_valid(now));
    if active.has_begun(now) { Some(active) } else { before().or(Some(active)) }
}

/// The CA that is prepared to follow: none that was passed over, or that a clock made which was ahead.
pub fn prepared(cas: &[Ca], now: Time) -> Option<&Ca> {
    let is_next = |ca: &&Ca| ca.state == CaState::Prepared && ca.counts(now) && !is_passed_over(ca, cas, now);
    cas.iter().filter(is_next).max_by_key(|ca| ca.generation)
}

/// Whether a later one was activated in its stead, so that it will never sign.
fn is_passed_over(ca: &Ca, cas: &[Ca], now: Time) -> bool {
    let later = |other: &Ca| other.state == CaState::Active && other.counts(now) && other.generation > ca.generation;
    ca.state == CaState::Prepared && cas.iter().any(later)
}

/// How long before its signatures would outlive it a CA stops to sign.
const MARGIN: Lifetime = Lifetime::days(30);

/// What is due at `now` for the CAs of one kind and owner: `prepared` at half of the active one's life, `active` at
/// five sixths, if verifiers know it by then ([`Ca::known_at`]; a root, which signs CAs of two years, earlier:
/// [`MARGIN`] before these would outlive it), `retired` once everything it signed has expired (`longest_leaf_millis`
/// after it stopped signing) or it has expired itself. A CA without an anchor gets one. What a clock has made or
/// activated that was ahead counts for nothing until it begins. Pure: the caller executes the steps and asks again.
pub fn plan_rotation(cas: &[Ca], longest_leaf_millis: i64, now: Time) -> Vec<RotationStep> {
    let mut steps = Vec::new();
    let newest = cas.iter().map(|ca| ca.generation).max().unwrap_or(0);
    let (active, ahead): (Vec<&Ca>, Vec<&Ca>) =
        cas.iter().filter(|ca| ca.state == CaState::Active).partition(|ca| ca.counts(now));
    let before = signer(cas, now).filter(|ca| active.is_empty() && ca.state == CaState::Retiring);
    match (active.first(), before.or(prepared(cas, now))) {
        (None, None) => steps.push(RotationStep::Prepare { generation: newest.saturating_add(1) }),
        (None, Some(next)) => {
            let replaces = ahead.first().map(|ca| ca.id.clone());
            steps.push(RotationStep::Activate { ca: next.id.clone(), replaces });
        }
        (Some(active), next) => {
            let life = active.not_after.millis_since(active.not_before);
            let age = now.millis_since(active.not_before);
            let last_use = (life / 6 * 5).min(life.saturating_sub(longest_leaf_millis).saturating_sub(MARGIN.millis()));
            match next {
                None if age >= life / 2 => {
                    steps.push(RotationStep::Prepare { generation: newest.saturating_add(1) });
                }
                Some(next) if age >= last_use && now >= next.known_at().min(active.not_after) => {
                    steps.push(RotationStep::Activate { ca: next.id.clone(), replaces: Some(active.id.clone()) })
                }
                _ => {}
            }
        }
    }
    let over = |ca: &Ca| now.millis_since(ca.updated_at) > longest_leaf_millis || now >= ca.not_after;
    let is_back = |ca: &Ca| before.is_some_and(|before| before.id == ca.id);
    let done = |ca: &&Ca| ca.state == CaState::Retiring && over(ca) && !is_back(ca) || is_passed_over(ca, cas, now);
    steps.extend(cas.iter().filter(done).map(|ca| RotationStep::Retire { ca: ca.id.clone() }));
    let lacking = cas.iter().filter(|ca| ca.lacks_anchor() && !steps.iter().any(|step| step.changes(&ca.id)));
    let anchors: Vec<_> = lacking.map(|ca| RotationStep::Anchor { ca: ca.id.clone() }).collect();
    steps.extend(anchors);
    steps
}
