//! Revocation lists: signed, kept in the store, and read from there.
//!
//! One per CA, from the CA's first moment on. The bytes are recorded in parts, then signed, then the head is replaced
//! in one commit with its audit event: of two processes at once one wins, and the other finds its list superseded.

use std::collections::HashSet;

use futures::{StreamExt, TryStreamExt, stream};
use signet_core::{
    CaId, Error, Serial, StoreError, Time,
    audit::sha256_hex,
    authorities::{Ca, LIST_VALIDITY, MOST_OF_A_PART, RevocationList, RevocationListPart},
    store::{
        Versioned,
        commit::{Commit, Write},
        scope::Books,
    },
};
use signet_x509::crl::{RevokedEntry, assemble, prepare_crl, verified_entries};

use crate::{
    App, AuditEntry, Call, Chore, GoOn, TaskReport,
    authorities::{
        revoked::{self, digest},
        signing::{self, is_trusted, issue_error},
    },
    call,
    ledger::{self, ATTEMPTS},
    reads,
};

/// Parts written in one transaction: in base64 far below its 4 MB, and a fraction of what a table takes in a second.
const PARTS_AT_ONCE: usize = 2;
/// Parts read at once.
const READS_AT_ONCE: usize = 8;

/// A list with its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedList {
    /// What is known of it.
    pub head: RevocationList,
    /// The CRL, DER.
    pub der: Vec<u8>,
}

/// What the store has of a CA's list.
#[derive(Default)]
struct Kept {
    head: Option<Versioned<RevocationList>>,
    /// `None`: there is none, or its bytes are gone or others than those that were signed.
    list: Option<SignedList>,
}

/// The CA's last list if its number is above `known`. `None`: there is no such list, or its bytes are gone.
pub async fn newer(app: &App, ca: &CaId, known: Option<u64>, now: Time) -> Result<Option<SignedList>, Error> {
    let Some(head) = head(app, ca, now).await?.filter(|head| known.is_none_or(|known| head.value.number > known))
    else {
        return Ok(None);
    };
    signed(app, head.value, now).await
}

/// The write that keeps the first, empty list of a CA that is being made. It belongs into the commit that makes the CA.
pub(crate) async fn first(app: &App, call: &Call, ca: &Ca) -> Result<Write, Error> {
    // A CA that a restore lost and that is made again has one of its name before it.
    let before = head(app, &ca.id, call.now).await?;
    let signed = sign(app, call, ca, before.as_ref().map(|before| &before.value), &[]).await?;
    Ok(write(before, signed.head))
}

/// Makes a new list if one is due: the index shows other revocations than the last one has, or that has reached half of
/// its validity, or cannot be read. Returns the last list, new or not.
pub async fn renew(app: &App, chore: &Chore, ca: &Ca) -> Result<SignedList, Error> {
    for attempt in 0..ATTEMPTS {
        ledger::pause(app, attempt).await;
        let Kept { head, list } = read(app, &ca.id, chore.now).await?;
        let found = revoked::by_index(app, chore, &ca.id).await?;
        let (list, previous) = match list {
            None => (None, Vec::new()),
            Some(list) if !list.head.is_due(chore.now) && list.head.entries_sha256 == digest(&found.entries) => {
                return Ok(list);
            }
            Some(list) => {
                let entries = entries(app, ca, &list).await?;
                (Some(list), entries.unwrap_or_default())
            }
        };
        let entries = revoked::with_published(app, ca, found, previous, chore).await?;
        let same = |list: &SignedList| !list.head.is_due(chore.now) && list.head.entries_sha256 == digest(&entries);
        if let Some(list) = list.filter(same) {
            return Ok(list);
        }
        if let Some(list) = replace(app, chore, ca, head, &entries).await? {
            return Ok(list);
        }
    }
    Err(Error::Conflict("the revocation list"))
}

