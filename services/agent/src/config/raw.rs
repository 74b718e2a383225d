//! The configuration file as it is written. Strict: what is not known is refused.

use std::{net::SocketAddr, path::PathBuf};

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) state_dir: PathBuf,
    pub(super) socket: Option<PathBuf>,
    pub(super) metrics: Option<SocketAddr>,
    #[serde(default)]
    pub(super) log: Log,
    pub(super) control_plane: ControlPlane,
    #[serde(default)]
    pub(super) identity: Vec<Identity>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Log {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ControlPlane {
    pub(super) endpoint: String,
    pub(super) server_name: Option<String>,
    pub(super) ca_file: PathBuf,
    pub(super) out_of_band: Option<OutOfBand>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OutOfBand {
    pub(super) url: String,
    #[serde(default)]
    pub(super) pinned: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    pub(super) name: String,
    pub(super) enroll: Enroll,
    #[serde(default = "yes")]
    pub(super) follow_bundle: bool,
    pub(super) pem: Option<Pem>,
    pub(super) combined: Option<Combined>,
    pub(super) pkcs12: Option<Pkcs12>,
    pub(super) exec: Option<Exec>,
    pub(super) signal: Option<Signal>,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Enroll {
    pub(super) tenant: Option<String>,
    pub(super) principal: Option<String>,
    pub(super) join_token_file: Option<PathBuf>,
    pub(super) oidc_token_file: Option<PathBuf>,
    pub(super) aws_iam: Option<AwsIam>,
    pub(super) x509: Option<X509>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AwsIam {
    pub(super) region: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct X509 {
    pub(super) cert_file: PathBuf,
    pub(super) key_file: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pem {
    pub(super) directory: PathBuf,
    #[serde(default)]
    pub(super) key: Permissions,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Combined {
    pub(super) file: PathBuf,
    #[serde(default)]
    pub(super) permissions: Permissions,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pkcs12 {
    pub(super) file: PathBuf,
    pub(super) password_file: PathBuf,
    #[serde(default = "alias")]
    pub(super) alias: String,
    #[serde(default)]
    pub(super) permissions: Permissions,
}

fn alias() -> String {
    "signet".into()
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Permissions {
    pub(super) mode: Option<String>,
    pub(super) owner: Option<String>,
    pub(super) group: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Exec {
    pub(super) command: Vec<String>,
    #[serde(default = "timeout")]
    pub(super) timeout_seconds: u32,
    #[serde(default)]
    pub(super) stdin: Stdin,
}

fn timeout() -> u32 {
    30
}

/// What the command reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stdin {
    /// Nothing.
    #[default]
    Nothing,
    /// Key, chain and root, PEM: for programs that shall have the key without a file.
    Credentials,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Signal {
    pub(super) pid_file: PathBuf,
    #[serde(default = "hangup")]
    pub(super) signal: String,
}

fn hangup() -> String {
    "HUP".into()
}
