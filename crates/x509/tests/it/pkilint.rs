//! pkilint as a judge of every kind of certificate and list that we make.

use std::process::Command;

use signet_core::{PrincipalType, authorities::CaKind, certificates::RevocationReason};
use signet_x509::{
    crl::{RevokedEntry, prepare_crl},
    ocsp::CertStatus,
};

use crate::{
    judges::{Folder, attempt, judge, run},
    ocsp::{REVOKED, answer, question, responder},
    world::{Authority, DAY, NOW, World, leaf_profile, serial},
};

/// Findings that we accept, with the reason. None but these two, at any severity from NOTICE on.
const ACCEPTED: &[(&str, &str)] = &[
    (
        "pkix.invalid_uri_syntax (ERROR): Invalid URI syntax: \"spiffe://",
        "its URI check knows a list of web schemes only; `its_uri_check_minds_only_the_scheme` shows that nothing else is wrong",
    ),
    (
        "pkix.invalid_domain_name_syntax (ERROR): Invalid domain name syntax: \"localhost\"",
        "it wants two labels; RFC 1034 section 3.5, which RFC 5280 section 4.2.1.6 cites, allows one",
    ),
];

/// What a lint says of a file, from NOTICE on, without what we accept.
fn findings(command: &str, kind: &[&str], der: &[u8]) -> Vec<String> {
    let folder = Folder::new();
    let file = folder.write("subject.der", der);
    let mut lint = Command::new(judge(command));
    lint.args(["lint", "--severity", "NOTICE"]).args(kind).arg(file);
    let (_, text) = attempt(&mut lint);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains(" @ "));
    let accepted = |line: &str| ACCEPTED.iter().any(|(finding, _)| line.starts_with(finding));
    lines.filter(|line| !accepted(line)).map(str::to_owned).collect()
}

fn assert_clean(command: &str, kind: &[&str], files: &[(&str, Vec<u8>)]) {
    for (name, der) in files {
        assert_eq!(findings(command, kind, der), Vec::<String>::new(), "{name}");
    }
}

fn crl(ca: &Authority, revoked: &[RevokedEntry]) -> Vec<u8> {
    let prepared = prepare_crl(&ca.cert, 7, NOW, NOW.plus(DAY), revoked).unwrap();
    let signature = ca.key.sign(prepared.tbs_der()).unwrap();
    prepared.finish(&signature).unwrap()
}

#[test]
fn certificates_have_no_errors() {
    let world = World::new();
    let mut files = vec![
        ("root", world.root.der.clone()),
        ("shared CA", world.shared.der.clone()),
        ("server CA", world.server.der.clone()),
        ("tenant CA", world.tenant.der.clone()),
        ("server", world.server_leaf().certificate_der),
        ("tenant responder", responder(&world, &world.tenant, CaKind::Tenant, NOW).1.certificate_der),
        ("shared responder", responder(&world, &world.shared, CaKind::Shared, NOW).1.certificate_der),
        ("tenant anchor", world.tenant.twin(&world.ca_profile(CaKind::Tenant))),
        ("shared anchor", world.shared.twin(&world.ca_profile(CaKind::Shared))),
        ("server anchor", world.server.twin(&world.ca_profile(CaKind::Server))),
        ("host", world.tenant.leaf(&world.profile(PrincipalType::Service, "api-1")).certificate_der),
    ];
    for kind in PrincipalType::ALL {
        let profile = leaf_profile(&world.env, "acme", kind, "Some_principal-1", &["operator", "viewer"]);
        files.push((kind.as_str(), world.tenant.leaf(&profile).certificate_der));
    }
    files.push(("dotted", world.shared.leaf(&world.profile(PrincipalType::Device, "d.1")).certificate_der));
    assert_clean("lint_pkix_cert", &[], &files);
}

#[test]
fn lists_have_no_errors() {
    let world = World::new();
    let reasons = RevocationReason::ALL.map(|reason| RevokedEntry { serial: serial(), revoked_at: NOW, reason });
    let files = [("empty", crl(&world.tenant, &[])), ("reasons", crl(&world.tenant, &reasons))];
    assert_clean("lint_crl", &["--profile", "PKIX", "--type", "CRL"], &files);
}

#[test]
fn answers_have_no_errors() {
    let world = World::new();
    let (responder, _) = responder(&world, &world.tenant, CaKind::Tenant, NOW);
    let leaf = world.tenant.leaf(&world.profile(PrincipalType::Device, "d-1"));
    let request = question(&world.tenant, &leaf);
    let statuses = [CertStatus::Good, CertStatus::Unknown, REVOKED];
    let files = statuses.map(|status| ("answer", answer(&request, status, &responder, true)));
    assert_clean("lint_ocsp_response", &[], &files);
}

#[test]
fn the_judge_does_find_faults() {
    let folder = Folder::new();
    run(Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x"])
        .args(["-addext", "keyUsage=keyCertSign,digitalSignature", "-outform", "DER", "-keyout", "/dev/null", "-out"])
        .arg(folder.path("bad.der")));
    let bad = std::fs::read(folder.path("bad.der")).unwrap();
    let found = findings("lint_pkix_cert", &[], &bad);
    assert!(found.iter().any(|line| line.contains("key_usage")), "{found:?}");
    let world = World::new();
    let cut = world.tenant.der.get(..100).unwrap();
    assert!(!findings("lint_pkix_cert", &[], cut).is_empty());
}

#[test]
fn its_uri_check_minds_only_the_scheme() {
    let program = "import sys, validators; sys.exit(0 if validators.url(sys.argv[1]) else 1)";
    let says = |uri: &str| attempt(Command::new(judge("python")).args(["-c", program, uri])).0;
    let uri = "acme.prod.example.com/device/Some_principal-1";
    assert!(!says(&format!("spiffe://{uri}")) && says(&format!("https://{uri}")));
}
