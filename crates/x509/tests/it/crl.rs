//! Revocation lists, judged by OpenSSL and webpki.

use std::process::Command;

use der::{Decode, Encode};
use proptest::prelude::*;
use signet_core::{
    Lifetime, PrincipalType, Serial, Time,
    certificates::RevocationReason::{self, KeyCompromise, Unspecified},
};
use signet_x509::{
    IssueError,
    crl::{CrlError, ListFacts, RevokedEntry, assemble, prepare_crl, verified_entries, verified_facts},
    pem,
};
use webpki::{BorrowedCertRevocationList, CertRevocationList};

use x509_cert::crl::TbsCertList;

use crate::{
    judges::{Folder, attempt, run},
    world::{Authority, DAY, NOW, World, serial},
};

fn revoked(serial: Serial, reason: RevocationReason) -> RevokedEntry {
    RevokedEntry { serial, revoked_at: NOW, reason }
}

fn list(ca: &Authority, number: u64, revoked: &[RevokedEntry]) -> Vec<u8> {
    let prepared = prepare_crl(&ca.cert, number, NOW, NOW.plus(DAY), revoked).unwrap();
    let signature = ca.key.sign(prepared.tbs_der()).unwrap();
    prepared.finish(&signature).unwrap()
}

#[test]
fn openssl_refuses_what_is_on_the_list_and_nothing_else() {
    let world = World::new();
    let folder = Folder::new();
    let bad = world.tenant.leaf(&world.profile(PrincipalType::Worker, "bad"));
    let good = world.tenant.leaf(&world.profile(PrincipalType::Worker, "good"));
    let crl = list(&world.tenant, 1, &[revoked(bad.serial, KeyCompromise)]);
    let verify = |leaf: &[u8]| {
        attempt(
            Command::new("openssl")
                .args(["verify", "-x509_strict", "-crl_check", "-attime"])
                .arg(NOW.unix_seconds().to_string())
                .arg("-CAfile")
                .arg(folder.certificates("root.pem", &[&world.root.der]))
                .arg("-untrusted")
                .arg(folder.certificates("ca.pem", &[&world.tenant.der]))
                .arg("-CRLfile")
                .arg(folder.write("list.pem", pem::encode(pem::CRL, &crl)))
                .arg(folder.certificates("leaf.pem", &[leaf])),
        )
    };
    let (ok, text) = verify(&good.certificate_der);
    assert!(ok, "{text}");
    assert!(verify(&bad.certificate_der).1.contains("certificate revoked"));
}

