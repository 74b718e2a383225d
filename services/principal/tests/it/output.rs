//! Tables, JSON and YAML of the same things.

use signet_principal::output::to_value;
use signet_proto::v1;

use crate::{golden, run::Machine};

fn time(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 250_000_000 })
}

fn certificate() -> v1::Certificate {
    v1::Certificate {
        tenant_id: "acme".into(),
        principal_id: "crawler-1".into(),
        principal_type: v1::PrincipalType::Worker.into(),
        issuer_id: "acme.1".into(),
        serial_number: "0199".repeat(8),
        state: v1::CertificateState::Revoked.into(),
        not_before: time(1_795_316_400),
        not_after: time(1_795_402_800),
        spki_sha256: "ab".repeat(32),
        certificate_der: vec![0x30, 0x03, 0x02, 0x01, 0x05],
        revoke_time: time(1_795_320_000),
        revocation_reason: v1::RevocationReason::KeyCompromise.into(),
        renews_serial_number: String::new(),
        ..Default::default()
    }
}

#[test]
fn json_keys_are_the_protos_and_every_field_is_there() {
    let values = [
        to_value("signet.v1.Certificate", &certificate()).unwrap(),
        to_value("signet.v1.Tenant", &v1::Tenant { isolation: v1::Isolation::Shared.into(), ..Default::default() })
            .unwrap(),
        to_value(
            "signet.v1.AuditSeal",
            &v1::AuditSeal { minute: -1, count: u64::MAX, root_sha256: vec![0xab; 4], ..Default::default() },
        )
        .unwrap(),
        to_value(
            "signet.v1.WhoAmIResponse",
            &v1::WhoAmIResponse {
                permissions: [("tenants.get".to_owned(), "own".to_owned())].into(),
                ..Default::default()
            },
        )
        .unwrap(),
    ];
    golden::check("output/messages.json", &serde_json::to_string_pretty(&values).unwrap());
}

#[test]
fn the_same_list_in_three_formats() {
    let machine = Machine::new();
    for name in ["dev", "prod-eu"] {
        machine.add_dead_context(name);
    }
    let home = machine.home().to_str().unwrap().to_owned();
    for format in ["table", "json", "yaml"] {
        let out = machine.principal(&["context", "list", "--output", format]).ok().out;
        golden::check(&format!("output/contexts.{format}"), &out.replace(&home, "HOME"));
    }
    let out = machine.principal(&["context", "show", "dev"]).ok().out;
    golden::check("output/context.table", &out.replace(&home, "HOME"));
}

#[test]
fn a_table_takes_the_room_that_there_is() {
    let machine = Machine::new();
    for name in ["dev", "production-in-eu-central-1-of-the-customer-with-the-long-name"] {
        machine.add_dead_context(name);
    }
    for columns in ["80", "200"] {
        let out = machine.principal_with(&["context", "list"], &[("COLUMNS", columns)], b"").ok().out;
        golden::check(&format!("output/contexts-{columns}.table"), &out);
        assert_eq!(out.lines().count(), 3, "{out}");
        assert!(out.lines().all(|line| line.chars().count() <= columns.parse().unwrap()), "{out}");
    }
    let doctor = machine.principal_with(&["doctor"], &[("COLUMNS", "80")], b"").out;
    assert!(doctor.lines().all(|line| line.chars().count() <= 80), "{doctor}");
}

#[test]
fn columns_order_and_headings_are_chosen_by_name() {
    let machine = Machine::new();
    for name in ["dev", "alpha", "omega"] {
        machine.add_dead_context(name);
    }
    let listed = |more: &[&str]| machine.principal(&[&["context", "list"], more].concat());
    let chosen = listed(&["--columns", "CONTEXT,Endpoint", "--sort", "-context", "--no-headers"]).ok().out;
    assert_eq!(chosen, "omega  https://127.0.0.1:1\ndev    https://127.0.0.1:1\nalpha  https://127.0.0.1:1\n");
    assert_eq!(listed(&["-o", "name", "--sort", "context"]).ok().out, "alpha\ndev\nomega\n");
    assert_eq!(listed(&["-o", "jsonpath=$[?@.name == 'dev'].endpoint"]).ok().out, "https://127.0.0.1:1\n");
    let unknown = listed(&["--columns", "contexts"]);
    assert!(unknown.code == 2 && unknown.err.contains("context, tenant"), "{unknown:?}");
    let unknown = listed(&["-o", "xml"]);
    assert!(unknown.code == 2 && unknown.err.contains("jsonpath=PATH"), "{unknown:?}");
    let wrong = listed(&["-o", "jsonpath=$["]);
    assert!(wrong.code == 2 && wrong.err.contains("RFC 9535"), "{wrong:?}");
}

#[test]
fn nothing_is_coloured_where_nobody_looks() {
    let machine = Machine::new();
    machine.add_dead_context("dev");
    for arguments in [&["context", "list"][..], &["doctor"], &["--help"], &["frobnicate"]] {
        let outcome = machine.principal(arguments);
        assert!(!outcome.out.contains('\u{1b}') && !outcome.err.contains('\u{1b}'), "{outcome:?}");
    }
}

#[test]
fn colour_can_be_forced_and_forbidden() {
    let machine = Machine::new();
    machine.add_dead_context("dev");
    let list = |more: &[&str], variables: &[(&str, &str)]| {
        machine.principal_with(&[&["context", "list"][..], more].concat(), variables, b"").ok().out.contains('\u{1b}')
    };
    assert!(list(&[], &[("CLICOLOR_FORCE", "1")]));
    assert!(!list(&["--no-color"], &[("CLICOLOR_FORCE", "1")]));
    assert!(!list(&[], &[("NO_COLOR", "1")]));
}

#[test]
fn completions_and_manual_pages_cover_the_commands() {
    let machine = Machine::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(machine.principal(&["completion", shell]).ok().out.contains("enroll"), "{shell}");
    }
    machine.principal(&["man", "--out", "pages", "--quiet"]).ok();
    for page in ["principal.1", "principal-cert-revoke.1", "principal-audit-verify.1"] {
        assert!(machine.path("pages").join(page).exists(), "{page}");
    }
}

#[test]
fn doctor_without_a_server_says_what_to_do() {
    let machine = Machine::new();
    machine.add_dead_context("dev");
    let outcome = machine.principal(&["doctor", "--output", "json"]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    let checks = outcome.json();
    let failed = checks.as_array().unwrap().iter().filter(|check| check["status"] == "fail");
    for check in failed {
        assert!(check["advice"].as_str().is_some_and(|advice| !advice.is_empty()), "{check}");
    }
    let named: Vec<&str> = checks.as_array().unwrap().iter().filter_map(|c| c["check"].as_str()).collect();
    assert_eq!(named, ["home", "contexts", "context", "key", "credentials", "public listener", "name", "TCP"]);
}
