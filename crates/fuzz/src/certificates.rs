//! Requests and certificates, as anybody may send them.

use signet_attest::{Attestors, Options};
use signet_core::{
    Lifetime, PrincipalType, Serial, TenantId, Time,
    enrollment::{
        attestation::{Attestor, Challenge, Evidence},
        rule::Source,
    },
    spiffe::SpiffeId,
    tenants::TenantStatus,
    trust::{Anchor, TenantTrust},
};
use signet_testkit::fixtures::{NOW, ca};
use signet_x509::{
    CertificateView, Csr, Environment, IssuerCert, Leaf, LeafProfile, issue,
    ocsp::{IssuerHashes, OcspRequest},
    pem, verify_client, verify_service,
};

/// A tenant's CA, and the one certificate that it ever signed: `examples/seeds` made both, and kept no key.
pub(crate) const CA: &[u8] = include_bytes!("../fixtures/ca.der");
const LEAF: &[u8] = include_bytes!("../fixtures/leaf.der");

/// SHA-1 and SHA-256 of its key, by OpenSSL.
const KEY_HASHES: [&str; 2] =
    ["60f68046016e2944c1685b26488c363bab1076f9", "f2b68b7caa8e9e3af3af630bf251addf8b2eac3cefd2a60f710fda29ba5d4f1d"];

/// The environment of [`CA`].
pub(crate) fn environment() -> Environment {
    Environment::with_default_arc("test.example.com".parse().unwrap()).unwrap()
}

/// A request: as PEM it is the same, and a key that is taken gives a certificate without a broken rule.
pub fn csr(data: &[u8]) {
    let taken = Csr::from_pem_or_der(data);
    let Ok(csr) = Csr::parse(data) else { return };
    assert_eq!(taken.as_ref(), Ok(&csr));
    assert_eq!(Csr::from_pem_or_der(pem::encode(pem::CERTIFICATE_REQUEST, data).as_bytes()).as_ref(), Ok(&csr));
    let (tenant, principal_type) = ("acme".parse().unwrap(), PrincipalType::Worker);
    let id = SpiffeId { tenant, principal_type, principal: "worker-1".parse().unwrap() };
    let profile = LeafProfile::new(&environment(), id, Vec::new()).unwrap();
    let (issuer, serial) = (IssuerCert::from_der(CA).unwrap(), Serial::new(NOW, [7; 10]));
    // Preparing lints.
    issue::prepare_leaf(&profile, &csr, &issuer, serial, Lifetime::hours(1), NOW).expect("a lint-clean certificate");
}

/// A client's certificate: only what the CA signed is somebody, and only to the CA's tenant.
pub fn certificate(data: &[u8]) {
    let environment = environment();
    let leaf = Leaf::from_der(data, &environment);
    let anchors = vec![Anchor::from(&signet_core::authorities::Ca { certificate_der: CA.to_vec(), ..ca(&acme(), 1) })];
    let trust = TenantTrust { status: TenantStatus::Active, anchors: anchors.into() };
    let everybody = |_: &TenantId| Some(trust.clone());
    let at = NOW.plus(Lifetime::minutes(5));
    let _ = verify_service(data, &environment, everybody, at);
    let Ok(identity) = verify_client(data, &environment, everybody, at) else { return };
    let leaf = leaf.expect("who is let in can be read");
    // An ECDSA signature has a second form, so that it is not compared.
    assert_eq!(to_be_signed(data), to_be_signed(LEAF), "accepted, and never signed");
    let read = (&leaf.id.tenant, &leaf.id.principal, leaf.id.principal_type, leaf.serial, leaf.not_after);
    let let_in = (&identity.tenant, &identity.principal, identity.principal_type, identity.serial, identity.not_after);
    assert_eq!(read, let_in);
    assert!(verify_client(data, &environment, |_| None, at).is_err(), "of a tenant that does not exist");
    let expired = Time::from_unix_seconds(leaf.not_after.unix_seconds() + 1);
    assert!(verify_client(data, &environment, everybody, expired).is_err(), "after its end");
}

/// A device maker's proof: the first byte says how long the signature is, two bytes before each certificate how long
/// that is. Nothing is proven without the key of a certificate that the registered CA signed, and no key was kept.
pub fn chain(data: &[u8]) {
    let Some((length, rest)) = data.split_first() else { return };
    let Some((signature, mut rest)) = rest.split_at_checked(usize::from(*length)) else { return };
    let mut chain_der = Vec::new();
    while let Some((length, more)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(more.len());
        let (certificate, more) = more.split_at(length);
        chain_der.push(certificate.to_vec());
        rest = more;
    }
    let (tenant, sources) = (acme(), [Source::X509 { anchors_der: vec![CA.to_vec()] }]);
    let evidence = Evidence::X509 { chain_der, signed_at: NOW, signature: signature.to_vec() };
    let challenge = Challenge {
        server_id: "test.example.com",
        tenant: &tenant,
        key_sha256: "ab",
        sources: &sources,
        caller: None,
        now: NOW,
    };
    let attestors = Attestors::new(Options::default()).unwrap();
    let outcome = futures::executor::block_on(attestors.attest(&evidence, &challenge));
    assert!(outcome.is_err(), "proven without a key: {outcome:?}");
}

/// An OCSP request: the answer repeats the client's own bytes, and is about a certificate of the CA only where these
/// have the CA's hashes.
pub fn ocsp(data: &[u8]) {
    let Ok(OcspRequest { first, nonce }) = OcspRequest::from_der(data) else { return };
    let holds = |part: &[u8]| data.windows(part.len()).any(|window| window == part);
    assert!(holds(first.der()));
    assert!(nonce.is_none_or(|nonce| (1..=128).contains(&nonce.len()) && holds(&nonce)));
    let is_ours = first.is_of(&IssuerHashes::of(&IssuerCert::from_der(CA).unwrap()));
    assert!(!is_ours || KEY_HASHES.iter().any(|hash| holds(&hex::decode(hash).unwrap())));
    let alone = (0..4).fold(first.der().to_vec(), |content, _| sequence(&content));
    assert_eq!(OcspRequest::from_der(&alone), Ok(OcspRequest { first, nonce: None }));
}

/// DER, of less than 64 kB.
fn sequence(content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    let length = match content.len() {
        ..0x80 => vec![low],
        0x80..0x100 => vec![0x81, low],
        _ => vec![0x82, high, low],
    };
    [vec![0x30], length, content.to_vec()].concat()
}

fn acme() -> TenantId {
    "acme".parse().unwrap()
}

fn to_be_signed(der: &[u8]) -> &[u8] {
    CertificateView::from_der(der).unwrap().tbs_der
}
