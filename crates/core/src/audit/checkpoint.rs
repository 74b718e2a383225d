//! Checkpoints: the chain of the whole environment's sealed minutes, which shows when the end of a tenant's log is cut
//! off.
//!
//! Each sealed minute has one. It names the checkpoint before it, for every tenant that was sealed then a *tag* of the
//! seal which that seal follows, and by one more tag the minute's seals themselves, so that no other ones take their
//! place. Whoever removes a tenant's last events and their seal leaves the tag behind: it says that a seal followed the
//! one which is now the last. Who removes checkpoints too breaks the chain, or makes its end go back; against that,
//! heads ([`Head`]) are remembered where a writer of the store does not reach: by those who verify, by every node and
//! in the publication bucket.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    KeyRef, TenantId, Time,
    audit::{
        Seal,
        log::put,
        merkle::{self, Digest},
    },
    store::layout::{Cursor, Entity, Key, Query, Table},
};

/// Most tags of one checkpoint: as base64 they must fit in an item of 400 kB. A minute with more tenants has several.
pub const MOST_TAGS: usize = 20_000;
/// Bytes of a tag.
const TAG_BYTES: usize = 8;

/// Says that a seal of a tenant follows the one with this digest. Only those who may read the tenant's seals can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag([u8; TAG_BYTES]);

impl Tag {
    /// Of all seals of a minute, with these digests: a minute that was sealed again, with other events, has another
    /// checkpoint. Nobody computes it again; it shows in [`ChainFinding::ChainForked`].
    pub fn of_seals(digests: impl Iterator<Item = Digest>) -> Self {
        let mut digests: Vec<Digest> = digests.collect();
        digests.sort_unstable();
        let mut bytes = b"signet audit seals v1".to_vec();
        put(&mut bytes, digests.as_flattened());
        Self::of(&bytes)
    }

    fn of(bytes: &[u8]) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = merkle::leaf(bytes);
        Self([a, b, c, d, e, f, g, h])
    }

    /// Of the tenant's seal after the one with the digest `previous`; zeros: of its first seal.
    pub fn after(tenant: &TenantId, previous: &Digest) -> Self {
        let mut bytes = b"signet audit tag v1".to_vec();
        put(&mut bytes, tenant.as_str().as_bytes());
        put(&mut bytes, previous);
        Self::of(&bytes)
    }
}

/// A checkpoint as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The system tenant.
    pub tenant: TenantId,
    /// Its place in the chain, from 1, without gaps.
    pub sequence: u64,
    /// The minute that was sealed, counted from the Unix epoch.
    pub minute: i64,
    /// [`Checkpoint::digest`] of the one before; zeros for the first.
    #[serde(with = "hex::serde")]
    pub previous: Digest,
    /// The tags of what the minute's seals follow, and of the seals themselves, 8 bytes each, in ascending order.
    #[serde(with = "crate::store::layout::bytes")]
    pub tags: Vec<u8>,
    /// The audit key.
    pub key: KeyRef,
    /// DER ECDSA signature over [`Checkpoint::signed_message`].
    #[serde(with = "crate::store::layout::bytes")]
    pub signature: Vec<u8>,
    /// When it is no longer needed.
    pub keep_until: Time,
}

impl Checkpoint {
    /// The next one after `head`, not signed yet. `tags`: in ascending order, at most [`MOST_TAGS`].
    pub fn next(head: Option<&Head>, minute: i64, tags: &[Tag], key: KeyRef, keep_until: Time) -> Self {
        Self {
            tenant: TenantId::system(),
            sequence: head.map_or(0, |head| head.sequence).saturating_add(1),
            minute,
            previous: head.map_or([0; 32], |head| head.digest),
            tags: tags.iter().flat_map(|tag| tag.0).collect(),
            key,
            signature: Vec::new(),
            keep_until,
        }
    }

    /// The bytes that the audit key signs.
    pub fn signed_message(&self) -> Vec<u8> {
        let mut message = b"signet audit checkpoint v1".to_vec();
        put(&mut message, &self.sequence.to_be_bytes());
        put(&mut message, &self.minute.to_be_bytes());
        put(&mut message, &self.previous);
        put(&mut message, &Sha256::digest(&self.tags));
        message
    }

    /// What the next checkpoint refers to.
    pub fn digest(&self) -> Digest {
        merkle::leaf(&self.signed_message())
    }

    /// This checkpoint as the end of the chain.
    pub fn head(&self) -> Head {
        Head { sequence: self.sequence, minute: self.minute, digest: self.digest() }
    }

    /// [`Self::tags`], one by one.
    pub fn tags(&self) -> impl Iterator<Item = Tag> {
        self.tags.chunks_exact(TAG_BYTES).filter_map(|tag| tag.try_into().ok().map(Tag))
    }

    fn sort(sequence: u64) -> String {
        format!("{sequence:020}")
    }

