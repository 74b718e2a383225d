//! What is published: whole, with its permissions, in every format, and found again.

use std::{fs, os::unix::fs::PermissionsExt};

use signet_agent::{Agent, Config, report::IdentityReport};
use signet_client::{CERT_FILE, Credentials, CredentialsError, KEY_FILE};
use signet_proto::v1::PrincipalType;
use signet_x509::bundle::to_pem;

use crate::{
    binary::Process,
    world::{Reports, World, eventually, exists, run},
};

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn every_format_holds_the_same_identity_before_and_after_a_renewal() {
    let world = World::new().await;
    let token = world.token(PrincipalType::Service, "web-1").await;
    fs::write(world.path("password"), "changeit\n").unwrap();
    let identities = format!(
        "[[identity]]\nname = \"web\"\nenroll = {{ join_token_file = \"{}\" }}\n\
         pem = {{ directory = \"tls\", key = {{ mode = \"0640\" }} }}\ncombined = {{ file = \"web.pem\" }}\n\
         pkcs12 = {{ file = \"web.p12\", password_file = \"password\", alias = \"web\" }}\n",
        token.display()
    );
    let (agent, mut reports) = world.agent(&identities).await;
    check_files(&world).await;
    let first = Credentials::load(&world.path("tls")).unwrap();
    let report = reports.renew(&agent, "web").await;
    check_files(&world).await;
    let second = Credentials::load(&world.path("tls")).unwrap();
    assert_eq!(second.facts().serial_number, report.serial_number);
    assert_ne!(first.key().public_key(), second.key().public_key());
    reports.until("the control plane knows", |one| one.confirmed).await;
    agent.stop().await;

    // The token is used up: this one is found again, and its renewal is still when it was.
    let (agent, mut reports) = world.agent(&identities).await;
    let again = reports.until("it is well", IdentityReport::is_well).await;
    assert_eq!((&again[0].serial_number, &again[0].next_attempt), (&report.serial_number, &report.next_attempt));
    agent.stop().await;
}

async fn check_files(world: &World) {
    let (folder, combined, p12) = (world.path("tls"), world.path("web.pem"), world.path("web.p12"));
    assert_eq!(mode(&folder.join(KEY_FILE)), 0o640);
    assert_eq!(mode(&folder.join(CERT_FILE)), 0o644);
    assert_eq!((mode(&combined), mode(&p12)), (0o600, 0o600));
    let serial = Credentials::load(&folder).unwrap().facts().serial_number.to_uppercase();
    let (path, p12) = (combined.display().to_string(), p12.display().to_string());
    let shown = run("openssl", &["x509", "-in", &path, "-noout", "-serial"]).await;
    // openssl leaves out leading zeros.
    let of = |text: &[u8]| String::from_utf8_lossy(text).trim().trim_start_matches("serial=").to_owned();
    assert!(serial.ends_with(&of(&shown.stdout)) && !shown.stdout.is_empty());
    let taken = run("openssl", &["pkcs12", "-in", &p12, "-passin", "pass:changeit", "-nodes"]).await;
    let text = String::from_utf8(taken.stdout).unwrap();
    assert!(taken.status.success() && text.contains("BEGIN PRIVATE KEY"), "{}", String::from_utf8_lossy(&taken.stderr));
    assert_eq!(text.matches("BEGIN CERTIFICATE").count(), 2, "leaf, CA");
    let sent = fs::read_to_string(&combined).unwrap().matches("BEGIN CERTIFICATE").count();
    assert_eq!(sent, 2, "leaf, CA: what HAProxy sends");
    let bundle = fs::read_to_string(folder.join("bundle.pem")).unwrap();
    assert!(bundle.contains("BEGIN CERTIFICATE"));
}

#[tokio::test]
async fn a_combined_file_is_enough_to_be_found_again_and_java_reads_pkcs12() {
    let world = World::new().await;
    let token = world.token(PrincipalType::Worker, "w-1").await;
    fs::write(world.path("password"), "changeit").unwrap();
    let identities = format!(
        "[[identity]]\nname = \"w\"\nenroll = {{ join_token_file = \"{}\" }}\ncombined = {{ file = \"sub/w.pem\" }}\n\
         pkcs12 = {{ file = \"w.p12\", password_file = \"password\" }}\n",
        token.display()
    );
    let (agent, mut reports) = world.agent(&identities).await;
    let serial = reports.renew(&agent, "w").await.serial_number;
    agent.stop().await;
    fs::remove_file(world.path("w.p12")).unwrap();
    // As release 0.1 wrote it: the root only, as one more certificate.
    let text = fs::read_to_string(world.path("sub/w.pem")).unwrap();
    let (pair, _) = text.split_once("-----BEGIN SIGNET SERVER TRUST-----").unwrap();
    let root = to_pem([world.roots().last().unwrap().as_slice()]);
    fs::write(world.path("sub/w.pem"), format!("{pair}{root}")).unwrap();
    let (agent, mut reports) = world.agent(&identities).await;
    assert_eq!(reports.until("it is well", IdentityReport::is_well).await[0].serial_number, serial);
    assert!(exists(&world.path("w.p12")), "what is missing is written again");
    agent.stop().await;
    let p12 = world.path("w.p12").display().to_string();
    let arguments = ["-list", "-v", "-storetype", "PKCS12", "-keystore", &p12, "-storepass", "changeit"];
    let listed = run("keytool", &arguments).await;
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(text.contains("PrivateKeyEntry") && text.contains("chain length: 2"), "{text}");
}

