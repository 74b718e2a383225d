//! Revocation lists: when a new one is due, and the making of it.

use std::collections::{BTreeMap, HashSet};

use futures::{StreamExt, TryStreamExt, stream};
use signet_core::{
    CaId, Error, Lifetime, Serial, StoreError, Time,
    audit::sha256_hex,
    authorities::{Ca, CaKind},
    certificates::{Certificate, CertificateState, DEADLINE_SHARDS, RevocationReason},
    store::{Index, Key, Query, Table},
    tenants::MAX_LIFETIME,
};
use signet_x509::{
    IssuerCert,
    crl::{RevokedEntry, prepare_crl, verified_entries},
};

use crate::{
    App, AuditEntry, Chore,
    authorities::signing::{self, issue_error},
    call, ledger,
    object_store::{DIGEST, Object, ObjectMeta, ObjectStore, Put},
    paging,
};

/// How long a list is valid.
pub(super) const VALIDITY: Lifetime = Lifetime::hours(48);
/// When an unchanged list is made anew: a day before it ends, so that a day is left to mend what keeps it from being
/// made.
const RENEWAL: Lifetime = Lifetime::hours(24);
/// An entry stays at least until a list that was made after its certificate's end is out (RFC 5280 section 3.3).
const KEEP_AFTER_EXPIRY: Lifetime = Lifetime::hours(48);
/// As many entries that the index does not show are looked up for one list; more of them stay on it without.
const MAX_LOOKUPS: usize = 1000;
/// Of these at once.
const LOOKUPS_AT_ONCE: usize = 8;
/// The note with the list's number.
const NUMBER: &str = "crl-number";
/// The note that says when an unchanged list is made anew, Unix seconds.
const RENEW_AT: &str = "renew-at";

/// The number of the list that is due, if one is: the entries are others than before, or the list has reached half of
/// its validity. Numbers rise (RFC 5280 section 5.2.3) also when the list before was lost, since no number is below the
/// time.
pub(super) fn due_number(there: Option<&ObjectMeta>, digest: &str, now: Time) -> Option<u64> {
    let note = |name: &str| there.and_then(|there| there.notes.get(name));
    let renew_at = note(RENEW_AT).and_then(|text| text.parse::<i64>().ok());
    let same = note(DIGEST).is_some_and(|noted| noted == digest);
    if same && renew_at.is_some_and(|at| now.unix_seconds() < at) {
        return None;
    }
    let before = note(NUMBER).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    Some(u64::try_from(now.unix_seconds()).unwrap_or(0).max(before.saturating_add(1)))
}

/// Where a CA's list is.
pub(super) fn name(ca: &CaId) -> String {
    format!("crl/{ca}.crl")
}

/// Puts the CA's list if a new one is due. Every signature has an audit event before it.
pub(super) async fn put_crl(app: &App, chore: &Chore, bucket: &dyn ObjectStore, ca: &Ca) -> Result<Vec<String>, Error> {
    let name = name(&ca.id);
    let there = bucket.look(&name).await?;
    let found = revoked_by_index(app, chore, &ca.id).await?;
    if due_number(there.as_ref(), &digest(&found.entries), chore.now).is_none() {
        return Ok(Vec::new());
    }
    let issuer = signing::issuer(app, ca).await?;
    let published = match &there {
        None => Vec::new(),
        Some(there) => match bucket.read(&name, &there.tag).await? {
            Some(der) => published_entries(&der, &issuer.certificate, &name),
            // Somebody else has put another one meanwhile.
            None => return Ok(Vec::new()),
        },
    };
    let entries = with_published(app, ca, found, published, chore).await?;
    let digest = digest(&entries);
    let Some(number) = due_number(there.as_ref(), &digest, chore.now) else { return Ok(Vec::new()) };
    let next_update = chore.now.plus(VALIDITY).min(ca.not_after);
    let prepared = prepare_crl(&issuer.certificate, number, chore.now, next_update, &entries).map_err(issue_error)?;
    let entry = AuditEntry::done(chore, "certificate_authority", &ca.id)
        .detail("crl_number", number)
        .detail("entries", entries.len())
        .detail("tbs_sha256", sha256_hex(prepared.tbs_der()));
    ledger::commit(app, &call::audited(app, chore, &ca.tenant, &entry), chore.now).await?;
    let signature = issuer.signer.sign(prepared.tbs_der()).await?;
    let content = prepared.finish(&signature).map_err(issue_error)?;
    let notes = BTreeMap::from([
        (DIGEST.to_owned(), digest),
        (NUMBER.to_owned(), number.to_string()),
        (RENEW_AT.to_owned(), chore.now.plus(RENEWAL).unix_seconds().to_string()),
    ]);
    // RFC 2585 section 4.2.
    let object = Object { name: name.clone(), content_type: "application/pkix-crl", content, notes };
    let put = bucket.put(object, there.as_ref().map(|there| there.tag.as_str())).await?;
    Ok(if put == Put::Done { vec![name] } else { Vec::new() })
}

/// What a CA has revoked as the index shows it, by serial number: also what can no longer be read of it but for its
/// number.
async fn revoked_by_index(app: &App, chore: &Chore, issuer: &CaId) -> Result<Revoked, Error> {
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

/// The entries for a new list: what the index shows, and what of the published list it does not. An index lags behind
/// its table, and one that is made anew lacks more: only the end of a certificate takes its entry off a list.
async fn with_published(
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
struct Revoked {
    /// What belongs on a list.
    entries: Vec<RevokedEntry>,
    /// Revoked, but ended so long ago that it is on no list any more.
    ended: Vec<Serial>,
}

/// What stands on the published list, or nothing if it is not one that the CA signed.
fn published_entries(der: &[u8], issuer: &IssuerCert, name: &str) -> Vec<RevokedEntry> {
    verified_entries(der, issuer).unwrap_or_else(|reason| {
        let reason = reason.to_string();
        tracing::error!(object = name, reason, "the published CRL is not ours: replacing it with one from the index");
        Vec::new()
    })
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

/// Tells one set of entries from another.
fn digest(entries: &[RevokedEntry]) -> String {
    let line = |entry: &RevokedEntry| {
        format!("{} {} {}\n", entry.serial, entry.revoked_at.unix_seconds(), entry.reason.as_str())
    };
    sha256_hex(entries.iter().map(line).collect::<String>().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_due_when_it_changes_or_ages_and_numbers_rise() {
        let now = Time::from_unix_seconds(1_800_000_000);
        assert_eq!(due_number(None, "a", now), Some(1_800_000_000));
        let there = |digest: &str, number: &str, renew_at: &str| ObjectMeta {
            tag: "t".into(),
            notes: BTreeMap::from([
                (DIGEST.into(), digest.into()),
                (NUMBER.into(), number.into()),
                (RENEW_AT.into(), renew_at.into()),
            ]),
        };
        assert_eq!(due_number(Some(&there("a", "7", "1800000001")), "a", now), None);
        assert_eq!(due_number(Some(&there("a", "7", "1800000000")), "a", now), Some(1_800_000_000));
        // Twice within a second, or with a clock that was set back.
        assert_eq!(due_number(Some(&there("a", "1800000500", "1800000001")), "b", now), Some(1_800_000_501));
        let unreadable = due_number(Some(&there("a", "seven", "soon")), "a", now);
        assert_eq!(unreadable.unwrap(), 1_800_000_000);
    }
}
