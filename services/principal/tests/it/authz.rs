//! `principal authz`: rules as a file, who may do what, and what a change would do.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{
    run::{Machine, Outcome},
    server::{Server, bootstrap, ready},
};

pub(crate) const SAMPLE: &str = include_str!("../../authz.sample.toml");

pub(crate) fn run(machine: &Machine, command: &str) -> Outcome {
    machine.principal(&command.split(' ').collect::<Vec<_>>())
}

/// An environment with the tenant acme and the sample's rules in it.
pub(crate) async fn started(machine: &Machine) -> Server {
    bootstrap(machine);
    let server = Server::start(&machine.path("env/signet.toml")).await;
    ready(machine);
    run(machine, "tenant create acme").ok();
    fs::write(machine.path("rules.toml"), SAMPLE).unwrap();
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_without_rules_shows_where_to_begin_and_the_sample_holds() {
    let machine = Machine::new();
    let server = started(&machine).await;
    let begin = run(&machine, "authz get --tenant acme").ok().out;
    assert!(begin.lines().all(|line| line.is_empty() || line.starts_with('#')), "{begin}");
    fs::write(machine.path("begin.toml"), &begin).unwrap();
    assert!(run(&machine, "authz diff begin.toml --tenant acme").ok().err.contains("the same as version 0"));
    // Without its marks it is the sample.
    let marks_off: String = begin.lines().skip(1).map(|line| line.trim_start_matches("# ").to_owned() + "\n").collect();
    let bare = |text: &str| text.lines().map(|line| line.trim_start_matches(['#', ' ']).to_owned()).collect::<Vec<_>>();
    assert_eq!(bare(&marks_off), bare(SAMPLE));
    run(&machine, "authz apply rules.toml --tenant acme").ok();
    // What is read is what was written, and the same once more.
    let written = run(&machine, "authz get --tenant acme").ok().out;
    fs::write(machine.path("again.toml"), &written).unwrap();
    assert!(run(&machine, "authz diff again.toml --tenant acme").ok().err.contains("the same as version 1"));
    assert!(written.contains("until = \"2030-01-01T00:00:00Z\""), "a day is taken: {written}");
    let late = SAMPLE.replace("2030-01-01", "24h");
    fs::write(machine.path("late.toml"), late).unwrap();
    let refused = run(&machine, "authz apply late.toml --tenant acme");
    assert!(refused.code == 2 && refused.err.contains("2026-12-24"), "{refused:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_matrix_tells_who_may_do_what_and_why() {
    let machine = Machine::new();
    let server = started(&machine).await;
    run(&machine, "authz apply rules.toml --tenant acme").ok();
    fs::write(
        machine.path("environment.toml"),
        "[permissions]\n\"events:publish\" = \"Publish\"\n[[grants]]\nto = \"type:device\"\npermissions = [\"events:publish\"]\n",
    )
    .unwrap();
    let unasked = run(&machine, "authz apply environment.toml --environment");
    assert!(unasked.code == 2 && unasked.err.contains("pass --yes"), "{unasked:?}");
    let unasked = run(&machine, "authz apply environment.toml");
    assert!(unasked.code == 2 && unasked.err.contains("every tenant"), "the context is system's: {unasked:?}");
    run(&machine, "authz apply environment.toml --environment --yes").ok();
    let inherited = run(&machine, "authz get --tenant acme").ok().out;
    assert!(inherited.contains("# \"events:publish\" = \"Publish\""), "{inherited}");

    let rows = run(&machine, "authz matrix --tenant acme -o json").ok().json();
    let cell = |rows: &Value, permission: &str, who: &str| {
        let row = rows.as_array().unwrap().iter().find(|row| row["permission"] == permission).unwrap().clone();
        row[who].as_str().unwrap_or_else(|| panic!("no {who} in {row}")).to_owned()
    };
    for (permission, who, expected) in [
        ("jobs:submit", "worker", "granted forbid"),
        ("jobs:submit", "user", "forbid"),
        ("jobs:submit", "role:dispatcher", "granted forbid"),
        ("jobs:submit", "role:viewer", "forbid"),
        ("jobs:submit", "group:fleet-a", "until 2030-01-01 forbid"),
        ("jobs:dequeue", "worker", "granted"),
        ("jobs:dequeue", "device", ""),
        ("connect:peer", "group:fleet-a", "permit"),
        ("events:publish", "device", "granted"),
    ] {
        assert_eq!(cell(&rows, permission, who), expected, "{permission} {who}");
    }
    assert_eq!(rows.as_array().unwrap().len(), 4);
    let rows = run(&machine, "authz matrix --service signet --tenant acme -o json").ok().json();
    for (permission, who, expected) in [
        ("principals.list", "admin", "built-in"),
        ("principals.list", "user", ""),
        ("principals.list", "role:viewer", "built-in"),
        ("principals.list", "role:dispatcher", "granted"),
        ("principals.suspend", "role:operator", "built-in"),
        ("principals.suspend", "role:viewer", ""),
        ("certificates.renew", "worker", "itself"),
        ("tenants.create", "admin", ""),
    ] {
        assert_eq!(cell(&rows, permission, who), expected, "{permission} {who}");
    }
    let all = run(&machine, "authz matrix --service all --tenant acme -o csv").ok().out;
    assert!(all.lines().next().unwrap().starts_with("permission,admin,user,worker,service,device,role:"), "{all}");
    assert!(all.lines().count() > 40 && all.contains("\njobs:dequeue,,,granted,"), "{all}");
    let narrow = machine.principal_with(&["authz", "matrix", "--tenant", "acme"], &[("COLUMNS", "80")], b"").ok();
    let (out, err) = (&narrow.out, &narrow.err);
    assert!(out.lines().all(|line| line.chars().count() <= 80) && out.contains("WORKER"), "{out}");
    assert!(err.contains("--output wide"), "{err}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_tried_on_what_was_asked_and_what_nobody_has_is_told() {
    let machine = Machine::new();
    let server = started(&machine).await;
    run(&machine, "create worker w-1 --tenant acme").ok();
    run(&machine, "authz apply rules.toml --tenant acme").ok();
    run(&machine, "authz check worker/w-1 jobs:dequeue queue/default --tenant acme").ok();
    let unused = SAMPLE.replace("permissions = [\"jobs:submit\", \"jobs:dequeue\"]", "permissions = [\"jobs:submit\"]");
    fs::write(machine.path("fewer.toml"), unused).unwrap();
    let strict = run(&machine, "authz apply fewer.toml --strict --tenant acme");
    assert!(strict.code == 2 && strict.err.contains("jobs:dequeue"), "{strict:?}");
    let told = run(&machine, "authz diff fewer.toml --tenant acme").ok();
    assert!(told.err.contains("warning") && told.err.contains("jobs:dequeue"), "{told:?}");
    assert!(told.out.contains("1 questions to this node: 0 would be allowed that are not, 1 denied"), "{told:?}");
    for part in ["worker/w-1", "queue/default", "allowed → denied", "GRANTED (type:worker)"] {
        assert!(told.out.contains(part), "{part}: {told:?}");
    }
    let json = run(&machine, "authz diff fewer.toml --tenant acme -o json").ok().json();
    assert_eq!(
        (&json["replayed_questions"], &json["replays"][0]["allowed_after"]),
        (&1.into(), &false.into()),
        "{json}"
    );
    // Without a solver nothing is proved, and programs see it. It is another name of the same.
    let unproved = run(&machine, "policy prove --tenant acme");
    assert!(unproved.code == 1 && unproved.out.contains("no solver"), "{unproved:?}");
    fs::write(machine.path("plain.toml"), "[permissions]\n\"jobs:submit\" = \"\"\n").unwrap();
    let applied = run(&machine, "authz apply plain.toml --tenant acme").ok();
    assert!(applied.err.contains("warning"), "{applied:?}");
    assert!(run(&machine, "authz prove --tenant acme").ok().out.contains("nothing to prove"));
    server.stop().await;
}

/// With the solver of the judges.
#[tokio::test(flavor = "multi_thread")]
async fn the_rules_that_hold_are_proved() {
    let machine = Machine::new();
    let judges = std::env::var_os("SIGNET_JUDGES")
        .unwrap_or_else(|| panic!("SIGNET_JUDGES is not set: export SIGNET_JUDGES=$(scripts/judges)"));
    bootstrap(&machine);
    let config = machine.path("env/signet.toml");
    let text = fs::read_to_string(&config).unwrap();
    let solver = Path::new(&judges).join("cvc5");
    assert!(!text.contains("[authorization]"), "{text}");
    fs::write(&config, format!("{text}\n[authorization]\nsolver = {solver:?}\n")).unwrap();
    let server = Server::start(&config).await;
    ready(&machine);
    run(&machine, "tenant create acme").ok();
    fs::write(machine.path("rules.toml"), SAMPLE).unwrap();
    run(&machine, "authz apply rules.toml --tenant acme").ok();
    let proved = run(&machine, "policy prove --tenant acme").ok().out;
    assert!(proved.contains("2 invariants hold in version 1"), "{proved}");
    // One that fails for some.
    let fails = SAMPLE.replace("context has source && ", "").replace(
        "context.source.isInRange(ip(\"10.0.0.0/8\"))",
        "9223372036854775807 + (if resource.kind == \"queue\" then 1 else 0) == 0",
    );
    fs::write(machine.path("fails.toml"), fails).unwrap();
    let refused = run(&machine, "authz apply fails.toml --tenant acme");
    let told = ["refuted: a policy may fail", "`principal authz diff`", "--force"];
    assert!(refused.code == 5 && told.iter().all(|part| refused.err.contains(part)), "{refused:?}");
    run(&machine, "authz apply fails.toml --force --tenant acme").ok();
    let refuted = run(&machine, "authz prove --tenant acme");
    assert!(refuted.code == 7 && refuted.out.contains("REFUTED") && refuted.out.contains("1 of 2"), "{refuted:?}");
    server.stop().await;
}
