//! OCSP: OpenSSL asks and judges the answers.

use std::{path::Path, process::Command};

use proptest::prelude::*;
use signet_core::{PrincipalType, Time, authorities::CaKind, certificates::RevocationReason};
use signet_x509::{
    ChainError, Issued, KeyPair, issue,
    ocsp::{Answer, CertStatus, ErrorStatus, IssuerHashes, MAX_REQUEST_BYTES, OcspRequest, RequestError, Responder},
    profile::RESPONDER_LIFETIME,
    verify_client, verify_service,
};

use crate::{
    judges::{Folder, attempt, run},
    world::{Authority, DAY, NOW, World, issuing, request, serial, trust},
};

pub(crate) const REVOKED: CertStatus = CertStatus::Revoked { revoked_at: NOW, reason: RevocationReason::KeyCompromise };

/// A CA's responder, and its certificate.
pub(crate) fn responder(world: &World, ca: &Authority, kind: CaKind, now: Time) -> (Responder, Issued) {
    let key = KeyPair::generate().unwrap();
    let prepared = issue::prepare_responder(&world.ca_profile(kind), key.public_key(), &ca.cert, serial(), now);
    let issued = ca.sign(prepared.unwrap());
    (Responder::new(key, issued.certificate_der.clone()), issued)
}

/// What OpenSSL sends about the leaves, with these options.
fn asked(folder: &Folder, issuer: &[u8], leaves: &[&Issued], options: &[&str]) -> Vec<u8> {
    let mut ask = Command::new("openssl");
    ask.arg("ocsp").args(options).arg("-issuer").arg(folder.certificates("issuer.pem", &[issuer]));
    for (number, leaf) in leaves.iter().enumerate() {
        ask.arg("-cert").arg(folder.certificates(&format!("leaf{number}.pem"), &[&leaf.certificate_der]));
    }
    run(ask.arg("-reqout").arg(folder.path("request.der")));
    std::fs::read(folder.path("request.der")).unwrap()
}

/// With the SHA-256 and a nonce.
pub(crate) fn question(issuer: &Authority, leaf: &Issued) -> OcspRequest {
    OcspRequest::from_der(&asked(&Folder::new(), &issuer.der, &[leaf], &["-sha256"])).unwrap()
}

pub(crate) fn answer(request: &OcspRequest, status: CertStatus, responder: &Responder, with_nonce: bool) -> Vec<u8> {
    let nonce = request.nonce.as_deref().filter(|_| with_nonce);
    let answer = Answer { id: &request.first, status, this_update: NOW, next_update: NOW.plus(DAY), nonce };
    responder.answer(&answer).unwrap()
}

/// What OpenSSL says of an answer to the request that it sent last.
fn judged(folder: &Folder, response: &[u8], anchor: &[u8]) -> String {
    let mut judge = Command::new("openssl");
    judge.args(["ocsp", "-no-CApath", "-no-CAstore", "-attime", &NOW.unix_seconds().to_string()]);
    // The judge compares the times with the clock, whatever -attime says.
    judge.args(["-validity_period", "2000000000"]);
    judge.arg("-reqin").arg(folder.path("request.der")).arg("-respin").arg(folder.write("response.der", response));
    judge.arg("-CAfile").arg(folder.certificates("anchor.pem", &[anchor])).arg("-text");
    attempt(&mut judge).1
}

#[test]
fn openssl_asks_and_believes_the_answer() {
    let world = World::new();
    let folder = Folder::new();
    let leaf = world.tenant.leaf(&world.profile(PrincipalType::Device, "d-1"));
    let anchor = world.tenant.twin(&world.ca_profile(CaKind::Tenant));
    let (responder, _) = responder(&world, &world.tenant, CaKind::Tenant, NOW);
    let hashes = IssuerHashes::of(&world.tenant.cert);
    for hash in ["-sha1", "-sha256"] {
        for (status, says) in [
            (CertStatus::Good, "Cert Status: good"),
            (REVOKED, "keyCompromise"),
            (CertStatus::Unknown, "Cert Status: unknown"),
        ] {
            for nonce in ["-nonce", "-no_nonce"] {
                let request = OcspRequest::from_der(&asked(&folder, &anchor, &[&leaf], &[hash, nonce])).unwrap();
                assert!(request.first.is_of(&hashes) && request.first.serial() == Some(leaf.serial));
                assert_eq!(request.nonce.is_some(), nonce == "-nonce");
                let said = judged(&folder, &answer(&request, status, &responder, true), &anchor);
                assert!(said.contains("Response verify OK") && said.contains(says), "{hash} {nonce}: {said}");
                assert!(!said.contains("WARNING"), "{said}");
            }
        }
    }
    // A nonce may be left out of the answer (RFC 9654 section 2.1).
    let request = OcspRequest::from_der(&asked(&folder, &anchor, &[&leaf], &["-nonce"])).unwrap();
    let said = judged(&folder, &answer(&request, CertStatus::Good, &responder, false), &anchor);
    assert!(said.contains("WARNING: no nonce in response") && said.contains("Response verify OK"), "{said}");
}

