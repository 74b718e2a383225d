//! Fleets of devices: what is wrong is told before anything is done, and what was stopped goes on.

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    devices::{assert_no_token, certificates, environment},
    run::{Machine, Outcome, finish},
    server::until,
};

const PROVISION: [&str; 8] = ["device", "provision", "-f", "devices.csv", "--out", "fleet", "--tenant", "acme"];

fn provision(machine: &Machine, more: &[&str]) -> Outcome {
    machine.principal(&[&PROVISION[..], more].concat())
}

/// A file of `count` devices.
fn write(machine: &Machine, count: usize) {
    let lines: String = (0..count).map(|number| format!("s-{number},sensors;north\n")).collect();
    fs::write(machine.path("devices.csv"), format!("id,groups\n{lines}")).unwrap();
}

fn results(outcome: &Outcome) -> Vec<String> {
    let rows = outcome.json();
    let mut all: Vec<_> =
        rows.as_array().unwrap().iter().map(|row| row["result"].as_str().unwrap().to_owned()).collect();
    all.sort_unstable();
    all
}

/// The ids that the log calls done.
fn logged(machine: &Machine) -> usize {
    let text = fs::read_to_string(machine.path("fleet/provision.log")).unwrap_or_default();
    text.lines().filter(|line| line.contains("\"spiffe_id\"")).count()
}

fn assert_whole(machine: &Machine, count: usize) {
    for number in 0..count {
        let id = format!("s-{number}");
        for file in ["cert.pem", "key.pem", "ca.pem", "bundle.pem"] {
            assert!(machine.path(&format!("fleet/{id}/{file}")).is_file(), "{id} {file}");
        }
        assert_eq!(certificates(machine, &id), ["issued"], "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_told_before_anything_is_changed_and_failures_keep_nobody_else_waiting() {
    let (machine, server) = environment("").await;
    fs::write(machine.path("devices.csv"), "id,groups\ns-0,A\ns-1,ok\ns-1,\n").unwrap();
    let wrong = provision(&machine, &[]);
    for told in
        ["devices.csv: line 2, column groups: ", "line 4, column id: s-1 is in line 3 already", "nothing was changed"]
    {
        assert!(wrong.code == 2 && wrong.err.contains(told), "{told}: {wrong:?}");
    }
    assert!(!machine.path("fleet").exists());

    write(&machine, 4);
    machine.principal(&["create", "worker", "s-1", "--tenant", "acme"]).ok();
    machine.principal(&["create", "device", "s-2", "--tenant", "acme", "--group", "other"]).ok();
    let dry = provision(&machine, &["--dry-run"]);
    let counts = "would provision 2 devices (2 new principals); 0 are done; 2 would be refused; nothing was changed";
    assert!(dry.code == 8 && dry.err.contains(counts), "{dry:?}");
    assert!(!machine.path("fleet").exists() && machine.principal(&["get", "s-0", "--tenant", "acme"]).code == 3);

    let partial = provision(&machine, &[]);
    assert!(partial.code == 8 && partial.err.contains("2 provisioned (2 new principals), 0 done before, 2 failed"));
    for told in ["s-1", "is a worker, not a device", "s-2", "its groups are other, not sensors, north"] {
        let text = partial.out.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(told), "{told}: {partial:?}");
    }
    assert_no_token(&partial, &machine.path("fleet"));
    machine.principal(&["update", "s-2", "--tenant", "acme", "--group", "north", "--group", "sensors"]).ok();
    let again = provision(&machine, &["-o", "json"]);
    assert_eq!((again.code, results(&again).join(" ")), (8, "failed kept kept provisioned".to_owned()));
    machine.principal(&["delete", "s-1", "--tenant", "acme", "--yes"]).ok();

    // Files that are gone or damaged are not taken on trust.
    fs::remove_dir_all(machine.path("fleet/s-0")).unwrap();
    fs::write(machine.path("fleet/s-3/key.pem"), "").unwrap();
    fs::write(machine.path("devices.csv"), "id\ns-0\ns-2\ns-3\n").unwrap();
    let healed = provision(&machine, &["-o", "json"]);
    assert_eq!((healed.code, results(&healed).join(" ")), (8, "failed kept provisioned".to_owned()), "{healed:?}");
    let forced = provision(&machine, &["-o", "json", "--force"]).ok();
    let replaced = |row: &&Value| row["replaced"].as_str().is_some_and(|text| text.contains("no identity"));
    assert_eq!(forced.json().as_array().unwrap().iter().filter(replaced).count(), 1, "{forced:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_whose_run_was_killed_or_stopped_goes_on_where_it_was() {
    let (machine, server) = environment("").await;
    write(&machine, 24);
    let mut child = machine.spawn(&PROVISION, &[]);
    until("some are done", Duration::from_secs(60), || logged(&machine) >= 4);
    child.kill().unwrap();
    child.wait().unwrap();
    let before = logged(&machine);
    assert!((4..24).contains(&before), "{before}");

    let child = machine.spawn(&[&PROVISION[..], &["--jobs", "2"]].concat(), &[]);
    until("some more are done", Duration::from_secs(60), || logged(&machine) >= before + 2);
    let signal = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(signal.success());
    let stopped = finish(child);
    for told in ["stopped: interrupted", "not started", "run the same command again"] {
        assert!(stopped.code == 8 && stopped.err.contains(told), "{told}: {stopped:?}");
    }

    let done = logged(&machine);
    assert!(done < 24, "{done}");
    let last = provision(&machine, &["-o", "json"]).ok();
    assert!(last.out.contains("\"kept\""), "some were done by an earlier run: {last:?}");
    assert_eq!(results(&last).len(), 24);
    assert_no_token(&last, &machine.path("fleet"));
    assert_whole(&machine, 24);
    let nothing = provision(&machine, &[]).ok();
    assert!(nothing.err.contains("0 provisioned (0 new principals), 24 done before, 0 failed"), "{nothing:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_runs_at_once_each_device_gets_one_identity() {
    let (machine, server) = environment("").await;
    write(&machine, 6);
    let patient = [&PROVISION[..], &["--timeout", "60s"]].concat();
    let both = [0, 1].map(|_| machine.spawn(&patient, &[]));
    for child in both {
        finish(child).ok();
    }
    assert_whole(&machine, 6);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_at_the_pace_that_the_server_asks_for() {
    let (machine, server) = environment("[limits]\nanonymous_calls_per_second_per_address = 1\n").await;
    // Ten at once, then one a second.
    write(&machine, 13);
    let start = Instant::now();
    let done = provision(&machine, &["-v"]).ok();
    assert!(done.err.contains("enrolling: ") && done.err.contains("retrying"), "it was never asked to wait: {done:?}");
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    assert_whole(&machine, 13);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_ends_at_once_where_no_device_could_be_provisioned() {
    let (machine, server) = environment("").await;
    write(&machine, 40);
    machine.principal(&["tenant", "update", "acme", "--quota", "principals=5"]).ok();
    let full = provision(&machine, &["-o", "json", "--jobs", "1"]);
    assert!(full.err.contains("stopped: ") && full.err.contains("principals"), "{full:?}");
    let stopped =
        ["failed", "not_started", "provisioned"].map(|result| results(&full).iter().filter(|r| *r == result).count());
    assert_eq!((full.code, stopped), (5, [1, 34, 5]), "{full:?}");
    machine.principal(&["tenant", "update", "acme", "--quota", "principals=0"]).ok();
    server.stop().await;
    let gone = provision(&machine, &["--timeout", "1s"]);
    assert!(gone.code == 6, "{gone:?}");
    assert_eq!(logged(&machine), 5);
}
