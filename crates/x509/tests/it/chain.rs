//! Clients' certificates: who is let in as whom, and every reason not to.

use std::process::Command;

use der::{
    Decode, Encode, Sequence,
    asn1::{AnyRef, BitString},
};
use proptest::prelude::*;
use signet_core::{
    Identity, Lifetime, PrincipalType, Serial, TenantId, Time, authorities::CaKind, tenants::MAX_LIFETIME,
    trust::Anchor,
};
use signet_x509::{
    CaProfile, CertificateView, ChainError, KeyAndCsr, KeyPair, Leaf, issue, verify_client, verify_service,
};

use crate::{
    judges::{Folder, run},
    world::{Authority, DAY, NOW, World, ca, environment, id, issuing, leaf_profile, request, root, serial, trust},
};

/// Verifies for a world in which the tenant `acme` trusts `anchors`.
fn verify(world: &World, der: &[u8], anchors: &[Anchor], now: Time) -> Result<Identity, ChainError> {
    verify_client(der, &world.env, |tenant| (tenant.as_str() == "acme").then(|| trust(anchors)), now)
}

fn worker(world: &World) -> Vec<u8> {
    world.tenant.leaf(&world.profile(PrincipalType::Worker, "w-1")).certificate_der
}

#[derive(Sequence)]
struct Outer<'a> {
    tbs: AnyRef<'a>,
    algorithm: AnyRef<'a>,
    signature: BitString,
}

/// The certificate with the bytes `from` replaced everywhere in the signed part, signed again by `ca`: what a CA that
/// has gone wrong could issue.
fn forge(ca: &Authority, certificate: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut tbs = CertificateView::from_der(certificate).unwrap().tbs_der.to_vec();
    let places: Vec<usize> =
        tbs.windows(from.len()).enumerate().filter(|(_, w)| *w == from).map(|(at, _)| at).collect();
    assert!(!places.is_empty(), "nothing to replace");
    for at in places {
        tbs.get_mut(at..at + to.len()).unwrap().copy_from_slice(to);
    }
    let signature = BitString::from_bytes(&ca.key.sign(&tbs).unwrap()).unwrap();
    let outer = Outer::from_der(certificate).unwrap();
    Outer { tbs: AnyRef::from_der(&tbs).unwrap(), algorithm: outer.algorithm, signature }.to_der().unwrap()
}

#[test]
fn a_good_certificate_names_its_holder() {
    let world = World::new();
    let anchors = [world.shared.anchor("shared.1"), world.tenant.anchor("acme.1")];
    for kind in PrincipalType::ALL {
        let profile = leaf_profile(&world.env, "acme", kind, "p.1", &["operator", "viewer"]);
        let issued = world.tenant.leaf(&profile);
        let identity = verify(&world, &issued.certificate_der, &anchors, NOW).unwrap();
        assert_eq!(identity.tenant, id("acme"));
        assert_eq!((identity.principal_type, identity.principal), (kind, id("p.1")));
        assert_eq!(identity.issuer, ca("acme.1"));
        assert_eq!(*identity.roles, [id("operator"), id("viewer")]);
        assert_eq!((identity.serial, identity.spki_sha256), (issued.serial, issued.spki_sha256));
        assert_eq!((identity.not_before, identity.not_after), (issued.not_before, issued.not_after));
    }
}

#[test]
fn either_ca_of_a_rotation_is_found() {
    let world = World::new();
    let next = issuing(&world.env, &world.root, CaKind::Tenant, "acme", 2);
    let anchors = [world.tenant.anchor("acme.1"), next.anchor("acme.2")];
    let profile = world.profile(PrincipalType::Device, "d");
    for (authority, name) in [(&world.tenant, "acme.1"), (&next, "acme.2")] {
        let leaf = authority.leaf(&profile).certificate_der;
        assert_eq!(verify(&world, &leaf, &anchors, NOW).unwrap().issuer, ca(name));
    }
    // A CA that was removed vouches for nobody.
    let old = world.tenant.leaf(&profile).certificate_der;
    assert_eq!(verify(&world, &old, &[next.anchor("acme.2")], NOW), Err(ChainError::UntrustedIssuer));
}

