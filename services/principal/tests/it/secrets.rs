//! No secret on the command line, in an error, in a log or in debug output.

use std::fs;

use crate::run::Machine;

const SECRET: &str = "sgt_do-not-show-this-anywhere-0123456789abcdef_";

fn enroll(machine: &Machine, more: &[&str], variables: &[(&str, &str)], input: &[u8]) -> String {
    fs::write(machine.path("ca.pem"), signet_x509::pem::encode_certificate(b"not a certificate")).unwrap();
    let arguments = ["enroll", "--server", "https://127.0.0.1:1", "--ca-file", "ca.pem", "--out", "out", "-vvv"];
    let outcome = machine.principal_with(&[&arguments[..], more].concat(), variables, input);
    assert_ne!(outcome.code, 0, "{outcome:?}");
    format!("{}{}", outcome.out, outcome.err)
}

#[test]
fn a_token_is_never_shown_again() {
    let machine = Machine::new();
    fs::write(machine.path("token"), SECRET).unwrap();
    for said in [
        enroll(&machine, &["--token-file", "token"], &[], b""),
        enroll(&machine, &["--token-file", "-"], &[], SECRET.as_bytes()),
        enroll(&machine, &[], &[("SIGNET_TOKEN", SECRET)], b""),
    ] {
        assert!(!said.contains(SECRET), "{said}");
    }
    let help = machine.principal_with(&["enroll", "--help"], &[("SIGNET_TOKEN", SECRET)], b"").ok().out;
    assert!(!help.contains(SECRET));
}

/// As editors, shells and people hand a token on. What is none is said before anything is sent.
#[test]
fn a_token_in_a_wrapping_is_taken_out_or_refused_at_once() {
    let machine = Machine::new();
    let said = |text: &str| {
        fs::write(machine.path("token"), text).unwrap();
        enroll(&machine, &["--token-file", "token"], &[], b"")
    };
    for fine in [format!("\u{feff}{SECRET}\r\n"), format!("\n \t{SECRET}\u{a0}\n")] {
        let said = said(&fine);
        assert!(!said.contains("has no valid join token"), "{fine:?}: {said}");
    }
    let quoted = format!("\"{SECRET}\"");
    let twice = format!("{SECRET}\n{SECRET}");
    for bad in [
        &quoted,
        &format!("TOKEN={SECRET}"),
        &format!("# token\n{SECRET}"),
        &twice,
        &format!("{SECRET}\0"),
        &SECRET[..46],
    ] {
        let said = said(bad);
        assert!(said.contains("token has no valid join token") && !said.contains(&SECRET[4..40]), "{bad:?}: {said}");
    }
}

#[test]
fn a_token_on_the_command_line_is_no_option() {
    let outcome = Machine::new().principal(&["enroll", "--token", SECRET]);
    assert_eq!(outcome.code, 2);
    assert!(!outcome.err.contains(SECRET), "{outcome:?}");
}

#[test]
fn without_a_token_it_says_where_one_may_come_from() {
    let machine = Machine::new();
    let said = enroll(&machine, &[], &[], b"");
    assert!(said.contains("SIGNET_TOKEN") && said.contains("--token-file"), "{said}");
}

#[test]
fn a_place_that_cannot_be_written_is_found_before_the_token_is_spent() {
    let machine = Machine::new();
    fs::write(machine.path("token"), SECRET).unwrap();
    fs::write(machine.path("file"), "").unwrap();
    fs::write(machine.path("ca.pem"), signet_x509::pem::encode_certificate(b"not a certificate")).unwrap();
    let arguments = ["enroll", "--server", "https://127.0.0.1:1", "--ca-file", "ca.pem", "--token-file", "token"];
    let outcome = machine.principal(&[&arguments[..], &["--out", "file/dir"]].concat());
    assert!(outcome.code == 2 && outcome.err.contains("file/dir"), "{outcome:?}");
}
