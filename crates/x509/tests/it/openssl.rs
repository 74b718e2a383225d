//! OpenSSL as a judge of whole chains.

use std::{path::Path, process::Command, time::Duration};

use rustls_pki_types::{CertificateDer, UnixTime};
use signet_core::{PrincipalType, TenantId, Time, authorities::CaKind};
use signet_x509::{CaProfile, IssuerCert, KeyPair, issue};
use webpki::KeyUsage;

use crate::{
    judges::{Folder, attempt, run},
    world::{Authority, DAY, NOW, World, issuing, leaf_profile, request, serial},
};

/// `openssl verify -x509_strict` of `leaf` over `middle` to `root`, for `purpose`, at `time`.
fn verify(folder: &Folder, root: &[u8], middle: &[u8], leaf: &[u8], purpose: &str, time: Time) -> (bool, String) {
    attempt(
        Command::new("openssl")
            .args(["verify", "-x509_strict", "-check_ss_sig", "-purpose", purpose, "-attime"])
            .arg(time.unix_seconds().to_string())
            .args(["-no-CApath", "-no-CAstore", "-CAfile"])
            .arg(folder.certificates("root.pem", &[root]))
            .arg("-untrusted")
            .arg(folder.certificates("middle.pem", &[middle]))
            .arg(folder.certificates("leaf.pem", &[leaf])),
    )
}

#[test]
fn every_leaf_verifies_up_to_the_root() {
    let world = World::new();
    let folder = Folder::new();
    for kind in PrincipalType::ALL {
        // With and without a dot: OpenSSL takes a dotted common name for a host.
        for principal in ["w-1", "w-1.example.org"] {
            for ca in [&world.tenant, &world.shared] {
                let leaf = ca.leaf(&world.profile(kind, principal)).certificate_der;
                let (ok, text) = verify(&folder, &world.root.der, &ca.der, &leaf, "sslclient", NOW);
                assert!(ok, "{kind} {principal}: {text}");
            }
        }
    }
    let leaf = world.server_leaf().certificate_der;
    let (ok, text) = verify(&folder, &world.root.der, &world.server.der, &leaf, "sslserver", NOW);
    assert!(ok, "{text}");
}

#[test]
fn a_leaf_does_not_verify_outside_of_its_validity_purpose_or_chain() {
    let world = World::new();
    let folder = Folder::new();
    let leaf = world.tenant.leaf(&world.profile(PrincipalType::Device, "d-1")).certificate_der;
    let (root, tenant, shared) = (&world.root.der, &world.tenant.der, &world.shared.der);
    let late = NOW.plus(DAY).plus(DAY);
    assert!(verify(&folder, root, tenant, &leaf, "sslclient", late).1.contains("expired"));
    assert!(verify(&folder, root, tenant, &leaf, "sslserver", NOW).1.contains("unsuitable certificate purpose"));
    assert!(!verify(&folder, root, shared, &leaf, "sslclient", NOW).0);
}

