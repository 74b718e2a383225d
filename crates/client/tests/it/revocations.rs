//! Which revocation lists are taken.

use signet_client::{Bundle, RevocationListError, RevocationLists};
use signet_core::{Lifetime, Time};
use signet_testkit::{
    fixtures::NOW,
    pki::{Authority, Pki},
};
use signet_x509::{IssuerCert, crl::prepare_crl, pem};

fn list(ca: &Authority, number: u64, from: Time) -> Vec<u8> {
    let issuer = IssuerCert::from_der(&ca.ca.certificate_der).unwrap();
    let prepared = prepare_crl(&issuer, number, from, from.plus(Lifetime::hours(48)), &[]).unwrap();
    let signature = ca.key.sign(prepared.tbs_der()).unwrap();
    prepared.finish(&signature).unwrap()
}

fn bundle(cas: &[&Authority]) -> Bundle {
    let anchors_pem = cas.iter().map(|ca| pem::encode_certificate(&ca.ca.certificate_der)).collect();
    Bundle { tenant: "acme".parse().unwrap(), anchors_pem }
}

#[test]
fn what_an_anchor_signed_is_taken_and_nothing_older_or_foreign() {
    let pki = Pki::new(NOW);
    let (one, two, other) = (pki.tenant_ca("acme", 1), pki.tenant_ca("acme", 2), pki.tenant_ca("globex", 1));
    let both = bundle(&[&one, &two]);
    let with = |lists: &RevocationLists, ca, number, from| lists.with(&both, list(ca, number, from), NOW);
    let none = RevocationLists::default();
    let first = with(&none, &one, 7, NOW).unwrap();
    assert!(!first.cover(&both, NOW) && !none.cover(&both, NOW), "the other anchor has none");
    let second = with(&first, &two, 1, NOW).unwrap();
    assert!(second.cover(&both, NOW) && !second.cover(&both, NOW.plus(Lifetime::hours(48))));
    assert_eq!((second.iter().count(), second.to_pem().matches("BEGIN X509 CRL").count()), (2, 2));
    let later = with(&second, &one, 8, NOW).unwrap();
    assert_eq!(later.of(&one.ca.certificate_der).unwrap().number, 8);
    assert_eq!(with(&later, &one, 7, NOW), Err(RevocationListError::Older));
    assert_eq!(with(&none, &other, 9, NOW), Err(RevocationListError::Foreign));
    assert_eq!(none.with(&both, Vec::new(), NOW), Err(RevocationListError::Foreign));
    assert_eq!(with(&none, &one, 9, NOW.plus(Lifetime::minutes(6))), Err(RevocationListError::NotYetValid));
    assert_eq!(with(&none, &one, 9, NOW.minus(Lifetime::hours(48))), Err(RevocationListError::Over));
    let read = |text: &str, now| RevocationLists::from_pem(&both, text, now);
    assert_eq!(read(&later.to_pem(), NOW).unwrap().to_pem(), later.to_pem());
    assert!(!read("garbage", NOW).unwrap().cover(&both, NOW), "nothing is there");
    let damaged = later.to_pem().replacen("MI", "MA", 1);
    for (text, now) in [(damaged, NOW), (later.to_pem(), NOW.plus(Lifetime::hours(48)))] {
        assert!(read(&text, now).is_err());
    }
    // An anchor that the bundle has no more takes its list along.
    let left = later.with(&bundle(&[&two]), list(&two, 2, NOW), NOW).unwrap();
    assert_eq!(left.iter().map(|list| list.number).collect::<Vec<_>>(), [2]);
}
