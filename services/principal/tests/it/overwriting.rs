//! No command takes a key away that somebody needs.

use std::fs;

use crate::{
    run::Machine,
    server::{Server, bootstrap, ready},
};

#[tokio::test(flavor = "multi_thread")]
async fn no_enrollment_and_no_bootstrap_replaces_another_principals_key() {
    let machine = Machine::new();
    bootstrap(&machine);
    let server = Server::start(&machine.path("env/signet.toml")).await;
    ready(&machine);
    machine.principal(&["tenant", "create", "acme"]).ok();
    for id in ["w-1", "w-2"] {
        machine
            .principal(&["token", "create", "worker", "--id", id, "--tenant", "acme", "--secret-file", id, "-q"])
            .ok();
    }
    let url = server.url();
    let enroll = |token: &str, more: &[&str]| {
        let fixed = ["enroll", "--server", &url, "--ca-file", "env/server/root.pem", "--token-file", token];
        machine.principal(&[&fixed[..], more].concat())
    };
    let context = machine.home().join("contexts/local/key.pem");
    let admin = fs::read(&context).unwrap();
    let refused = enroll("w-1", &["--save-context", "local"]);
    assert_eq!(refused.code, 5, "{refused:?}");
    for said in ["context local has the key of spiffe://system.signet.internal/admin/admin", "--replace"] {
        assert!(refused.err.contains(said), "{refused:?}");
    }
    assert_eq!(fs::read(&context).unwrap(), admin);

    // The token was not used up by that; nor is one by a folder that is taken.
    enroll("w-1", &["--out", "out"]).ok();
    let key = fs::read(machine.path("out/key.pem")).unwrap();
    let refused = enroll("w-2", &["--out", "out"]);
    assert!(refused.code == 5 && refused.err.contains("worker/w-1"), "{refused:?}");
    assert_eq!(fs::read(machine.path("out/key.pem")).unwrap(), key);
    enroll("w-2", &["--out", "out", "--replace"]).ok();
    assert_ne!(fs::read(machine.path("out/key.pem")).unwrap(), key);

    let other = machine.principal(&["bootstrap", "--local", "env", "--admin", "second"]);
    assert!(other.code == 5 && other.err.contains("--context-name"), "{other:?}");
    machine.principal(&["bootstrap", "--local", "env", "--admin", "second", "--context-name", "second"]).ok();
    machine.principal(&["whoami"]).ok();
    server.stop().await;
}
