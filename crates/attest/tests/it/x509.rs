//! Certificates of other CAs, made by openssl.

use signet_attest::{Attestors, Options};
use signet_core::{
    Lifetime, TenantId, Time,
    enrollment::{
        attestation::{Challenge, Evidence, Facts},
        rule::Source,
    },
};

use crate::{
    foreign::{CA, FOR_EVER, Maker, P256, P384, P521, RSA, Wish},
    world::{NOW, SERVER_ID, attest, key, outcome, value},
};

fn statement(server_id: &str, tenant: &str, key: &str, signed_at: Time) -> String {
    let tenant: TenantId = tenant.parse().unwrap();
    Challenge { server_id, tenant: &tenant, key_sha256: key, sources: &[], caller: None, now: NOW }.statement(signed_at)
}

fn good_statement() -> String {
    statement(SERVER_ID, "acme", &key(), NOW)
}

fn evidence(chain: &[&[u8]], signature: Vec<u8>) -> Evidence {
    Evidence::X509 { chain_der: chain.iter().map(|der| der.to_vec()).collect(), signed_at: NOW, signature }
}

async fn check(
    evidence: &Evidence,
    anchors: &[&[u8]],
) -> Result<Facts, signet_core::enrollment::attestation::AttestationError> {
    let source = Source::X509 { anchors_der: anchors.iter().map(|der| der.to_vec()).collect() };
    attest(&Attestors::new(Options::default()).unwrap(), evidence, &[Source::AwsIam, source], NOW).await
}

/// Keys as device makers use them; a certificate that never expires and has no extended key usage; a CA between.
#[tokio::test]
async fn devices_of_all_kinds_prove_themselves() {
    let maker = Maker::new();
    let root = maker.issue("root", None, Wish::new("/O=Maker/CN=Root", P384, CA));
    let wish = Wish { digest: "sha384", ..Wish::new("/O=Maker/CN=Devices", RSA, CA) };
    let middle = maker.issue("middle", Some("root"), wish);
    let other = maker.issue("other", None, Wish::new("/CN=Other", P256, CA));
    let usage = "keyUsage = critical, digitalSignature\nsubjectAltName = DNS:d-1.maker.example, URI:urn:dev:1\n";
    let subject = "/C=DE/O=Maker/OU=Pumps/OU=Line 2/serialNumber=PID:X-1 SN:4711/CN=d-1";
    for (name, kind, digests) in
        [("p256", P256, vec!["-sha256"]), ("p384", P384, vec!["-sha384", "-sha256"]), ("rsa", RSA, vec!["-sha256"])]
    {
        let leaf = maker.issue(name, Some("middle"), Wish { end: FOR_EVER, ..Wish::new(subject, kind, usage) });
        for digest in digests {
            let proof = evidence(&[&leaf, &middle], maker.sign(name, digest, &good_statement()));
            let facts = check(&proof, &[&other, &root]).await.unwrap();
            assert_eq!((value(&facts, "cn"), value(&facts, "serialnumber")), ("d-1", "PID:X-1 SN:4711"), "{name}");
            assert_eq!(facts.values["ou"], ["Pumps", "Line 2"]);
            assert_eq!((value(&facts, "dns"), value(&facts, "uri")), ("d-1.maker.example", "urn:dev:1"));
            assert_eq!(value(&facts, "anchor_sha256"), signet_core::audit::sha256_hex(&root));
            assert!(!value(&facts, "serial").is_empty());
        }
        // The CA between may be the registered one.
        let proof = evidence(&[&leaf], maker.sign(name, "-sha256", &good_statement()));
        let facts = check(&proof, &[&middle]).await.unwrap();
        assert_eq!(value(&facts, "anchor_sha256"), signet_core::audit::sha256_hex(&middle));
        assert_eq!(outcome(&check(&proof, &[&root]).await), "X509_UNTRUSTED_ISSUER");
        assert_eq!(outcome(&check(&proof, &[]).await), "X509_NOT_TRUSTED");
    }
}

