//! `principal authz`: what it refuses, and what it says of rules that hold already.

use std::fs;

use crate::{
    authz::{SAMPLE, run, started},
    run::Machine,
};

#[test]
fn what_no_server_would_take_is_refused_at_once() {
    let machine = Machine::new();
    for (command, told) in [
        ("authz rollback 0", "VERSION"),
        ("authz get --version 0", "--version"),
        ("authz diff --version 0", "--version"),
        ("authz check worker/w-1 jobs:submit queue/q --owner user/ann", "without its type"),
        ("authz check worker/w-1 jobs:submit --circumstance ip=10.0.0.1", "source, method, path or host"),
        ("authz matrix --limit 1", "--limit"),
    ] {
        let refused = run(&machine, command);
        assert!(refused.code == 2 && refused.err.contains(told), "{command}: {refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_holds_changes_nothing_and_an_empty_one_is_asked_for() {
    let machine = Machine::new();
    let server = started(&machine).await;
    let applied = run(&machine, "authz apply rules.toml --tenant acme").ok();
    assert!(applied.err.contains("not proved: the server has no solver"), "{applied:?}");
    // Its permissions are in no order, and its date is TOML's own.
    assert!(SAMPLE.contains("[\"jobs:submit\", \"jobs:dequeue\"]"), "{SAMPLE}");
    fs::write(machine.path("rules.toml"), SAMPLE.replace("\"2030-01-01\"", "2030-01-01")).unwrap();
    assert!(run(&machine, "authz diff rules.toml --tenant acme").ok().err.contains("the same as version 1"));
    let again = run(&machine, "authz apply rules.toml --tenant acme").ok();
    assert!(again.err.contains("unchanged: version 1 holds") && again.err.contains("when they were set"), "{again:?}");
    let same = run(&machine, "authz diff rules.toml --tenant acme -o json").ok().json();
    assert_eq!((&same["changed"], &same["rules_diff"]), (&false.into(), &"".into()), "{same}");
    fs::write(machine.path("fewer.toml"), SAMPLE.replace(", \"jobs:dequeue\"]", "]")).unwrap();
    let fewer = run(&machine, "authz diff fewer.toml --tenant acme -o json").ok().json();
    assert!(fewer["changed"] == true && fewer["rules_diff"].as_str().unwrap().contains("\n-"), "{fewer}");
    let csv = run(&machine, "authz diff fewer.toml --tenant acme -o csv");
    assert!(csv.code == 2 && csv.err.contains("-o json"), "{csv:?}");

    fs::write(machine.path("empty.toml"), "# nothing\n").unwrap();
    let unasked = run(&machine, "authz apply empty.toml --tenant acme");
    assert!(unasked.code == 2 && unasked.err.contains("pass --yes"), "{unasked:?}");
    run(&machine, "authz apply empty.toml --yes --tenant acme").ok();
    // There is nothing left to lose.
    assert!(run(&machine, "authz apply empty.toml --tenant acme").ok().err.contains("unchanged: version 2 holds"));
    for command in ["authz get --version 99", "authz rollback 99", "authz diff --version 99"] {
        let missing = run(&machine, &format!("{command} --tenant acme"));
        assert!(missing.code == 3 && missing.err.contains("no version 99"), "{missing:?}");
        assert!(missing.err.contains("principal authz history"), "{missing:?}");
    }
    let nobodys = run(&machine, "authz get --version 99 --tenant nobody");
    assert!(nobodys.code == 3 && !nobodys.err.contains("history"), "it is the tenant that is missing: {nobodys:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_is_told_of_rules_that_are_taken() {
    let machine = Machine::new();
    let server = started(&machine).await;
    let over = "[permissions]\n\"jobs:submit\" = \"\"\n[[grants]]\nto = \"type:worker\"\npermissions = [\"jobs:submit\"]\nuntil = 2020-01-01\n";
    fs::write(machine.path("over.toml"), over).unwrap();
    let strict = run(&machine, "authz apply over.toml --strict --tenant acme");
    assert!(strict.code == 2 && strict.err.contains("nobody may do it"), "the grant is over: {strict:?}");
    assert!(run(&machine, "authz apply over.toml --tenant acme").ok().err.contains("nobody may do it"));
    let refused = "[permissions]\n\"jobs:submit\" = \"\"\n[roles]\n\"no name\" = \"\"\n";
    fs::write(machine.path("refused.toml"), refused).unwrap();
    for command in ["authz diff refused.toml --tenant acme", "authz apply refused.toml --tenant acme"] {
        let refused = run(&machine, command);
        assert!(refused.code == 2 && !refused.err.contains("nobody may do it"), "{refused:?}");
    }
    let environment = run(&machine, "authz diff over.toml --environment --strict");
    assert!(environment.code == 2 && environment.err.contains("tenants may grant them"), "{environment:?}");
    fs::write(machine.path("robot.toml"), over.replace("type:worker", "type:robot")).unwrap();
    let robot = run(&machine, "authz apply robot.toml --tenant acme");
    assert!(robot.code == 2 && robot.err.contains("admin, user, worker, service, device"), "{robot:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_asks_about_itself_and_scripts_read_columns() {
    let machine = Machine::new();
    let server = started(&machine).await;
    run(&machine, "authz apply rules.toml --tenant acme").ok();
    run(&machine, "token create worker --id w-1 --tenant acme --secret-file token").ok();
    let url = server.url();
    run(
        &machine,
        &format!("enroll --server {url} --ca-file env/server/root.pem --token-file token --save-context w-1"),
    )
    .ok();
    let asked = run(&machine, "--context w-1 authz check worker/w-1 jobs:dequeue queue/default").ok();
    assert!(asked.out.contains("allowed: GRANTED"), "{asked:?}");
    let csv = run(&machine, "authz check worker/w-1 jobs:dequeue queue/default --tenant acme -o csv").ok().out;
    let lines: Vec<_> = csv.lines().collect();
    assert_eq!(lines[0], "allowed,reason,decided_by,model_version,spiffe_id,max_age_seconds");
    assert!(lines[1].starts_with("true,GRANTED,type:worker,1,spiffe://acme.") && !csv.contains('{'), "{csv}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrow_matrix_keeps_what_is_forbidden() {
    let machine = Machine::new();
    let server = started(&machine).await;
    let forbids = SAMPLE
        .replace("forbid (principal,", "forbid (principal in Group::\"last-of-all\",")
        .replace("[groups]", "[groups]\nlast-of-all = \"\"\nanother-long-name = \"\"");
    run(&machine, "authz apply rules.toml --tenant acme").ok();
    let matrix =
        |width| machine.principal_with(&["authz", "matrix", "--tenant", "acme"], &[("COLUMNS", width)], b"").ok();
    let narrow = matrix("80");
    let submit = narrow.out.lines().find(|line| line.starts_with("jobs:submit")).unwrap().to_owned();
    let cells: Vec<_> = submit.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    assert_eq!(cells[..6], ["jobs:submit", "F", "F", "F G", "F", "F"], "{narrow:?}");
    assert!(narrow.err.contains("F: forbid"), "{narrow:?}");
    assert!(!matrix("60").err.contains("forbid for"), "types show it");
    // Of a column without room the note tells.
    fs::write(machine.path("forbids.toml"), forbids).unwrap();
    let forced = run(&machine, "authz apply forbids.toml --force --tenant acme").ok();
    assert!(forced.err.contains("not proved") && !forced.err.contains("no solver"), "nobody knows why: {forced:?}");
    let narrow = matrix("60");
    assert!(!narrow.out.contains("last-of-all") && narrow.err.contains("forbid for group:last-of-all"), "{narrow:?}");
    server.stop().await;
}
