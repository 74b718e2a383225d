//! Revocation lists: when a new one is due, and the making of it.

use std::collections::BTreeMap;

use signet_core::{
    CaId, Error, Lifetime, StoreError, Time,
    audit::sha256_hex,
    ca::Ca,
    certificate::{Certificate, CertificateState, DEADLINE_SHARDS, RevocationReason},
    scope::EnvironmentScope,
    store::{Index, Key, Query, Table},
};
use signet_x509::crl::{RevokedEntry, prepare_crl};

use super::{DIGEST, Object, Put, Shelf, Shelved};
use crate::{App, AuditEntry, Call, authority::issue_error, paging};

/// How long a list is valid.
pub(super) const VALIDITY: Lifetime = Lifetime::hours(48);
/// When an unchanged list is made anew: a day before it ends, so that a day is left to mend what keeps it from being made.
const RENEWAL: Lifetime = Lifetime::hours(24);
/// An entry stays at least until a list that was made after its certificate's end is out (RFC 5280 section 3.3).
const KEEP_AFTER_EXPIRY: Lifetime = Lifetime::hours(48);
/// The note with the list's number.
const NUMBER: &str = "crl-number";
/// The note that says when an unchanged list is made anew, Unix seconds.
const RENEW_AT: &str = "renew-at";

/// The number of the list that is due, if one is: the entries are others than before, or the list has reached half of its
/// validity. Numbers rise (RFC 5280 section 5.2.3) also when the list before was lost, since no number is below the time.
pub(super) fn due_number(there: Option<&Shelved>, digest: &str, now: Time) -> Option<u64> {
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

impl App {
    /// Puts the CA's list if a new one is due. Every signature has an audit event before it.
    pub(super) async fn put_crl(&self, call: &Call, shelf: &dyn Shelf, ca: &Ca) -> Result<Vec<String>, Error> {
        let name = name(&ca.id);
        let there = shelf.look(&name).await?;
        let entries = self.revoked_entries(&ca.id, call.now).await?;
        let digest = digest(&entries);
        let Some(number) = due_number(there.as_ref(), &digest, call.now) else { return Ok(Vec::new()) };
        let issuer = self.issuer(ca).await?;
        let next_update = call.now.plus(VALIDITY).min(ca.not_after);
        let prepared =
            prepare_crl(&issuer.certificate, number, call.now, next_update, &entries).map_err(issue_error)?;
        let entry = AuditEntry::done(call, "certificate_authority", &ca.id)
            .detail("crl_number", number)
            .detail("entries", entries.len())
            .detail("tbs_sha256", sha256_hex(prepared.tbs_der()));
        self.commit(&self.audited(call, &ca.tenant, &entry), call.now).await?;
        let signature = issuer.signer.sign(prepared.tbs_der()).await?;
        let content = prepared.finish(&signature).map_err(issue_error)?;
        let notes = BTreeMap::from([
            (DIGEST.to_owned(), digest),
            (NUMBER.to_owned(), number.to_string()),
            (RENEW_AT.to_owned(), call.now.plus(RENEWAL).unix_seconds().to_string()),
        ]);
        // RFC 2585 section 4.2.
        let object = Object { name: name.clone(), content_type: "application/pkix-crl", content, notes };
        let put = shelf.put(object, there.as_ref().map(|there| there.tag.as_str())).await?;
        Ok(if put == Put::Done { vec![name] } else { Vec::new() })
    }

    /// What a CA has revoked, by serial number: also what can no longer be read of it but for its number.
    async fn revoked_entries(&self, issuer: &CaId, now: Time) -> Result<Vec<RevokedEntry>, Error> {
        let query = |shard| Query::index(Table::Certificates, Index::Revoked, Certificate::revoked(issuer, shard));
        let read = |query| async move {
            EnvironmentScope::housekeeping().page::<Certificate>(&*self.store, &query, now).await
        };
        let (found, unreadable) = paging::all(DEADLINE_SHARDS, query, read).await?;
        let mut entries: Vec<RevokedEntry> = found.iter().filter_map(|certificate| entry(certificate, now)).collect();
        for record in unreadable {
            entries.push(bare_entry(&record.key).ok_or(StoreError::from(record))?);
        }
        entries.sort_unstable_by_key(|entry| entry.serial);
        entries.dedup_by_key(|entry| entry.serial);
        Ok(entries)
    }
}

fn entry(certificate: &Certificate, now: Time) -> Option<RevokedEntry> {
    let CertificateState::Revoked { revoked_at, reason } = certificate.state else { return None };
    let kept = certificate.not_after.plus(KEEP_AFTER_EXPIRY) > now;
    kept.then_some(RevokedEntry { serial: certificate.serial, revoked_at, reason })
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
        let there = |digest: &str, number: &str, renew_at: &str| Shelved {
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
