//! Exit codes and errors that need no server.

use serde_json::Value;
use signet_principal::exit::Exit;

use crate::{run::Machine, server::bootstrap};

#[test]
fn numbers_are_what_help_says() {
    let codes: Vec<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
    assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    let help = Machine::new().principal(&["--help"]).ok().out;
    for exit in Exit::ALL {
        assert!(help.contains(&format!("{}  {}", exit.code(), exit.meaning())), "{help}");
    }
}

#[test]
fn wrong_usage_is_2_and_changes_nothing() {
    let machine = Machine::new();
    let wrong: [&[&str]; 14] = [
        &[],
        &["frobnicate"],
        &["create", "robot", "r2"],
        &["create", "worker", "a/b"],
        &["create", "worker", ""],
        &["get", "ä"],
        &["tenant", "create", "UPPER"],
        &["tenant", "create", "acme", "--max-certificates", "0"],
        &["token", "create", "worker", "--ttl", "soon"],
        &["cert", "get", "acme", "00"],
        &["enroll", "--server", "http://127.0.0.1:1", "--ca-file", "x", "--out", "y"],
        &["enroll", "--server", "https://127.0.0.1:1", "--out", "y"],
        &["enroll", "--server", "https://127.0.0.1:1", "--ca-sha256", "abc", "--ca-url", "http://a:1", "--out", "y"],
        &["bootstrap"],
    ];
    for arguments in wrong {
        let outcome = machine.principal(arguments);
        assert_eq!(outcome.code, 2, "{arguments:?} {outcome:?}");
        assert!(outcome.out.is_empty() && !outcome.err.is_empty(), "{arguments:?}");
    }
    assert!(!machine.home().exists());
}

#[test]
fn what_is_missing_or_taken_has_its_code() {
    let machine = Machine::new();
    assert_eq!(machine.principal(&["whoami"]).code, 2, "no context");
    assert_eq!(machine.principal(&["--context", "none", "whoami"]).code, 3);
    machine.add_dead_context("dead");
    let again = machine.principal(&["context", "add", "dead", "--endpoint", "https://127.0.0.1:1"]);
    assert_eq!(again.code, 5, "{again:?}");
    assert_eq!(machine.principal(&["whoami"]).code, 4, "no credentials");
    for named_wrongly in [
        &["cert", "issue", "w", "--csr", "none.pem"][..],
        &["cert", "issue", "w", "--csr", "."],
        &["enroll", "--server", "https://127.0.0.1:1", "--ca-file", "none.pem", "--out", "y"],
        &["context", "add", "x", "--endpoint", "https://127.0.0.1:1", "--credentials", "none"],
    ] {
        assert_eq!(machine.principal(named_wrongly).code, 2, "{named_wrongly:?}");
    }
    assert!(!machine.path("y").exists(), "nothing is made for an enrollment that cannot begin");
}

#[test]
fn destructive_commands_need_a_yes_where_nobody_can_be_asked() {
    let machine = Machine::new();
    bootstrap(&machine);
    let serial = "0".repeat(32);
    let destructive: [(&[&str], &str); 8] = [
        (&["delete", "w", "--tenant", "acme"], "delete w of tenant acme permanently: its certificates are revoked"),
        (&["suspend", "w"], "suspend w of tenant system: it is refused everywhere until it is activated"),
        (&["tenant", "suspend", "acme"], "suspend tenant acme and all its principals: they are refused everywhere"),
        (&["cert", "revoke", "acme.1", &serial, "--tenant", "acme"], "of acme.1, tenant acme, for good"),
        (&["token", "revoke", "t", "--tenant", "acme"], "revoke token t of tenant acme: nobody can enroll with it"),
        (&["enrollment", "rule", "delete", "ci", "--tenant", "acme"], "delete enrollment rule ci of tenant acme"),
        (
            &["ca", "rotate", "--retire", "--tenant", "acme"],
            "the retiring CA of tenant acme and refuse every certificate",
        ),
        (&["context", "remove", "local"], "remove context local"),
    ];
    for (arguments, question) in destructive {
        let outcome = machine.principal(arguments);
        assert!(outcome.code == 2 && outcome.err.contains("--yes"), "{arguments:?} {outcome:?}");
        assert!(outcome.err.contains(question), "{question}: {outcome:?}");
    }
    assert!(machine.home().join("contexts/local/key.pem").exists());
}

#[test]
fn errors_are_json_where_json_was_asked_for() {
    let machine = Machine::new();
    for (arguments, code) in [
        (&["--output", "json", "--context", "none", "whoami"][..], 3),
        (&["whoami", "-o", "json", "--bad"][..], 2),
        (&["get", "a/b", "--output=json"][..], 2),
    ] {
        let outcome = machine.principal(arguments);
        let error: Value = serde_json::from_str(&outcome.err).unwrap();
        assert_eq!((outcome.code, &error["error"]["exit_code"]), (code, &Value::from(code)), "{outcome:?}");
        assert!(error["error"]["message"].as_str().is_some_and(|text| !text.is_empty()));
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let machine = Machine::new();
    let script = format!("{} completion bash | head -n 1", env!("CARGO_BIN_EXE_principal"));
    let output = std::process::Command::new("bash")
        .args(["-o", "pipefail", "-c", &script])
        .env("SIGNET_HOME", machine.home())
        .output()
        .unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