#[tokio::test]
async fn the_bundle_follows_a_ca_rotation() {
    let world = World::new().await;
    let token = world.token(PrincipalType::Worker, "w-1").await;
    let identities = format!(
        "[[identity]]\nname = \"w\"\nenroll = {{ join_token_file = \"{}\" }}\npem = {{ directory = \"tls\" }}\n",
        token.display()
    );
    let (agent, _) = world.agent(&identities).await;
    let bundle = world.path("tls/bundle.pem");
    let anchors = || fs::read_to_string(&bundle).unwrap().matches("BEGIN CERTIFICATE").count();
    assert_eq!(anchors(), 1);
    world.prepare_ca().await;
    eventually("the next CA is in the bundle", || anchors() == 2).await;
    assert!(!matches!(Credentials::load(&world.path("tls")), Err(CredentialsError::Mismatch)));
    agent.stop().await;
}

#[tokio::test]
async fn files_that_cannot_be_written_are_told_and_cost_no_certificate() {
    let world = World::new().await;
    let token = world.token(PrincipalType::Worker, "w-1").await;
    let identities = format!(
        "[[identity]]\nname = \"w\"\nenroll = {{ join_token_file = \"{}\" }}\npem = {{ directory = \"tls\" }}\n\
         combined = {{ file = \"out/w.pem\" }}\n",
        token.display()
    );
    let (agent, mut reports) = world.agent(&identities).await;
    let before = Credentials::load(&world.path("tls")).unwrap().facts().serial_number.clone();
    fs::remove_dir_all(world.path("out")).unwrap();
    fs::write(world.path("out"), "in the way").unwrap();
    assert!(agent.renew("w"));
    let stuck = reports.until("it cannot be written", |one| !one.published && one.problem.is_some()).await[0].clone();
    let problem = stuck.problem.unwrap();
    assert!(problem.action == "store" && problem.message.contains("out"), "{problem:?}");
    // What a restart takes up is written first: a key that is in memory only would be lost.
    assert_ne!(Credentials::load(&world.path("tls")).unwrap().facts().serial_number, before);
    assert!(!stuck.confirmed);
    agent.stop().await;
    let config = Config::load(&world.configure(&identities)).unwrap();
    let agent = Agent::start(config).await.unwrap();
    let mut reports = Reports::of(&agent);
    let used = |one: &IdentityReport| one.standing == "fresh" && !one.published && one.problem.is_some();
    let again = reports.until("it is used all the same", used).await;
    assert_eq!(again[0].serial_number, stuck.serial_number);
    fs::remove_file(world.path("out")).unwrap();
    reports.until("it is written", |one| one.published && one.problem.is_none()).await;
    agent.stop().await;
}

#[tokio::test]
async fn other_users_get_at_their_files_whatever_the_umask() {
    let world = World::new().await;
    let token = world.token(PrincipalType::Worker, "w-1").await;
    let config = world.configure(&format!(
        "[[identity]]\nname = \"w\"\nenroll = {{ join_token_file = \"{}\" }}\n\
         pem = {{ directory = \"etc/tls\", key = {{ mode = \"0640\" }} }}\ncombined = {{ file = \"out/w.pem\" }}\n",
        token.display()
    ));
    let process = Process::under_umask(&config, "0777");
    process.until("it is well", IdentityReport::is_well).await;
    for folder in ["etc", "etc/tls", "etc/tls/..data/", "out"] {
        assert_eq!(mode(&world.path(folder)), 0o755, "{folder}");
    }
    assert_eq!((mode(&world.path("etc/tls/key.pem")), mode(&world.path("state"))), (0o640, 0o700));
}

#[tokio::test]
async fn a_folder_that_was_copied_with_files_for_links_is_taken_up_and_renewed() {
    let world = World::new().await;
    let token = world.token(PrincipalType::Worker, "w-1").await;
    let identities = format!(
        "[[identity]]\nname = \"w\"\nenroll = {{ join_token_file = \"{}\" }}\npem = {{ directory = \"tls\" }}\n",
        token.display()
    );
    let (agent, _) = world.agent(&identities).await;
    agent.stop().await;
    fs::rename(world.path("tls"), world.path("old")).unwrap();
    let (old, new) = (world.path("old").display().to_string(), world.path("tls").display().to_string());
    assert!(run("cp", &["-rL", &old, &new]).await.status.success());
    let (agent, mut reports) = world.agent(&identities).await;
    let serial = reports.renew(&agent, "w").await.serial_number;
    assert_eq!(Credentials::load(&world.path("tls")).unwrap().facts().serial_number, serial);
    agent.stop().await;
}
