//! `principal login` at a real OpenID Connect provider, by a person made of fetch calls.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use crate::{
    run::{Machine, Outcome, finish, mode},
    server::{Server, bootstrap, ready},
};

/// The provider, running until it is dropped.
struct Provider {
    issuer: String,
    child: Child,
    _stdin: ChildStdin,
    /// It writes notices, and would end if nobody could read them.
    _stdout: BufReader<ChildStdout>,
}

fn node(script: &str) -> Command {
    let folder = env::var_os("SIGNET_JUDGES")
        .unwrap_or_else(|| panic!("SIGNET_JUDGES is not set: export SIGNET_JUDGES=$(scripts/judges)"));
    let mut command = Command::new(Path::new(&folder).join("oidc-provider"));
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oidc").join(script));
    command
}

impl Provider {
    fn start() -> Self {
        let mut command = node("provider.mjs");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut issuer = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut issuer).unwrap();
        let stdin = child.stdin.take().unwrap();
        Self { issuer: issuer.trim().to_owned(), child, _stdin: stdin, _stdout: stdout }
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _: std::io::Result<()> = self.child.kill();
        let _: std::io::Result<std::process::ExitStatus> = self.child.wait();
    }
}

/// Runs a login to its end: reads the page to open, and signs in there as `name`.
fn login(machine: &Machine, arguments: &[&str], name: &str, wish: &str) -> Outcome {
    let mut child = machine.spawn(&[&["login", "-o", "json"], arguments].concat(), &[]);
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let (mut all, mut page) = (String::new(), None);
    while page.is_none() {
        let mut line = String::new();
        if said.read_line(&mut line).unwrap() == 0 {
            break;
        }
        // The device flow's first line has the page where the code must be typed, the second one has both.
        let address = line.split_ascii_whitespace().find(|word| word.starts_with("http"));
        page = address.filter(|_| !line.contains("enter the code")).map(str::to_owned);
        all.push_str(&line);
    }
    if let Some(page) = page {
        let output = node("person.mjs").args([&page, name, wish]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    std::io::Read::read_to_string(&mut said, &mut all).unwrap();
    let mut outcome = finish(child);
    outcome.err = all;
    outcome
}

/// An environment with a tenant that believes the provider about who is in the group sre.
async fn world(machine: &Machine, provider: &Provider) -> Server {
    bootstrap(machine);
    let config: PathBuf = machine.path("env/signet.toml");
    let mut file = fs::OpenOptions::new().append(true).open(&config).unwrap();
    writeln!(file, "\n[enrollment]\nprivate_issuers = [\"{}\"]", provider.issuer).unwrap();
    let server = Server::start(&config).await;
    ready(machine);
    machine.principal(&["tenant", "create", "acme", "--lifetime", "user=1h"]).ok();
    let rule = ["enrollment", "rule", "create", "sre", "--tenant", "acme", "--oidc-audience", "signet"];
    let who = ["--oidc-issuer", &provider.issuer, "--condition", "groups=sre"];
    machine.principal(&[&rule[..], &who, &["--type", "user", "--id-template", "{sub}"]].concat()).ok();
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_in_with_a_code_or_a_browser_and_again_later() {
    let (machine, provider) = (Machine::new(), Provider::start());
    let server = world(&machine, &provider).await;
    let (url, ca_file) = (server.url(), machine.home().join("contexts/local/ca.pem"));
    let place = ["--save-context", "work", "--server", &url, "--ca-file", ca_file.to_str().unwrap()];
    let who = ["--issuer", &provider.issuer, "--client-id", "signet", "--tenant", "acme", "--scope", "groups"];
    let first = [&place[..], &who].concat();

    let done = login(&machine, &first, "sre-ann", "").ok();
    assert!(done.err.contains("enter the code"), "{done:?}");
    assert_eq!(done.json()["spiffe_id"], "spiffe://acme.signet.internal/user/sre-ann");
    let me = machine.principal(&["--context", "work", "whoami", "-o", "json"]).ok().json();
    assert_eq!(me["spiffe_id"], "spiffe://acme.signet.internal/user/sre-ann");
    assert_eq!(mode(&machine.home().join("contexts/work/key.pem")), 0o600);

    // Again, with a browser: the context knows the rest. A new certificate for a new key takes the old one's place.
    let key = fs::read(machine.home().join("contexts/work/key.pem")).unwrap();
    let again = login(&machine, &["--context", "work", "--browser"], "sre-ann", "").ok();
    assert_ne!(again.json()["serial_number"], done.json()["serial_number"]);
    assert_ne!(fs::read(machine.home().join("contexts/work/key.pem")).unwrap(), key);
    let listed = fs::read_to_string(machine.home().join("contexts.toml")).unwrap();
    assert!(listed.contains("client_id = \"signet\"") && !listed.contains("eyJ"), "{listed}");

    // No rule for guests; who denies, or does not come, gets nothing; the old certificate stays.
    let guest = login(&machine, &["--context", "work", "--device"], "ann", "");
    assert_eq!(guest.code, 4, "{guest:?}");
    assert!(!guest.err.contains("groups"), "only the audit log says why: {guest:?}");
    let denied = login(&machine, &["--context", "work", "--device"], "sre-ann", "deny");
    assert!(denied.code == 4 && denied.err.contains("denied"), "{denied:?}");
    let late = machine.principal(&["--context", "work", "login", "--device", "--patience", "1s"]);
    assert!(late.code == 4 && late.err.contains("before anybody signed in"), "{late:?}");
    machine.principal(&["--context", "work", "whoami"]).ok();
    // An admin's context is not overwritten by mistake.
    let admin = machine.principal(&["--context", "local", "login"]);
    assert!(admin.code == 2 && admin.err.contains("not created by `principal login`"), "{admin:?}");
    server.stop().await;
}

#[test]
fn what_is_missing_or_wrong_is_said_before_anybody_signs_in() {
    let machine = Machine::new();
    bootstrap(&machine);
    fs::copy(machine.home().join("contexts/local/ca.pem"), machine.path("root.pem")).unwrap();
    machine.add_dead_context("work");
    let login = |more: &[&str]| machine.principal(&[&["login", "--save-context", "work"], more].concat());
    fs::write(machine.path("ca.pem"), signet_x509::pem::encode_certificate(b"not looked at")).unwrap();
    let full = ["--issuer", "http://127.0.0.1:1", "--client-id", "x", "--tenant", "acme"];
    for (arguments, word) in [
        (&[][..], "--issuer"),
        (&["--issuer", "https://h"], "--client-id"),
        (&["--issuer", "https://h", "--client-id", "x"], "--tenant"),
        (&full, "trust"),
        (&[&full[..], &["--ca-sha256", "ab"]].concat(), "64 hexadecimal"),
    ] {
        let outcome = login(arguments);
        assert!(outcome.code == 2 && outcome.err.contains(word), "{arguments:?}: {outcome:?}");
    }
    let unreachable = login(&[&full[..], &["--ca-file", "ca.pem"]].concat());
    assert_eq!(unreachable.code, 2, "a root that is no certificate: {unreachable:?}");
    let clear =
        ["--issuer", "http://login.example.com", "--client-id", "x", "--tenant", "acme", "--ca-file", "root.pem"];
    let outcome = login(&clear);
    assert!(outcome.code == 2 && outcome.err.contains("https://"), "{outcome:?}");
    let away = login(&[&full[..], &["--ca-file", "root.pem"]].concat());
    assert!(away.code == 6 && away.err.contains("cannot be reached"), "{away:?}");
}

#[test]
fn what_is_in_clear_for_this_machine_goes_past_every_proxy() {
    let machine = Machine::new();
    bootstrap(&machine);
    fs::copy(machine.home().join("contexts/local/ca.pem"), machine.path("root.pem")).unwrap();
    machine.add_dead_context("work");
    // A proxy that says no, so that a request through it is seen by its answer.
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in proxy.incoming().flatten() {
            let _: std::io::Result<()> = stream.write_all(b"HTTP/1.1 418 Proxy\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let login = ["login", "--save-context", "work", "--issuer", "http://127.0.0.1:1", "--client-id", "x"];
    let arguments = [&login[..], &["--tenant", "acme", "--ca-file", "root.pem"]].concat();
    let variables = ["HTTP_PROXY", "http_proxy", "ALL_PROXY"].map(|name| (name, address.as_str()));
    let away = machine.principal_with(&arguments, &variables, b"");
    assert!(away.code == 6 && away.err.contains("cannot be reached") && !away.err.contains("418"), "{away:?}");
}