/// Invariant 3: a certificate authenticates only in the tenant whose CA signed it.
#[test]
fn a_tenants_ca_cannot_vouch_for_anothers_principal() {
    let world = World::new();
    let evil = issuing(&world.env, &world.root, CaKind::Tenant, "evil", 1);
    let forged = evil.leaf(&world.profile(PrincipalType::Admin, "root")).certificate_der;
    let trust_of = |tenant: &TenantId| match tenant.as_str() {
        "acme" => Some(trust(&[world.tenant.anchor("acme.1")])),
        "evil" => Some(trust(&[evil.anchor("evil.1")])),
        _ => None,
    };
    assert_eq!(verify_client(&forged, &world.env, trust_of, NOW), Err(ChainError::UntrustedIssuer));
    // Under a CA that bears the very name of the victim's, too.
    let twin = issuing(&world.env, &root(&world.env), CaKind::Tenant, "acme", 1);
    let forged = twin.leaf(&world.profile(PrincipalType::Admin, "root")).certificate_der;
    assert_eq!(verify_client(&forged, &world.env, trust_of, NOW), Err(ChainError::BadSignature));
}

#[test]
fn every_defect_has_its_own_reason() {
    let world = World::new();
    let good = worker(&world);
    let forge = |from: &[u8], to: &[u8]| forge(&world.tenant, &good, from, to);
    let client_auth = [0x2b, 6, 1, 5, 5, 7, 3, 2];
    let server_auth = [0x2b, 6, 1, 5, 5, 7, 3, 1];
    let oid = |last| [0x2b, 6, 1, 4, 1, 0x86, 0x8d, 0x1f, 1, last];
    let other = world.shared.leaf(&world.profile(PrincipalType::Worker, "w-1")).certificate_der;
    let cases = [
        ("cut", good.get(..good.len() - 1).unwrap().to_vec(), ChainError::Malformed),
        ("trailing", [good.as_slice(), &[0]].concat(), ChainError::Malformed),
        ("empty", vec![], ChainError::Malformed),
        ("DNS name only", forge(&[0x86, 41], &[0x82, 41]), ChainError::NoUriName),
        (
            "two URIs",
            with_options(&world.tenant, "URI:spiffe://a/worker/b,URI:spiffe://a/c"),
            ChainError::MultipleUriNames,
        ),
        ("no names", with_options(&world.tenant, ""), ChainError::NoUriName),
        ("other suffix", forge(b".example.com/", b".exbmple.com/"), ChainError::ForeignTrustDomain),
        ("no SPIFFE ID", forge(b"spiffe://", b"https:///"), ChainError::ForeignTrustDomain),
        ("no such type", forge(b"com/worker", b"com/wizard"), ChainError::BadSpiffeId),
        ("no such tenant", forge(b"//acme.", b"//nope."), ChainError::UnknownTenant),
        ("another CA", other, ChainError::UntrustedIssuer),
        ("wrong usage", forge(&client_auth, &server_auth), ChainError::WrongKeyUsage),
        ("no usage", forge(&EXT_KEY_USAGE, &UNKNOWN_EXTENSION), ChainError::WrongKeyUsage),
        ("may sign certificates", forge(&[3, 2, 7, 0x80], &[3, 2, 2, 0x84]), ChainError::IsACa),
        ("no type", forge(&oid(1), &oid(9)), ChainError::MissingExtension),
        ("no id", forge(&oid(2), &oid(9)), ChainError::MissingExtension),
        ("no tenant", forge(&oid(3), &oid(9)), ChainError::MissingExtension),
        ("id disagrees", forge(b"\x0c\x03w-1", b"\x0c\x03w-2"), ChainError::ExtensionDisagrees),
        ("type disagrees", forge(b"\x0c\x06worker", b"\x0c\x06device"), ChainError::ExtensionDisagrees),
        ("tenant disagrees", forge(b"\x04\x06\x0c\x04acme", b"\x04\x06\x0c\x04evil"), ChainError::ExtensionDisagrees),
        ("URI disagrees", forge(b"worker/w-1", b"worker/w-2"), ChainError::ExtensionDisagrees),
    ];
    for (name, der, expected) in cases {
        assert_eq!(verify(&world, &der, &[world.tenant.anchor("acme.1")], NOW), Err(expected), "{name}");
    }
}

