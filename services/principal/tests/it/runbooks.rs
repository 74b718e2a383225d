//! Every `principal` command in the runbooks, docs/, the README and the page on bootstrap exists, and does what the
//! page
//! says.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::Duration,
};

use clap::Parser;
use serde_json::Value;
use signet_principal::cli::Cli;

use crate::{
    run::{Machine, Outcome},
    server::{Server, bootstrap, ready, until},
};

/// What the documents call a certificate or a token that the reader looks up.
const EXAMPLE: &str = "01a20162dddb7ceeae659e2b1f73318d";

/// Commands that are not run here, by their beginning, and why.
const NOT_RUN: [(&str, &str); 10] = [
    ("principal bootstrap --from-terraform", "needs an environment in AWS: scripts/environment-round runs it"),
    ("principal bootstrap --local", "made the environment that all others run in"),
    ("principal token create device --id sensor-004", "shows a code on a terminal: joining.rs has one"),
    (
        "principal ca rotate --tenant system --kind server",
        "clients learn the anchor in a day: app's bootstrap.rs has one",
    ),
    ("principal restore --from-terraform", "needs an environment in AWS; on SQLite, RestoreStore.md runs it"),
    ("principal suspend admin --tenant system", "nobody suspends itself: it is said to the new admin of that page"),
    ("principal access-token get --audience jobs", "needs permissions of jobs: tokens.rs has one"),
    ("principal message sign --secret-file secret.txt", "reads standard input: messages.rs has one"),
    ("principal broker-token get", "needs topics: OnboardMqttPartner.md and tokens.rs have some"),
    ("principal --context svc access-token introspect token.txt", "needs a token: tokens.rs has one"),
];

/// Commands that end otherwise than with 0 where nothing was rotated, restored or refused before.
const OTHERWISE: [(&str, &str, i32, &str); 2] = [
    ("RotateCertificateAuthority.md", "ca rotate --tenant acme --activate", 5, "not within an hour after --prepare"),
    ("LoseRegion.md", "tenant create acme", 5, "in another region: here it is the same"),
];

/// What AUTHORIZATION.md shows as a file.
const RULES: &str = include_str!("../../authz.sample.toml");

/// Its first TOML is what services may on a broker.
const PARTNER: &str = include_str!("../../../../runbooks/OnboardMqttPartner.md");

/// What ProvisionDevices.md shows as a file.
const DEVICES: &str = "id,groups,display_name\nsensor-002,sensors;north,\"Hall 1, left\"\nsensor-003,sensors;south,\n";

/// All pages of these folders are documents.
const FOLDERS: [&str; 5] = ["docs", "docs/concepts", "docs/guides", "docs/reference", "runbooks"];

fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut documents = ["README.md", "AUTHORIZATION.md", "MESSAGES.md", "TOKENS.md", "infra/BOOTSTRAP.md"]
        .map(|page| root.join(page))
        .to_vec();
    for folder in FOLDERS {
        documents.extend(fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()));
    }
    documents.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    documents.sort();
    documents
}

#[test]
fn the_commands_of_the_documents_parse() {
    let mut seen = 0;
    for document in documents() {
        for line in commands(&fs::read_to_string(&document).unwrap()) {
            seen += 1;
            let words = line.split_whitespace().map(|word| if word == "SERIAL" { EXAMPLE } else { word });
            if let Err(error) = Cli::try_parse_from(words) {
                panic!("{}: {line}\n{error}", document.display());
            }
        }
    }
    assert!(seen > 20, "only {seen} commands were found");
}

#[test]
fn the_page_on_authorization_shows_the_file_that_is_tested() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../AUTHORIZATION.md")).unwrap();
    let shown = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    assert_eq!(shown, Some(RULES));
}

/// Commands at a prompt, and commands in backticks that are whole, in their order.
fn commands(text: &str) -> Vec<String> {
    let mut found: Vec<(usize, &str)> = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        found.extend(line.strip_prefix("$ ").map(|command| (at, command)));
        at += line.len();
    }
    at = 0;
    for (number, code) in text.split('`').enumerate() {
        if number % 2 == 1 && !code.contains('\n') {
            found.push((at, code));
        }
        at += code.len() + 1;
    }
    found.sort_unstable();
    let whole = |line: &&str| line.starts_with("principal ") && line.split_whitespace().count() > 1;
    let all = found.into_iter().map(|(_, line)| line).filter(whole);
    all.map(|line| line.split(" #").next().unwrap_or(line).trim().to_owned()).collect()
}

