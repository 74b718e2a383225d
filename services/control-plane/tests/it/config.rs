//! The configuration: the sample is good, and every mistake is told with file, key and what to write.

use std::{path::Path, process::Command};

use signet_control_plane::{Config, config::Log};
use tracing_subscriber::layer::SubscriberExt as _;

const SAMPLE: &str = include_str!("../../signet.sample.toml");

fn error(text: &str) -> String {
    match Config::from_toml(text, Path::new("/etc/signet")) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_sample_is_good_and_shows_the_defaults() {
    let sample = Config::from_toml(SAMPLE, Path::new("/etc/signet")).unwrap();
    let short = "environment = { name = 'dev', trust_domain_suffix = 'dev.example.com' }\n\
        storage = { kind = 'sqlite', path = 'signet.db' }\n\
        keys = { kind = 'softkey', dir = 'keys', passphrase_file = 'passphrase' }\n\
        server_identity = { kind = 'files', dir = 'server' }";
    let defaults = Config::from_toml(short, Path::new("/etc/signet")).unwrap();
    assert_eq!(format!("{sample:?}"), format!("{defaults:?}"));
    assert!(format!("{sample:?}").contains("/etc/signet/signet.db"));
}

#[test]
fn the_sample_has_every_setting_and_what_is_commented_out_is_one() {
    let is_setting =
        |line: &&str| line.starts_with('[') || line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
    let lines = SAMPLE.lines().map(|line| line.strip_prefix("# ").filter(is_setting).unwrap_or(line));
    let all: Vec<_> = lines.collect();
    let config = Config::from_toml(&all.join("\n"), Path::new("/etc/signet")).unwrap();
    assert!(config.events.is_some() && config.listen.health.is_some() && config.enrollment.issuer_ca_file.is_some());

    for section in all.iter().filter(|line| line.starts_with('[')) {
        // What is not known is refused, and the refusal names what is.
        let odd = all.join("\n").replace(section, &format!("{section}\nodd = 1"));
        let known = error(&odd);
        let (_, known) = known.split_once("expected ").unwrap();
        let is_key = |word: &&str| word.starts_with(|c: char| c.is_ascii_lowercase()) && !word.contains(' ');
        // What was a setting until 0.1 is known, so that it can be told where it went.
        for key in known.split('`').filter(is_key).filter(|key| *key != "grants") {
            assert!(SAMPLE.contains(&format!("{key} = ")), "{section} {key}");
        }
    }
}

/// h2 warns of each odd frame, e.g. of an acknowledged PING that nobody sent.
#[test]
fn by_default_a_peer_writes_no_line_for_each_frame() {
    let filter = Config::from_toml(SAMPLE, Path::new("/etc/signet")).unwrap().telemetry.filter;
    let filter: tracing_subscriber::EnvFilter = filter.parse().unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(filter), || {
        assert!(tracing::enabled!(tracing::Level::INFO));
        assert!(!tracing::enabled!(target: "h2::proto::ping_pong", tracing::Level::WARN));
    });
}

#[test]
fn mistakes_are_told_with_their_place_and_a_remedy() {
    let cases = [
        ("grpc = \"127.0.0.1:8443\"", "grpc = \"8443\"", "listen.grpc", "address and port"),
        ("public = \"127.0.0.1:8080\"", "public = \"127.0.0.1:8443\"", "listen.public", "must differ"),
        ("# health = \"127.0.0.1:8081\"", "health = \"127.0.0.1:8080\"", "listen.health", "must differ"),
        ("proxy_protocol_from = []", "proxy_protocol_from = [\"10.0.0.1/8\"]", "listen.proxy_protocol_from", "network"),
        ("when_stale = \"refuse\"", "when_stale = \"shrug\"", "trust.when_stale", "refuse"),
        ("staleness_limit_seconds = 30", "staleness_limit_seconds = 0", "trust.staleness_limit_seconds", "1 to 3600"),
        ("drain_seconds = 20", "drain = 20", "limits.drain", "unknown field"),
        ("\nkind = \"sqlite\"", "\nkind = \"postgres\"", "storage", "sqlite"),
        ("\npath = \"signet.db\"", "", "storage", "path"),
        ("name = \"dev\"", "name = \"Dev!\"", "environment.name", "hyphens"),
        (
            "trust_domain_suffix = \"dev.example.com\"",
            "trust_domain_suffix = \"Dev\"",
            "environment.trust_domain_suffix",
            "lower-case",
        ),
        ("oid_arc = \"1.3.6.1.4.1.99999.1\"", "oid_arc = \"1..2\"", "environment.oid_arc", "object identifier"),
        ("filter = \"info,h2=error\"", "filter = \"signet=loud\"", "telemetry.filter", "e.g. info"),
        ("dns_names = [\"localhost\"]", "dns_names = [\"127.0.0.1\"]", "server.dns_names", "ip_addresses"),
        (
            "require_proof = false",
            "grants = [{ permission = \"a:b\" }]",
            "authorization.grants",
            "principal authz apply",
        ),
    ];
    for (good, bad, key, remedy) in cases {
        assert!(SAMPLE.contains(good), "{good}");
        let told = error(&SAMPLE.replacen(good, bad, 1));
        assert!(told.contains(key) && told.contains(remedy) && told.contains("/etc/signet"), "{bad}: {told}");
    }
}

