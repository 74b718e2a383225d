//! Requests: every defect has its own error.

use std::process::Command;

use proptest::prelude::*;
use signet_x509::{Csr, CsrError, KeyAndCsr, KeyPair, csr::MAX_CSR_BYTES, pem};

use crate::judges::{Folder, run};

/// A request made by OpenSSL with `arguments` for its key and options.
fn openssl_request(key: &[&str], options: &[&str]) -> Vec<u8> {
    let folder = Folder::new();
    run(Command::new("openssl").arg("genpkey").args(key).arg("-out").arg(folder.path("key.pem")));
    run(Command::new("openssl")
        .args(["req", "-new", "-subj", "/CN=ignored", "-outform", "DER", "-key"])
        .arg(folder.path("key.pem"))
        .args(options)
        .arg("-out")
        .arg(folder.path("csr.der")));
    std::fs::read(folder.path("csr.der")).unwrap()
}

const P256: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];

#[test]
fn our_own_request_is_accepted_and_names_its_key() {
    let made = KeyAndCsr::generate().unwrap();
    let csr = Csr::parse(&made.csr_der).unwrap();
    assert_eq!(csr.spki_der(), made.key.public_key().spki_der());
    let pem = pem::encode(pem::CERTIFICATE_REQUEST, &made.csr_der);
    assert_eq!(Csr::from_pem_or_der(pem.as_bytes()), Ok(csr.clone()));
    assert_eq!(Csr::from_pem_or_der(&made.csr_der), Ok(csr));
}

#[test]
fn a_request_of_openssl_is_accepted_and_its_names_are_ignored() {
    let der = openssl_request(P256, &["-addext", "subjectAltName=URI:spiffe://evil.example/admin/root"]);
    assert!(Csr::parse(&der).is_ok());
}

#[test]
fn openssl_accepts_our_request() {
    let folder = Folder::new();
    let made = KeyAndCsr::generate().unwrap();
    let csr = folder.write("csr.der", &made.csr_der);
    let out = run(Command::new("openssl").args(["req", "-verify", "-noout", "-inform", "DER", "-in"]).arg(csr));
    assert!(out.contains("verify OK"), "{out}");
}