/// The identifier of extendedKeyUsage, and one of an extension that nobody knows.
const EXT_KEY_USAGE: [u8; 5] = [6, 3, 0x55, 0x1d, 37];
const UNKNOWN_EXTENSION: [u8; 5] = [6, 3, 0x55, 0x1d, 126];

/// A usage that is not there is none: RFC 5280 lets such a certificate do everything.
#[test]
fn a_service_is_a_server_only_if_its_certificate_says_so() {
    let world = World::new();
    let anchors = [world.tenant.anchor("acme.1")];
    let good = world.tenant.leaf(&world.profile(PrincipalType::Service, "api")).certificate_der;
    let verify = |der: &[u8]| verify_service(der, &world.env, |_| Some(trust(&anchors)), NOW);
    assert_eq!(verify(&good).unwrap().principal, id("api"));
    let unsaid = forge(&world.tenant, &good, &EXT_KEY_USAGE, &UNKNOWN_EXTENSION);
    for der in [worker(&world), unsaid] {
        assert_eq!(verify(&der), Err(ChainError::WrongKeyUsage));
    }
}

#[test]
fn only_keys_that_we_certify_are_taken() {
    let world = World::new();
    let options = [
        "extendedKeyUsage=clientAuth\nkeyUsage=critical,digitalSignature",
        "subjectAltName=URI:spiffe://acme.prod.example.com/worker/w-1",
        "1.3.6.1.4.1.99999.1.1=ASN1:UTF8String:worker",
        "1.3.6.1.4.1.99999.1.2=ASN1:UTF8String:w-1",
        "1.3.6.1.4.1.99999.1.3=ASN1:UTF8String:acme",
    ]
    .join("\n");
    let verify = |csr: &[u8]| {
        let der = signed(&world.tenant, csr, &options, "30");
        // OpenSSL reads the machine's clock.
        let now = CertificateView::from_der(&der).unwrap().not_before;
        verify(&world, &der, &[world.tenant.anchor("acme.1")], now).map_err(|error| error.reason())
    };
    assert_eq!(verify(&KeyAndCsr::generate().unwrap().csr_der).unwrap().principal, id("w-1"));
    let others: [&[&str]; 3] = [
        &["rsa:2048"],
        &["ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
        &["ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:explicit"],
    ];
    for key in others {
        let folder = Folder::new();
        run(Command::new("openssl")
            .args(["req", "-new", "-nodes", "-subj", "/CN=w-1", "-keyout", "/dev/null", "-newkey"])
            .args(key)
            .args(["-outform", "DER", "-out"])
            .arg(folder.path("csr")));
        let refused = verify(&std::fs::read(folder.path("csr")).unwrap());
        assert_eq!(refused.err(), Some("CERTIFICATE_KEY_UNSUPPORTED"), "{key:?}");
    }
}

/// 90 days, whatever the tenant allows now.
#[test]
fn a_leaf_that_is_valid_for_longer_than_any_tenant_may_allow_is_refused() {
    let world = World::new();
    let anchors = [world.tenant.anchor("acme.1")];
    let profile = world.profile(PrincipalType::Worker, "w-1");
    let longest = issue::prepare_leaf(&profile, &request(), &world.tenant.cert, serial(), MAX_LIFETIME, NOW).unwrap();
    let longest = world.tenant.sign(longest).certificate_der;
    verify(&world, &longest, &anchors, NOW).unwrap();
    for end in [b"270415080001Z", b"280114080000Z"] {
        let forged = forge(&world.tenant, &longest, b"270415080000Z", end);
        let refused = verify(&world, &forged, &anchors, NOW).map_err(|error| error.reason());
        assert_eq!(refused.err(), Some("CERTIFICATE_VALID_TOO_LONG"));
    }
}

#[test]
fn time_decides() {
    let world = World::new();
    let anchors = [world.tenant.anchor("acme.1")];
    let good = worker(&world);
    let early = NOW.minus(Lifetime::seconds(61));
    assert_eq!(verify(&world, &good, &anchors, early), Err(ChainError::NotYetValid));
    assert_eq!(verify(&world, &good, &anchors, NOW.plus(DAY).plus(DAY)), Err(ChainError::Expired));
    assert!(verify(&world, &good, &anchors, NOW.minus(Lifetime::seconds(30))).is_ok());
    // An issuer that has expired itself vouches for nobody.
    let mut anchor = world.tenant.anchor("acme.1");
    anchor.not_after = NOW;
    assert_eq!(verify(&world, &good, &[anchor], NOW), Err(ChainError::UntrustedIssuer));
}

#[test]
fn a_broken_signature_and_a_self_signed_certificate_are_told_apart() {
    let world = World::new();
    let anchors = [world.tenant.anchor("acme.1")];
    let mut broken = worker(&world);
    *broken.last_mut().unwrap() ^= 1;
    assert_eq!(verify(&world, &broken, &anchors, NOW), Err(ChainError::BadSignature));
    let own = self_signed();
    assert_eq!(verify(&world, &own, &anchors, NOW), Err(ChainError::SelfSigned));
}

#[test]
fn a_ca_is_no_client() {
    let world = World::new();
    assert_eq!(verify(&world, &world.tenant.der, &[world.root.anchor("root.1")], NOW), Err(ChainError::NoUriName));
    let options = "URI:spiffe://acme.prod.example.com/worker/w-1\nbasicConstraints=critical,CA:true";
    let der = with_options(&world.tenant, options);
    assert_eq!(verify(&world, &der, &[world.tenant.anchor("acme.1")], NOW), Err(ChainError::IsACa));
}

#[test]
fn another_environment_does_not_know_it() {
    let world = World::new();
    let other = environment("dev.example.com");
    let refused = verify_client(&worker(&world), &other, |_| Some(trust(&[world.tenant.anchor("acme.1")])), NOW);
    assert_eq!(refused, Err(ChainError::ForeignTrustDomain));
}

/// A certificate that OpenSSL signs with the CA's key, with the given alternative names and further options.
fn with_options(ca: &Authority, names: &str) -> Vec<u8> {
    let names = if names.is_empty() { String::new() } else { format!("subjectAltName={names}\n") };
    let options = format!("extendedKeyUsage=clientAuth\nkeyUsage=critical,digitalSignature\n{names}");
    // From the machine's time on, and valid at `NOW`.
    signed(ca, &KeyAndCsr::generate().unwrap().csr_der, &options, "300")
}

/// A certificate of so many `days` that OpenSSL signs with the CA's key for the key of `csr`.
fn signed(ca: &Authority, csr: &[u8], options: &str, days: &str) -> Vec<u8> {
    let folder = Folder::new();
    run(Command::new("openssl")
        .args(["x509", "-req", "-inform", "DER", "-outform", "DER", "-days", days])
        // No UUIDv7, which would tell that it is older than its CA.
        .args(["-set_serial", "0x0197f0c0ffee40008000000000000001", "-in"])
        .arg(folder.write("leaf.csr", csr))
        .arg("-extfile")
        .arg(folder.write("options", options))
        .arg("-CAkey")
        .arg(folder.write("ca-key.pem", ca.key.to_pkcs8_pem().as_bytes()))
        .arg("-CA")
        .arg(folder.certificates("ca.pem", &[&ca.der]))
        .arg("-out")
        .arg(folder.path("leaf.der")));
    std::fs::read(folder.path("leaf.der")).unwrap()
}

fn self_signed() -> Vec<u8> {
    let folder = Folder::new();
    run(Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "300"])
        .args(["-subj", "/O=acme/CN=w-1", "-addext", "subjectAltName=URI:spiffe://acme.prod.example.com/worker/w-1"])
        .args(["-outform", "DER", "-keyout", "/dev/null", "-out"])
        .arg(folder.path("own.der")));
    std::fs::read(folder.path("own.der")).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_issued_is_what_is_read(
        tenant in "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?",
        principal in "[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}",
        kind in 0usize..5,
        roles in proptest::collection::vec("[a-z][a-z0-9-]{0,10}", 0..4),
        hours in 1u32..2160,
    ) {
        let env = environment("prod.example.com");
        let kind = PrincipalType::ALL.into_iter().nth(kind).unwrap();
        let authority = issuing(&env, &root(&env), CaKind::Tenant, &tenant, 3);
        let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
        let profile = leaf_profile(&env, &tenant, kind, &principal, &roles);
        let prepared =
            issue::prepare_leaf(&profile, &request(), &authority.cert, serial(), Lifetime::hours(hours), NOW).unwrap();
        let issued = authority.sign(prepared);
        let name = format!("{tenant}.3");
        let identity =
            verify_client(&issued.certificate_der, &env, |_| Some(trust(&[authority.anchor(&name)])), NOW).unwrap();
        prop_assert_eq!(identity.principal.as_str(), principal);
        prop_assert_eq!(identity.tenant.as_str(), tenant);
        prop_assert_eq!(identity.roles.iter().map(|role| role.as_str()).collect::<Vec<_>>(), roles);
        let leaf = Leaf::from_der(&issued.certificate_der, &env).unwrap();
        prop_assert_eq!((leaf.id.principal, leaf.serial), (identity.principal, issued.serial));
    }
}

