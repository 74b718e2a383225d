//! A tenant as a file of lines, also once it is deleted; and what is said of its end.

use std::{collections::BTreeMap, fs};

use serde_json::Value;

use crate::{
    run::{Machine, mode},
    server::{Server, bootstrap, ready},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_tenant_is_exported_whole_and_without_secrets() {
    let machine = Machine::new();
    bootstrap(&machine);
    let server = Server::start(&machine.path("env/signet.toml")).await;
    ready(&machine);
    let run = |command: &str| machine.principal(&command.split(' ').collect::<Vec<_>>());
    run("tenant create acme").ok();
    run("enrollment rule create ci --github-repo acme/api --oidc-audience signet --type service --id-template ci-api --tenant acme")
        .ok();
    fs::write(machine.path("rules.toml"), "[permissions]\n\"jobs:submit\" = \"Put a job into a queue\"\n").unwrap();
    run("authz apply rules.toml --tenant acme").ok();
    run("token create worker --id crawler-1 --tenant acme --secret-file token").ok();
    let secret = fs::read_to_string(machine.path("token")).unwrap();
    let root = machine.home().join("contexts/local/ca.pem");
    let enroll = format!("enroll --server {} --ca-file {} --token-file token", server.url(), root.display());
    run(&format!("{enroll} --save-context crawler")).ok();

    let active = run("tenant delete acme --yes");
    assert!(active.code == 5 && active.err.contains("tenant suspend acme"), "{active:?}");
    run("tenant suspend acme --yes").ok();
    let unasked = run("tenant delete acme");
    assert!(unasked.code == 2 && unasked.err.contains("pass --yes"), "{unasked:?}");
    run("tenant delete acme --yes").ok();
    assert!(!run("tenant list").ok().out.contains("acme"));
    assert!(run("tenant list --show-deleted").ok().out.contains("acme"));

    // What an export that was cut off has left is none.
    fs::write(machine.path("acme.jsonl.partial"), "cut off").unwrap();
    let told = run("tenant export acme --out acme.jsonl").ok();
    assert!(
        told.err.contains(
            "1 authorization model, 1 certificate authorities, 1 certificates, 1 principals, 1 rules, 1 tenant"
        ),
        "{told:?}"
    );
    assert!(!machine.path("acme.jsonl.partial").exists());
    assert_eq!(mode(&machine.path("acme.jsonl")), 0o600);
    let text = fs::read_to_string(machine.path("acme.jsonl")).unwrap();
    assert!(!text.contains(secret.trim()), "the secret of a token");
    let mut kinds = BTreeMap::<String, usize>::new();
    for line in text.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        *kinds.entry(record["message"].as_str().unwrap().to_owned()).or_default() += 1;
        assert!(record["value"]["tenant_id"] == "acme", "{line}");
    }
    assert!(
        kinds["signet.v1.AuditEvent"] > 5 && kinds["signet.v1.AuthorizationModel"] == 1 && kinds.len() == 7,
        "{kinds:?}"
    );
    let again = run("tenant export acme --out acme.jsonl");
    assert!(again.code == 2 && again.err.contains("exists already"), "{again:?}");
    assert_eq!(fs::read_to_string(machine.path("acme.jsonl")).unwrap(), text);

    let back = run("tenant undelete acme").ok();
    assert!(back.err.contains("tenant activate acme"), "{back:?}");
    server.stop().await;
}