#[test]
fn a_responder_answers_for_its_own_ca_only() {
    let world = World::new();
    let folder = Folder::new();
    let other = issuing(&world.env, &world.root, CaKind::Tenant, "globex", 1);
    let leaf = other.leaf(&world.profile(PrincipalType::Device, "d-1"));
    let request = OcspRequest::from_der(&asked(&folder, &other.der, &[&leaf], &["-sha256"])).unwrap();
    assert!(!request.first.is_of(&IssuerHashes::of(&world.tenant.cert)));
    let (responder, _) = responder(&world, &world.tenant, CaKind::Tenant, NOW);
    let response = answer(&request, CertStatus::Good, &responder, true);
    for anchor in [&other.der, &world.root.der, &world.tenant.der] {
        let said = judged(&folder, &response, anchor);
        assert!(said.contains("Response Verify Failure") || said.contains("Error"), "{said}");
    }
    // A hash that clients may use, and we do not know.
    let other = asked(&folder, &world.tenant.der, &[&leaf], &["-sha384"]);
    assert!(!OcspRequest::from_der(&other).unwrap().first.is_of(&IssuerHashes::of(&world.tenant.cert)));
}

#[test]
fn of_several_certificates_the_first_is_answered() {
    let world = World::new();
    let folder = Folder::new();
    let [one, two] = ["d-1", "d-2"].map(|id| world.tenant.leaf(&world.profile(PrincipalType::Device, id)));
    let request = OcspRequest::from_der(&asked(&folder, &world.tenant.der, &[&one, &two], &[])).unwrap();
    assert_eq!(request.first.serial(), Some(one.serial));
}

#[test]
fn errors_are_what_openssl_reads() {
    let folder = Folder::new();
    for (status, says) in [
        (ErrorStatus::MalformedRequest, "malformedrequest (1)"),
        (ErrorStatus::InternalError, "internalerror (2)"),
        (ErrorStatus::TryLater, "trylater (3)"),
        (ErrorStatus::Unauthorized, "unauthorized (6)"),
    ] {
        let said =
            attempt(Command::new("openssl").args(["ocsp", "-respin"]).arg(folder.write("error.der", status.der()))).1;
        assert!(said.to_lowercase().contains(says), "{said}");
    }
}

#[test]
fn nonces_have_1_to_128_bytes() {
    let id: &[u8] = &[0x30, 0x18, 0x30, 7, 6, 5, 0x2b, 0x0e, 3, 2, 0x1a, 4, 4, 1, 1, 1, 1, 4, 4, 2, 2, 2, 2, 2, 1, 5];
    let value = |tag: u8, content: &[u8]| {
        let length = u8::try_from(content.len()).unwrap();
        let head = if length < 128 { vec![tag, length] } else { vec![tag, 0x81, length] };
        [head, content.to_vec()].concat()
    };
    let ask = |nonce: &[u8], critical: &[u8]| {
        let nonce = value(4, &value(4, nonce));
        let nonce_oid: &[u8] = &[6, 9, 0x2b, 6, 1, 5, 5, 7, 0x30, 1, 2];
        let extension = value(0x30, &[nonce_oid, critical, &nonce].concat());
        let extensions = value(0xa2, &value(0x30, &extension));
        let list = value(0x30, &value(0x30, id));
        value(0x30, &value(0x30, &[list, extensions].concat()))
    };
    for (length, is_read) in [(0, false), (1, true), (32, true), (128, true), (129, false)] {
        let nonce = vec![7; length];
        let read = OcspRequest::from_der(&ask(&nonce, &[]));
        assert_eq!(read.is_ok(), is_read, "{length}");
        assert!(read.is_err() || read.unwrap().nonce == Some(nonce));
    }
    assert!(OcspRequest::from_der(&ask(&[7], &[1, 1, 0xff])).is_ok(), "a critical nonce is known");
}