    /// The key of the checkpoint `sequence`.
    pub fn key_of(sequence: u64) -> Key {
        Key::new(Table::Audit, "checkpoints", &Self::sort(sequence))
    }

    /// All checkpoints, the newest first.
    pub fn newest_first() -> Query {
        Query::table(Table::Audit, "checkpoints").descending()
    }

    /// Those before the one with this sort key, the newest first.
    pub fn older_than(sort: String) -> Query {
        Self::newest_first().after(Some(Cursor { sort, key: None }))
    }
}

impl Entity for Checkpoint {
    fn key(&self) -> Key {
        Self::key_of(self.sequence)
    }
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn expires_at(&self) -> Option<Time> {
        Some(self.keep_until)
    }
}

/// The end of the chain as somebody saw it: enough to notice when it is another one later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// [`Checkpoint::sequence`].
    pub sequence: u64,
    /// [`Checkpoint::minute`].
    pub minute: i64,
    /// [`Checkpoint::digest`], hexadecimal.
    #[serde(with = "hex::serde")]
    pub digest: Digest,
}

/// What is wrong with the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "finding")]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub enum ChainFinding {
    /// The checkpoint's signature is not the audit key's.
    BadCheckpointSignature {
        /// Its place.
        sequence: u64,
        minute: i64,
    },
    /// The checkpoint does not follow the one before it: one was removed, changed or put in.
    BrokenCheckpointChain {
        /// Its place.
        sequence: u64,
        minute: i64,
    },
    /// The chain ends before a checkpoint that was seen earlier: its end was cut off, or an older store was restored.
    ChainRewound {
        /// The place that was seen.
        seen: u64,
        /// The minute that was seen.
        minute: i64,
    },
    /// Another checkpoint stands where one was seen earlier: the chain was cut off there and went on, or an older store
    /// was restored.
    ChainForked {
        /// The place that was seen.
        seen: u64,
        /// The minute that was seen.
        minute: i64,
    },
    /// A seal of the tenant was made in this minute and is gone, and with it whatever it sealed.
    SealRemoved { minute: i64 },
}

/// Checks `chain`: checkpoints in ascending order without the ones before. `seen`: heads from earlier that the chain
/// must hold, as far as it goes back. `check(message, signature)` answers for the audit key.
pub fn verify_chain(chain: &[Checkpoint], seen: &[Head], check: &dyn Fn(&[u8], &[u8]) -> bool) -> Vec<ChainFinding> {
    let mut findings = Vec::new();
    let mut before: Option<Head> = None;
    for checkpoint in chain {
        let (sequence, minute) = (checkpoint.sequence, checkpoint.minute);
        if !check(&checkpoint.signed_message(), &checkpoint.signature) {
            findings.push(ChainFinding::BadCheckpointSignature { sequence, minute });
        }
        let follows = |head: Head| {
            head.digest == checkpoint.previous
                && head.sequence.checked_add(1) == Some(sequence)
                && head.minute <= minute
        };
        if before.is_some_and(|head| !follows(head)) {
            findings.push(ChainFinding::BrokenCheckpointChain { sequence, minute });
        }
        before = Some(checkpoint.head());
    }
    findings.extend(seen.iter().filter_map(|seen| compare(chain, seen)));
    findings
}

fn compare(chain: &[Checkpoint], seen: &Head) -> Option<ChainFinding> {
    if chain.last().is_none_or(|last| last.sequence < seen.sequence) {
        return Some(ChainFinding::ChainRewound { seen: seen.sequence, minute: seen.minute });
    }
    let same = chain.iter().find(|checkpoint| checkpoint.sequence == seen.sequence);
    same.filter(|same| same.digest() != seen.digest)
        .map(|_| ChainFinding::ChainForked { seen: seen.sequence, minute: seen.minute })
}

/// The tenant's seals that `chain` names and that are not among `seals` (oldest first, up to the newest there is).
/// `before`: the digest of the tenant's seal before the first of `seals`; zeros: there never was one; `None`: not
/// known.
pub fn missing_seals(
    chain: &[Checkpoint],
    tenant: &TenantId,
    seals: &[Seal],
    before: Option<Digest>,
) -> Vec<ChainFinding> {
    // What each seal's tag says of its successor must be so; where one was cut off, two claim to follow the same seal.
    let digests = before.into_iter().chain(seals.iter().map(|seal| seal.statement.digest()));
    let followers = seals.iter().map(|seal| Some(seal.statement.minute)).chain([None]);
    let followers = followers.skip(usize::from(before.is_none()));
    let expected: BTreeMap<Tag, Option<i64>> =
        digests.map(|digest| Tag::after(tenant, &digest)).zip(followers).collect();
    let named = chain.iter().flat_map(|checkpoint| checkpoint.tags().map(|tag| (tag, checkpoint.minute)));
    let gone = named.filter(|(tag, minute)| expected.get(tag).is_some_and(|follower| *follower != Some(*minute)));
    gone.map(|(_, minute)| ChainFinding::SealRemoved { minute }).collect()
}