#[test]
fn another_key_is_refused_and_named() {
    let cases: &[(&[&str], &str)] = &[
        (&["-algorithm", "RSA"], "1.2.840.113549.1.1.1"),
        (&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"], "1.3.132.0.34"),
        (&["-algorithm", "ED25519"], "1.3.101.112"),
    ];
    for (key, oid) in cases {
        match Csr::parse(&openssl_request(key, &[])) {
            Err(CsrError::UnsupportedKey { found }) => assert!(found.contains(oid), "{found}"),
            other => panic!("{key:?}: {other:?}"),
        }
    }
}

#[test]
fn explicit_curve_parameters_are_named() {
    let key = [P256, &["-pkeyopt", "ec_param_enc:explicit"]].concat();
    match Csr::parse(&openssl_request(&key, &[])) {
        Err(CsrError::UnsupportedKey { found }) => assert!(found.contains("explicit parameters"), "{found}"),
        other => panic!("{other:?}"),
    }
}

/// As certreq, keytool, editors and mail programs hand a request on.
#[test]
fn texts_around_a_request_are_passed_over_or_named() {
    let der = KeyAndCsr::generate().unwrap().csr_der;
    let text = pem::encode(pem::CERTIFICATE_REQUEST, &der);
    let body: String = text.lines().filter(|line| !line.starts_with('-')).map(|line| format!("{line}\n")).collect();
    let key = KeyPair::generate().unwrap().to_pkcs8_pem().to_string();
    for fine in [
        text.replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"),
        format!("\u{feff}{text}"),
        format!("\u{feff}{}", text.replace('\n', "\r\n")),
        text.replace('\n', "\r"),
        format!("Certificate Request:\n    Data: é\n{text}trailing"),
        format!("{key}{text}"),
    ] {
        assert!(Csr::from_pem_or_der(fine.as_bytes()).is_ok(), "{fine}");
        assert_eq!(pem::decode_request(fine.as_bytes()), Ok(der.clone()), "{fine}");
    }
    let utf16: Vec<u8> = format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let indented: String = text.lines().map(|line| format!("  {line}\n")).collect();
    let headers = text.replacen("-----\n", "-----\nFriendly-Name: web\n\n", 1);
    let damaged = text.replacen(&body[..64], "not base64 !", 1);
    for (bad, word) in [
        (utf16.as_slice(), "UTF-16"),
        (body.as_bytes(), "base64 without the lines"),
        (b"", "empty"),
        (b" \n\n", "empty"),
        (headers.as_bytes(), "headers"),
        (indented.as_bytes(), "indented"),
        (damaged.as_bytes(), "damaged"),
        (key.as_bytes(), "no certificate request"),
        (b"hello", "no -----BEGIN"),
        ([text.as_bytes(), text.as_bytes()].concat().as_slice(), "more than one"),
    ] {
        let told = Csr::from_pem_or_der(bad).unwrap_err().to_string();
        assert!(told.contains(word), "{word}: {told}");
    }
}

#[test]
fn another_digest_is_refused_and_named() {
    let refused = Csr::parse(&openssl_request(P256, &["-sha384"]));
    assert!(matches!(refused, Err(CsrError::UnsupportedSignature { .. })), "{refused:?}");
}

#[test]
fn a_compressed_point_is_refused() {
    let compressed = [P256, &["-pkeyopt", "ec_param_enc:named_curve"]].concat();
    let folder = Folder::new();
    run(Command::new("openssl").arg("genpkey").args(compressed).arg("-out").arg(folder.path("key.pem")));
    run(Command::new("openssl")
        .args(["ec", "-conv_form", "compressed", "-in"])
        .arg(folder.path("key.pem"))
        .arg("-out")
        .arg(folder.path("small.pem")));
    run(Command::new("openssl")
        .args(["req", "-new", "-subj", "/CN=x", "-outform", "DER", "-key"])
        .arg(folder.path("small.pem"))
        .arg("-out")
        .arg(folder.path("csr.der")));
    let der = std::fs::read(folder.path("csr.der")).unwrap();
    assert_eq!(Csr::parse(&der), Err(CsrError::BadPoint));
}

#[test]
fn a_point_off_the_curve_is_refused() {
    let made = KeyAndCsr::generate().unwrap();
    let spki = made.key.public_key().spki_der();
    let at = made.csr_der.windows(spki.len()).position(|window| window == spki).unwrap() + spki.len() - 1;
    let mut der = made.csr_der;
    *der.get_mut(at).unwrap() ^= 1;
    assert_eq!(Csr::parse(&der), Err(CsrError::BadPoint));
}

#[test]
fn a_request_signed_with_another_key_is_refused() {
    let (mine, theirs) = (KeyAndCsr::generate().unwrap(), KeyPair::generate().unwrap());
    let (ours, other) = (mine.key.public_key().spki_der(), theirs.public_key().spki_der());
    let at = mine.csr_der.windows(ours.len()).position(|window| window == ours).unwrap();
    let mut der = mine.csr_der.clone();
    der.get_mut(at..at + other.len()).unwrap().copy_from_slice(other);
    assert_eq!(Csr::parse(&der), Err(CsrError::BadSignature));
}

#[test]
fn size_and_shape_are_checked_before_anything_else() {
    let good = KeyAndCsr::generate().unwrap().csr_der;
    assert_eq!(Csr::parse(&vec![0; 1_000_000]), Err(CsrError::TooLarge(1_000_000)));
    assert_eq!(Csr::from_pem_or_der(&vec![0; 1_000_000]), Err(CsrError::TooLarge(1_000_000)));
    assert!(matches!(Csr::parse(&vec![0; MAX_CSR_BYTES]), Err(CsrError::Malformed(_))));
    assert!(matches!(Csr::parse(&[]), Err(CsrError::Malformed(_))));
    assert_eq!(Csr::parse(&[good.as_slice(), &[0, 0]].concat()), Err(CsrError::TrailingBytes(2)));
    let cut = good.get(..good.len() - 1).unwrap();
    assert!(matches!(Csr::parse(cut), Err(CsrError::Malformed(_))));
}

#[test]
fn a_private_key_survives_pem_and_does_not_print() {
    let key = KeyPair::generate().unwrap();
    let again = KeyPair::from_pkcs8_pem(&key.to_pkcs8_pem()).unwrap();
    assert_eq!(again.public_key(), key.public_key());
    let secret = hex::encode(key.pkcs8_der().get(36..68).unwrap());
    assert!(!format!("{key:?}").to_lowercase().contains(&secret) && format!("{key:?}").contains(".."));
}

proptest! {
    #[test]
    fn no_changed_byte_passes_and_none_panics(at in 0usize..200, flip in 1u8..) {
        let good = KeyAndCsr::generate().unwrap().csr_der;
        let mut bad = good.clone();
        let at = at % bad.len();
        *bad.get_mut(at).unwrap() ^= flip;
        prop_assert!(Csr::parse(&bad).is_err());
    }

    #[test]
    fn garbage_is_refused_quietly(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        prop_assert!(Csr::parse(&bytes).is_err());
    }
}