#[test]
fn openssl_shows_what_we_meant() {
    let world = World::new();
    let folder = Folder::new();
    let profile = leaf_profile(&world.env, "acme", PrincipalType::User, "ann", &["operator", "viewer"]);
    let leaf = world.tenant.leaf(&profile);
    let text = show(&folder.certificates("leaf.pem", &[&leaf.certificate_der]));
    for part in [
        "URI:spiffe://acme.prod.example.com/user/ann",
        "Subject: O=acme, CN=ann",
        "Issuer: DC=com, DC=example, DC=prod, O=acme, CN=Issuing CA 1",
        "1.3.6.1.4.1.99999.1.1",
        "operator,viewer",
        "TLS Web Client Authentication",
    ] {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
}

/// Newer versions write no spaces around `=`.
fn show(path: &Path) -> String {
    run(Command::new("openssl").args(["x509", "-noout", "-text", "-in"]).arg(path)).replace(" = ", "=")
}

/// A root made by OpenSSL, whose subject key identifier is no hash of its key.
fn foreign_root(folder: &Folder) -> Authority {
    let key = KeyPair::generate().unwrap();
    let config = "[req]\ndistinguished_name=dn\nx509_extensions=ca\n[dn]\n[ca]\nbasicConstraints=critical,CA:true\n";
    let config = format!("{config}keyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=0102030405060708\n");
    run(Command::new("openssl")
        .args(["req", "-x509", "-new", "-days", "3650", "-subj", "/CN=Elsewhere Root", "-outform", "DER", "-key"])
        .arg(folder.write("key.pem", key.to_pkcs8_pem().as_bytes()))
        .arg("-config")
        .arg(folder.write("config", config))
        .arg("-out")
        .arg(folder.path("root.der")));
    let der = std::fs::read(folder.path("root.der")).unwrap();
    Authority::new(key, der)
}

#[test]
fn a_chain_below_a_ca_with_a_foreign_key_identifier_verifies() {
    let folder = Folder::new();
    let world = World::new();
    let root = foreign_root(&folder);
    // Its validity is that of the real clock: take its own start as now.
    let now = root.cert.not_after().minus(signet_core::Lifetime::days(3000));
    let key = KeyPair::generate().unwrap();
    let profile = CaProfile::new(&world.env, CaKind::Tenant, &TenantId::system(), 1);
    let prepared = issue::prepare_ca(&profile, key.public_key(), &root.cert, serial(), now).unwrap();
    let tenant = Authority::new(key, root.sign(prepared).certificate_der);
    let text = show(&folder.certificates("ca.pem", &[&tenant.der]));
    assert!(text.contains("01:02:03:04:05:06:07:08"), "{text}");
    let profile = leaf_profile(&world.env, "system", PrincipalType::Admin, "ann", &[]);
    let prepared = issue::prepare_leaf(&profile, &request(), &tenant.cert, serial(), DAY, now).unwrap();
    let leaf = tenant.sign(prepared).certificate_der;
    let (ok, text) = verify(&folder, &root.der, &tenant.der, &leaf, "sslclient", now);
    assert!(ok, "{text}");
}

/// What stock relying parties are given: the tenant's anchor alone, with what clients send.
#[test]
fn a_tenants_anchor_accepts_that_tenants_certificates_only() {
    let world = World::new();
    let folder = Folder::new();
    let anchor = world.tenant.twin(&world.ca_profile(CaKind::Tenant));
    let other = issuing(&world.env, &world.root, CaKind::Tenant, "evil", 1);
    let profile = world.profile(PrincipalType::Device, "d-1");
    let own = world.tenant.leaf(&profile).certificate_der;
    let foreign = leaf_profile(&world.env, "evil", PrincipalType::Device, "d-1", &[]);
    for (ca, leaf, accepted) in [
        (&world.tenant, &own, true),
        (&other, &other.leaf(&foreign).certificate_der, false),
        (&other, &other.leaf(&profile).certificate_der, false),
        (&world.shared, &world.shared.leaf(&profile).certificate_der, false),
    ] {
        let (ok, text) = verify(&folder, &anchor, &ca.der, leaf, "sslclient", NOW);
        assert_eq!(ok, accepted, "{text}");
    }
    // The intermediate itself is no anchor for OpenSSL: why there is a twin.
    assert!(!verify(&folder, &world.tenant.der, &world.tenant.der, &own, "sslclient", NOW).0);
}

/// Whether a client that trusts `trusted` takes the chain for `host`; by OpenSSL's own check of names, which is curl's,
/// Python's and libpq's as well.
fn takes_for(folder: &Folder, trusted: &[u8], middle: &[u8], leaf: &[u8], host: &str) -> bool {
    let (ok, _) = attempt(
        Command::new("openssl")
            .args(["verify", "-purpose", "sslserver", "-verify_hostname", host, "-attime"])
            .arg(NOW.unix_seconds().to_string())
            .args(["-no-CApath", "-no-CAstore", "-CAfile"])
            .arg(folder.certificates("trusted.pem", &[trusted]))
            .arg("-untrusted")
            .arg(folder.certificates("middle.pem", &[middle]))
            .arg(folder.certificates("leaf.pem", &[leaf])),
    );
    ok
}

#[test]
fn no_workload_passes_for_a_host_that_is_not_its_own() {
    const IDS: [&str; 4] = ["localhost", "signet", "db-1", "API_1"];
    let world = World::new();
    let folder = Folder::new();
    let anchor = world.tenant.twin(&world.ca_profile(CaKind::Tenant));
    for (kind, id) in PrincipalType::ALL.into_iter().flat_map(|kind| IDS.map(|id| (kind, id))) {
        for ca in [&world.tenant, &world.shared] {
            let leaf = ca.leaf(&world.profile(kind, id)).certificate_der;
            assert!(!takes_for(&folder, &world.root.der, &ca.der, &leaf, id), "{kind} {id} below the root");
        }
        let leaf = world.tenant.leaf(&world.profile(kind, id)).certificate_der;
        assert!(!takes_for(&folder, &anchor, &world.tenant.der, &leaf, id), "{kind} {id} below the anchor");
        let own = format!("{id}.{kind}.acme.prod.example.com");
        let is_host = id != "API_1" && matches!(kind, PrincipalType::Service | PrincipalType::Worker);
        assert_eq!(takes_for(&folder, &anchor, &world.tenant.der, &leaf, &own), is_host, "{own}");
    }
}

/// A stolen tenant CA key makes nobody who trusts the server's anchor believe in another control plane; with the root,
/// OpenSSL took a wildcard in the CN for it.
#[test]
fn no_tenant_ca_passes_for_the_control_plane() {
    let world = World::new();
    let folder = Folder::new();
    let anchor = world.server.twin(&world.ca_profile(CaKind::Server));
    let (host, server) = ("signet.prod.example.com", world.server_leaf().certificate_der);
    assert!(takes_for(&folder, &anchor, &world.server.der, &server, host));
    assert!(webpki_accepts(&anchor, &world.server.der, &server));
    for ca in [&world.tenant, &world.shared] {
        for (subject, san) in
            [("/CN=*.prod.example.com", None), ("/CN=signet", Some("DNS:signet.prod.example.com")), ("/O=x", None)]
        {
            let leaf = forged(&folder, ca, subject, san);
            assert!(!takes_for(&folder, &anchor, &ca.der, &leaf, host), "{subject} {san:?}");
            assert!(!webpki_accepts(&anchor, &ca.der, &leaf), "{subject} {san:?} by webpki");
        }
    }
    let forged = forged(&folder, &world.tenant, "/CN=*.prod.example.com", None);
    assert!(takes_for(&folder, &world.root.der, &world.tenant.der, &forged, host), "the forgery is a good one");
}

/// A tenant's CA, were its key stolen, cannot make OpenSSL or webpki accept a server of another name.
#[test]
fn a_tenant_ca_cannot_vouch_for_a_server() {
    let world = World::new();
    let folder = Folder::new();
    let other = issuing(&world.env, &world.root, CaKind::Tenant, "evil", 1);
    for (ca, san, accepted) in [
        (&world.tenant, "DNS:signet.prod.example.com", false),
        (&world.tenant, "DNS:api.acme.prod.example.com", true),
        (&world.tenant, "IP:127.0.0.1", false),
        (&world.shared, "DNS:api.acme.prod.example.com", false),
        (&other, "DNS:api.acme.prod.example.com", false),
    ] {
        let leaf = stolen(&folder, ca, san);
        let (ok, text) = verify(&folder, &world.root.der, &ca.der, &leaf, "sslserver", NOW);
        assert_eq!(ok, accepted, "{san}: {text}");
        assert_eq!(webpki_accepts(&world.root.der, &ca.der, &leaf), accepted, "{san} by webpki");
    }
    assert!(webpki_accepts(&world.root.der, &world.server.der, &world.server_leaf().certificate_der));
}

/// What a client of the control plane asks: is it a server below the root?
fn webpki_accepts(root: &[u8], middle: &[u8], leaf: &[u8]) -> bool {
    let [root, middle, leaf] = [root, middle, leaf].map(CertificateDer::from);
    let anchors = [webpki::anchor_from_trusted_cert(&root).unwrap()];
    let time = UnixTime::since_unix_epoch(Duration::from_secs(NOW.unix_seconds().unsigned_abs()));
    let algorithms = [webpki::aws_lc_rs::ECDSA_P256_SHA256];
    let leaf = webpki::EndEntityCert::try_from(&leaf).unwrap();
    leaf.verify_for_usage(&algorithms, &anchors, &[middle], time, KeyUsage::server_auth(), None, None).is_ok()
}

fn stolen(folder: &Folder, ca: &Authority, san: &str) -> Vec<u8> {
    forged(folder, ca, "/O=x", Some(san))
}

/// A server certificate that OpenSSL signs with a CA's key, past all of our code.
fn forged(folder: &Folder, ca: &Authority, subject: &str, san: Option<&str>) -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    run(Command::new("openssl")
        .args(["req", "-new", "-subj", subject, "-key"])
        .arg(folder.write("leaf-key.pem", key.to_pkcs8_pem().as_bytes()))
        .arg("-out")
        .arg(folder.path("leaf.csr")));
    let options = "keyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\n";
    let san = san.map(|san| format!("subjectAltName={san}\n")).unwrap_or_default();
    let options = format!("{options}subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n{san}");
    run(Command::new("openssl")
        .args(["x509", "-req", "-outform", "DER", "-days", "3650", "-CAcreateserial", "-in"])
        .arg(folder.path("leaf.csr"))
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

#[test]
fn an_issuer_must_be_a_ca() {
    let world = World::new();
    let leaf = world.tenant.leaf(&world.profile(PrincipalType::Worker, "w-1"));
    assert_eq!(IssuerCert::from_der(&leaf.certificate_der), Err(signet_x509::IssuerError::NotACa));
}
