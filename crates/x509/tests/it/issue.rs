//! What is prepared, and what is refused before and after the signature.

use signet_core::{Lifetime, PrincipalType, Role, TenantId, Time, authorities::CaKind};
use signet_x509::{
    CaProfile, CertificateView, IssueError, KeyPair, LeafProfile, Prepared, ProfileError, ServerName, ServerProfile,
    issue, lint::Kind, profile_error::MAX_ROLES, server_anchors,
};

use crate::world::{DAY, NOW, World, environment, id, issuing, leaf_profile, request, serial};

#[test]
fn validity_starts_a_minute_ago_and_ends_after_the_lifetime() {
    let world = World::new();
    let issued = world.tenant.leaf(&world.profile(PrincipalType::Worker, "w"));
    assert_eq!(issued.not_before, Time::from_unix_seconds(1_800_000_000 - 60));
    assert_eq!(issued.not_after, Time::from_unix_seconds(1_800_000_000 + 86_400));
    let view = CertificateView::from_der(&issued.certificate_der).unwrap();
    assert_eq!((view.serial(), view.not_after), (Some(issued.serial), issued.not_after));
}

#[test]
fn nothing_outlives_or_precedes_its_issuer() {
    let world = World::new();
    let profile = world.profile(PrincipalType::Worker, "w");
    let prepare =
        |lifetime, now| issue::prepare_leaf(&profile, &request(), &world.tenant.cert, serial(), lifetime, now);
    let end = world.tenant.cert.not_after();
    assert!(prepare(DAY, end.minus(DAY)).is_ok());
    let refused = prepare(DAY, end.minus(DAY).plus(Lifetime::seconds(1)));
    assert_eq!(refused.unwrap_err(), IssueError::OutlivesIssuer { issuer_ends: end.unix_seconds() });
    assert!(matches!(prepare(DAY, end.plus(DAY)), Err(IssueError::OutlivesIssuer { .. })));
    assert_eq!(prepare(DAY, NOW.minus(DAY)).unwrap_err(), IssueError::IssuerNotYetValid);
    // A CA that was made this second signs from its own start on, not from before it.
    let prepared = prepare(DAY, NOW.minus(Lifetime::seconds(30))).unwrap();
    assert_eq!(prepared.not_before(), Time::from_unix_seconds(1_800_000_000 - 60));
    let late = NOW.plus(Lifetime::days(3000));
    let ca = CaProfile::new(&world.env, CaKind::Tenant, &id("late"), 1);
    let key = KeyPair::generate().unwrap();
    let refused = issue::prepare_ca(&ca, key.public_key(), &world.root.cert, serial(), late);
    assert!(matches!(refused, Err(IssueError::OutlivesIssuer { .. })));
}

#[test]
fn a_signature_of_another_key_or_over_other_bytes_releases_nothing() {
    let world = World::new();
    let profile = world.profile(PrincipalType::Worker, "w");
    let prepare = || issue::prepare_leaf(&profile, &request(), &world.tenant.cert, serial(), DAY, NOW).unwrap();
    let prepared = prepare();
    let foreign = world.shared.key.sign(prepared.tbs_der()).unwrap();
    assert_eq!(prepared.finish(&foreign), Err(IssueError::BadSignature));
    let other = world.tenant.key.sign(prepare().tbs_der()).unwrap();
    assert_eq!(prepare().finish(&other), Err(IssueError::BadSignature));
    assert_eq!(prepare().finish(&[]), Err(IssueError::BadSignature));
}

#[test]
fn a_recorded_reservation_can_be_taken_up_again() {
    let world = World::new();
    let profile = world.profile(PrincipalType::Service, "s");
    let prepared = issue::prepare_leaf(&profile, &request(), &world.tenant.cert, serial(), DAY, NOW).unwrap();
    let recorded = prepared.tbs_der().to_vec();
    drop(prepared);
    let again = Prepared::resume(Kind::Leaf, &world.env, &recorded, &world.tenant.cert).unwrap();
    assert_eq!(again.tbs_der(), recorded);
    world.tenant.sign(again);
    // Not under another issuer, not as another kind, and not once it was changed.
    let refused = |kind, bytes: &[u8], ca: &crate::world::Authority| {
        matches!(Prepared::resume(kind, &world.env, bytes, &ca.cert), Err(IssueError::Lint(_)))
    };
    assert!(refused(Kind::Leaf, &recorded, &world.shared));
    assert!(refused(Kind::Server, &recorded, &world.tenant));
    assert!(refused(Kind::IssuingCa, &recorded, &world.tenant));
    let mut changed = recorded;
    *changed.last_mut().unwrap() ^= 1;
    assert!(refused(Kind::Leaf, &changed, &world.tenant));
}

