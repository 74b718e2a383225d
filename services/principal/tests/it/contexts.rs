//! Contexts: files, modes, names.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    os::unix::fs::{PermissionsExt as _, symlink},
};

use crate::run::{Machine, finish, mode};

#[test]
fn files_and_folders_are_private_whatever_the_umask() {
    let machine = Machine::new();
    machine.add_dead_context("dev");
    let home = machine.home();
    assert_eq!(mode(&home), 0o700);
    assert_eq!(mode(&home.join("contexts.toml")), 0o600);
    assert_eq!(mode(&home.join("contexts")), 0o700);
    assert_eq!(mode(&home.join("contexts/dev")), 0o700);
}

#[test]
fn the_first_context_is_current_and_use_changes_it() {
    let machine = Machine::new();
    for name in ["dev", "prod"] {
        machine.add_dead_context(name);
    }
    let current = || machine.principal(&["context", "show", "-o", "json"]).ok().json()["name"].clone();
    assert_eq!(current(), "dev");
    machine.principal(&["context", "use", "prod"]).ok();
    assert_eq!(current(), "prod");
    assert_eq!(machine.principal(&["context", "use", "none"]).code, 3);
    let named = machine.principal_with(&["context", "show", "-o", "json"], &[("SIGNET_CONTEXT", "dev")], b"").ok();
    assert_eq!(named.json()["name"], "dev");
}

#[test]
fn removing_deletes_own_credentials_only() {
    let machine = Machine::new();
    machine.add_dead_context("own");
    let foreign = machine.path("elsewhere");
    fs::create_dir(&foreign).unwrap();
    let folder = foreign.to_str().unwrap();
    machine
        .principal(&["context", "add", "agent", "--endpoint", "https://a.example:8443", "--credentials", folder])
        .ok();
    for name in ["own", "agent"] {
        machine.principal(&["context", "remove", name, "--yes"]).ok();
    }
    assert!(foreign.exists() && !machine.home().join("contexts/own").exists());
    assert_eq!(machine.principal(&["context", "list", "-o", "json"]).ok().json(), serde_json::json!([]));
}

#[test]
fn a_folder_that_another_context_uses_stays() {
    let machine = Machine::new();
    machine.add_dead_context("own");
    let folder = machine.home().join("contexts/own");
    fs::write(folder.join("key.pem"), "x").unwrap();
    let shared = ["context", "add", "other", "--endpoint", "https://b.example:1", "--credentials"];
    machine.principal(&[&shared[..], &[folder.to_str().unwrap()]].concat()).ok();
    machine.principal(&["context", "remove", "own", "--yes"]).ok();
    assert!(folder.join("key.pem").exists());
}

#[test]
fn a_change_of_a_context_keeps_what_it_does_not_name() {
    let machine = Machine::new();
    let first = ["context", "add", "dev", "--endpoint", "https://a.example:1", "--tenant", "acme"];
    machine
        .principal(&[&first[..], &["--public-endpoint", "http://a.example:2", "--server-name", "signet"]].concat())
        .ok();
    let again = ["context", "add", "dev", "--endpoint", "https://b.example:1"];
    assert_eq!(machine.principal(&again).code, 5);
    machine.principal(&[&again[..], &["--replace"]].concat()).ok();
    let shown = machine.principal(&["context", "show", "dev", "-o", "json"]).ok().json();
    assert_eq!(shown["endpoint"], "https://b.example:1");
    assert_eq!((&shown["public_endpoint"], &shown["server_name"]), (&"http://a.example:2".into(), &"signet".into()));
    assert_eq!(shown["tenant"], "acme");
}

#[test]
fn a_damaged_list_is_named_and_left_alone() {
    let machine = Machine::new();
    machine.add_dead_context("dev");
    let file = machine.home().join("contexts.toml");
    fs::write(&file, "current = 1\n").unwrap();
    let outcome = machine.principal(&["context", "list"]);
    assert!(outcome.code == 2 && outcome.err.contains("contexts.toml"), "{outcome:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "current = 1\n");
}

#[test]
fn a_key_that_others_can_read_is_not_used() {
    let machine = Machine::new();
    machine.add_dead_context("dev");
    let key = machine.home().join("contexts/dev/key.pem");
    fs::write(&key, "x").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let outcome = machine.principal(&["whoami"]);
    assert!(outcome.code == 2 && outcome.err.contains("chmod 600"), "{outcome:?}");
}

#[test]
fn of_many_programs_at_once_each_adds_its_context() {
    let machine = Machine::new();
    fs::create_dir(machine.home()).unwrap();
    // Held until all have begun, so that they come at the same moment.
    let lock = File::create(machine.home().join(".signet.lock")).unwrap();
    lock.lock().unwrap();
    let add = |n| machine.spawn(&["context", "add", &format!("c{n}"), "--endpoint", "https://127.0.0.1:1"], &[]);
    let children: Vec<_> = (0..16).map(add).collect();
    drop(lock);
    for child in children {
        finish(child).ok();
    }
    let listed = machine.principal(&["context", "list", "-o", "json"]).ok().json();
    assert_eq!(listed.as_array().unwrap().len(), 16, "{listed}");
}

#[test]
fn a_list_kept_elsewhere_is_written_there() {
    let machine = Machine::new();
    let (dotfiles, home) = (machine.path("dotfiles"), machine.home());
    for dir in [&dotfiles, &home] {
        fs::create_dir(dir).unwrap();
    }
    symlink("../dotfiles/signet.toml", home.join("contexts.toml")).unwrap();
    for name in ["dev", "prod"] {
        machine.add_dead_context(name);
        assert!(fs::symlink_metadata(home.join("contexts.toml")).unwrap().is_symlink());
        assert!(fs::read_to_string(dotfiles.join("signet.toml")).unwrap().contains(name));
    }
}

#[test]
fn who_waits_for_another_says_so_and_gives_up_in_the_end() {
    let machine = Machine::new();
    machine.add_dead_context("dev");
    let lock = File::create(machine.home().join("contexts/dev/.signet.lock")).unwrap();
    lock.lock().unwrap();
    let mut child = machine.spawn(&["cert", "renew", "--timeout", "200ms"], &[]);
    let mut said = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert!(said.contains("waiting for another"), "{said}");
    assert_eq!(finish(child).code, 6);
}