#[test]
fn openssl_shows_number_key_and_reasons() {
    let world = World::new();
    let folder = Folder::new();
    let entries = RevocationReason::ALL.map(|reason| revoked(serial(), reason));
    let crl = folder.write("list.der", list(&world.tenant, 300, &entries));
    let mut show = Command::new("openssl");
    show.args(["crl", "-noout", "-text", "-inform", "DER", "-CAfile"]);
    let text = run(show.arg(folder.certificates("ca.pem", &[&world.tenant.der])).arg("-in").arg(crl));
    for part in ["verify OK", "X509v3 CRL Number: \n                300", "Key Compromise", "Privilege Withdrawn"] {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
    assert_eq!(text.matches("CRL Reason Code").count(), 5, "the unspecified reason is left out");
    let ski = hex::encode_upper(world.tenant.cert.public_key().key_id());
    assert!(text.replace(':', "").contains(&ski), "the key identifier is the issuer's own");
}

#[test]
fn what_stands_on_a_list_is_read_back_from_its_issuers_only() {
    let world = World::new();
    let mut entries = RevocationReason::ALL.map(|reason| revoked(serial(), reason));
    entries.sort_unstable_by_key(|entry| entry.serial);
    let crl = list(&world.tenant, 7, &entries);
    let whole_seconds = entries.clone().map(|entry| {
        let revoked_at = Time::from_unix_seconds(entry.revoked_at.unix_seconds());
        RevokedEntry { revoked_at, ..entry }
    });
    assert_eq!(verified_entries(&crl, &world.tenant.cert).unwrap(), whole_seconds);
    let seconds = |time: Time| Time::from_unix_seconds(time.unix_seconds());
    let facts = ListFacts { number: 7, this_update: seconds(NOW), next_update: seconds(NOW.plus(DAY)) };
    assert_eq!(verified_facts(&crl, &world.tenant.cert), Ok(facts));
    assert_eq!(verified_facts(&crl, &world.root.cert), Err(CrlError::OtherIssuer));
    assert_eq!(verified_entries(&list(&world.tenant, 8, &[]), &world.tenant.cert), Ok(Vec::new()));
    assert_eq!(verified_entries(&crl, &world.root.cert), Err(CrlError::OtherIssuer));
    let offset = crl.windows(16).position(|window| window == entries[0].serial.as_bytes()).unwrap();
    let mut altered = crl.clone();
    altered[offset + 15] ^= 1;
    assert_eq!(verified_entries(&altered, &world.tenant.cert), Err(CrlError::BadSignature));
    assert_eq!(verified_entries(&crl[..crl.len() - 1], &world.tenant.cert), Err(CrlError::Malformed));
    assert_eq!(verified_entries(b"", &world.tenant.cert), Err(CrlError::Malformed));
}

#[test]
fn an_empty_list_has_no_entries_field() {
    let world = World::new();
    let folder = Folder::new();
    let crl = folder.write("list.der", list(&world.tenant, 1, &[]));
    let mut show = Command::new("openssl");
    let text = run(show.args(["crl", "-noout", "-text", "-inform", "DER", "-in"]).arg(crl));
    assert!(text.contains("No Revoked Certificates"), "{text}");
}

#[test]
fn an_entry_that_cannot_be_written_is_left_out_and_named() {
    let world = World::new();
    let (good, bad) = (revoked(serial(), KeyCompromise), serial());
    // Before 1970 there is no X.509 time.
    let unwritable = RevokedEntry { revoked_at: Time::from_unix_seconds(-1), ..revoked(bad, Unspecified) };
    let entries = [unwritable, good.clone(), good.clone()];
    let prepared = prepare_crl(&world.tenant.cert, 1, NOW, NOW.plus(DAY), &entries).unwrap();
    assert_eq!(prepared.left_out(), [bad]);
    let (tbs, signature) = (prepared.tbs_der().to_vec(), world.tenant.key.sign(prepared.tbs_der()).unwrap());
    let crl = prepared.finish(&signature).unwrap();
    assert_eq!(verified_entries(&crl, &world.tenant.cert).unwrap().len(), 1, "what comes twice stands there once");
    assert_eq!(assemble(&tbs, &signature), Ok(crl));
}

#[test]
fn a_list_that_cannot_be_is_refused() {
    let world = World::new();
    let prepare = |end, entries: &[RevokedEntry]| prepare_crl(&world.tenant.cert, 1, NOW, end, entries);
    assert!(matches!(prepare(NOW, &[]), Err(IssueError::Encoding(_))));
    let prepared = prepare(NOW.plus(DAY), &[]).unwrap();
    let foreign = world.shared.key.sign(prepared.tbs_der()).unwrap();
    assert_eq!(prepared.finish(&foreign), Err(IssueError::BadSignature));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// DER has one form of everything.
    #[test]
    fn entries_are_written_as_the_library_writes_them(
        all in proptest::collection::btree_map(
            (0..4_102_444_800_i64, any::<[u8; 10]>()), (0..4_102_444_800_i64, 0..RevocationReason::ALL.len()), 0..300,
        ),
    ) {
        let world = World::new();
        let entry = |((made, random), (at, reason)): ((i64, [u8; 10]), (i64, usize))| RevokedEntry {
            serial: Serial::new(Time::from_unix_seconds(made), random),
            revoked_at: Time::from_unix_seconds(at),
            reason: RevocationReason::ALL[reason],
        };
        let entries: Vec<RevokedEntry> = all.into_iter().map(entry).collect();
        let prepared = prepare_crl(&world.tenant.cert, 1, NOW, NOW.plus(DAY), &entries).unwrap();
        let tbs: TbsCertList = TbsCertList::from_der(prepared.tbs_der()).unwrap();
        prop_assert_eq!(tbs.to_der().unwrap(), prepared.tbs_der());
        let signature = world.tenant.key.sign(prepared.tbs_der()).unwrap();
        let mut found = verified_entries(&prepared.finish(&signature).unwrap(), &world.tenant.cert).unwrap();
        let mut sorted = entries;
        sorted.sort_by_key(|entry| entry.serial);
        found.sort_by_key(|entry| entry.serial);
        prop_assert_eq!(found, sorted);
    }

    #[test]
    fn webpki_finds_exactly_what_was_revoked(serials in proptest::collection::btree_set(any::<[u8; 10]>(), 0..50)) {
        let world = World::new();
        let serial_of = |random: &[u8; 10]| Serial::new(NOW.minus(Lifetime::days(1)), *random);
        let entries: Vec<RevokedEntry> = serials.iter().map(|random| revoked(serial_of(random), KeyCompromise)).collect();
        let der = list(&world.tenant, u64::MAX, &entries);
        let crl = CertRevocationList::from(BorrowedCertRevocationList::from_der(&der).unwrap());
        for entry in &entries {
            prop_assert!(crl.find_serial(entry.serial.as_bytes()).unwrap().is_some());
        }
        prop_assert!(crl.find_serial(serial().as_bytes()).unwrap().is_none());
    }
}