#[test]
fn an_issuing_ca_makes_no_cas() {
    let world = World::new();
    let key = KeyPair::generate().unwrap();
    let profile = CaProfile::new(&world.env, CaKind::Tenant, &id("evil"), 1);
    let now = NOW;
    let refused = issue::prepare_ca(&profile, key.public_key(), &world.tenant.cert, serial(), now);
    match refused {
        Err(IssueError::Lint(error)) => assert!(error.to_string().contains("path length"), "{error}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn profiles_are_checked_when_they_are_made() {
    let env = environment("prod.example.com");
    let roles = |n: usize| (0..n).map(|i| id::<Role>(&format!("r{i}"))).collect::<Vec<_>>();
    let spiffe =
        signet_core::spiffe::SpiffeId { tenant: id("acme"), principal_type: PrincipalType::User, principal: id("ann") };
    assert!(LeafProfile::new(&env, spiffe.clone(), roles(MAX_ROLES)).is_ok());
    assert_eq!(LeafProfile::new(&env, spiffe, roles(33)), Err(ProfileError::TooManyRoles(33)));
    assert_eq!(ServerProfile::new(&env, vec![]), Err(ProfileError::ServerNameCount(0)));
    for bad in ["", "a b", "-a", "a..b", "*.example.com", "A.example.com", &"a".repeat(254), "https://x"] {
        assert!(bad.parse::<ServerName>().is_err(), "{bad}");
    }
    for arc in ["", "x", "1", "1.3.6.1.4.1.99999.-1", "9.9"] {
        assert!(signet_x509::Environment::new("x.example".parse().unwrap(), arc).is_err(), "{arc}");
    }
}

#[test]
fn the_longest_names_fit() {
    let suffix = ["a".repeat(63), "b".repeat(63), "c".repeat(62)].join(".");
    let env = environment(&suffix);
    let root = crate::world::root(&env);
    let tenant = "t".repeat(63);
    let ca = issuing(&env, &root, CaKind::Tenant, &tenant, u32::MAX);
    let names: Vec<String> = (0..MAX_ROLES).map(|i| format!("{:r>32}", i)).collect();
    let roles: Vec<&str> = names.iter().map(String::as_str).collect();
    for principal in ["p".repeat(64), format!("{}.", "p".repeat(63))] {
        let issued = ca.leaf(&leaf_profile(&env, &tenant, PrincipalType::Service, &principal, &roles));
        assert!(issued.certificate_der.len() < 4096, "{}", issued.certificate_der.len());
    }
}

#[test]
fn a_root_verifies_itself_and_has_its_own_name() {
    let world = World::new();
    let view = CertificateView::from_der(&world.root.der).unwrap();
    assert_eq!(view.subject_der, view.issuer_der);
    assert_eq!(view.subject_text(), "CN=Root CA 1,DC=prod,DC=example,DC=com");
    let twin = CaProfile::new(&world.env, CaKind::Root, &TenantId::system(), 2);
    let key = KeyPair::generate().unwrap();
    let prepared = issue::prepare_root(&twin, key.public_key(), serial(), NOW).unwrap();
    let wrong = world.root.key.sign(prepared.tbs_der()).unwrap();
    assert_eq!(prepared.finish(&wrong), Err(IssueError::BadSignature));
}

#[test]
fn an_anchor_is_the_cas_twin() {
    let world = World::new();
    let anchor = world.tenant.twin(&world.ca_profile(CaKind::Tenant));
    let (twin, ca) =
        (CertificateView::from_der(&anchor).unwrap(), CertificateView::from_der(&world.tenant.der).unwrap());
    assert_eq!((twin.subject_der, twin.spki_der), (ca.subject_der, ca.spki_der));
    assert_eq!((twin.not_before, twin.not_after), (ca.not_before, ca.not_after));
    assert_eq!(twin.issuer_der, twin.subject_der);
    assert_ne!(twin.serial(), ca.serial());
    let other = world.ca_profile(CaKind::Shared);
    let named_otherwise = issue::prepare_anchor(&other, &world.tenant.cert, serial());
    assert!(matches!(named_otherwise, Err(IssueError::Lint(_))), "{named_otherwise:?}");
}

#[test]
fn clients_trust_the_server_anchors_and_a_root_only_without_them() {
    let world = World::new();
    let anchor = world.server.twin(&world.ca_profile(CaKind::Server));
    let root = world.root.der.clone();
    assert_eq!(server_anchors(&[root.clone(), anchor.clone()]), [anchor.as_slice()]);
    assert_eq!(server_anchors(&[world.server.der.clone(), root.clone()]), [world.server.der.as_slice()]);
    assert_eq!(server_anchors(std::slice::from_ref(&root)), [root.as_slice()]);
}

#[test]
fn times_change_their_form_in_2050() {
    let env = environment("prod.example.com");
    let key = KeyPair::generate().unwrap();
    let profile = CaProfile::new(&env, CaKind::Root, &TenantId::system(), 1);
    // Ten years from 2045 end in 2055; the lint compares the forms.
    let now = Time::from_unix_seconds(2_366_841_600);
    let prepared = issue::prepare_root(&profile, key.public_key(), serial(), now).unwrap();
    assert!(prepared.tbs_der().windows(4).any(|window| window == b"2055"));
    let early = Time::from_unix_seconds(-1);
    let refused = issue::prepare_root(&profile, key.public_key(), serial(), early);
    assert!(matches!(refused, Err(IssueError::Encoding(_))));
}
