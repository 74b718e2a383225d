//! The file: strict, and its sample true.

use std::fs;

use signet_gateway::{Config, config::Accepted};
use signet_testkit::pki::Pki;

const SAMPLE: &str = include_str!("../../gateway.sample.toml");

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(signet_core::Time::from_unix_seconds(1_800_000_000));
    let root = signet_x509::pem::encode_certificate(&pki.root.ca.certificate_der);
    for file in ["root.pem", "server-anchor.pem"] {
        fs::write(folder.path().join(file), &root).unwrap();
    }
    folder
}

fn read(text: &str) -> Result<Config, String> {
    Config::from_toml(text, folder().path()).map_err(|error| error.to_string())
}

/// Every line that is commented out, and is a setting.
fn with_all_settings() -> String {
    let is_setting = |rest: &str| rest.starts_with('[') || rest.split(' ').nth(1) == Some("=");
    let uncommented = |line: &str| match line.strip_prefix('#') {
        Some(rest) if is_setting(rest) => rest.to_owned(),
        _ => line.to_owned(),
    };
    SAMPLE.lines().map(|line| uncommented(line) + "\n").collect()
}

#[test]
fn the_sample_is_a_configuration_and_what_is_commented_out_is_its_default() {
    let sample = read(SAMPLE).unwrap();
    assert_eq!((sample.routes.len(), sample.upstreams.len(), sample.l4.len()), (1, 1, 0));
    assert!(sample.token.is_none() && sample.limits.principal.is_some());
    let all = read(&with_all_settings()).unwrap();
    assert_eq!((all.l4.len(), all.token.as_ref().unwrap().path.as_str()), (1, "/auth/token"));
    assert_eq!(all.upstreams, sample.upstreams);
    assert_eq!(all.limits, sample.limits);
    assert_eq!((all.routes[0].unbound, all.routes[0].accept.clone()), (false, vec![Accepted::Certificate]));
    assert_eq!(all.listen.max_connections, sample.listen.max_connections);
    assert_eq!(all.bans.failed_handshakes, sample.bans.failed_handshakes);
}

#[test]
fn what_cannot_be_is_refused_by_its_key_or_line() {
    let with = |old: &str, new: &str| {
        assert!(SAMPLE.contains(old), "{old}");
        read(&SAMPLE.replacen(old, new, 1)).unwrap_err()
    };
    for (old, new, words) in [
        ("log = \"text\"", "logs = \"text\"", "line 11"),
        ("log = \"text\"", "logs = \"text\"", "unknown field `logs`"),
        ("permission = \"jobs:submit\"", "", "missing field `permission`"),
        ("permission = \"jobs:submit\"", "permission = \"\"", "must be a permission"),
        ("path = \"/jobs/*\"", "path = \"/jobs*\"", "path must be a plain path"),
        ("path = \"/jobs/*\"", "path = \"/a/../*\"", "path must be a plain path"),
        ("upstream = \"jobs\"", "upstream = \"job\"", "route.1.upstream: there is no [[upstream]] named \"job\""),
        ("http://127.0.0.1:9000", "https://127.0.0.1:9000", "upstream.jobs.url: must be http://host:port"),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000/a", "upstream.jobs.url: must be http://host:port"),
        ("#accept = [\"certificate\"]", "accept = [\"token\"]", "route.1.accept: nobody gives tokens"),
        ("#unbound = false", "unbound = true", "route.1.unbound: needs accept"),
        ("#methods = [\"GET\", \"POST\"]", "methods = [\"get\"]", "route.1.methods: must be in upper case"),
        ("#remove = [\"X-User\"]", "remove = [\"X User\"]", "is not the name of a header"),
        ("#principal = { per_second = 100, burst = 400 }", "principal = \"off\"", "or \"none\""),
        ("#principal = { per_second = 100, burst = 400 }", "principal = { per_second = 0, burst = 1 }", "or \"none\""),
        ("#answer_timeout_seconds = 60", "answer_timeout_seconds = 0", "must be 1 to 86400 seconds"),
        ("#answer_timeout_seconds = 60", "answer_timeout_seconds = 5", "must be longer than connect_timeout_seconds"),
    ] {
        let error = with(old, new);
        assert!(error.contains(words), "{new}: {error}");
    }
    assert!(read("").unwrap_err().contains("missing field"));
}
