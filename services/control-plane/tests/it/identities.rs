//! Each kind of certificate that is not good enough: refused, and each refusal an audit event of its own.

use std::{fs, path::Path, process::Command, time::Duration};

use signet_client::Credentials;
use signet_core::PrincipalType;
use signet_proto::v1::{
    self as pb, Isolation, principal_service_client::PrincipalServiceClient, tenant_service_client::TenantServiceClient,
};
use signet_x509::KeyPair;

use crate::{
    status::who_am_i,
    world::{Node, TestClock, World, eventually, reason},
};

/// The extensions of a good leaf of `acme/worker/w-1`.
pub const GOOD: [&str; 7] = [
    "keyUsage=critical,digitalSignature",
    "extendedKeyUsage=clientAuth",
    "authorityKeyIdentifier=keyid",
    "subjectAltName=URI:spiffe://acme.test.example.com/worker/w-1",
    "1.3.6.1.4.1.99999.1.1=ASN1:UTF8String:worker",
    "1.3.6.1.4.1.99999.1.2=ASN1:UTF8String:w-1",
    "1.3.6.1.4.1.99999.1.3=ASN1:UTF8String:acme",
];

/// `GOOD` with the line that starts with `prefix` replaced, or removed if `by` is empty.
fn but(prefix: &str, by: &str) -> Vec<String> {
    let lines = GOOD.iter().map(|line| if line.starts_with(prefix) { by } else { line });
    lines.filter(|line| !line.is_empty()).map(ToString::to_string).collect()
}

/// A leaf that OpenSSL makes with acme's real CA key, or with its own.
fn forged(world: &World, with_ca: bool, ca_der: &[u8], extensions: &[String]) -> Credentials {
    // No UUIDv7, which would tell that it is older than its CA.
    forged_as("0197f0c0ffee40008000000000000001", world, with_ca, ca_der, extensions)
}

/// The same with this serial number, hexadecimal.
pub fn forged_as(serial: &str, world: &World, with_ca: bool, ca_der: &[u8], extensions: &[String]) -> Credentials {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    fs::write(folder.path().join("key.pem"), key.to_pkcs8_pem().as_bytes()).unwrap();
    fs::write(folder.path().join("extensions"), extensions.join("\n")).unwrap();
    fs::write(folder.path().join("ca.pem"), signet_x509::pem::encode_certificate(ca_der)).unwrap();
    openssl(folder.path(), &["req", "-new", "-subj", "/O=acme/CN=w-1", "-key", "key.pem", "-out", "csr.pem"]);
    let ca_key = world.dir.path().join("keys/acme.1.pem");
    let passphrase = format!("file:{}", world.dir.path().join("passphrase").display());
    let mut sign = vec!["x509", "-req", "-in", "csr.pem", "-days", "1", "-extfile", "extensions"];
    let serial = format!("0x{serial}");
    sign.extend(["-set_serial", &serial, "-outform", "DER", "-out", "leaf.der"]);
    match with_ca {
        true => sign.extend(["-CA", "ca.pem", "-CAkey", ca_key.to_str().unwrap(), "-passin", &passphrase]),
        false => sign.extend(["-signkey", "key.pem"]),
    }
    openssl(folder.path(), &sign);
    let leaf = fs::read(folder.path().join("leaf.der")).unwrap();
    Credentials::new(vec![leaf, ca_der.to_vec()], world.roots.clone(), key).unwrap()
}

