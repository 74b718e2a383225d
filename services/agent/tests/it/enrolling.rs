//! What stands in the way of a first certificate is told at once, costs no token, and is got over without anybody's
//! help.

use std::fs;

use signet_agent::{Agent, Config, report::IdentityReport};
use signet_core::Time;
use signet_proto::v1::PrincipalType;
use signet_testkit::pki::Pki;
use signet_x509::bundle::to_pem;

use crate::{
    binary::ask,
    world::{Reports, World, run},
};

fn identity(more: &str) -> String {
    format!("[[identity]]\nname = \"w\"\nenroll = {{ join_token_file = \"w-1.token\" }}\n{more}\n")
}

async fn started(config: &std::path::Path) -> (Agent, Reports) {
    let agent = Agent::start(Config::load(config).unwrap()).await.unwrap();
    let reports = Reports::of(&agent);
    (agent, reports)
}

#[tokio::test]
async fn nobody_at_the_endpoint_is_told_at_once() {
    let world = World::new().await;
    world.token(PrincipalType::Worker, "w-1").await;
    let config = world.configure(&identity("pem = { directory = \"tls\" }"));
    let right = fs::read_to_string(&config).unwrap();
    // No listener has port 1.
    fs::write(&config, right.replace(&world.endpoint(), "https://localhost:1")).unwrap();
    let (mut agent, mut reports) = started(&config).await;
    let told = reports.until("it is told", |one| one.problem.is_some() && !one.next_attempt.is_empty()).await;
    assert_eq!(told[0].problem.as_ref().unwrap().reason, "UNREACHABLE");
    let checked = ask(&config, &["check", "--connect"]).await;
    let text = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.code() == Some(1) && text.contains("cannot reach localhost:1"), "{text}");
    fs::write(&config, right).unwrap();
    assert!(ask(&config, &["check", "--connect"]).await.status.success());
    agent.reload(Config::load(&config).unwrap()).await;
    reports.until("it is well", IdentityReport::is_well).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_check_trusts_what_the_identity_trusts() {
    let world = World::new().await;
    world.token(PrincipalType::Worker, "w-1").await;
    let config = world.configure(&identity("pem = { directory = \"tls\" }"));
    let (agent, mut reports) = started(&config).await;
    reports.until("it is well", IdentityReport::is_well).await;
    agent.stop().await;
    // The root alone would be believed; who was told an anchor, which is not the server's any more, does not.
    let root = world.roots().pop().unwrap();
    fs::write(world.path("root.pem"), to_pem([root.as_slice()])).unwrap();
    let gone = Pki::new(Time::from_unix_seconds(1_800_000_000)).server.ca.anchor_der;
    fs::write(world.path("tls/ca.pem"), to_pem([gone.as_slice(), root.as_slice()])).unwrap();
    let checked = ask(&config, &["check", "--connect"]).await;
    let text = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.code() == Some(1) && text.contains("as w: ") && text.contains("server anchor"), "{text}");
}

#[tokio::test]
async fn a_place_that_cannot_be_written_costs_no_token() {
    let world = World::new().await;
    world.token(PrincipalType::Worker, "w-1").await;
    fs::write(world.path("out"), "in the way").unwrap();
    let config = world.configure(&identity("combined = { file = \"out/w.pem\" }"));
    let (agent, mut reports) = started(&config).await;
    let told = reports.until("it is told", |one| one.problem.is_some()).await;
    let problem = told[0].problem.as_ref().unwrap();
    assert!(problem.action == "load" && problem.message.contains("out/w.pem"), "{problem:?}");
    agent.stop().await;
    let config = world.configure(&identity(
        "combined = { file = \"w.pem\" }\npkcs12 = { file = \"out/w.p12\", password_file = \"password\" }",
    ));
    let (agent, mut reports) = started(&config).await;
    let cannot = |file: &'static str| {
        move |one: &IdentityReport| {
            one.problem.as_ref().is_some_and(|problem| problem.action == "store" && problem.message.contains(file))
        }
    };
    reports.until("there is no password", cannot("password")).await;
    fs::write(world.path("password"), "changeit").unwrap();
    reports.until("there is no folder", cannot("out")).await;
    fs::remove_file(world.path("out")).unwrap();
    reports.until("it is well", IdentityReport::is_well).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_new_join_token_brings_back_what_was_revoked() {
    let world = World::new().await;
    world.token(PrincipalType::Worker, "w-1").await;
    let (agent, mut reports) = world.agent(&identity("pem = { directory = \"tls\" }")).await;
    let first = reports.until("it is well", IdentityReport::is_well).await[0].clone();
    world.revoke(&first).await;
    // Nobody tells it: its next renewal is hours away.
    let lost = |one: &IdentityReport| one.standing == "refused" && one.advice.contains("w-1.token");
    reports.until("it says what it needs", lost).await;
    world.token(PrincipalType::Worker, "w-1").await;
    let back = |one: &IdentityReport| one.serial_number != first.serial_number && one.is_well();
    let now = reports.until("it is back", back).await;
    assert_eq!((now[0].spiffe_id.as_str(), now[0].advice.as_str()), (first.spiffe_id.as_str(), ""));
    agent.stop().await;
}

