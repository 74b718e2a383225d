//! The whole way through the real binary, against a control plane in this process.

use std::{fs, io::Read as _, path::Path, sync::atomic::Ordering, time::Duration};

use serde_json::Value;

use crate::{
    run::{Machine, Outcome, finish, mode},
    server::{Server, bootstrap, ready, until},
};

fn states(outcome: &Outcome) -> Vec<String> {
    let items = outcome.json().as_array().unwrap().clone();
    items.iter().map(|item| item["status"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn bootstrap_makes_everything_once() {
    let machine = Machine::new();
    let first = states(&bootstrap(&machine));
    assert!(first.len() > 10 && first.iter().all(|state| state == "created"), "{first:?}");
    let before = snapshot(&machine.path("."));
    let second = states(&bootstrap(&machine));
    assert_eq!(second, vec!["exists"; first.len()]);
    assert_eq!(snapshot(&machine.path(".")), before);
    assert_eq!(mode(&machine.path("env/passphrase")), 0o600);
    assert_eq!(mode(&machine.home().join("contexts/local/key.pem")), 0o600);
}

/// All small files below `dir` with their content; the database's own files are compared by nothing.
fn snapshot(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            files.extend(snapshot(&path));
        } else if !path.to_string_lossy().contains("signet.db") {
            files.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    files.sort();
    files
}

/// A lost, mistyped or foreign store: a new root would take the place of the one that everybody trusts.
#[test]
fn bootstrap_makes_no_second_root_where_one_is_published() {
    let machine = Machine::new();
    bootstrap(&machine);
    let (store, away) = (machine.path("env/signet.db"), machine.path("away.db"));
    fs::rename(&store, &away).unwrap();
    let before = snapshot(&machine.path("."));
    let addresses = ["--grpc-address", "--public-address", "--metrics-address"].map(|name| [name, "127.0.0.1:0"]);
    let again = [&["bootstrap", "--local", "env"][..], &addresses.concat()].concat();
    let refused = machine.principal(&again);
    assert!(refused.code == 1 && refused.err.contains("published is not in the store"), "{refused:?}");
    assert!(before.iter().all(|file| snapshot(&machine.path(".")).contains(file)), "it changes nothing");
    fs::rename(&away, &store).unwrap();
    assert_eq!(states(&bootstrap(&machine)).iter().filter(|state| *state == "created").count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_gets_its_identity_uses_it_renews_it_and_loses_it() {
    let machine = Machine::new();
    bootstrap(&machine);
    let server = Server::start(&machine.path("env/signet.toml")).await;
    ready(&machine);
    let me = machine.principal(&["whoami", "-o", "json"]).ok().json();
    assert_eq!(me["spiffe_id"], "spiffe://system.signet.internal/admin/admin");

    tenants_and_principals(&machine);
    enroll(&machine, &server);
    rules(&machine);
    let worker = ["--context", "worker"];
    let as_worker = |arguments: &[&str]| machine.principal(&[&worker[..], arguments].concat());
    let before = as_worker(&["whoami", "-o", "json"]).ok().json();
    assert_eq!(before["spiffe_id"], "spiffe://acme.signet.internal/worker/crawler-1");
    assert_eq!(as_worker(&["list"]).code, 4);
    assert_eq!(as_worker(&["get", "crawler-1", "--tenant", "globex"]).code, 3);

    let renewed = as_worker(&["cert", "renew"]).ok();
    assert!(!renewed.err.contains("was not told"), "{renewed:?}");
    let after = as_worker(&["whoami", "-o", "json"]).ok().json();
    assert_ne!(before["serial_number"], after["serial_number"]);
    let listed = as_worker(&["cert", "list", "-o", "json"]).ok().json();
    assert_eq!(listed[0]["serial_number"], after["serial_number"]);
    assert!(listed[0]["confirm_time"].is_string(), "{listed}");

    let (issuer, serial) = (after["issuer_id"].as_str().unwrap(), after["serial_number"].as_str().unwrap());
    let pem = as_worker(&["cert", "get", issuer, serial, "--pem"]).ok().out;
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"), "{pem}");
    let mut watcher = machine.spawn(&["--context", "worker", "trust", "watch"], &[]);
    // Its first line says that the stream is open.
    let mut line = [0; 1];
    watcher.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    machine
        .principal(&["cert", "revoke", issuer, serial, "--tenant", "acme", "--reason", "key-compromise", "--yes"])
        .ok();
    let cut = finish(watcher);
    assert!(cut.code == 4 && cut.out.contains("acme.signet.internal"), "{cut:?}");
    until("the refusal", Duration::from_secs(5), || as_worker(&["whoami"]).code == 4);
    let examined = as_worker(&["doctor", "-o", "json"]);
    assert_eq!(examined.code, 1);
    let failed = examined.json().as_array().unwrap().iter().any(|c| c["check"] == "TLS" && c["status"] == "fail");
    assert!(failed, "{examined:?}");

    suspended(&machine);
    audit(&machine, &server);
    let examined = machine.principal(&["doctor", "-o", "json"]).ok().json();
    assert!(examined.as_array().unwrap().iter().all(|check| check["status"] == "ok"), "{examined}");
    server.stop().await;
    assert_eq!(machine.principal(&["whoami", "--timeout", "2s"]).code, 6);
}

/// Who is suspended needs no new certificate, and the log says who knocked.
fn suspended(machine: &Machine) {
    let token = ["token", "create", "worker", "--id", "w-2", "--tenant", "acme", "--secret-file", "second", "-q"];
    let quiet = machine.principal(&token).ok();
    assert!(quiet.out.is_empty() && quiet.err.is_empty(), "{quiet:?}");
    let context = fs::read_to_string(machine.home().join("contexts.toml")).unwrap();
    let url = context.lines().find_map(|line| line.strip_prefix("endpoint = ")).unwrap().trim_matches('"').to_owned();
    let place = ["enroll", "--server", &url, "--ca-file", "env/server/root.pem", "--token-file", "second"];
    machine.principal(&[&place[..], &["--save-context", "second"]].concat()).ok();
    machine.principal(&["suspend", "w-2", "--tenant", "acme", "--yes"]).ok();
    let refused = || machine.principal(&["--context", "second", "whoami"]);
    until("the refusal", Duration::from_secs(5), || refused().code == 4);
    let advice = "principal activate w-2 --tenant acme";
    let told = refused();
    assert!(told.err.contains(advice) && !told.err.contains("enroll"), "{told:?}");
    let examined = machine.principal(&["--context", "second", "doctor"]).out;
    assert!(examined.contains(advice) && !examined.contains("enroll again"), "{examined}");
    let listed = || machine.principal(&["audit", "list", "--tenant", "acme"]).ok().out;
    let knocked = |line: &str| {
        ["Connect", "acme/worker/w-2", "certificate ", "PRINCIPAL_DENIED"].iter().all(|word| line.contains(word))
    };
    until("the event", Duration::from_secs(5), || listed().lines().any(knocked));
}

fn tenants_and_principals(machine: &Machine) {
    for tenant in ["acme", "globex"] {
        machine.principal(&["tenant", "create", tenant, "--lifetime", "worker=2h"]).ok();
    }
    // What an update does not name stays.
    machine.principal(&["tenant", "update", "globex", "--lifetime", "user=1h"]).ok();
    let lifetimes = machine.principal(&["tenant", "get", "globex", "-o", "json"]).ok().json()["lifetimes"].clone();
    let lifetimes: Vec<_> = lifetimes.as_array().unwrap().iter().map(|one| one["principal_type"].clone()).collect();
    assert!(lifetimes.len() == 2 && lifetimes.contains(&"worker".into()), "{lifetimes:?}");
    machine
        .principal(&["tenant", "update", "globex", "--subject", "device=tenant-cn", "--subject", "user=ou=Staff"])
        .ok();
    let after =
        machine.principal(&["tenant", "update", "globex", "--subject", "device=plain", "-o", "json"]).ok().json();
    assert_eq!(after["subjects"][0]["organizational_unit"], "Staff");
    assert_eq!(after["subjects"].as_array().map(Vec::len), Some(1), "{after}");
    let again = machine.principal(&["tenant", "create", "acme"]);
    assert_eq!(again.code, 5, "{again:?}");
    assert_eq!(machine.principal(&["tenant", "get", "none"]).code, 3);
    let repeat = ["create", "service", "api", "--tenant", "acme", "--request-id", "once", "-o", "json"];
    let first = machine.principal(&repeat).ok().json();
    assert_eq!(machine.principal(&repeat).ok().json(), first);
    let quiet = machine.principal(&["update", "api", "--group", "edge", "--tenant", "acme", "--quiet"]).ok();
    assert!(quiet.out.is_empty() && quiet.err.is_empty(), "{quiet:?}");
    let api = machine.principal(&["get", "api", "--tenant", "acme", "-o", "json"]).ok().json();
    assert_eq!(api["groups"], serde_json::json!(["edge"]));
    let cas = machine.principal(&["ca", "list", "--tenant", "acme", "-o", "json"]).ok().json();
    assert_eq!((&cas[0]["ca_id"], &cas[0]["state"]), (&Value::from("acme.1"), &Value::from("active")));
    let due = machine.principal(&["ca", "rotate", "--tenant", "acme"]).ok();
    assert!(due.err.contains("nothing is due"), "{due:?}");
    let first = machine.principal(&["ca", "list", "--tenant", "system", "--limit", "2", "-o", "json"]).ok();
    assert!(first.json().as_array().unwrap().len() == 2 && first.err.contains("see more"), "{first:?}");
    let quiet = machine.principal(&["ca", "list", "--tenant", "system", "--limit", "2", "-q"]).ok();
    assert!(quiet.err.contains("showing the first 2"), "a list that is cut says so: {quiet:?}");
    let bundle = machine.principal(&["ca", "bundle", "--tenant", "acme"]).ok().out;
    assert_eq!(signet_x509::pem::decode_certificates(&bundle).map(|all| all.len()), Some(1));
    for read in [&["list"][..], &["token", "list"], &["ca", "list"], &["get", "api"], &["audit", "tail"]] {
        let told = machine.principal(&[read, &["--tenant", "acmee"]].concat());
        assert!(told.code == 3 && told.err.contains("tenant acmee does not exist"), "{told:?}");
    }
    let tenants = machine.principal(&["tenant", "list"]).ok().out;
    assert_eq!(tenants.lines().count(), 4, "{tenants}");
    chosen_principals(machine);
}

/// Filters, order and columns are applied to the whole list, whatever the limit.
fn chosen_principals(machine: &Machine) {
    let names = |more: &[&str]| {
        let listed = machine.principal(&[&["list", "--tenant", "acme", "-o", "name"], more].concat()).ok();
        listed.out.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    for (kind, id, group) in [("worker", "f-2", "blue"), ("worker", "f-1", "green"), ("device", "d-1", "blue")] {
        machine.principal(&["create", kind, id, "--group", group, "--tenant", "acme"]).ok();
    }
    machine.principal(&["suspend", "f-2", "--tenant", "acme", "--yes"]).ok();
    assert_eq!(names(&["--type", "worker", "--sort", "principal"]), ["f-1", "f-2"]);
    assert_eq!(names(&["--type", "worker", "--sort", "-principal", "--limit", "1"]), ["f-2"]);
    assert_eq!(names(&["--group", "blue", "--status", "active"]), ["d-1"]);
    assert_eq!(names(&["--type", "worker", "--type", "device", "--group", "blue", "--sort", "type"]), ["d-1", "f-2"]);
    assert!(names(&["--role", "nobody-has-it"]).is_empty());
    let one = machine.principal(&["list", "--tenant", "acme", "--type", "worker", "--limit", "1"]).ok();
    assert!(one.err.contains("showing the first 1") && one.out.lines().count() == 2, "{one:?}");
    let all = machine.principal(&["list", "--tenant", "acme", "--status", "suspended", "--limit", "1"]).ok();
    assert!(all.out.contains("f-2") && all.err.is_empty(), "there are no more: {all:?}");
    // What is made is told in every format, and a secret is never lost.
    for format in ["name", "csv", "jsonpath=$.token_id", "jsonpath=$.secret"] {
        let made = machine.principal(&["token", "create", "worker", "--tenant", "acme", "-o", format]).ok();
        let secrets = [&made.out, &made.err].map(|text| text.matches("sgt_").count());
        assert_eq!(secrets.iter().sum::<usize>(), 1, "{format}: {made:?}");
    }
    let rotated = machine.principal(&["ca", "rotate", "--tenant", "acme", "-o", "name"]).ok();
    assert_eq!(rotated.out, "acme.1\n");
    let csv = ["list", "--tenant", "acme", "--status", "suspended", "-o", "csv", "--columns", "principal,groups"];
    assert_eq!(machine.principal(&csv).ok().out, "principal,groups\nf-2,blue\n");
    let none = machine.principal(&["list", "--tenant", "acme", "--group", "none"]).ok();
    assert!(none.out.trim().is_empty() && none.err.contains("nothing found"), "{none:?}");
    let by = |more: &[&str]| {
        machine.principal(&[&["audit", "list", "--tenant", "acme", "-o", "json"], more].concat()).ok().json()
    };
    let suspended = by(&["--principal", "f-2", "--operation", "suspendprincipal", "--since", "today"]);
    assert_eq!(suspended.as_array().map(Vec::len), Some(1), "{suspended}");
    let high = by(&["--principal", "f-2", "--severity", "high"]);
    assert_eq!(high.as_array().map(Vec::len), Some(1), "its creation is routine: {high}");
    assert_eq!(high[0]["entry"]["severity"], "high");
    let wide = ["audit", "list", "--tenant", "acme", "--principal", "f-2", "--severity", "info", "-o", "wide"];
    let wide = machine.principal(&wide).ok().out;
    assert!(wide.contains("SEVERITY") && wide.contains(" info ") && wide.contains(" high "), "{wide}");
    assert_eq!(by(&["--actor", "nobody"]), serde_json::json!([]));
}

fn enroll(machine: &Machine, server: &Server) {
    let token = ["token", "create", "worker", "--id", "crawler-1", "--tenant", "acme", "--secret-file", "token"];
    let made = machine.principal(&token).ok();
    let secret = fs::read_to_string(machine.path("token")).unwrap();
    assert!(!made.out.contains(secret.trim()) && !made.err.contains(secret.trim()));
    assert_eq!(mode(&machine.path("token")), 0o600);
    // A secret that cannot be written down is nobody's: its token does not stay.
    let long = format!("{}.token", "x".repeat(250));
    let lost = machine.principal(&["token", "create", "worker", "--tenant", "acme", "--secret-file", &long]);
    assert!(lost.code == 1 && lost.err.contains("has been revoked"), "{lost:?}");
    let tokens = machine.principal(&["token", "list", "--tenant", "acme", "-o", "json"]).ok().json();
    let revoked = tokens.as_array().unwrap().iter().filter(|token| !token["revoke_time"].is_null());
    assert_eq!(revoked.count(), 1, "{tokens}");
    let folder = machine.principal(&["token", "create", "worker", "--tenant", "acme", "--secret-file", "env"]);
    assert!(folder.code == 2 && folder.err.contains("is a folder"), "{folder:?}");
    let (url, public) = (server.url(), server.public());
    let root = fs::read_to_string(machine.home().join("contexts/local/ca.pem")).unwrap();
    let digest = signet_client::fingerprint(&signet_x509::pem::decode_certificates(&root).unwrap()[0]);
    let wrong = "0".repeat(64);
    let enroll = |pin: &str, name: &str| {
        let place = ["enroll", "--server", &url, "--ca-url", &public, "--ca-sha256", pin, "--token-file", "token"];
        machine.principal(&[&place[..], &["--save-context", name, "-vvv"]].concat())
    };
    assert_eq!(enroll(&wrong, "worker").code, 4);
    let done = enroll(&digest, "worker").ok();
    assert!(!done.err.contains(secret.trim()), "the log shows the token");
    let again = enroll(&digest, "thief");
    assert!(again.code == 4 && !again.err.contains(secret.trim()), "{again:?}");
    // What it hears leads an admin to the reason.
    let (_, id) = again.err.split_once("--correlation-id ").unwrap();
    let id: String = id.chars().take_while(char::is_ascii_alphanumeric).collect();
    let found = machine.principal(&["audit", "list", "--tenant", "acme", "--correlation-id", &id]).ok();
    assert!(found.out.lines().count() == 2 && found.out.contains("TOKEN_USED_UP"), "{found:?}");
}

fn rules(machine: &Machine) {
    let rule = |args: &[&str]| machine.principal(&[&["enrollment", "rule"], args, &["--tenant", "acme"]].concat());
    let fixed = ["--type", "worker", "--aws-account", "123456789012", "--aws-role", "worker"];
    let made = rule(&[&["create", "workers", "--id-template", "{session}"][..], &fixed].concat()).ok();
    assert!(made.err.contains("sts:RoleSessionName"), "whoever assumes the role chooses its name: {made:?}");
    let ambiguous = rule(&[&["create", "wide", "--id-template", "{session}"], &fixed[..4]].concat());
    assert!(ambiguous.code == 2 && ambiguous.err.contains("{role}"), "{ambiguous:?}");
    let ci = ["create", "ci", "--github-repo", "acme/api", "--oidc-audience", "signet", "--type", "service"];
    let made = rule(&[&ci[..], &["--id-template", "ci-api", "--claim", "ref=refs/heads/main", "-o", "json"]].concat());
    let made = made.ok().json();
    assert_eq!(made["oidc"]["issuer"], "https://token.actions.githubusercontent.com");
    assert_eq!(made["conditions"][1], serde_json::json!({"fact": "repository", "patterns": ["acme/api"]}));
    let listed = rule(&["list", "-o", "wide"]).ok().out;
    assert!(listed.contains("account=123456789012 role=worker") && listed.contains("repository=acme/api"), "{listed}");
    let facts = ["--fact", "account=123456789012", "--fact", "role=worker", "--fact", "session=i-0abc"];
    let found = rule(&[&["test", "aws-iam"][..], &facts].concat()).ok().out;
    assert!(found.contains("OTHER_PROOF") && found.contains("rule workers admits it as worker i-0abc"), "{found}");
    let none = rule(&[&["test", "aws-iam"][..], &facts[..4]].concat());
    assert!(
        none.code == 3 && none.out.contains("ID_FACT_MISSING") && none.out.contains("no rule admits it"),
        "{none:?}"
    );
    rule(&["delete", "workers", "--yes"]).ok();
    assert_eq!(rule(&["delete", "workers", "--yes"]).code, 3);
}

fn audit(machine: &Machine, server: &Server) {
    let verify = |more: &[&str]| {
        let fixed = ["audit", "verify", "--tenant", "acme", "-o", "json", "--quiet"];
        machine.principal(&[&fixed[..], more].concat())
    };
    let early = verify(&["--accept-head"]);
    assert!(early.code == 6 && early.err.contains("no checkpoint yet"), "{early:?}");
    // The minute closes, and its events are sealed.
    server.ahead_millis.store(120_000, Ordering::Relaxed);
    until("sealing", Duration::from_secs(30), || verify(&[]).ok().json()["sealed_events"].as_u64() >= Some(5));
    server.ahead_millis.store(0, Ordering::Relaxed);
    let report = verify(&["--all"]).ok().json();
    assert_eq!(report["findings"], serde_json::json!([]));
    assert_eq!(report["from_the_beginning"], true);
    let other = verify(&["--key-sha256", &"0".repeat(64)]);
    assert_eq!((other.code, &other.json()["findings"][0]["finding"]), (7, &Value::from("other_key")));
    let key = report["key_sha256"].as_str().unwrap();
    verify(&["--key-sha256", key]).ok();
    // What was seen is remembered; a log that lacks it is found, also by whoever noted its end.
    let head = machine.path("head.json");
    let mut noted = report["head"].clone();
    fs::write(&head, noted.to_string()).unwrap();
    verify(&["--head", "head.json"]).ok();
    noted["sequence"] = (noted["sequence"].as_u64().unwrap() + 1000).into();
    fs::write(&head, noted.to_string()).unwrap();
    let rewound = verify(&["--head", "head.json"]);
    assert_eq!((rewound.code, &rewound.json()["findings"][0]["finding"]), (7, &Value::from("chain_rewound")));
    // After a restore: what this context itself remembers is given up for what there is.
    let memory = machine.home().join("contexts/local/audit-head.json");
    let remembered = fs::read_to_string(&memory).unwrap();
    let ahead = remembered.replacen("\"sequence\":", "\"sequence\":1", 1);
    assert_ne!(ahead, remembered);
    fs::write(&memory, ahead).unwrap();
    assert_eq!(verify(&[]).code, 7);
    let accepted = verify(&["--accept-head"]).ok().json();
    assert_eq!(accepted["findings"], serde_json::json!([]));
    verify(&[]).ok();
    let mistyped = machine.principal(&["audit", "verify", "--tenant", "acmee"]);
    assert_eq!(mistyped.code, 3, "{mistyped:?}");
    let listed = machine.principal(&["audit", "list", "--tenant", "acme"]).ok().out;
    for word in ["CreateTenant", "CreateToken", "Enroll", "RenewCertificate", "RevokeCertificate", "system/admin/admin"]
    {
        assert!(listed.contains(word), "{word} is missing in {listed}");
    }
    let tailed = ["audit", "tail", "--tenant", "acme", "--since", "1h", "--count", "3", "-o", "json"];
    assert_eq!(machine.principal(&tailed).ok().out.lines().count(), 3);
    let watched = machine.principal(&["trust", "watch", "--tenant", "acme", "--count", "1", "-o", "json"]).ok();
    assert_eq!(watched.json()["trust_domain"], "acme.signet.internal");
}
