//! The lint refuses what the builders would never make: bytes changed before they are taken up again.

use signet_core::{PrincipalType, authorities::CaKind};
use signet_x509::{CaProfile, IssueError, KeyPair, Prepared, issue, lint::Kind};

use crate::world::{Authority, DAY, NOW, World, id, request, serial};

/// The rules that `tbs` with `from` replaced by `to` would break.
fn broken(world: &World, kind: Kind, ca: &Authority, tbs: &[u8], from: &[u8], to: &[u8]) -> String {
    let at = tbs.windows(from.len()).position(|window| window == from).unwrap_or_else(|| panic!("no {from:02x?}"));
    let changed = [tbs.get(..at).unwrap(), to, tbs.get(at + from.len()..).unwrap()].concat();
    match Prepared::resume(kind, &world.env, &changed, &ca.cert) {
        Err(IssueError::Lint(error)) => error.to_string(),
        other => panic!("{from:02x?} -> {to:02x?}: {other:?}"),
    }
}

#[test]
fn a_changed_leaf_breaks_the_rule_that_was_changed() {
    let world = World::new();
    let profile = world.profile(PrincipalType::Worker, "w-1");
    let tbs = issue::prepare_leaf(&profile, &request(), &world.tenant.cert, serial(), DAY, NOW).unwrap();
    let tbs = tbs.tbs_der();
    let client_auth = [0x2b, 6, 1, 5, 5, 7, 3, 2];
    let ecdsa_sha384 = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];
    let ecdsa_sha256 = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    let issuer = world.tenant.cert.public_key().key_id();
    let cases: &[(&[u8], &[u8], &str)] = &[
        (&[0x02, 0x10, 0x01], &[0x02, 0x10, 0x81], "version 3"),
        (&[0xa0, 3, 2, 1, 2], &[0xa0, 3, 2, 1, 1], "version 3"),
        (&ecdsa_sha256, &ecdsa_sha384, "ecdsa-with-SHA256"),
        (b"Issuing CA 1", b"Issuing CA 2", "byte for byte"),
        (b"270115", b"250115", "within the issuer's"),
        (b"270116", b"270814", "90 days"),
        (&issuer, &[7; 20], "authority key identifier"),
        (&[0x03, 0x55, 0x1d, 0x0e], &[0x03, 0x55, 0x1d, 0x10], "subject key identifier"),
        (&[3, 2, 7, 0x80], &[3, 2, 6, 0xc0], "digitalSignature"),
        (&client_auth, &[0x2b, 6, 1, 5, 5, 7, 3, 1], "extended key usage"),
        (&[0x55, 0x1d, 0x0f, 1, 1, 0xff], &[0x55, 0x1d, 0x0f, 1, 1, 0], "canonical"),
        (&[0x86, 41], &[0x82, 41], "same principal"),
        (&[0x55, 0x1d, 0x13, 1, 1, 0xff, 4, 2, 0x30, 0], &[0x55, 0x1d, 0x37, 1, 1, 0xff, 4, 2, 0x30, 0], "it is no CA"),
        (b"worker/w-1", b"worker/w-2", "same principal"),
        (b"\x0c\x06worker", b"\x0c\x06device", "same principal"),
        (&[0x55, 0x1d, 0x23], &[0x55, 0x1d, 0x24], "no extension but"),
        (&[0x00, 0x04], &[0x00, 0x05], "P-256"),
    ];
    for (from, to, rule) in cases {
        let text = broken(&world, Kind::Leaf, &world.tenant, tbs, from, to);
        assert!(text.contains(rule), "{from:02x?} -> {to:02x?}: {text}");
    }
}

