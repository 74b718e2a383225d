//! Answers that get lost on the way, and what the next run makes of that.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    run::{Machine, finish, mode},
    server::{Server, bootstrap, ready, until},
};

/// Bytes from the caller after its ClientHello that are more than the rest of the handshake and HTTP/2's greeting
/// (about 250), and less than these with an enrollment (about 900).
const ASKED: usize = 550;

/// Hands on what the caller says, and what it hears until it has asked for something.
fn one_way(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for caller in listener.incoming() {
            let (mut caller, mut server) = (caller.unwrap(), TcpStream::connect(to).unwrap());
            let (mut answers, mut heard) = (server.try_clone().unwrap(), caller.try_clone().unwrap());
            let (flight, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
            let (begun, ended) = (Arc::clone(&flight), Arc::clone(&over));
            thread::spawn(move || {
                let mut buffer = [0; 16 * 1024];
                while let Ok(read @ 1..) = answers.read(&mut buffer) {
                    if !ended.load(Ordering::SeqCst) {
                        begun.store(true, Ordering::SeqCst);
                        // The caller may be gone.
                        let _: std::io::Result<()> = heard.write_all(&buffer[..read]);
                    }
                }
            });
            thread::spawn(move || {
                let (mut buffer, mut said) = ([0; 16 * 1024], 0);
                while let Ok(read @ 1..) = caller.read(&mut buffer) {
                    said += if flight.load(Ordering::SeqCst) { read } else { 0 };
                    over.store(said > ASKED, Ordering::SeqCst);
                    let _: std::io::Result<()> = server.write_all(&buffer[..read]);
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enrollment_whose_answer_was_lost_is_gone_on_with() {
    let machine = Machine::new();
    bootstrap(&machine);
    let server = Server::start(&machine.path("env/signet.toml")).await;
    ready(&machine);
    machine.principal(&["tenant", "create", "acme"]).ok();
    machine.principal(&["token", "create", "worker", "--id", "w-1", "--tenant", "acme", "--secret-file", "token"]).ok();
    std::fs::write(machine.path("ca.pem"), machine.principal(&["ca", "bundle", "--root"]).ok().out).unwrap();
    let enroll_with = |url: &str, token: &str| {
        let trusting = ["--ca-file", "ca.pem", "--server-name", "localhost", "--token-file", token, "--out", "w-1"];
        machine.spawn(&[&["enroll", "--server", url], &trusting[..]].concat(), &[])
    };
    let enroll = |url: &str| enroll_with(url, "token");
    let pending = machine.path("w-1/.signet.enrolling");

    let lossy = one_way(server.running.grpc_addr);
    let mut child = enroll(&format!("https://{lossy}"));
    let used =
        || machine.principal(&["token", "list", "--tenant", "acme", "-o", "json"]).ok().json()[0]["uses_left"] == 0;
    until("the token is used", Duration::from_secs(20), used);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(mode(&pending), 0o600);
    assert!(!machine.path("w-1/cert.pem").exists());

    // A mistyped token in between costs nothing.
    let text = std::fs::read_to_string(machine.path("token")).unwrap();
    let other: String = text.trim().chars().rev().enumerate().map(|(n, c)| if n < 8 { 'a' } else { c }).collect();
    std::fs::write(machine.path("mistyped"), other.chars().rev().collect::<String>()).unwrap();
    let refused = finish(enroll_with(&server.url(), "mistyped"));
    assert_eq!(refused.code, 4, "{refused:?}");

    finish(enroll(&server.url())).ok();
    assert!(!pending.exists(), "its outcome is stored");
    let held = machine.principal(&["cert", "list", "w-1", "--tenant", "acme", "-o", "json"]).ok().json();
    assert_eq!(held.as_array().unwrap().len(), 1, "{held}");
    server.stop().await;
}
