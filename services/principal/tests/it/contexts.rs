//! Contexts: files, modes, names.

use std::{fs, os::unix::fs::PermissionsExt as _};

use crate::run::{Machine, mode};

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