#[test]
fn a_changed_responder_breaks_the_rule_that_was_changed() {
    let world = World::new();
    let key = KeyPair::generate().unwrap();
    let profile = world.ca_profile(CaKind::Tenant);
    let prepared = issue::prepare_responder(&profile, key.public_key(), &world.tenant.cert, serial(), NOW).unwrap();
    let tbs = prepared.tbs_der();
    let no_check = [0x2b, 6, 1, 5, 5, 7, 0x30, 1, 5];
    let cases: &[(&[u8], &[u8], &str)] = &[
        (&[0x2b, 6, 1, 5, 5, 7, 3, 9], &[0x2b, 6, 1, 5, 5, 7, 3, 2], "extended key usage"),
        (b"270115200000", b"270116200000", "short-lived"),
        (&no_check, &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 6], "must not need a check"),
        (&[3, 2, 7, 0x80], &[3, 2, 6, 0xc0], "digitalSignature"),
    ];
    for (from, to, rule) in cases {
        let text = broken(&world, Kind::Responder, &world.tenant, tbs, from, to);
        assert!(text.contains(rule), "{from:02x?} -> {to:02x?}: {text}");
    }
    // Of the others only a responder need not be checked.
    for kind in [Kind::Leaf, Kind::Server, Kind::IssuingCa] {
        let text = broken(&world, kind, &world.tenant, tbs, b"OCSP", b"OCSP");
        assert!(text.contains("no extension but"), "{kind:?}: {text}");
    }
}

#[test]
fn a_changed_ca_breaks_the_rule_that_was_changed() {
    let world = World::new();
    let key = KeyPair::generate().unwrap();
    let profile = CaProfile::new(&world.env, CaKind::Tenant, &id("acme"), 1);
    let tbs = issue::prepare_ca(&profile, key.public_key(), &world.root.cert, serial(), NOW).unwrap();
    let tbs = tbs.tbs_der();
    let cases: &[(&[u8], &[u8], &str)] = &[
        (&[2, 1, 0, 0x30], &[2, 1, 1, 0x30], "path length"),
        (&[3, 2, 1, 6], &[3, 2, 2, 4], "keyCertSign"),
        (b"290114", b"300114", "too long"),
        (&[0x87, 8, 0, 0], &[0x87, 8, 1, 0], "naming servers"),
    ];
    for (from, to, rule) in cases {
        let text = broken(&world, Kind::IssuingCa, &world.root, tbs, from, to);
        assert!(text.contains(rule), "{from:02x?} -> {to:02x?}: {text}");
    }
}

#[test]
fn a_changed_anchor_breaks_the_rule_that_was_changed() {
    let world = World::new();
    let prepared = issue::prepare_anchor(&world.ca_profile(CaKind::Tenant), &world.tenant.cert, serial()).unwrap();
    let tbs = prepared.tbs_der();
    let point = world.tenant.cert.public_key().spki_der()[27..].to_vec();
    let other = KeyPair::generate().unwrap().public_key().spki_der()[27..].to_vec();
    let cases: &[(&[u8], &[u8], &str)] = &[
        (b"290114", b"290113", "exactly as long"),
        (b"Issuing CA 1", b"Issuing CA 2", "its own name"),
        (&point, &other, "the issuer's own key"),
        (&[2, 1, 0, 0x30], &[2, 1, 1, 0x30], "path length"),
        (&[0x87, 8, 0, 0], &[0x87, 8, 1, 0], "naming servers"),
    ];
    for (from, to, rule) in cases {
        let text = broken(&world, Kind::Anchor, &world.tenant, tbs, from, to);
        assert!(text.contains(rule), "{from:02x?} -> {to:02x?}: {text}");
    }
    // No other certificate may be signed with its own key.
    let text = broken(&world, Kind::IssuingCa, &world.tenant, tbs, b"Issuing CA 1", b"Issuing CA 1");
    assert!(text.contains("only a root or an anchor"), "{text}");
}

#[test]
fn a_server_has_no_cn_without_its_dns_name() {
    let world = World::new();
    let profile = world.profile(PrincipalType::Service, "api");
    let tbs = issue::prepare_leaf(&profile, &request(), &world.tenant.cert, serial(), DAY, NOW).unwrap();
    let text = broken(&world, Kind::Leaf, &world.tenant, tbs.tbs_der(), b"api.service", b"apj.service");
    assert!(text.contains("its own DNS name"), "{text}");
}