/// Puts revocations onto the CA's list, as far as they do not stand there. Reads no index, which may lag. Returns the
/// last list; `None`: the CA is gone, or trusted no more.
pub async fn add(app: &App, chore: &Chore, ca: &CaId, revoked: &[RevokedEntry]) -> Result<Option<SignedList>, Error> {
    match signing::find_trusted(app, chore, ca).await? {
        Some(ca) => add_to(app, chore, &ca, revoked).await.map(Some),
        None => Ok(None),
    }
}

async fn add_to(app: &App, chore: &Chore, ca: &Ca, revoked: &[RevokedEntry]) -> Result<SignedList, Error> {
    for attempt in 0..ATTEMPTS {
        ledger::pause(app, attempt).await;
        let Kept { head, list } = read(app, &ca.id, chore.now).await?;
        let known = match &list {
            Some(list) => entries(app, ca, list).await?,
            None => None,
        };
        let (Some(list), Some(mut entries)) = (list, known) else { return renew(app, chore, ca).await };
        let mut known: HashSet<Serial> = entries.iter().map(|entry| entry.serial).collect();
        let before = entries.len();
        entries.extend(revoked.iter().filter(|entry| known.insert(entry.serial)).cloned());
        if entries.len() == before {
            return Ok(list);
        }
        if let Some(list) = replace(app, chore, ca, head, &entries).await? {
            return Ok(list);
        }
    }
    Err(Error::Conflict("the revocation list"))
}

/// Makes each list anew that is due, of all CAs. Any number of processes may do this at once.
pub async fn renew_due(app: &App, chore: &Chore, go_on: GoOn<'_>) -> Result<TaskReport, Error> {
    let (cas, unreadable) = reads::all_cas(app, chore.keeper, chore.now).await?;
    let mut report = TaskReport::default();
    report.cannot_read(unreadable);
    for ca in cas.into_iter().filter(|ca| is_trusted(ca, chore.now)) {
        let Some(now) = go_on() else {
            report.unfinished = true;
            break;
        };
        if let Err(error) = renew(app, &chore.at(now), &ca).await {
            report.failed.push((format!("the revocation list of {}", ca.id), error));
        }
    }
    Ok(report)
}

async fn head(app: &App, ca: &CaId, now: Time) -> Result<Option<Versioned<RevocationList>>, Error> {
    Ok(Books.get::<RevocationList>(&*app.store, &RevocationList::key_of(ca), now).await?)
}

async fn read(app: &App, ca: &CaId, now: Time) -> Result<Kept, Error> {
    let Some(head) = head(app, ca, now).await? else { return Ok(Kept::default()) };
    let list = signed(app, head.value.clone(), now).await?;
    Ok(Kept { head: Some(head), list })
}

/// The list of a head, if its bytes are there and are those that were signed.
async fn signed(app: &App, head: RevocationList, now: Time) -> Result<Option<SignedList>, Error> {
    let part = |key| async move {
        match Books.get::<RevocationListPart>(&*app.store, &key, now).await {
            Ok(part) => Ok(part.map(|part| part.value.tbs_der)),
            Err(StoreError::Corrupt { .. }) => Ok(None),
            Err(error) => Err(Error::from(error)),
        }
    };
    let parts: Vec<Option<Vec<u8>>> =
        stream::iter(head.part_keys()).map(part).buffered(READS_AT_ONCE).try_collect().await?;
    let tbs_der = parts.into_iter().collect::<Option<Vec<_>>>().map(|parts| parts.concat());
    let Some(tbs_der) = tbs_der.filter(|tbs_der| sha256_hex(tbs_der) == head.tbs_sha256) else {
        tracing::warn!(ca.id = %head.ca, number = head.number, "the bytes of the revocation list are gone");
        return Ok(None);
    };
    let der = assemble(&tbs_der, &head.signature_der).map_err(issue_error)?;
    Ok(Some(SignedList { head, der }))
}

/// What stands on a list; `None` if it is not one that the CA signed.
async fn entries(app: &App, ca: &Ca, list: &SignedList) -> Result<Option<Vec<RevokedEntry>>, Error> {
    let issuer = signing::issuer(app, ca).await?;
    match verified_entries(&list.der, &issuer.certificate) {
        Ok(entries) => Ok(Some(entries)),
        Err(reason) => {
            tracing::error!(ca.id = %ca.id, %reason, "the CRL on record is not ours: making one from the index");
            Ok(None)
        }
    }
}

