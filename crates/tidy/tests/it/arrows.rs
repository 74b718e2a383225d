//! Which crate may depend on which of ours, and what the inner ones must not import. deny.toml guards the rest.

use std::{collections::BTreeMap, process::Command};

use crate::root;

/// Crate, then what it may use of ours in its normal dependencies.
const ALLOWED: &[(&str, &[&str])] = &[
    ("signet-proto", &[]),
    ("signet-core", &[]),
    ("signet-jwt", &[]),
    ("signet-messages", &[]),
    ("signet-x509", &["signet-core"]),
    ("signet-app", &["signet-core", "signet-jwt", "signet-messages", "signet-policy", "signet-x509"]),
    ("signet-dynamodb", &["signet-core"]),
    ("signet-sqlite", &["signet-core"]),
    ("signet-kms", &["signet-core"]),
    ("signet-softkey", &["signet-core"]),
    ("signet-mtls", &["signet-core", "signet-x509"]),
    ("signet-policy", &["signet-core"]),
    ("signet-client", &["signet-core", "signet-jwt", "signet-messages", "signet-x509", "signet-proto"]),
    ("signet-attest", &["signet-core", "signet-jwt", "signet-x509"]),
    ("signet-enroll-http", &["signet-app", "signet-core", "signet-x509"]),
    ("signet-testkit", &["signet-core", "signet-x509"]),
    ("signet-testbed", &["signet-app", "signet-client", "signet-control-plane", "signet-proto", "signet-x509"]),
    (
        "signet-fuzz",
        &[
            "signet-app",
            "signet-attest",
            "signet-client",
            "signet-core",
            "signet-enroll-http",
            "signet-mtls",
            "signet-testkit",
            "signet-x509",
        ],
    ),
    ("signet-tidy", &[]),
    // Nothing but tests.
    ("signet-sim", &[]),
];

/// Crate, then the beginnings of names that it must not depend on.
const BANNED: &[(&str, &[&str])] = &[
    // JSON is the form of what a version does not know: it is kept as it was read.
    ("signet-core", &["tokio", "tonic", "aws", "rustls", "serde_dynamo", "rand", "axum", "hyper", "jiff"]),
    ("signet-x509", &["tokio", "tonic", "aws-sdk", "aws-config", "rustls-webpki-roots", "axum", "hyper"]),
    ("signet-app", &["aws", "tonic", "prost", "rustls", "axum", "hyper", "rusqlite"]),
    ("signet-mtls", &["aws-sdk", "aws-config", "prost", "axum"]),
    ("signet-client", &["aws-sdk", "aws-config", "rusqlite", "axum"]),
];

/// Name to normal dependencies, and name to whether it is a member that only tests may use.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |package: &serde_json::Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        all.filter(|d| d["kind"].is_null()).map(|d| d["name"].as_str().unwrap().to_owned()).collect()
    };
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages.map(|package| (package["name"].as_str().unwrap().to_owned(), of(package))).collect()
}

#[test]
fn libraries_use_only_what_lies_below_them() {
    let found = dependencies();
    for (name, allowed) in ALLOWED {
        let ours = found[*name].iter().filter(|used| used.starts_with("signet-"));
        let wrong: Vec<_> = ours.filter(|used| !allowed.contains(&used.as_str())).collect();
        assert!(wrong.is_empty(), "{name} must not use {wrong:?}; see the table in ARCHITECTURE.md");
    }
    let binaries = [
        "signet-control-plane",
        "signet-principal",
        "signet-agent",
        "signet-gateway",
        "signet-mosquitto-plugin",
        "signet-enroll-lambda",
        "signet-keymaker-lambda",
        "signet-rotate-lambda",
        "signet-bench",
        "job-service",
    ];
    let libraries = found.keys().filter(|name| !binaries.contains(&name.as_str()));
    let unlisted: Vec<_> = libraries.filter(|name| !ALLOWED.iter().any(|(listed, _)| listed == name)).collect();
    assert!(unlisted.is_empty(), "say what these may use: {unlisted:?}");
}

#[test]
fn inner_crates_cannot_do_io() {
    let found = dependencies();
    for (name, banned) in BANNED {
        let wrong: Vec<_> =
            found[*name].iter().filter(|used| banned.iter().any(|start| used.starts_with(start))).collect();
        assert!(wrong.is_empty(), "{name} must not depend on {wrong:?}");
    }
}

#[test]
fn test_code_stays_out_of_production() {
    for (name, used) in dependencies().into_iter().filter(|(name, _)| name != "signet-fuzz") {
        assert!(!used.iter().any(|d| d == "signet-testkit"), "{name} may use signet-testkit in tests only");
    }
}
