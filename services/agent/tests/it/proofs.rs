//! A first certificate by each proof that somebody else vouches for: the real program, a real control plane, and as far
//! as there are any the real others. Then a renewal, which needs no proof.

use std::{fs, os::unix::fs::symlink, path::Path};

use serde_json::json;
use signet_agent::report::IdentityReport;
use signet_client::Credentials;
use signet_proto::v1::{self as pb, PrincipalType, enrollment_rule::Source};
use signet_testkit::issuer::Issuer;
use signet_x509::pem;

use crate::{
    binary::Process,
    world::{World, run},
};

/// AWS's example credentials.
const AWS: &[(&str, &str)] = &[
    ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
    ("AWS_EC2_METADATA_DISABLED", "true"),
];

fn configured(world: &World, proof: &str) -> std::path::PathBuf {
    world.configure(&format!(
        "[[identity]]\nname = \"it\"\nenroll = {{ {proof}, tenant = \"acme\" }}\npem = {{ directory = \"tls\" }}\n"
    ))
}

fn rule(source: Source, fact: &str, pattern: &str, kind: PrincipalType, id: &str) -> pb::EnrollmentRule {
    pb::EnrollmentRule {
        source: Some(source),
        conditions: vec![pb::RuleCondition { fact: fact.into(), patterns: vec![pattern.into()] }],
        principal_type: kind.into(),
        id_template: id.into(),
        ..Default::default()
    }
}

