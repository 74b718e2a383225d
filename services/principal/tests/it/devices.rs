//! Devices, one by one: everything at once, nothing twice, nothing lost, nothing taken away.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use signet_agent::{Agent, Config};
use signet_x509::KeyPair;

use crate::{
    run::{Machine, Outcome, mode},
    server::{Server, bootstrap, ready},
};

/// An environment with the tenant `acme`.
pub(crate) async fn environment(settings: &str) -> (Machine, Server) {
    let machine = Machine::new();
    bootstrap(&machine);
    let file = machine.path("env/signet.toml");
    fs::write(&file, format!("{}\n{settings}\n", fs::read_to_string(&file).unwrap())).unwrap();
    let server = Server::start(&file).await;
    ready(&machine);
    machine.principal(&["tenant", "create", "acme", "-q"]).ok();
    (machine, server)
}

fn provision(machine: &Machine, arguments: &[&str]) -> Outcome {
    machine.principal(&[&["device", "provision", "--tenant", "acme", "-o", "json"], arguments].concat())
}

/// The states of a device's certificates.
pub(crate) fn certificates(machine: &Machine, id: &str) -> Vec<Value> {
    let listed = machine.principal(&["cert", "list", id, "--tenant", "acme", "-o", "json"]).ok().json();
    listed.as_array().unwrap().iter().map(|one| one["state"].clone()).collect()
}