fn openssl(folder: &Path, arguments: &[&str]) {
    let output = Command::new("openssl").current_dir(folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// How often a tenant's log has a refused connection for this reason.
async fn refusals(world: &World, node: &Node, tenant: &str, reason: &str) -> usize {
    let events = world.audit(node, tenant).await;
    events.iter().filter(|event| event["operation"] == "Connect" && event["outcome"] == reason).count()
}

async fn is_refused(world: &World, node: &Node, tenant: &str, reason: &str, credentials: &Credentials) {
    let before = refusals(world, node, tenant, reason).await;
    // Within 50 ms of a commit of its own, a node has read it.
    eventually(reason, async || world.connector(node, Some(credentials)).connect().await.is_err()).await;
    let what = format!("{reason} in the log of {tenant}");
    eventually(&what, async || refusals(world, node, tenant, reason).await == before + 1).await;
}

#[tokio::test]
async fn forged_and_foreign_certificates_are_refused_by_name() {
    let world = World::new().await;
    let node = world.node().await;
    world.tenant(&node, "acme", Isolation::Dedicated).await;
    let worker = world.principal(&node, "acme", "w-1", PrincipalType::Worker, &[]).await;
    let ca = worker.chain_der()[1].clone();
    let cases = [
        (
            "EXTENSION_DISAGREES_WITH_URI",
            true,
            but("1.3.6.1.4.1.99999.1.1", "1.3.6.1.4.1.99999.1.1=ASN1:UTF8String:admin"),
        ),
        ("MISSING_EXTENSION", true, but("1.3.6.1.4.1.99999.1.3", "")),
        ("WRONG_EXTENDED_KEY_USAGE", true, but("extendedKeyUsage", "extendedKeyUsage=serverAuth")),
        ("CERTIFICATE_SELF_SIGNED", false, GOOD.map(String::from).to_vec()),
    ];
    for (reason, with_ca, extensions) in cases {
        is_refused(&world, &node, "system", reason, &forged(&world, with_ca, &ca, &extensions)).await;
    }
    let elsewhere = World::new().await;
    let other = elsewhere.node().await;
    elsewhere.tenant(&other, "acme", Isolation::Dedicated).await;
    let stranger = elsewhere.principal(&other, "acme", "w-1", PrincipalType::Worker, &[]).await;
    let stranger = Credentials::new(
        stranger.chain_der().to_vec(),
        world.roots.clone(),
        KeyPair::from_pkcs8_der(stranger.key().pkcs8_der()).unwrap(),
    );
    if let Ok(stranger) = stranger {
        is_refused(&world, &node, "system", "BAD_CERTIFICATE_SIGNATURE", &stranger).await;
    }
    other.end().await;
    // The same hand, unforged, gets in: it is the difference that is refused.
    let good = forged(&world, true, &ca, &GOOD.map(String::from));
    assert!(world.connector(&node, Some(&good)).connect().await.is_ok());
    node.end().await;
}

#[tokio::test]
async fn expired_and_suspended_holders_are_their_tenants_business() {
    let world = World::new().await;
    let clock = TestClock::default();
    let node = world.node_of(world.wired.clone(), clock.clone()).await;
    world.tenant(&node, "acme", Isolation::Dedicated).await;
    let worker = world.principal(&node, "acme", "w-1", PrincipalType::Worker, &[]).await;
    let suspend = pb::SuspendPrincipalRequest {
        tenant_id: "acme".into(),
        principal_id: "w-1".into(),
        request_id: signet_client::request_id(),
    };
    PrincipalServiceClient::new(world.admin(&node)).suspend_principal(suspend).await.unwrap();
    is_refused(&world, &node, "acme", "PRINCIPAL_DENIED", &worker).await;
    let update = pb::UpdateTenantRequest {
        tenant: Some(pb::Tenant {
            tenant_id: "acme".into(),
            lifetimes: vec![pb::LifetimeOverride { principal_type: 3, lifetime_seconds: 60 }],
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["lifetimes".into()] }),
        request_id: signet_client::request_id(),
    };
    TenantServiceClient::new(world.admin(&node)).update_tenant(update).await.unwrap();
    let brief = world.principal(&node, "acme", "w-2", PrincipalType::Worker, &[]).await;
    clock.advance(Duration::from_secs(120));
    node.until_ready().await;
    is_refused(&world, &node, "acme", "CERTIFICATE_EXPIRED", &brief).await;
    node.end().await;
}

#[tokio::test]
async fn a_proxy_header_from_a_stranger_is_refused_and_audited() {
    let world = World::new().await;
    let node = world.node().await;
    let mut stream = tokio::net::TcpStream::connect(node.running.grpc_addr).await.unwrap();
    let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x01\x7f\0\0\x01\x30\x39\x20\xfb";
    tokio::io::AsyncWriteExt::write_all(&mut stream, header).await.unwrap();
    let reason = "UNTRUSTED_PROXY_HEADER";
    eventually("it is audited", async || refusals(&world, &node, "system", reason).await == 1).await;
    let metrics = node.metrics().await;
    assert!(metrics.contains(&format!("signet_connections_refused_total{{reason=\"{reason}\"}} 1")), "{metrics}");
    node.end().await;
}

#[tokio::test]
async fn refused_calls_are_audited_up_to_a_limit_and_counted_all() {
    let world = World::with_config("limits = { audited_refusals_per_minute = 5 }").await;
    let node = world.node().await;
    world.tenant_with_limit(&node, "acme", Isolation::Shared, 0).await;
    let worker = world.principal(&node, "acme", "w-1", PrincipalType::Worker, &[]).await;
    let mut client = PrincipalServiceClient::new(world.channel(&node, &worker));
    for _ in 0..20 {
        let status = client.list_principals(pb::ListPrincipalsRequest::default()).await.unwrap_err();
        assert_eq!(reason(&status), "CALLER_TYPE_DENIED");
    }
    let refused = async || {
        let events = world.audit(&node, "acme").await;
        events.iter().filter(|event| event["outcome"] == "CALLER_TYPE_DENIED").count()
    };
    eventually("refusals are written", async || refused().await >= 5).await;
    assert!(refused().await <= 6, "{}", refused().await);
    let metrics = node.metrics().await;
    assert!(metrics.contains(r#"signet_refusals_total{reason="CALLER_TYPE_DENIED"} 20"#), "{metrics}");
    let denied = r#"signet_rpc_total{operation="ListPrincipals",code="PERMISSION_DENIED"} 20"#;
    assert!(metrics.contains(denied), "{metrics}");
    node.end().await;
}

#[tokio::test]
async fn strangers_are_slowed_down_and_known_callers_are_not() {
    let world = World::with_config("limits = { anonymous_calls_per_second_per_address = 1 }").await;
    let node = world.node().await;
    let stranger = world.connector(&node, None).channel();
    let request = || tonic_health::pb::HealthCheckRequest::default();
    let mut health = tonic_health::pb::health_client::HealthClient::new(stranger);
    let mut slowed = None;
    for _ in 0..30 {
        if let Err(status) = health.check(request()).await {
            slowed = Some(status);
        }
    }
    let slowed = slowed.expect("thirty calls at once");
    assert_eq!((slowed.code(), reason(&slowed).as_str()), (tonic::Code::ResourceExhausted, "TOO_MANY_CALLS"));
    let admin = world.admin(&node);
    for _ in 0..30 {
        who_am_i(&admin).await.unwrap();
    }
    node.end().await;
}