#[tokio::test]
async fn empty_files_and_halves_are_no_identity_and_a_placeholder_is_told() {
    let world = World::new().await;
    world.token(PrincipalType::Worker, "w-1").await;
    let folder = world.path("tls");
    let config = world.configure(&identity("pem = { directory = \"tls\" }"));
    fs::create_dir(&folder).unwrap();
    let made = run(
        "openssl",
        &["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=placeholder"]
            .into_iter()
            .chain(["-keyout", &folder.join("key.pem").display().to_string()])
            .chain(["-out", &folder.join("cert.pem").display().to_string()])
            .collect::<Vec<_>>(),
    )
    .await;
    assert!(made.status.success(), "{made:?}");
    fs::copy(folder.join("cert.pem"), folder.join("ca.pem")).unwrap();
    let (agent, mut reports) = started(&config).await;
    let told = reports.until("it is told", |one| one.problem.is_some()).await[0].clone();
    let problem = told.problem.unwrap();
    assert!(problem.action == "load" && problem.message.contains("not one of Signet's"), "{problem:?}");
    assert!(told.advice.contains("move away cert.pem and key.pem of"), "{}", told.advice);
    // A certificate without its key is of no use to anybody.
    fs::write(folder.join("key.pem"), "").unwrap();
    assert!(agent.renew("w"));
    reports.until("it has enrolled", IdentityReport::is_well).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_folder_in_the_place_of_a_file_costs_no_token() {
    let world = World::new().await;
    world.token(PrincipalType::Worker, "w-1").await;
    fs::write(world.path("password"), "changeit").unwrap();
    fs::create_dir(world.path("w.p12")).unwrap();
    let files = "pem = { directory = \"tls\" }\npkcs12 = { file = \"w.p12\", password_file = \"password\" }";
    let config = world.configure(&identity(files));
    let checked = ask(&config, &["check"]).await;
    let text = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.code() == Some(1) && text.contains("w.p12: it is a folder"), "{text}");
    let (agent, mut reports) = started(&config).await;
    let told = reports.until("it is told", |one| one.problem.is_some()).await[0].problem.clone().unwrap();
    assert!(told.action == "store" && told.message.contains("it is a folder"), "{told:?}");
    fs::remove_dir(world.path("w.p12")).unwrap();
    reports.until("it is well", IdentityReport::is_well).await;
    agent.stop().await;
}

#[tokio::test]
async fn check_tells_a_folder_from_a_file() {
    let world = World::new().await;
    fs::create_dir(world.path("password")).unwrap();
    fs::create_dir(world.path("pid")).unwrap();
    fs::write(world.path("tls"), "").unwrap();
    let files = "pem = { directory = \"tls\" }\npkcs12 = { file = \"w.p12\", password_file = \"password\" }\n\
                 signal = { pid_file = \"pid\" }";
    let config = world.configure(&identity(files));
    fs::write(world.path("state"), "").unwrap();
    let checked = ask(&config, &["check"]).await;
    let text = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert_eq!(checked.status.code(), Some(1), "{text}");
    for problem in [
        "password: it is a folder, and must be a file",
        "pid: it is a folder, and must be a file",
        "tls: it must be a folder",
        "state: it must be a folder",
    ] {
        assert!(text.contains(problem), "{problem}: {text}");
    }
}

#[tokio::test]
async fn check_names_what_the_workload_api_and_the_socket_lack() {
    let world = World::new().await;
    let us = nix::unistd::getuid();
    let text = format!(
        "{}workloads = [{{ uid = \"{us}\", executable = \"/bin/sh\" }}, {{ uid = \"{us}\", executable = \"/not/there\" }}]\n\
         [workload_api]\nsocket = \"api/w.sock\"\n",
        identity("pem = { directory = \"tls\" }\n")
    );
    let config = world.configure(&text);
    let with_socket = fs::read_to_string(&config).unwrap().replacen("[control", "socket = \"run/a.sock\"\n[control", 1);
    fs::write(&config, with_socket).unwrap();
    let checked = ask(&config, &["check"]).await;
    let text = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert_eq!(checked.status.code(), Some(1), "{text}");
    for words in [
        "w: /not/there is not there\n",
        "\nsocket: ",
        "/run is not there",
        "workload_api.socket: ",
        "/api is not there",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains("/bin/sh"), "{text}");
    // A program may still be installed; a socket's folder must be there.
    fs::create_dir(world.path("run")).unwrap();
    fs::create_dir(world.path("api")).unwrap();
    assert!(ask(&config, &["check"]).await.status.success());
}

#[tokio::test]
async fn two_agents_that_begin_at_once_in_one_folder_use_one_token() {
    let world = World::new().await;
    world.token(PrincipalType::Worker, "w-1").await;
    let config = world.configure(&identity("pem = { directory = \"tls\" }"));
    let other = world.path("other.toml");
    fs::write(&other, fs::read_to_string(&config).unwrap().replace("\"state\"", "\"state-2\"")).unwrap();
    let ((one, mut first), (two, mut second)) = tokio::join!(started(&config), started(&other));
    let serials = tokio::join!(
        first.until("the first is well", IdentityReport::is_well),
        second.until("the second is well", IdentityReport::is_well)
    );
    assert_eq!(serials.0[0].serial_number, serials.1[0].serial_number);
    one.stop().await;
    two.stop().await;
}
