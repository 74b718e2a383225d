//! Several programs in one context at the same time: cron and a person, the jobs of a matrix.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
};

use crate::{
    run::{Machine, finish},
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