/// No secret stays: neither in what was said nor in a file.
pub(crate) fn assert_no_token(outcome: &Outcome, folder: &Path) {
    assert!(!format!("{outcome:?}").contains("sgt_"), "{outcome:?}");
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match path.is_dir() {
                true => folders.push(path),
                false => assert!(!fs::read_to_string(&path).unwrap().contains("sgt_"), "{}", path.display()),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_provisioned_once_and_the_agent_takes_it_over() {
    let (machine, server) = environment("").await;
    let folder = machine.path("out/sensor");
    let made = provision(&machine, &["sensor-001", "--out", "out/sensor", "--group", "sensors"]).ok();
    assert_no_token(&made, &folder);
    let first = made.json();
    assert_eq!((&first["result"], &first["principal"]), (&json!("provisioned"), &json!("created")));
    assert_eq!(first["spiffe_id"], "spiffe://acme.signet.internal/device/sensor-001");
    let next = "scp -p out/sensor/*.pem root@sensor-001:/etc/signet/device/";
    assert!(made.err.contains("created device sensor-001 in tenant acme") && made.err.contains(next), "{made:?}");
    assert_eq!((mode(&folder), mode(&folder.join("key.pem")), mode(&folder.join("cert.pem"))), (0o700, 0o600, 0o644));
    let bundle = machine.principal(&["ca", "bundle", "--tenant", "acme"]).ok().out;
    assert_eq!(fs::read_to_string(folder.join("bundle.pem")).unwrap(), bundle);
    let tokens = machine.principal(&["token", "list", "--tenant", "acme", "-o", "json"]).ok().json();
    assert_eq!((&tokens[0]["principal_id"], &tokens[0]["uses_left"]), (&json!("sensor-001"), &json!(0)), "{tokens}");

    let key = fs::read(folder.join("key.pem")).unwrap();
    let again = provision(&machine, &["sensor-001", "--out", "out/sensor"]).ok();
    assert_eq!((&again.json()["result"], &again.json()["serial_number"]), (&json!("kept"), &first["serial_number"]));
    let other = provision(&machine, &["sensor-001", "--out", "out/sensor", "--group", "other"]);
    let told = "device sensor-001 exists, and its groups are sensors, not other";
    assert!(other.code == 5 && other.err.contains(told) && other.err.contains("principal update"), "{other:?}");
    // What an enrollment left out is added, and the key stays.
    fs::remove_file(folder.join("bundle.pem")).unwrap();
    let completed = provision(&machine, &["sensor-001", "--out", "out/sensor"]).ok().json();
    assert_eq!((&completed["result"], &completed["serial_number"]), (&json!("completed"), &first["serial_number"]));
    assert_eq!(fs::read(folder.join("key.pem")).unwrap(), key);
    assert_eq!(fs::read_to_string(folder.join("bundle.pem")).unwrap(), bundle);
    assert_eq!(certificates(&machine, "sensor-001"), ["issued"]);

    let agent = agent(&machine, &server, &folder).await;
    let mut report = agent.report();
    let well = report.wait_for(|report| report.identities.iter().all(|one| one.published && one.is_well()));
    let identity = tokio::time::timeout(Duration::from_secs(20), well).await.unwrap().unwrap().identities[0].clone();
    assert_eq!(first["serial_number"], identity.serial_number);
    agent.stop().await;
    assert_eq!(fs::read(folder.join("key.pem")).unwrap(), key);
    server.stop().await;
}

/// With no proof at all: it lives by what is in `folder`.
async fn agent(machine: &Machine, server: &Server, folder: &Path) -> Agent {
    let text = format!(
        "state_dir = \"state\"\n[control_plane]\nendpoint = \"{}\"\nca_file = \"{}\"\n[[identity]]\nname = \"device\"\n\
         enroll = {{ join_token_file = \"none\" }}\npem = {{ directory = \"{}\" }}\n",
        server.url(),
        folder.join("ca.pem").display(),
        folder.display()
    );
    let path = machine.path("agent.toml");
    fs::write(&path, text).unwrap();
    Agent::start(Config::load(&path).unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_way_stays_unless_it_may_be_replaced_and_is_named_then() {
    let (machine, server) = environment("").await;
    let key = || fs::read(machine.path("out/key.pem")).unwrap();
    provision(&machine, &["s-1", "--out", "out"]).ok();
    let first = key();
    let refused = provision(&machine, &["s-2", "--out", "out"]);
    for told in ["out has the identity of spiffe://acme.signet.internal/device/s-1", "another principal's", "--force"] {
        assert!(refused.code == 5 && refused.err.contains(told), "{refused:?}");
    }
    assert!(key() == first && machine.principal(&["get", "s-2", "--tenant", "acme"]).code == 3, "nothing was changed");
    let replaced = provision(&machine, &["s-2", "--out", "out", "--force"]).ok();
    assert!(replaced.err.contains("replaced the identity of spiffe://acme.signet.internal/device/s-1"), "{replaced:?}");
    assert_ne!(key(), first);

    let held = provision(&machine, &["s-2", "--out", "out", "--force"]).ok().json();
    assert_eq!(held["result"], "kept", "what is good is in nobody's way");
    let (serial, issuer) = (held["serial_number"].as_str().unwrap(), "acme.1");
    machine.principal(&["cert", "revoke", issuer, serial, "--tenant", "acme", "--yes"]).ok();
    let revoked = provision(&machine, &["s-2", "--out", "out"]);
    assert!(revoked.code == 5 && revoked.err.contains("the server has revoked it"), "{revoked:?}");
    let renewed = provision(&machine, &["s-2", "--out", "out", "--force"]).ok().json();
    assert_eq!(renewed["result"], "provisioned");

    fs::write(machine.path("out/key.pem"), "damaged").unwrap();
    let damaged = provision(&machine, &["s-2", "--out", "out"]);
    assert!(damaged.code == 5 && damaged.err.contains("files that are no identity"), "{damaged:?}");
    fs::create_dir(machine.path("foreign")).unwrap();
    fs::write(machine.path("foreign/ca.pem"), "somebody's").unwrap();
    let foreign = provision(&machine, &["s-2", "--out", "foreign"]);
    assert!(foreign.code == 5 && foreign.err.contains("foreign has files that are no identity"), "{foreign:?}");

    machine.principal(&["suspend", "s-2", "--tenant", "acme", "--yes"]).ok();
    let suspended = provision(&machine, &["s-2", "--out", "new"]);
    assert!(suspended.code == 5 && suspended.err.contains("`principal activate s-2`"), "{suspended:?}");
    machine.principal(&["create", "worker", "w-1", "--tenant", "acme"]).ok();
    let worker = provision(&machine, &["w-1", "--out", "new"]);
    assert!(worker.code == 5 && worker.err.contains("w-1 is a worker, not a device"), "{worker:?}");
    assert!(!machine.path("new").exists(), "a refusal makes no folder");
    let nowhere = machine.principal(&["device", "provision", "s-3", "--out", "new", "--tenant", "none"]);
    assert_eq!(nowhere.code, 3, "{nowhere:?}");
    let keyed = machine.principal(&["device", "provision", "s-3", "--out", "new", "--request-id", "x"]);
    assert_eq!(keyed.code, 2, "{keyed:?}");
    server.stop().await;
}

/// Takes a folder back to where a run was killed that had its certificate on the way.
fn as_if_killed(folder: &Path) {
    let key = KeyPair::from_pkcs8_pem(&fs::read_to_string(folder.join("key.pem")).unwrap()).unwrap();
    let pending = json!({
        "request_id": "0",
        "purpose": "an earlier token",
        "key_base64": BASE64_STANDARD.encode(key.pkcs8_der().as_slice()),
    });
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let is_folder = path.symlink_metadata().unwrap().is_dir();
        if is_folder { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }
    fs::write(folder.join(".signet.enrolling"), pending.to_string()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_was_issued_to_a_killed_run_is_taken_up() {
    let (machine, server) = environment("").await;
    let folder = machine.path("out");
    let first = provision(&machine, &["s-1", "--out", "out"]).ok().json();
    as_if_killed(&folder);
    let resumed = provision(&machine, &["s-1", "--out", "out"]).ok().json();
    assert_eq!((&resumed["result"], &resumed["serial_number"]), (&json!("resumed"), &first["serial_number"]));
    assert!(!folder.join(".signet.enrolling").exists());
    let config = agent(&machine, &server, &folder).await;
    config.stop().await;
    assert_eq!(provision(&machine, &["s-1", "--out", "out"]).ok().json()["result"], "kept");
    // Of one that has been revoked meanwhile, nothing is taken up.
    as_if_killed(&folder);
    let serial = first["serial_number"].as_str().unwrap();
    machine.principal(&["cert", "revoke", "acme.1", serial, "--tenant", "acme", "--yes"]).ok();
    let anew = provision(&machine, &["s-1", "--out", "out"]).ok().json();
    assert_eq!(anew["result"], "provisioned");
    assert_eq!(certificates(&machine, "s-1"), ["issued", "revoked"]);

    // A tenant of the shared CA, whose certificate is not in its list.
    machine.principal(&["tenant", "create", "tiny", "--isolation", "shared", "-q"]).ok();
    let tiny = ["device", "provision", "s-1", "--out", "tiny", "--tenant", "tiny", "-q"];
    machine.principal(&tiny).ok();
    as_if_killed(&machine.path("tiny"));
    machine.principal(&tiny).ok();
    assert!(machine.path("tiny/cert.pem").is_file());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_and_run_again_it_ends_well() {
    let (machine, server) = environment("").await;
    for (number, delay) in (0..300).step_by(15).enumerate() {
        let (id, out) = (format!("s-{number}"), PathBuf::from(format!("out-{number}")));
        let arguments = ["device", "provision", &id, "--out", out.to_str().unwrap(), "--tenant", "acme"];
        let mut child = machine.spawn(&arguments, &[]);
        // Not waited for: the moment is the point.
        tokio::time::sleep(Duration::from_millis(delay)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let done = provision(&machine, &[&id, "--out", out.to_str().unwrap()]).ok();
        assert_no_token(&done, &machine.path(out.to_str().unwrap()));
        assert_eq!(certificates(&machine, &id), ["issued"], "after {delay} ms");
        let kept = provision(&machine, &[&id, "--out", out.to_str().unwrap()]).ok().json();
        assert_eq!(kept["result"], "kept", "after {delay} ms");
    }
    server.stop().await;
}
