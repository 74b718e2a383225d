//! `principal bootstrap --local`, again and otherwise than the first time.

use std::fs;

use crate::{
    run::{Machine, Outcome},
    server::{Server, bootstrap, ready},
};

fn items(outcome: &Outcome, status: &str) -> Vec<String> {
    let all = outcome.json().as_array().unwrap().clone();
    let of = all.iter().filter(|item| item["status"] == status);
    of.map(|item| item["item"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn options_that_an_existing_configuration_contradicts_are_refused() {
    let machine = Machine::new();
    bootstrap(&machine);
    let file = machine.path("env/signet.toml");
    let before = fs::read_to_string(&file).unwrap();
    for (option, value, key) in [
        ("--grpc-address", "127.0.0.1:7999", "listen.grpc"),
        ("--metrics-address", "[::1]:0", "listen.metrics"),
        ("--environment", "dev", "environment.name"),
        ("--server-name", "signet.example.com", "server.dns_names"),
        ("--seal-delay-seconds", "60", "audit.seal_delay_seconds"),
    ] {
        let refused = machine.principal(&["bootstrap", "--local", "env", option, value]);
        assert!(refused.code == 5 && refused.err.contains(key), "{refused:?}");
        for said in [value, "signet.toml", "change it in that file"] {
            assert!(refused.err.contains(said), "{said}: {refused:?}");
        }
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
    let same = ["bootstrap", "--local", "env", "--environment", "local", "--server-name", "127.0.0.1"];
    machine.principal(&[&same[..], &["--server-name", "localhost"]].concat()).ok();
}

#[test]
fn a_bootstrap_that_cannot_begin_leaves_nothing() {
    let machine = Machine::new();
    machine.add_dead_context("local");
    // That context is another environment's, and keeps its key.
    let taken = machine.principal(&["bootstrap", "--local", "env"]);
    assert!(taken.code == 5 && taken.err.contains("another name"), "{taken:?}");
    let nowhere = machine.principal(&["bootstrap", "--local", "env", "--grpc-address", "192.0.2.1:0"]);
    assert_eq!(nowhere.code, 1, "{nowhere:?}");
    assert!(!machine.path("env").exists());
    // A folder of somebody's stays.
    fs::create_dir(machine.path("env")).unwrap();
    fs::write(machine.path("env/notes"), "").unwrap();
    assert_eq!(machine.principal(&["bootstrap", "--local", "env"]).code, 5);
    let left: Vec<_> = fs::read_dir(machine.path("env")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["notes"]);
}

#[test]
fn a_lost_passphrase_is_not_replaced_by_another() {
    let machine = Machine::new();
    bootstrap(&machine);
    let passphrase = machine.path("env/passphrase");
    fs::remove_file(&passphrase).unwrap();
    let refused = machine.principal(&["bootstrap", "--local", "env"]);
    assert!(refused.code == 2 && refused.err.contains("restore it from its backup"), "{refused:?}");
    assert!(!passphrase.exists());
}

#[test]
fn a_mistyped_folder_of_keys_is_not_made() {
    let machine = Machine::new();
    bootstrap(&machine);
    let right = fs::read_to_string(machine.path("env/signet.toml")).unwrap();
    fs::write(machine.path("env/wrong.toml"), right.replace("dir = \"keys\"", "dir = \"kyes\"")).unwrap();
    let refused = machine.principal(&["bootstrap", "--config", "env/wrong.toml"]);
    assert!(refused.code == 1 && refused.err.contains("has no audit key"), "{refused:?}");
    assert!(!machine.path("env/kyes").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_moved_is_followed_by_the_admins_context() {
    let machine = Machine::new();
    bootstrap(&machine);
    let file = machine.path("env/signet.toml");
    let text = fs::read_to_string(&file).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (before, after): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with("grpc = "));
    assert_eq!(before.len(), 1);
    let moved = after.join("\n").replace("[listen]", &format!("[listen]\ngrpc = \"{free}\""));
    fs::write(&file, moved).unwrap();
    let again = machine.principal(&["bootstrap", "--local", "env", "-o", "json"]).ok();
    let changed = items(&again, "changed");
    assert!(changed.len() == 1 && changed[0].contains(&format!("https://localhost:{}", free.port())), "{again:?}");
    let server = Server::start(&file).await;
    ready(&machine);
    machine.principal(&["whoami"]).ok();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_who_lost_every_key_gets_in_and_hears_what_that_took() {
    let machine = Machine::new();
    bootstrap(&machine);
    let server = Server::start(&machine.path("env/signet.toml")).await;
    let mut revoked = 0;
    for _ in 0..4 {
        machine.principal(&["context", "remove", "local", "--yes"]).ok();
        let again = machine.principal(&["bootstrap", "--local", "env", "-o", "json"]).ok();
        revoked += items(&again, "revoked").len();
        ready(&machine);
        machine.principal(&["whoami"]).ok();
    }
    assert_eq!(revoked, 2, "three of five may be valid at once");
    machine.principal(&["create", "admin", "second"]).ok();
    server.stop().await;
}

/// Whoever has a copy of the key would be let in again.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_certificate_was_revoked_is_not_certified_again() {
    let machine = Machine::new();
    bootstrap(&machine);
    let server = Server::start(&machine.path("env/signet.toml")).await;
    ready(&machine);
    let key = || fs::read(machine.path("home/contexts/local/key.pem")).unwrap();
    let before = key();
    machine.principal(&["bootstrap", "--local", "env"]).ok();
    assert_eq!(key(), before, "a good one stays");
    let me = machine.principal(&["whoami", "-o", "json"]).ok().json();
    let [issuer, serial] = ["issuer_id", "serial_number"].map(|field| me[field].as_str().unwrap().to_owned());
    machine.principal(&["cert", "revoke", &issuer, &serial, "--reason", "key-compromise", "--yes"]).ok();
    machine.principal(&["bootstrap", "--local", "env"]).ok();
    assert_ne!(key(), before);
    ready(&machine);
    machine.principal(&["whoami"]).ok();
    server.stop().await;
}

/// The one that fails takes nothing from the other.
#[test]
fn of_many_at_once_in_one_folder_all_get_in() {
    let machine = Machine::new();
    let any = ["--grpc-address", "--public-address", "--metrics-address"].map(|option| [option, "127.0.0.1:0"]);
    let arguments = [&["bootstrap", "--local", "env"], any.as_flattened()].concat();
    let homes: Vec<_> = (0..4).map(|number| machine.path(&format!("home{number}"))).collect();
    let run = |home: &std::path::Path| {
        machine.principal_with(&arguments, &[("SIGNET_HOME", home.to_str().unwrap())], b"").code
    };
    std::thread::scope(|scope| {
        let runs: Vec<_> = homes.iter().map(|home| scope.spawn(|| run(home))).collect();
        let codes: Vec<_> = runs.into_iter().map(|run| run.join().unwrap()).collect();
        assert!(codes.iter().all(|code| *code == 0), "{codes:?}");
    });
}