/// A tenant of its own for each document, with what the documents presuppose.
struct Page<'a> {
    machine: &'a Machine,
    server: &'a Server,
    tenant: String,
    serial: String,
    token: String,
}

impl<'a> Page<'a> {
    fn new(machine: &'a Machine, server: &'a Server, number: usize, commands: &[String]) -> Self {
        let has = |part: &str| commands.iter().any(|command| command.contains(part));
        let first = commands.iter().find(|command| command.contains("acme"));
        let mut page =
            Self { machine, server, tenant: format!("acme-{number}"), serial: String::new(), token: String::new() };
        if first.is_none_or(|first| first.contains("tenant create acme")) {
            return page;
        }
        page.run("principal tenant create acme").ok();
        if !has("rule create ci") {
            let rule = "--github-repo acme/api --oidc-audience signet --type service --id-template ci-api";
            page.run(&format!("principal enrollment rule create ci {rule} --tenant acme")).ok();
        }
        let token = page.run("principal token create worker --id crawler-1 --tenant acme --secret-file token -o json");
        page.token = token.ok().json()["token_id"].as_str().unwrap().to_owned();
        let enroll = "principal enroll --server https://example.com --ca-file root.pem --token-file token";
        page.run(&format!("{enroll} --save-context first -q")).ok();
        let held = page.run("principal cert list crawler-1 --tenant acme -o json").ok().json();
        page.serial = held[0]["serial_number"].as_str().unwrap().to_owned();
        page
    }

    /// Runs a command of the document with what its words stand for here. Who reads it answers the question.
    fn run(&self, command: &str) -> Outcome {
        let mut words: Vec<String> = Vec::new();
        for word in command.split_whitespace().skip(1) {
            let before = words.last().map_or("", String::as_str);
            words.push(match (before, word) {
                ("--server", _) => self.server.url(),
                ("--ca-file", _) => self.machine.home().join("contexts/local/ca.pem").display().to_string(),
                ("--from-file", _) => "backup.db".to_owned(),
                ("--config", _) => "env/signet.toml".to_owned(),
                ("--save-context" | "--context", name) => format!("{name}-{}", self.tenant),
                ("revoke", EXAMPLE) if command.contains("token revoke") => self.token.clone(),
                (_, EXAMPLE | "SERIAL") => self.serial.clone(),
                (_, "acme.1") => format!("{}.1", self.tenant),
                (_, "acme") => self.tenant.clone(),
                (_, word) => word.to_owned(),
            });
        }
        let asks = ["suspend", "delete", "revoke", "restore", "--retire", "--force"];
        if words.iter().any(|word| asks.contains(&word.as_str())) {
            words.push("--yes".into());
        }
        words.dedup_by(|last, before| last == "--yes" && before == "--yes");
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.machine.principal(&words)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_documents_run_and_end_well() {
    let machine = Machine::new();
    bootstrap(&machine);
    // It is whole: nobody has it open.
    fs::copy(machine.path("env/signet.db"), machine.path("backup.db")).unwrap();
    let server = Server::start(&machine.path("env/signet.toml")).await;
    ready(&machine);
    // A sealed minute, whose head somebody keeps.
    server.ahead_millis.store(120_000, Ordering::Relaxed);
    let head = || machine.principal(&["audit", "verify", "-o", "json", "-q"]).ok().json()["head"].clone();
    until("sealing", Duration::from_secs(30), || head() != Value::Null);
    server.ahead_millis.store(0, Ordering::Relaxed);
    fs::write(machine.path("rules.toml"), RULES).unwrap();
    fs::write(machine.path("devices.csv"), DEVICES).unwrap();
    let mqtt = PARTNER.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    fs::write(machine.path("mqtt.toml"), mqtt).unwrap();
    fs::write(machine.path("head.json"), head().to_string()).unwrap();

    let (mut run, mut wrong) = (0, Vec::new());
    for (number, document) in documents().into_iter().enumerate() {
        let name = document.file_name().unwrap().to_str().unwrap().to_owned();
        let commands = commands(&fs::read_to_string(&document).unwrap());
        let page = Page::new(&machine, &server, number, &commands);
        for command in commands {
            if NOT_RUN.iter().any(|(beginning, _)| command.starts_with(beginning)) {
                continue;
            }
            let otherwise = OTHERWISE.iter().find(|(page, part, ..)| *page == name && command.ends_with(part));
            let outcome = page.run(&command);
            if outcome.code != otherwise.map_or(0, |(_, _, code, _)| *code) {
                wrong.push(format!("{name}: {command}: {outcome:?}"));
            }
            run += 1;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(run > 100, "only {run} commands were run");
    server.stop().await;
}
