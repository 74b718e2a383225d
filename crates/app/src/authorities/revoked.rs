//! What a CA has revoked: by the index, or certificate by certificate.

use std::collections::HashSet;

use futures::{StreamExt, TryStreamExt, stream};
use signet_core::{
    CaId, Error, Lifetime, Serial, StoreError, Time,
    audit::sha256_hex,
    authorities::{Ca, CaKind},
    certificates::{Certificate, CertificateState, DEADLINE_SHARDS, RevocationReason},
    store::{Index, Key, Query, Table},
    tenants::MAX_LIFETIME,
};
use signet_x509::crl::RevokedEntry;

use crate::{App, Chore, paging};

/// An entry stays at least until a list that was made after its certificate's end is out (RFC 5280 section 3.3).
const KEEP_AFTER_EXPIRY: Lifetime = Lifetime::hours(48);
/// As many entries that the index does not show are looked up for one list; more of them stay on it without.
const MAX_LOOKUPS: usize = 1000;
/// Of these at once.
const LOOKUPS_AT_ONCE: usize = 8;

/// The entry of a certificate, by its record. `None`: the CA has none of this number, or it is not revoked.
pub async fn by_serial(app: &App, chore: &Chore, ca: &CaId, serial: &Serial) -> Result<Option<RevokedEntry>, Error> {
    let key = Certificate::key_of(ca, serial);
    match chore.keeper.environment().get::<Certificate>(&*app.store, &key, chore.now).await {
        Ok(found) => Ok(found.and_then(|found| entry(&found.value, chore.now))),
        Err(StoreError::Corrupt { .. }) => Ok(bare_entry(&key)),
        Err(error) => Err(error.into()),
    }
}

/// What a CA has revoked as the index shows it, by serial number: also what can no longer be read of it but for its
/// number.
pub(super) async fn by_index(app: &App, chore: &Chore, issuer: &CaId) -> Result<Revoked, Error> {
    let now = chore.now;
    let query = |shard| Query::index(Table::Certificates, Index::Revoked, Certificate::revoked(issuer, shard));
    let read = |query| async move { chore.keeper.environment().page::<Certificate>(&*app.store, &query, now).await };
    let (found, unreadable) = paging::all(DEADLINE_SHARDS, query, read).await?;
    let mut entries: Vec<RevokedEntry> = found.iter().filter_map(|certificate| entry(certificate, now)).collect();
    let ended = found.iter().filter(|certificate| !is_kept(certificate.not_after, now));
    let ended = ended.map(|certificate| certificate.serial).collect();
    for record in unreadable {
        entries.push(bare_entry(&record.key).ok_or(StoreError::from(record))?);
    }
    sort(&mut entries);
    Ok(Revoked { entries, ended })
}

/// The entries for a new list: what the index shows, and what of the last list it does not. An index lags behind
/// its table, and one that is made anew lacks more: only the end of a certificate takes its entry off a list.
pub(super) async fn with_published(
    app: &App,
    ca: &Ca,
    found: Revoked,
    published: Vec<RevokedEntry>,
    chore: &Chore,
) -> Result<Vec<RevokedEntry>, Error> {
    let Revoked { mut entries, ended } = found;
    let shown: HashSet<Serial> = entries.iter().map(|entry| entry.serial).chain(ended).collect();
    let mut missing: Vec<RevokedEntry> = published.into_iter().filter(|entry| !shown.contains(&entry.serial)).collect();
    // The oldest end first.
    sort(&mut missing);
    let unseen = missing.split_off(missing.len().min(MAX_LOOKUPS));
    let look = |entry: RevokedEntry| async move {
        let until = end_of(app, chore, ca, &entry.serial).await?;
        Ok::<_, Error>(is_kept(until, chore.now).then_some(entry))
    };
    let looked_up: Vec<Option<RevokedEntry>> =
        stream::iter(missing).map(look).buffered(LOOKUPS_AT_ONCE).try_collect().await?;
    let kept: Vec<RevokedEntry> = looked_up.into_iter().flatten().chain(unseen).collect();
    if !kept.is_empty() {
        let (ca, kept) = (ca.id.as_str(), kept.len());
        tracing::warn!(ca.id = ca, kept, "the index lacks published revocations: keeping them on the CRL");
    }
    entries.extend(kept);
    sort(&mut entries);
    Ok(entries)
}

/// When the certificate ends; without a record, or with one that cannot be read, the latest time at which it may.
async fn end_of(app: &App, chore: &Chore, ca: &Ca, serial: &Serial) -> Result<Time, Error> {
    let key = Certificate::key_of(&ca.id, serial);
    match chore.keeper.environment().get::<Certificate>(&*app.store, &key, chore.now).await {
        Ok(Some(found)) => Ok(found.value.not_after),
        // Roots sign CAs only, which live for years.
        Ok(None) | Err(StoreError::Corrupt { .. }) if ca.kind == CaKind::Root => Ok(ca.not_after),
        Ok(None) | Err(StoreError::Corrupt { .. }) => Ok(serial.made_at().plus(MAX_LIFETIME)),
        Err(error) => Err(error.into()),
    }
}

/// What the index shows of a CA.
pub(super) struct Revoked {
    /// What belongs on a list.
    pub(super) entries: Vec<RevokedEntry>,
    /// Revoked, but ended so long ago that it is on no list any more.
    ended: Vec<Serial>,
}

fn sort(entries: &mut Vec<RevokedEntry>) {
    entries.sort_unstable_by_key(|entry| entry.serial);
    entries.dedup_by_key(|entry| entry.serial);
}

fn is_kept(not_after: Time, now: Time) -> bool {
    not_after.plus(KEEP_AFTER_EXPIRY) > now
}

fn entry(certificate: &Certificate, now: Time) -> Option<RevokedEntry> {
    let CertificateState::Revoked { revoked_at, reason } = certificate.state else { return None };
    is_kept(certificate.not_after, now).then_some(RevokedEntry { serial: certificate.serial, revoked_at, reason })
}

/// The index says that it was revoked, and its key which it is.
fn bare_entry(key: &Key) -> Option<RevokedEntry> {
    let serial = Certificate::serial_in(key)?;
    Some(RevokedEntry { serial, revoked_at: serial.made_at(), reason: RevocationReason::Unspecified })
}

/// Tells one set of entries from another; in any order of theirs.
pub(super) fn digest(entries: &[RevokedEntry]) -> String {
    let mut entries: Vec<&RevokedEntry> = entries.iter().collect();
    entries.sort_unstable_by_key(|entry| entry.serial);
    let mut content = Vec::with_capacity(entries.len().saturating_mul(25));
    for entry in entries {
        content.extend_from_slice(entry.serial.as_bytes());
        content.extend_from_slice(&entry.revoked_at.unix_seconds().to_be_bytes());
        content.push(entry.reason.code());
    }
    sha256_hex(&content)
}