#[tokio::test]
async fn certificates_that_do_not_count_say_why() {
    let maker = Maker::new();
    let root = maker.issue("root", None, Wish::new("/CN=Root", P256, CA));
    let namesake = maker.issue("namesake", None, Wish::new("/CN=Root", P256, CA));
    let expired_wish = Wish { end: "20261101000000Z", ..Wish::new("/CN=Old", P256, CA) };
    let expired_root = maker.issue("expired-root", None, expired_wish);
    let plain = Wish::new("/CN=d-1", P256, "keyUsage = digitalSignature\n");
    let server_only = "extendedKeyUsage = serverAuth\nkeyUsage = digitalSignature\n";
    let strange = "1.2.3.4 = critical, ASN1:NULL\nkeyUsage = digitalSignature\n";
    let purposes = "extendedKeyUsage = serverAuth, anyExtendedKeyUsage\n";
    for (name, by, wish, reason) in [
        ("good", "root", plain, "OK"),
        ("foreign", "namesake", plain, "X509_BAD_CERTIFICATE_SIGNATURE"),
        ("orphan", "expired-root", plain, "X509_ANCHOR_NOT_VALID"),
        ("expired", "root", Wish { end: "20261122055959Z", ..plain }, "X509_EXPIRED"),
        ("early", "root", Wish { start: "20261122060001Z", ..plain }, "X509_NOT_YET_VALID"),
        ("weak", "root", Wish { digest: "sha1", ..plain }, "X509_BAD_CERTIFICATE_SIGNATURE"),
        ("server", "root", Wish { extensions: server_only, ..plain }, "X509_WRONG_KEY_USAGE"),
        ("any", "root", Wish { extensions: purposes, ..plain }, "OK"),
        ("encrypts", "root", Wish { extensions: "keyUsage = keyEncipherment\n", ..plain }, "X509_WRONG_KEY_USAGE"),
        ("strange", "root", Wish { extensions: strange, ..plain }, "X509_MALFORMED"),
        ("ca", "root", Wish { extensions: CA, ..plain }, "X509_IS_A_CA"),
        ("ca2", "root", Wish { extensions: "basicConstraints = CA:true\n", ..plain }, "X509_IS_A_CA"),
        ("curve", "root", Wish { key: P521, ..plain }, "X509_BAD_PROOF"),
    ] {
        let leaf = maker.issue(name, Some(by), wish);
        let proof = evidence(&[&leaf], maker.sign(name, "-sha256", &good_statement()));
        let result = check(&proof, &[&root, &expired_root]).await;
        assert_eq!(outcome(&result), reason, "{name}: {result:?}");
    }
    // A device's certificate is no CA, and a CA is no device.
    let below = maker.issue("below", Some("good"), plain);
    let [good, signature] =
        [maker.path("good.pem"), maker.path("below.pem")].map(|p| std::fs::read_to_string(p).unwrap());
    assert!(!good.is_empty() && !signature.is_empty());
    let good = signet_x509::pem::decode_certificates(&good).unwrap().remove(0);
    let proof = evidence(&[&below, &good], maker.sign("below", "-sha256", &good_statement()));
    assert_eq!(outcome(&check(&proof, &[&root]).await), "X509_UNTRUSTED_ISSUER");
    let proof = evidence(&[&root], maker.sign("root", "-sha256", &good_statement()));
    assert_eq!(outcome(&check(&proof, &[&root, &namesake]).await), "X509_IS_A_CA");
}

#[tokio::test]
async fn the_signature_binds_key_tenant_server_and_time() {
    let maker = Maker::new();
    let root = maker.issue("root", None, Wish::new("/CN=Root", P256, CA));
    let leaf = maker.issue("d", Some("root"), Wish::new("/CN=d-1", P256, "subjectKeyIdentifier = hash\n"));
    maker.issue("thief", Some("root"), Wish::new("/CN=d-2", P256, "subjectKeyIdentifier = hash\n"));
    let sign = |message: &str| maker.sign("d", "-sha256", message);
    let other_key = "cd".repeat(32);
    for signature in [
        sign(&statement("prod.example.com", "acme", &key(), NOW)),
        sign(&statement(SERVER_ID, "globex", &key(), NOW)),
        sign(&statement(SERVER_ID, "acme", &other_key, NOW)),
        sign(&statement(SERVER_ID, "acme", &key(), NOW.plus(Lifetime::seconds(1)))),
        maker.sign("thief", "-sha256", &good_statement()),
        maker.sign("d", "-sha512", &good_statement()),
        Vec::new(),
        vec![0; 70],
    ] {
        assert_eq!(outcome(&check(&evidence(&[&leaf], signature), &[&root]).await), "X509_BAD_PROOF");
    }
    for (offset, expected) in
        [(0, "OK"), (-300, "OK"), (-301, "X509_PROOF_EXPIRED"), (60, "OK"), (61, "X509_PROOF_FROM_FUTURE")]
    {
        let signed_at = Time::from_unix_seconds(NOW.unix_seconds() + offset);
        let signature = sign(&statement(SERVER_ID, "acme", &key(), signed_at));
        let proof = Evidence::X509 { chain_der: vec![leaf.clone()], signed_at, signature };
        assert_eq!(outcome(&check(&proof, &[&root]).await), expected, "{offset}");
    }
}

#[tokio::test]
async fn what_is_no_certificate_is_refused() {
    let maker = Maker::new();
    let root = maker.issue("root", None, Wish::new("/CN=Root", P256, CA));
    let leaf = maker.issue("d", Some("root"), Wish::new("/CN=d-1", P256, "subjectKeyIdentifier = hash\n"));
    let signature = maker.sign("d", "-sha256", &good_statement());
    let long = vec![leaf.as_slice(); 6];
    let huge = vec![0x30; 17_000];
    let cut = leaf.split_last().unwrap().1;
    let mut longer = leaf.clone();
    longer.push(0);
    for (chain, reason) in [
        (vec![], "X509_CHAIN_SIZE"),
        (long, "X509_CHAIN_SIZE"),
        (vec![huge.as_slice()], "X509_CHAIN_SIZE"),
        (vec![b"".as_slice()], "X509_MALFORMED"),
        (vec![b"not a certificate".as_slice()], "X509_MALFORMED"),
        (vec![cut], "X509_MALFORMED"),
        (vec![longer.as_slice()], "X509_MALFORMED"),
        (vec![leaf.as_slice(), b"junk"], "OK"),
        (vec![leaf.as_slice(), root.as_slice(), root.as_slice()], "OK"),
    ] {
        let result = check(&evidence(&chain, signature.clone()), &[b"junk", &root]).await;
        assert_eq!(outcome(&result), reason, "{result:?}");
    }
}
