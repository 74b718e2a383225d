//! `principal access-token`, `svid` and `token-key`, in an environment as `bootstrap --local` makes it.

use std::{fs, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::{
    authz::{SAMPLE, run},
    devices::environment,
    run::{Machine, Outcome},
    server::{Server, until},
};

fn enroll(machine: &Machine, server: &Server, principal_type: &str, id: &str) {
    run(machine, &format!("token create {principal_type} --id {id} --tenant acme --secret-file {id}.token")).ok();
    let ca = machine.home().join("contexts/local/ca.pem").display().to_string();
    let proof = format!("--ca-file {ca} --token-file {id}.token");
    run(machine, &format!("enroll --server {} {proof} --save-context {id}", server.url())).ok();
}

/// Standard output has the token and nothing else.
fn claims(outcome: &Outcome) -> Value {
    let payload = outcome.out.trim_end().split('.').nth(1).unwrap_or_else(|| panic!("{outcome:?}"));
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// Asks until the answer on the token in `file` is this, and tells its reason.
fn introspected(machine: &Machine, file: &str, code: i32) -> Value {
    let ask = || run(machine, &format!("--context s-1 access-token introspect {file} -o json"));
    until(&format!("{file}: {code}"), Duration::from_secs(20), || ask().code == code);
    ask().json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_token_is_got_with_all_topics_or_with_some() {
    let (machine, server) = environment("").await;
    enroll(&machine, &server, "device", "d-1");
    let got = run(&machine, "--context d-1 broker-token get").ok();
    let said = claims(&got);
    assert_eq!((&said["iss"], &said["aud"]), (&json!(format!("{}/t/acme/broker", server.url())), &json!("mqtt")));
    assert_eq!((said["publ"].as_array().unwrap().len(), said["subs"].as_array().unwrap().len()), (3, 3));
    assert!(got.err.contains("connect with client id acme/d-1") && !got.err.contains(got.out.trim_end()), "{got:?}");

    let some = "--publish tenant/{tenant}/device/{id}/telemetry/a --client-id-suffix loop --valid-for 30m -o json";
    let got = run(&machine, &format!("--context d-1 broker-token get {some}")).ok().json();
    assert_eq!(
        (&got["client_id"], &got["publish"]),
        (&json!("acme/d-1:loop"), &json!(["tenant/acme/device/d-1/telemetry/a"]))
    );
    assert!(
        got["broker_token"].as_str().unwrap().starts_with("ey")
            && got["subscribe"].as_array().is_none_or(Vec::is_empty),
        "{got}"
    );

    let beyond = run(&machine, "--context d-1 broker-token get --subscribe tenant/acme/device/d-2/commands");
    assert!(beyond.code == 4 && beyond.err.contains("\"tenant/acme/device/d-2/commands\""), "{beyond:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_got_introspected_and_end_with_their_holder_and_their_keys() {
    let (machine, server) = environment("").await;
    let issuer = format!("{}/t/acme", server.url());
    fs::write(machine.path("rules.toml"), SAMPLE).unwrap();
    run(&machine, "authz apply rules.toml --tenant acme").ok();
    for (principal_type, id) in [("worker", "w-1"), ("worker", "w-2"), ("service", "s-1")] {
        enroll(&machine, &server, principal_type, id);
    }

    let got = run(&machine, "--context w-1 access-token get --audience jobs --scope jobs:dequeue").ok();
    let said = claims(&got);
    assert_eq!((&said["iss"], &said["scope"]), (&json!(issuer), &json!("jobs:dequeue")));
    let thumbprint = said["cnf"]["x5t#S256"].as_str().unwrap();
    assert!(got.err.contains(thumbprint) && got.err.contains("\"jobs:dequeue\""), "{got:?}");
    assert!(!got.err.contains(got.out.trim_end()), "the token is on standard output alone");
    let other = run(&machine, "--context w-2 access-token get --audience jobs -o json").ok().json();
    fs::write(machine.path("w-1.jwt"), &got.out).unwrap();
    fs::write(machine.path("w-2.jwt"), other["access_token"].as_str().unwrap()).unwrap();

    let found = introspected(&machine, "w-1.jwt", 0);
    assert_eq!((&found["active"], &found["certificate_thumbprint"]), (&json!(true), &json!(thumbprint)));
    run(&machine, "suspend w-1 --tenant acme --yes").ok();
    let found = introspected(&machine, "w-1.jwt", 7);
    assert_eq!((&found["active"], &found["reason"]), (&json!(false), &json!("PRINCIPAL_DENIED")));

    let svid = claims(&run(&machine, "--context w-2 svid jwt --audience sts.amazonaws.com").ok());
    assert_eq!(svid["iss"], format!("{issuer}/svid"));
    let wit = claims(&run(&machine, "--context w-2 svid wit --valid-for 1m").ok());
    assert_eq!(wit["cnf"]["jwk"]["crv"], "P-256", "{wit}");
    let keys = run(&machine, "token-key list --tenant acme -o json").ok().json();
    assert_eq!(keys.as_array().unwrap().len(), 3, "{keys}");

    introspected(&machine, "w-2.jwt", 0);
    let unasked = run(&machine, "token-key rotate --use access-token --now --tenant acme");
    assert!(unasked.code == 2 && unasked.err.contains("--yes"), "{unasked:?}");
    introspected(&machine, "w-2.jwt", 0);
    run(&machine, "token-key rotate --use access-token --now --yes --tenant acme").ok();
    introspected(&machine, "w-2.jwt", 7);
    let again = run(&machine, "--context w-2 access-token get --audience jobs").ok();
    fs::write(machine.path("w-2.jwt"), &again.out).unwrap();
    introspected(&machine, "w-2.jwt", 0);

    let foreign = run(&machine, "access-token introspect w-2.jwt");
    assert!(foreign.code == 7 && foreign.err.contains("of tenant system, as this context is"), "{foreign:?}");

    let elsewhere = run(&machine, "access-token get --audience jobs --tenant acme");
    assert!(elsewhere.code == 2 && elsewhere.err.contains("context's own tenant"), "{elsewhere:?}");
    for (command, code, says) in [
        ("access-token get --audience jobs --scope jobs:cancel", 4, "has not all of the permissions"),
        ("broker-token get", 4, "has no topics"),
        ("access-token get --audience jobs --valid-for 2h", 2, "--valid-for: "),
        ("svid wit --valid-for 1s", 2, "--valid-for: "),
    ] {
        let refused = run(&machine, &format!("--context w-2 {command}"));
        assert!(refused.code == code && refused.err.contains(says), "{command}: {refused:?}");
    }
    let nothing = run(&machine, "--context w-2 access-token get --audience nobody");
    assert!(nothing.code == 2 && nothing.err.contains("nobody is none of tenant acme"), "{nothing:?}");
    server.stop().await;
}