#[test]
fn no_changed_byte_passes_and_none_panics() {
    let world = World::new();
    let good = worker(&world);
    let anchors = [world.tenant.anchor("acme.1")];
    for at in 0..good.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bad = good.clone();
            *bad.get_mut(at).unwrap() ^= flip;
            assert!(verify(&world, &bad, &anchors, NOW).is_err(), "byte {at}");
        }
    }
}

/// The tenant's CA as it is made anew on its old key, after a restore that has lost it.
fn made_again(world: &World, now: Time) -> Authority {
    let key = KeyPair::from_pkcs8_der(world.tenant.key.pkcs8_der()).unwrap();
    let profile = CaProfile::new(&world.env, CaKind::Tenant, &id("acme"), 1);
    let serial = Serial::new(now, [7; 10]);
    let prepared = issue::prepare_ca(&profile, key.public_key(), &world.root.cert, serial, now).unwrap();
    let der = world.root.sign(prepared).certificate_der;
    Authority::new(key, der)
}

#[test]
fn a_leaf_that_is_older_than_its_cas_certificate_is_refused() {
    let world = World::new();
    let leaf = worker(&world);
    // Five minutes are the difference that the nodes' clocks may have.
    let anchors = [made_again(&world, NOW.plus(Lifetime::minutes(5))).anchor("acme.1")];
    verify(&world, &leaf, &anchors, NOW.plus(Lifetime::minutes(5))).unwrap();
    let later = NOW.plus(Lifetime::seconds(301));
    let anchors = [made_again(&world, later).anchor("acme.1")];
    let refused = verify(&world, &leaf, &anchors, later).map_err(|error| error.reason());
    assert_eq!(refused.err(), Some("ISSUER_REPLACED"));
}
