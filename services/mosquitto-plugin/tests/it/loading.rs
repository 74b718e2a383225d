//! A plugin that cannot do its work keeps the broker from starting, or lets nobody in.

use std::fs;

use signet_mosquitto_plugin::Config;

use crate::{
    broker::Broker,
    mqtt::{Hello, Mqtt, Refusal},
    world::World,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_cannot_work_keeps_the_broker_from_starting() {
    let mut world = World::without_broker("").await;
    let dir = world.environment.dir.path().to_owned();
    let good = fs::read_to_string(dir.join("signet.toml")).unwrap();
    let without_tenants = good.split("[[tenants]]").next().unwrap().to_owned();
    let without_token = good.replace("join_token_file", "#");
    for (text, error) in [
        (format!("unknown_key = 1\n{good}"), "unknown field"),
        (format!("staleness_limit_seconds = 0\n{good}"), "staleness_limit_seconds: must be"),
        (format!("{good}[[topics]]\ntypes = [\"device\"]\npublish = [\"#\"]\n"), "topics.1.publish"),
        (without_tenants, "add a [[tenants]] section"),
        (without_token, "there is no identity"),
        (good.replace("acme.token", "nothing.token"), "join_token_file"),
        (good.replace("localhost:", "localhost:1#"), "tenants.1: enrollment: cannot reach"),
    ] {
        fs::write(dir.join("signet.toml"), &text).unwrap();
        let (is_good, log) = Broker::spawn(&dir).ended().await;
        assert!(!is_good && log.contains(error), "{error}: {log}");
        fs::remove_file(dir.join("mosquitto.log")).unwrap();
    }
    fs::write(dir.join("signet.toml"), &good).unwrap();
    let device = world.device("d1").await;
    let tls = world.tls(Some(&device), false);
    // Where the broker does not call the plugin again and again, nobody could be ended.
    let alone = |recipe: &str| {
        let (lines, rest): (Vec<_>, Vec<_>) = recipe.lines().partition(|line| line.starts_with("plugin"));
        let (first, listener) = rest.split_at(rest.iter().position(|line| *line == "listener 8883").unwrap() + 1);
        [&["per_listener_settings true"], first, &lines, listener].concat().join("\n")
    };
    world.restart_broker_with(Broker::spawn_with(&dir, alone).listening().await);
    let refused = Mqtt::connect(&tls, world.broker().port, &Hello::of("acme/d1")).await.err();
    assert_eq!(refused, Some(Refusal::Code(5)), "{}", world.broker().log());
    world.broker().says("BROKER_WITHOUT_TICKS").await;
    world.restart_broker_with(Broker::start(&dir).await);
    world.broker().says("following the control plane for tenant acme").await;
    Mqtt::connect(&tls, world.broker().port, &Hello::of("acme/d1")).await.unwrap();
}

#[test]
fn the_sample_is_what_the_plugin_takes() {
    let dir = tempfile::tempdir().unwrap();
    let sample = include_str!("../../mosquitto.sample.toml");
    // A key and what is shown behind it, without the mark of a comment.
    let all: String = sample
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if !key.starts_with(' ') => format!("{key}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let roots = signet_x509_roots(&dir);
    for text in [sample.to_owned(), all] {
        let text = text.replace("server-anchor.pem", &roots);
        Config::from_toml(&text, dir.path()).unwrap_or_else(|error| panic!("{error}: {text}"));
    }
}

fn signet_x509_roots(dir: &tempfile::TempDir) -> String {
    let path = dir.path().join("root.pem");
    let done = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=root"])
        .arg("-keyout")
        .arg(dir.path().join("key.pem"))
        .arg("-out")
        .arg(&path)
        .output()
        .unwrap();
    assert!(done.status.success());
    path.display().to_string()
}

/// A broker that lets nobody in says why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_may_not_follow_says_so() {
    let world = World::new().await;
    let device = world.device("d1").await;
    world.suspend("broker-1").await;
    world.broker().says("cannot follow who is refused; trying again").await;
    world.broker().says("clients of tenant acme are refused").await;
    let refused = Mqtt::connect(&world.tls(Some(&device), false), world.broker().port, &Hello::of("acme/d1")).await;
    assert_eq!(refused.err(), Some(Refusal::Code(5)));
}