#[test]
fn what_is_too_long_is_not_read() {
    assert_eq!(OcspRequest::from_der(&[0x30; MAX_REQUEST_BYTES + 1]), Err(RequestError));
    assert_eq!(OcspRequest::from_der(&[]), Err(RequestError));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = OcspRequest::from_der(&bytes);
    }
}

/// Nobody takes a responder for a principal or a server, and it makes no CA.
#[test]
fn a_responders_certificate_is_good_for_nothing_else() {
    let world = World::new();
    let folder = Folder::new();
    let (_, issued) = responder(&world, &world.tenant, CaKind::Tenant, NOW);
    let trusted = trust(&[world.tenant.anchor("acme.1")]);
    let everybody = |_: &signet_core::TenantId| Some(trusted.clone());
    assert_eq!(verify_client(&issued.certificate_der, &world.env, everybody, NOW), Err(ChainError::NoUriName));
    assert_eq!(verify_service(&issued.certificate_der, &world.env, everybody, NOW), Err(ChainError::NoUriName));
    let anchor = world.tenant.twin(&world.ca_profile(CaKind::Tenant));
    for (purpose, is_good) in [("ocsphelper", true), ("sslclient", false), ("sslserver", false)] {
        let said = attempt(
            Command::new("openssl")
                .args(["verify", "-x509_strict", "-purpose", purpose, "-attime", &NOW.unix_seconds().to_string()])
                .args(["-no-CApath", "-no-CAstore", "-CAfile"])
                .arg(folder.certificates("anchor.pem", &[&anchor]))
                .arg(folder.certificates("responder.pem", &[&issued.certificate_der])),
        );
        assert_eq!(said.0, is_good, "{purpose}: {}", said.1);
    }
}

/// The purpose alone keeps it out, whatever else it says: a leaf with it in place of its own.
#[test]
fn who_may_sign_answers_is_no_client() {
    let world = World::new();
    let profile = world.profile(PrincipalType::Device, "d-1");
    let prepared = issue::prepare_leaf(&profile, &request(), &world.tenant.cert, serial(), DAY, NOW).unwrap();
    let (client, ocsp) = ([0x2b, 6, 1, 5, 5, 7, 3, 2], [0x2b, 6, 1, 5, 5, 7, 3, 9]);
    let tbs = prepared.tbs_der();
    let at = tbs.windows(8).position(|window| window == client).unwrap();
    let tbs = [&tbs[..at], &ocsp, &tbs[at + 8..]].concat();
    let der = signet_x509::crl::assemble(&tbs, &world.tenant.key.sign(&tbs).unwrap()).unwrap();
    let trusted = trust(&[world.tenant.anchor("acme.1")]);
    let refused = verify_client(&der, &world.env, |_| Some(trusted.clone()), NOW);
    assert_eq!(refused, Err(ChainError::WrongKeyUsage));
}

#[test]
fn a_responder_ends_with_its_ca_at_the_latest() {
    let world = World::new();
    let (_, issued) = responder(&world, &world.tenant, CaKind::Tenant, NOW);
    assert_eq!(issued.not_after, NOW.plus(RESPONDER_LIFETIME).floor_to_second());
    let end = world.tenant.cert.not_after();
    let late = Time::from_unix_seconds(end.unix_seconds() - 60);
    assert_eq!(responder(&world, &world.tenant, CaKind::Tenant, late).1.not_after, end);
    let (key, over) = (KeyPair::generate().unwrap(), end.plus(DAY));
    let profile = world.ca_profile(CaKind::Tenant);
    assert!(issue::prepare_responder(&profile, key.public_key(), &world.tenant.cert, serial(), over).is_err());
}

#[test]
fn openssl_shows_whose_it_is() {
    let world = World::new();
    let folder = Folder::new();
    let (_, issued) = responder(&world, &world.shared, CaKind::Shared, NOW);
    let path: &Path = &folder.certificates("responder.pem", &[&issued.certificate_der]);
    let text = run(Command::new("openssl").args(["x509", "-noout", "-text", "-in"]).arg(path)).replace(" = ", "=");
    for part in ["CN=Shared issuing CA 1 OCSP", "OCSP Signing", "OCSP No Check", "Digital Signature"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