/// Signs a list and keeps it in place of `before`. `None`: somebody else has kept another meanwhile.
async fn replace(
    app: &App,
    chore: &Chore,
    ca: &Ca,
    before: Option<Versioned<RevocationList>>,
    entries: &[RevokedEntry],
) -> Result<Option<SignedList>, Error> {
    let signed = sign(app, chore, ca, before.as_ref().map(|before| &before.value), entries).await?;
    let head = &signed.head;
    let entry = AuditEntry::done(chore, "certificate_authority", &ca.id)
        .detail("crl_number", head.number)
        .detail("entries", head.entries)
        .detail("tbs_sha256", &head.tbs_sha256);
    let commit = call::audited(app, chore, &ca.tenant, &entry).write(write(before, head.clone()));
    match ledger::commit(app, &commit, chore.now).await {
        Ok(()) => Ok(Some(signed)),
        // What was written, if anything, the next look sees.
        Err(StoreError::Conflict { .. } | StoreError::Unknown(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn write(before: Option<Versioned<RevocationList>>, head: RevocationList) -> Write {
    match before {
        None => Write::create(head),
        Some(before) => Write::replace(head, before.version),
    }
}

async fn sign(
    app: &App,
    call: &Call,
    ca: &Ca,
    before: Option<&RevocationList>,
    entries: &[RevokedEntry],
) -> Result<SignedList, Error> {
    let issuer = signing::issuer(app, ca).await?;
    let number = RevocationList::next_number(before, call.now);
    let next_update = call.now.plus(LIST_VALIDITY).min(ca.not_after);
    let prepared = prepare_crl(&issuer.certificate, number, call.now, next_update, entries).map_err(issue_error)?;
    for serial in prepared.left_out() {
        tracing::error!(ca.id = %ca.id, cert.serial = %serial, "a revocation cannot be written: left out of the CRL");
    }
    let parts = prepared.tbs_der().chunks(MOST_OF_A_PART);
    let mut head = RevocationList {
        tenant: ca.tenant.clone(),
        ca: ca.id.clone(),
        number,
        this_update: call.now,
        next_update,
        renew_at: RevocationList::renewal(call.now),
        entries: entries.len().saturating_sub(prepared.left_out().len()) as u64,
        entries_sha256: digest(entries),
        tbs_sha256: sha256_hex(prepared.tbs_der()),
        parts: u32::try_from(parts.len()).map_err(Error::internal)?,
        signature_der: Vec::new(),
        keep_until: RevocationList::kept_until(ca.not_after),
    };
    let parts: Vec<_> = (0..).zip(parts).map(|(index, part)| head.part(index, part)).collect();
    for parts in parts.chunks(PARTS_AT_ONCE) {
        record(app, parts, call.now).await?;
    }
    head.signature_der = issuer.signer.sign(prepared.tbs_der()).await?;
    let der = prepared.finish(&head.signature_der).map_err(issue_error)?;
    Ok(SignedList { head, der })
}

/// Records parts of a list that is about to be signed. Their keys have the list's digest: whoever has written one
/// before has written these bytes.
async fn record(app: &App, parts: &[RevocationListPart], now: Time) -> Result<(), Error> {
    let commit = Commit::bookkeeping(now).writes(parts.iter().cloned().map(Write::create));
    let mut failed = Error::Conflict("the revocation list");
    for attempt in 0..ATTEMPTS {
        ledger::pause(app, attempt).await;
        match ledger::commit(app, &commit, now).await {
            Ok(()) => return Ok(()),
            Err(error @ (StoreError::Conflict { .. } | StoreError::Unknown(_))) => failed = error.into(),
            Err(error) => return Err(error.into()),
        }
        let mut there = true;
        for key in commit.keys() {
            there &= Books.get::<RevocationListPart>(&*app.store, &key, now).await?.is_some();
        }
        if there {
            return Ok(());
        }
    }
    Err(failed)
}
