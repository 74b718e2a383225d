//! Several programs in one context at the same time: cron and a person, the jobs of a matrix.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
};

use crate::{
    run::{Machine, Outcome, finish},
    server::{Server, bootstrap, ready},
};

async fn environment() -> (Machine, Server) {
    let machine = Machine::new();
    bootstrap(&machine);
    let server = Server::start(&machine.path("env/signet.toml")).await;
    ready(&machine);
    (machine, server)
}

fn serial(machine: &Machine) -> String {
    let me = machine.principal(&["whoami", "-o", "json"]).ok().json();
    me["serial_number"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_renewals_at_once_one_renews_and_the_other_takes_what_it_got() {
    let (machine, server) = environment().await;
    let before = serial(&machine);
    let lock = File::options().write(true).open(machine.home().join("contexts/local/.signet.lock")).unwrap();
    lock.lock().unwrap();
    let mut both = [0, 1].map(|_| machine.spawn(&["cert", "renew", "-o", "json"], &[]));
    // Both have read the certificate that there was when they say that they wait.
    let mut remarks: Vec<_> = both.iter_mut().map(|child| BufReader::new(child.stderr.take().unwrap())).collect();
    for remarks in &mut remarks {
        let mut said = String::new();
        remarks.read_line(&mut said).unwrap();
        assert!(said.contains("waiting for another"), "{said}");
    }
    drop(lock);
    let serials = both.map(|child| finish(child).ok().json()["serial_number"].as_str().unwrap().to_owned());
    assert_eq!(serials[0], serials[1]);
    let taken = remarks.into_iter().map(|remarks| std::io::read_to_string(remarks).unwrap());
    assert_eq!(taken.filter(|said| said.contains("another `principal` process has just renewed it")).count(), 1);
    assert!(serials[0] != before && serial(&machine) == serials[0]);
    server.stop().await;
}

/// A context whose certificate is due from the start: it begins a minute before it is made, and lives for one.
async fn worker(machine: &Machine, server: &Server) {
    machine.principal(&["tenant", "create", "acme", "--lifetime", "worker=1m", "--renewal-grace", "1h"]).ok();
    machine.principal(&["token", "create", "worker", "--id", "w-1", "--tenant", "acme", "--secret-file", "token"]).ok();
    let (url, place) = (server.url(), ["--token-file", "token", "--save-context", "worker"]);
    machine.principal(&[&["enroll", "--server", &url, "--ca-file", "env/server/root.pem"], &place[..]].concat()).ok();
}

fn held(machine: &Machine) -> String {
    let shown = machine.principal(&["context", "show", "worker", "-o", "json"]).ok().json();
    shown["serial_number"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_due_is_renewed_by_any_command_unless_told_otherwise() {
    let (machine, server) = environment().await;
    worker(&machine, &server).await;
    let first = held(&machine);
    let told = machine.principal(&["--context", "worker", "--no-renew", "whoami"]).ok();
    assert!(held(&machine) == first && !told.err.contains("renewed"), "{told:?}");
    // Where it cannot be renewed, the command stands, and says so.
    let lock = machine.home().join("contexts/worker/.signet.lock");
    std::fs::remove_file(&lock).unwrap();
    std::fs::create_dir(&lock).unwrap();
    let warned = machine.principal(&["--context", "worker", "whoami", "-o", "json"]).ok();
    assert!(
        warned.err.contains("could not be renewed") && warned.err.contains("principal --context worker cert renew"),
        "{warned:?}"
    );
    assert_eq!(warned.json()["serial_number"].as_str(), Some(first.as_str()));
    let quiet = machine.principal(&["--context", "worker", "whoami", "-q"]).ok();
    assert!(quiet.err.is_empty(), "{quiet:?}");
    std::fs::remove_dir(&lock).unwrap();

    // Many at once renew once: the others find the lock taken, or the new certificate.
    let commands: Vec<_> = (0..6).map(|_| machine.spawn(&["--context", "worker", "whoami"], &[])).collect();
    let renewed = commands.into_iter().map(finish).map(Outcome::ok);
    let renewed = renewed.filter(|outcome| outcome.err.contains("renewed the certificate of context worker")).count();
    assert!(renewed >= 1 && held(&machine) != first, "{renewed}");
    let listed = machine.principal(&["cert", "list", "w-1", "--tenant", "acme", "-o", "json"]).ok().json();
    assert_eq!(listed.as_array().unwrap().len(), renewed + 1, "{listed}");
    assert!(listed.as_array().unwrap().iter().all(|one| one["state"] == "issued"), "nobody was locked out: {listed}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_renewals_at_once_lock_nobody_out() {
    let (machine, server) = environment().await;
    for _ in 0..4 {
        let children: Vec<_> = (0..4).map(|_| machine.spawn(&["cert", "renew", "--timeout", "60s"], &[])).collect();
        for child in children {
            finish(child).ok();
        }
        serial(&machine);
    }
    server.stop().await;
}
