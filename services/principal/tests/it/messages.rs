//! `principal device secret` and `principal message`.

use std::{fs, os::unix::fs::PermissionsExt as _};

use serde_json::json;

use crate::{
    authz::run,
    devices::environment,
    run::{Machine, Outcome},
};

/// Verifies what `signed` says of `body`.
fn verify(machine: &Machine, signed: &Outcome, body: &str) -> Outcome {
    let signed = signed.json();
    let text = |name: &str| signed[name].as_str().unwrap().to_owned();
    let (id, timestamp, signature) = (text("id"), text("timestamp"), text("signature"));
    let words = [
        "message",
        "verify",
        "sensor-1",
        "--id",
        &id,
        "--timestamp",
        &timestamp,
        "--signature",
        &signature,
        "--body",
        body,
        "--tenant",
        "acme",
        "-o",
        "json",
    ];
    machine.principal(&words)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_shown_once_signs_and_ends_when_it_is_asked_to() {
    let (machine, server) = environment("").await;
    run(&machine, "create device sensor-1 --tenant acme").ok();
    fs::write(machine.path("body"), "21.5").unwrap();
    fs::write(machine.path("other"), "5.21").unwrap();

    let made = run(&machine, "device secret rotate sensor-1 --secret-file secret.txt --tenant acme").ok();
    let secret = fs::read_to_string(machine.path("secret.txt")).unwrap();
    assert!(secret.starts_with("whsec_") && secret.ends_with('\n'));
    assert!(!made.out.contains(secret.trim()) && !made.err.contains(secret.trim()));
    let mode = fs::metadata(machine.path("secret.txt")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let sign = || run(&machine, "message sign --secret-file secret.txt --body body -o json").ok();
    let signed = sign();
    let headers = run(&machine, "message sign --secret-file secret.txt --body body").ok();
    assert!(headers.out.lines().all(|line| line.starts_with("webhook-")), "{headers:?}");
    let refused = verify(&machine, &signed, "other");
    assert_eq!((refused.code, refused.json()["reason"].clone()), (7, json!("MESSAGE_WRONG_SIGNATURE")));
    let good = verify(&machine, &signed, "body").ok().json();
    assert_eq!((good["verified"].clone(), good["matched"].clone()), (json!(true), json!("current")));
    let again = verify(&machine, &signed, "body");
    assert_eq!((again.code, again.json()["reason"].clone()), (7, json!("MESSAGE_REPLAYED")));

    // Alone on standard output.
    let next = run(&machine, "device secret rotate sensor-1 --tenant acme").ok();
    assert!(next.out.trim_end().starts_with("whsec_") && next.out.lines().count() == 1, "{next:?}");
    assert!(!next.err.contains("whsec_"));
    let old = verify(&machine, &sign(), "body").ok().json();
    assert_eq!(old["matched"], "previous");
    let waits = run(&machine, "device secret rotate sensor-1 --tenant acme");
    assert!(waits.code == 5 && waits.err.contains("still verifies"), "{waits:?}");

    let shown = run(&machine, "device secret show sensor-1 --tenant acme -o json").ok();
    assert!(!shown.out.contains("whsec_"));
    assert_ne!(shown.json()["previous_secret_id"], "");
    let listed = run(&machine, "device secret list --tenant acme -o json").ok().json();
    assert_eq!(listed[0]["principal_id"], "sensor-1");

    let unasked = run(&machine, "device secret rotate sensor-1 --now --tenant acme");
    assert!(unasked.code == 2 && unasked.err.contains("--yes"), "{unasked:?}");
    run(&machine, "device secret rotate sensor-1 --now --yes --tenant acme -o json").ok();
    assert_eq!(verify(&machine, &sign(), "body").json()["reason"], "MESSAGE_WRONG_SIGNATURE");

    let unasked = run(&machine, "device secret delete sensor-1 --tenant acme");
    assert!(unasked.code == 2 && unasked.err.contains("--yes"), "{unasked:?}");
    run(&machine, "device secret delete sensor-1 --yes --tenant acme").ok();
    assert_eq!(run(&machine, "device secret show sensor-1 --tenant acme").code, 3);
    assert_eq!(verify(&machine, &sign(), "body").json()["reason"], "MESSAGE_SENDER_UNKNOWN");
    server.stop().await;
}