#[test]
fn the_environment_alone_will_do() {
    let aws = [
        ("SIGNET_ENVIRONMENT__NAME", "dev"),
        ("SIGNET_ENVIRONMENT__TRUST_DOMAIN_SUFFIX", "dev.example.com"),
        ("SIGNET_STORAGE__KIND", "dynamodb"),
        ("SIGNET_STORAGE__PREFIX", "signet-dev"),
        ("SIGNET_KEYS__KIND", "kms"),
        ("SIGNET_KEYS__PREFIX", "signet-dev"),
        ("SIGNET_KEYS__TENANT_KEY_POLICY", r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow"}]}"#),
        ("SIGNET_SERVER_IDENTITY__KIND", "aws"),
        ("SIGNET_SERVER_IDENTITY__PREFIX", "/signet/dev"),
        ("SIGNET_LISTEN__GRPC", "0.0.0.0:8443"),
        ("SIGNET_LISTEN__PROXY_PROTOCOL_FROM", r#"["10.0.0.0/16", "10.1.0.0/16"]"#),
        ("SIGNET_SERVER__DNS_NAMES", r#"["signet.dev.example.com"]"#),
        ("SIGNET_SERVER__IP_ADDRESSES", "[]"),
        ("SIGNET_PUBLICATION__BUCKET", "signet-dev-publication"),
        ("SIGNET_EVENTS__BUS", "default"),
        ("SIGNET_TELEMETRY__LOG", "json"),
        ("SIGNET_AWS__REGION", "eu-central-1"),
        ("SIGNET_TRUST__STALENESS_LIMIT_SECONDS", "45"),
        ("SIGNET_AUTHORIZATION__ANONYMOUS_ENROLLMENT", "false"),
        ("SIGNET_CONFIG", "/not/a/setting"),
        ("PATH", "/bin"),
    ];
    let config = Config::from_pairs(aws).unwrap();
    assert_eq!(config.listen.proxy_protocol_from.len(), 2);
    assert_eq!(config.server.dns, ["signet.dev.example.com"]);
    assert!(config.server.ip.is_empty() && !config.authorization.anonymous_enrollment);
    assert_eq!(config.publication.unwrap().bucket, "signet-dev-publication");
    assert_eq!((config.events.unwrap().bus.as_str(), config.telemetry.log), ("default", Log::Json));
    assert_eq!(config.trust.staleness_limit.as_seconds(), 45);
    let keys = format!("{:?}", config.keys);
    assert!(keys.contains("2012-10-17"), "{keys}");

    for (name, bad, remedy) in [
        ("SIGNET_LISTEN__GRPC", "nowhere", "listen.grpc: \"nowhere\" must be an address"),
        ("SIGNET_SERVER__DNS_NAMES", "signet.example.com", "server.dns_names"),
        ("SIGNET_TOKENS__ISSUER", "https://id.example.com/signet", "must be a URL without a path"),
        ("SIGNET_KEYS__TENANT_KEY_POLICY", "{Version: 1}", "must be a key policy, a JSON object"),
        ("SIGNET_PUBLICATION__BUCKET", "S3://bucket", "publication.bucket"),
        ("SIGNET_EVENTS__BUS", "a bus", "events.bus"),
        ("SIGNET_STORAGE__TABLE", "x", "storage"),
        ("SIGNET_ENVIRONMENT__NAME", "", "environment.name"),
    ] {
        let others = aws.into_iter().filter(|(other, _)| *other != name);
        let told = Config::from_pairs(others.chain([(name, bad)])).unwrap_err().to_string();
        assert!(told.starts_with("environment variables SIGNET_") && told.contains(remedy), "{name}={bad}: {told}");
    }
    for (name, digits) in [("SIGNET_ENVIRONMENT__NAME", "0042"), ("SIGNET_STORAGE__PREFIX", "true")] {
        let others = aws.into_iter().filter(|(other, _)| *other != name);
        let config = Config::from_pairs(others.chain([(name, digits)])).unwrap();
        assert!(format!("{config:?}").contains(&format!("{digits:?}")), "{name}={digits}");
    }
    let told = Config::from_pairs([]).unwrap_err().to_string();
    assert!(told.contains("environment variables SIGNET_") && told.contains("missing field"), "{told}");
}

#[test]
fn the_program_tells_what_it_found_and_how_it_ends() {
    let signetd = || Command::new(env!("CARGO_BIN_EXE_signetd"));
    let help = signetd().arg("--help").output().unwrap();
    let text = String::from_utf8(help.stdout).unwrap();
    assert!(help.status.success() && text.contains("--config <FILE>") && text.contains("check"), "{text}");
    assert!(signetd().arg("--version").output().unwrap().status.success());
    let sample = signetd().args(["--config", "/nowhere/signet.toml", "sample"]).output().unwrap();
    assert!(sample.status.success() && sample.stdout == SAMPLE.as_bytes());
    let missing = signetd().args(["--config", "/nowhere/signet.toml"]).output().unwrap();
    let told = String::from_utf8(missing.stderr).unwrap();
    assert_eq!(missing.status.code(), Some(2));
    assert!(told.contains("/nowhere/signet.toml") && told.contains("signet.sample.toml"), "{told}");

    let dir = tempfile::tempdir().unwrap();
    let nothing = signetd().current_dir(dir.path()).output().unwrap();
    let told = String::from_utf8(nothing.stderr).unwrap();
    assert_eq!(nothing.status.code(), Some(2));
    for said in ["no signet.toml here", "principal bootstrap --local DIR", "--config FILE"] {
        assert!(told.contains(said), "{told}");
    }
    std::fs::write(dir.path().join("signet.toml"), SAMPLE).unwrap();
    let ignored = signetd().current_dir(dir.path()).env("SIGNET_LISTEN_GRPC", "[::]:1").output().unwrap();
    let told = String::from_utf8(ignored.stderr).unwrap();
    assert_eq!(ignored.status.code(), Some(2));
    assert!(told.contains("SIGNET_LISTEN_GRPC: is not a setting: did you mean SIGNET_LISTEN__GRPC?"), "{told}");
    let free = SAMPLE.replace(":8443\"", ":0\"").replace(":8080\"", ":0\"").replace(":9464\"", ":0\"");
    std::fs::write(dir.path().join("signet.toml"), free).unwrap();
    let check = || signetd().arg("check").arg("--config").arg(dir.path().join("signet.toml")).output().unwrap();
    let locked = check();
    let told = String::from_utf8(locked.stderr).unwrap();
    assert_eq!(locked.status.code(), Some(1));
    assert!(told.contains("[keys]") && told.contains("passphrase"), "{told}");
    std::fs::write(dir.path().join("passphrase"), "correct horse battery staple\n").unwrap();
    let checked = check();
    let told = String::from_utf8(checked.stdout).unwrap();
    let why = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.code() == Some(1) && why.contains("no root yet"), "{why}");
    assert!(told.contains("none yet: run `principal bootstrap`") && told.contains("each with a rule"), "{told}");
    // What is started or written only later is tried, too.
    let with = |section: &str, setting: &str| {
        let text = std::fs::read_to_string(dir.path().join("signet.toml")).unwrap();
        let text = text.replacen(&format!("\n[{section}]\n"), &format!("\n[{section}]\n{setting}\n"), 1);
        std::fs::write(dir.path().join("more.toml"), text).unwrap();
        let checked = signetd().arg("check").arg("--config").arg(dir.path().join("more.toml")).output().unwrap();
        (String::from_utf8(checked.stdout).unwrap(), String::from_utf8(checked.stderr).unwrap())
    };
    let (_, why) = with("authorization", "solver = \"/nonexistent/cvc5\"");
    assert!(why.contains("authorization.solver") && why.contains("/nonexistent/cvc5"), "{why}");
    let (_, why) = with("authorization", "solver = \"/bin/true\"");
    assert!(why.contains("authorization.solver"), "it proves nothing: {why}");
    let (_, why) = with("bans", "log_file = \"nowhere/bans.log\"");
    assert!(why.contains("bans.log_file"), "{why}");
    let (told, _) = with("bans", "log_file = \"bans.log\"");
    assert!(told.contains("written to") && !dir.path().join("bans.log").exists(), "{told}");
    // The environment overrides single values, and says so in errors.
    let overridden =
        signetd().arg("--config").arg(dir.path().join("signet.toml")).env("SIGNET_LISTEN__GRPC", "nowhere").output();
    let told = String::from_utf8(overridden.unwrap().stderr).unwrap();
    assert!(told.contains("listen.grpc") && told.contains("SIGNET_"), "{told}");
}