/// The files hold what the control plane gave to `id`, and then another certificate for another key.
async fn enrolls_and_renews(world: &World, process: &Process, id: &str) -> IdentityReport {
    let first = process.until("it is well", IdentityReport::is_well).await;
    assert_eq!(first.spiffe_id, format!("spiffe://acme.test.example.com/{id}"));
    let before = Credentials::load(&world.path("tls")).unwrap();
    assert_eq!(before.facts().serial_number, first.serial_number);
    process.renew("it").await;
    let is_next = |one: &IdentityReport| one.serial_number != first.serial_number && one.is_well() && one.confirmed;
    let next = process.until("it is renewed", is_next).await;
    let after = Credentials::load(&world.path("tls")).unwrap();
    assert_eq!(after.facts().serial_number, next.serial_number);
    assert_ne!(after.key().public_key(), before.key().public_key());
    next
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aws_role_is_enough() {
    let endpoint = std::env::var("SIGNET_TEST_AWS_ENDPOINT")
        .unwrap_or_else(|_| panic!("SIGNET_TEST_AWS_ENDPOINT is not set: scripts/aws-emulator start"));
    let world = World::with(&format!("enrollment = {{ sts_endpoint = \"{endpoint}\" }}")).await;
    let source = Source::AwsIam(pb::AwsIamSource {});
    world.rule(rule(source, "account", "000000000000", PrincipalType::Worker, "w-{account}")).await;
    let config = configured(&world, "aws_iam = { region = \"eu-central-1\" }");
    // A machine without a role first: it is told, and waited for.
    let process = Process::start(&config, &[("AWS_EC2_METADATA_DISABLED", "true")]);
    let told = process.until("it has no credentials", |one| one.problem.is_some()).await.problem.unwrap();
    assert!(told.action == "enroll" && told.message.contains("AWS"), "{told:?}");
    drop(process);
    let process = Process::start(&config, AWS);
    enrolls_and_renews(&world, &process, "worker/w-000000000000").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_devices_certificate_is_enough() {
    let world = World::new().await;
    let (dir, ec) = (world.dir.path().display(), "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes");
    for line in [
        format!("req -x509 {ec} -keyout {dir}/maker.key -out {dir}/maker.pem -subj /O=Maker/CN=Root -days 9"),
        format!(
            "req -x509 {ec} -keyout {dir}/device.key -out {dir}/device.pem -subj /OU=pumps/CN=pump-7 -days 9 \
             -CA {dir}/maker.pem -CAkey {dir}/maker.key -addext basicConstraints=CA:FALSE -addext keyUsage=digitalSignature"
        ),
    ] {
        let done = run("openssl", &line.split_ascii_whitespace().collect::<Vec<_>>()).await;
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    }
    let anchors_der = pem::decode_certificates(&fs::read_to_string(world.path("maker.pem")).unwrap()).unwrap();
    let source = Source::X509(pb::X509Source { anchors_der });
    world.rule(rule(source, "ou", "pumps", PrincipalType::Device, "{cn}")).await;
    let config = configured(&world, "x509 = { cert_file = \"device.pem\", key_file = \"device.key\" }");
    enrolls_and_renews(&world, &Process::start(&config, &[]), "device/pump-7").await;
}

/// Puts a token where Kubernetes does: `token` leads to `..data/token`, and `..data` to a folder that is made anew.
fn project(volume: &Path, generation: u32, token: &str) {
    let folder = format!("..{generation}");
    fs::create_dir_all(volume.join(&folder)).unwrap();
    fs::write(volume.join(&folder).join("token"), token).unwrap();
    symlink(&folder, volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    if generation == 0 {
        symlink("..data/token", volume.join("token")).unwrap();
    }
}

/// A token of a pod, of ten minutes.
fn token(issuer: &Issuer, generation: u32) -> String {
    let now = signet_client::system_clock()().unix_seconds();
    issuer.token(json!({
        "aud": ["signet"], "sub": "system:serviceaccount:acme:api", "iat": now, "nbf": now, "exp": now + 600,
        "jti": generation.to_string(), "kubernetes.io": { "namespace": "acme", "pod": { "name": "api-0" } },
    }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pods_token_is_enough_and_one_that_was_used_is_waited_out() {
    let issuer = Issuer::start();
    let world = World::with(&format!("enrollment = {{ private_issuers = [\"{}\"] }}", issuer.name())).await;
    let source = Source::Oidc(pb::OidcSource { issuer: issuer.name().into(), audience: "signet".into() });
    let account = "system:serviceaccount:acme:api";
    world.rule(rule(source, "sub", account, PrincipalType::Service, "{kubernetes.io.pod.name}")).await;
    let (volume, id) = (world.path("volume"), "service/api-0");
    project(&volume, 0, &token(&issuer, 0));
    let config = configured(&world, "oidc_token_file = \"volume/token\"");
    let process = Process::start(&config, &[]);
    enrolls_and_renews(&world, &process, id).await;
    drop(process);
    // With its files on a volume that outlives the container, a restart needs no token.
    let process = Process::start(&config, &[]);
    process.until("it is found again", IdentityReport::is_well).await;
    drop(process);

    // Without them, the token has been used for another key.
    fs::remove_dir_all(world.path("tls")).unwrap();
    fs::remove_dir_all(world.path("state")).unwrap();
    let process = Process::start(&config, &[]);
    let refused = process.until("the token is refused, again", |one| one.failures > 1).await;
    let problem = refused.problem.unwrap();
    assert!(problem.reason == "ENROLLMENT_REFUSED" && problem.message.contains("correlation id"), "{problem:?}");
    let (text, code) = process.shown().await;
    assert!(code == Some(1) && text.contains("works for one key") && text.contains("this one expires at"), "{text}");
    project(&volume, 1, &token(&issuer, 1));
    let found = enrolls_and_renews(&world, &process, id).await;

    // Revoked: nothing helps but another enrollment, which wants another token.
    world.revoke(&found).await;
    process.renew("it").await;
    let lost = |one: &IdentityReport| one.standing == "refused" && !one.advice.is_empty();
    let lost = process.until("it is refused, and says what it waits for", lost).await;
    assert_eq!(lost.serial_number, found.serial_number);
    project(&volume, 2, &token(&issuer, 2));
    enrolls_and_renews(&world, &process, id).await;
}
