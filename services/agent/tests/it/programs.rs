//! Programs are told: by command, by signal, again after a failure, and never by two at once.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use signet_agent::report::IdentityReport;
use signet_proto::v1::PrincipalType;

use crate::{
    binary::Process,
    world::{World, eventually, exists},
};

fn script(world: &World, name: &str, text: &str) -> String {
    let path = world.path(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

async fn identity(world: &World, more: &str) -> String {
    let token = world.token(PrincipalType::Worker, "w-1").await;
    format!(
        "[[identity]]\nname = \"w\"\nenroll = {{ join_token_file = \"{}\" }}\npem = {{ directory = \"tls\" }}\n{more}\n",
        token.display()
    )
}

#[tokio::test]
async fn a_command_gets_the_paths_and_is_run_once_for_each_certificate() {
    let world = World::new().await;
    let dir = world.dir.path().display().to_string();
    let text = format!(
        "echo \"$SIGNET_IDENTITY $SIGNET_SERIAL_NUMBER $SIGNET_SPIFFE_ID $1\" >>{dir}/told\n\
         openssl x509 -in \"$SIGNET_CERT_FILE\" -noout -pubkey >{dir}/a\n\
         openssl pkey -in \"$SIGNET_KEY_FILE\" -pubout >{dir}/b\n\
         [ -f \"$SIGNET_CA_FILE\" ] && [ -f \"$SIGNET_BUNDLE_FILE\" ] && cmp {dir}/a {dir}/b && [ -z \"$NOTIFY_SOCKET\" ]"
    );
    let hook = script(&world, "hook", &text);
    let identities = identity(&world, &format!("exec = {{ command = [\"{hook}\", \"two words\"] }}")).await;
    let (agent, mut reports) = world.agent(&identities).await;
    let first = reports.until("it is well", IdentityReport::is_well).await[0].serial_number.clone();
    let second = reports.renew(&agent, "w").await.serial_number;
    agent.stop().await;
    // A restart tells nobody anything new.
    let (agent, mut reports) = world.agent(&identities).await;
    reports.until("it is well", IdentityReport::is_well).await;
    agent.stop().await;
    let id = "spiffe://acme.test.example.com/worker/w-1";
    let told = format!("w {first} {id} two words\nw {second} {id} two words\n");
    assert_eq!(fs::read_to_string(world.path("told")).unwrap(), told);
}

#[tokio::test]
async fn a_command_that_fails_is_told_with_its_words_and_repeated() {
    let world = World::new().await;
    let gate = world.path("gate").display().to_string();
    let hook = script(&world, "hook", &format!("[ -f {gate} ] || {{ echo no gate >&2; exit 7; }}"));
    let identities = identity(&world, &format!("exec = {{ command = [\"{hook}\"] }}")).await;
    let (agent, mut reports) = world.agent(&identities).await;
    let failed = |one: &IdentityReport| one.handover.as_ref().is_some_and(|handover| handover.failures > 0);
    let report = reports.until("it fails", failed).await[0].clone();
    let handover = report.handover.clone().unwrap();
    assert!(handover.message.contains("exit status: 7: no gate") && !report.is_well(), "{handover:?}");
    fs::write(&gate, "").unwrap();
    reports.until("it is repeated", IdentityReport::is_well).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_command_that_hangs_is_killed_with_its_children() {
    let world = World::new().await;
    let pid = world.path("child.pid");
    let hook = script(&world, "hook", &format!("sleep 600 & echo $! >{}; wait", pid.display()));
    let identities = identity(&world, &format!("exec = {{ command = [\"{hook}\"], timeout_seconds = 1 }}")).await;
    let (agent, mut reports) = world.agent(&identities).await;
    let killed = |one: &IdentityReport| {
        one.handover.as_ref().is_some_and(|handover| handover.message.contains("did not end within 1 s"))
    };
    reports.until("it is killed", killed).await;
    let child = fs::read_to_string(&pid).unwrap().trim().to_owned();
    // It may be left as a zombie of whoever adopts it: gone or not running is what counts.
    eventually("the child is gone", || {
        fs::read_to_string(format!("/proc/{child}/stat")).map_or(true, |stat| stat.contains(") Z"))
    })
    .await;
    agent.stop().await;
}

#[tokio::test]
async fn a_signal_reaches_the_process_of_the_pid_file() {
    let world = World::new().await;
    let hup = world.path("hup");
    let program = script(
        &world,
        "daemon",
        &format!(
            "trap 'echo hup >>{}' HUP\ntouch {}\nwhile :; do sleep 0.05; done",
            hup.display(),
            world.path("up").display()
        ),
    );
    let mut daemon = Command::new(program).spawn().unwrap();
    eventually("the daemon is up", || exists(&world.path("up"))).await;
    let identities = identity(&world, "signal = { pid_file = \"daemon.pid\", signal = \"HUP\" }").await;
    let (agent, mut reports) = world.agent(&identities).await;
    let failed = |one: &IdentityReport| one.handover.as_ref().is_some_and(|handover| handover.failures > 0);
    let message = reports.until("there is no pid file", failed).await[0].handover.clone().unwrap().message;
    assert!(message.contains("daemon.pid"), "{message}");
    fs::write(world.path("daemon.pid"), format!("{}\n", daemon.id())).unwrap();
    reports.until("it is told", IdentityReport::is_well).await;
    eventually("it has heard", || exists(&hup)).await;
    agent.stop().await;
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}

fn told_or_failed(one: &IdentityReport) -> bool {
    one.handover.as_ref().is_some_and(|handover| handover.done || handover.failures > 0)
}

#[tokio::test]
async fn a_command_with_much_to_say_is_heard_to_its_end() {
    let world = World::new().await;
    let done = world.path("done");
    let hook = script(&world, "hook", &format!("yes reload | head -c 300000 >&2 && touch {}", done.display()));
    let identities = identity(&world, &format!("exec = {{ command = [\"{hook}\"] }}")).await;
    let (agent, mut reports) = world.agent(&identities).await;
    let handover = reports.until("it has ended", told_or_failed).await[0].handover.clone().unwrap();
    assert!(handover.done && exists(&done), "{handover:?}");
    agent.stop().await;
}

#[tokio::test]
async fn what_a_command_starts_in_the_background_lives_on() {
    let world = World::new().await;
    let pid = world.path("child.pid");
    let hook = script(&world, "hook", &format!("sleep 300 & echo $! >{}; exit 0", pid.display()));
    let identities = identity(&world, &format!("exec = {{ command = [\"{hook}\"], timeout_seconds = 5 }}")).await;
    let (agent, mut reports) = world.agent(&identities).await;
    let handover = reports.until("it has ended", told_or_failed).await[0].handover.clone().unwrap();
    assert!(handover.done, "{handover:?}");
    agent.stop().await;
    let child = fs::read_to_string(&pid).unwrap().trim().to_owned();
    let state = fs::read_to_string(format!("/proc/{child}/stat")).unwrap();
    assert!(state.contains("(sleep) S"), "{state}");
    assert!(Command::new("kill").arg(&child).status().unwrap().success());
}

#[tokio::test]
async fn a_command_gets_nothing_of_the_agents_own_environment() {
    let world = World::new().await;
    let seen = world.path("seen");
    let hook = script(&world, "hook", &format!("env >{}", seen.display()));
    let config = world.configure(&identity(&world, &format!("exec = {{ command = [\"{hook}\"] }}")).await);
    let process = Process::start(&config, &[("DATABASE_PASSWORD", "hunter2"), ("LANG", "C.UTF-8")]);
    process.until("it is told", IdentityReport::is_well).await;
    let text = fs::read_to_string(seen).unwrap();
    assert!(!text.contains("hunter2") && text.contains("LANG=C.UTF-8") && text.contains("SIGNET_KEY_FILE="), "{text}");
}

#[tokio::test]
async fn a_pid_file_that_others_may_write_signals_nobody() {
    let world = World::new().await;
    let mut daemon = Command::new("sleep").arg("300").spawn().unwrap();
    fs::write(world.path("daemon.pid"), daemon.id().to_string()).unwrap();
    fs::set_permissions(world.path("daemon.pid"), fs::Permissions::from_mode(0o666)).unwrap();
    let identities = identity(&world, "signal = { pid_file = \"daemon.pid\", signal = \"HUP\" }").await;
    let (agent, mut reports) = world.agent(&identities).await;
    let handover = reports.until("it has been tried", told_or_failed).await[0].handover.clone().unwrap();
    assert!(handover.message.contains("others can write it"), "{handover:?}");
    assert!(daemon.try_wait().unwrap().is_none());
    agent.stop().await;
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}
