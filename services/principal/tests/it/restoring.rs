//! `principal restore` on a machine: what it says, asks and refuses.

use std::fs;

use serde_json::Value;

use crate::{
    run::Machine,
    server::{Server, bootstrap, ready},
};

const RESTORE: [&str; 3] = ["restore", "--config", "env/signet.toml"];

fn restore(machine: &Machine, more: &[&str]) -> crate::run::Outcome {
    machine.principal(&[&RESTORE[..], more].concat())
}

/// The report's numbers of one table: missing and changed.
fn numbers(report: &Value, table: &str) -> (u64, u64) {
    let tables = report["report"]["tables"].as_array().unwrap();
    let table = tables.iter().find(|row| row["table"] == table).unwrap();
    (table["missing"].as_u64().unwrap(), table["changed"].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_comes_back_and_a_suspension_since_stays() {
    let machine = Machine::new();
    bootstrap(&machine);
    let server = Server::start(&machine.path("env/signet.toml")).await;
    ready(&machine);
    for command in
        ["tenant create acme", "create worker crawler-1 --tenant acme", "create worker crawler-2 --tenant acme"]
    {
        machine.principal(&command.split(' ').collect::<Vec<_>>()).ok();
    }
    server.stop().await;
    fs::copy(machine.path("env/signet.db"), machine.path("backup.db")).unwrap();
    let before = fs::read(machine.path("backup.db")).unwrap();
    let server = Server::start(&machine.path("env/signet.toml")).await;
    for command in ["suspend crawler-1 --tenant acme --yes", "update crawler-2 --display-name wrong --tenant acme"] {
        machine.principal(&command.split(' ').collect::<Vec<_>>()).ok();
    }

    let asked = restore(&machine, &["--from-file", "backup.db"]);
    assert_eq!(asked.code, 2, "{asked:?}");
    assert!(asked.err.contains("restore environment local from") && asked.err.contains("write 1 records"), "{asked:?}");
    assert!(asked.err.contains("confirmation required"), "{asked:?}");

    let report = restore(&machine, &["--from-file", "backup.db", "--yes", "-o", "json"]).ok().json();
    assert_eq!(report["environment"], "local");
    assert_eq!((numbers(&report, "principals"), numbers(&report, "certificates")), ((0, 1), (0, 0)), "{report}");
    assert_eq!(fs::read(machine.path("backup.db")).unwrap(), before, "the backup stays as it is");
    let left =
        fs::read_dir(machine.path("env")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(left.filter(|name| name.contains("restoring")).count(), 0);
    let get = |id: &str| machine.principal(&["get", id, "--tenant", "acme", "-o", "json"]).ok().json();
    assert_eq!(get("crawler-1")["status"], "suspended", "{}", get("crawler-1"));
    assert_eq!(get("crawler-2")["display_name"].as_str().unwrap_or_default(), "");
    machine.principal(&["activate", "crawler-1", "--tenant", "acme"]).ok();
    server.stop().await;

    for ending in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(machine.path(&format!("env/signet.db{ending}")));
    }
    let asked = restore(&machine, &["--from-file", "backup.db"]);
    assert!(asked.code == 2 && asked.err.contains("the audit log is lost too"), "{asked:?}");
    let onto_nothing = restore(&machine, &["--from-file", "backup.db", "--yes", "-o", "json"]).ok();
    assert!(onto_nothing.err.contains("repeat that from your own records"), "{onto_nothing:?}");
    assert_eq!(onto_nothing.json()["report"]["audit_lost"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_restored_from_is_refused_and_nothing_changes() {
    let machine = Machine::new();
    bootstrap(&machine);
    let before = fs::read(machine.path("env/signet.db")).unwrap();
    let other = Machine::new();
    bootstrap(&other);
    fs::copy(other.path("env/signet.db"), machine.path("foreign.db")).unwrap();
    fs::write(machine.path("text.db"), "no database").unwrap();
    fs::write(machine.path("cut.db"), &before[..before.len() / 2]).unwrap();
    fs::write(machine.path("cut-in-its-head.db"), &before[..50]).unwrap();
    // SQLite's application id (File Format, "The Database Header").
    let strange = [&before[..68], b"song", &before[72..]].concat();
    fs::write(machine.path("strange.db"), strange).unwrap();
    for (file, code, says) in [
        ("foreign.db", 5, "another environment"),
        ("text.db", 2, "the backup text.db is damaged, was cut short, or is not a database"),
        ("cut.db", 2, "the backup cut.db is damaged, was cut short"),
        ("cut-in-its-head.db", 2, "the backup cut-in-its-head.db is damaged, was cut short"),
        ("strange.db", 2, "is a database of another program"),
        ("missing.db", 2, "No such file"),
        ("env/signet.db", 2, "is the store itself"),
    ] {
        let refused = restore(&machine, &["--from-file", file, "--yes"]);
        assert!(refused.code == code && refused.err.contains(says), "{file}: {refused:?}");
    }
    let tables = restore(&machine, &["--from-suffix", "restored-1", "--yes"]);
    assert!(tables.code == 2 && tables.err.contains("--from-file"), "{tables:?}");
    let ended = restore(&machine, &["--give-up", "--yes"]).ok();
    assert!(ended.err.contains("no restore is under way"), "{ended:?}");
    let left = fs::read_dir(machine.path("env")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.filter(|name| name.to_string_lossy().contains("restoring")).count(), 0);
    assert!(fs::read(machine.path("env/signet.db")).unwrap() == before, "nothing has changed");
}
