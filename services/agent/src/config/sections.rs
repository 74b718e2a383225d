//! The sections of the file. `agent.sample.toml` explains each key.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::signal::Signal;
use serde::Deserialize;
use signet_client::{Access, IdentitySettings};
use signet_core::{PrincipalId, TenantId};

use super::value;
use crate::{
    knock::CanaryTarget,
    workload_api::{ExtAuthzConfig, Workload},
};

/// The file. Strict: what is not known is refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) state_dir: PathBuf,
    pub(super) socket: Option<PathBuf>,
    pub(super) metrics: Option<SocketAddr>,
    #[serde(default)]
    pub(super) log: Log,
    pub(super) control_plane: ControlPlane,
    pub(super) workload_api: Option<WorkloadApiConfig>,
    #[serde(default)]
    pub(super) identity: Vec<IdentityConfig>,
}

#[derive(Default, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Log {
    #[default]
    Text,
    Json,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ControlPlane {
    pub(super) endpoint: String,
    pub(super) server_name: Option<String>,
    pub(super) ca_file: PathBuf,
    #[serde(default)]
    pub(super) require_pq_kex: bool,
    pub(super) out_of_band: Option<OutOfBand>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OutOfBand {
    #[serde(deserialize_with = "value::https")]
    pub(super) url: String,
    #[serde(default)]
    pub(super) pinned: bool,
}

/// The agent's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Notes, locks and the socket; a key only while an enrollment is under way.
    pub state_dir: PathBuf,
    /// Where `status` asks.
    pub socket: PathBuf,
    /// Where Prometheus asks; nowhere unless set.
    pub metrics: Option<SocketAddr>,
    /// Where programs take their identities from; nowhere unless set.
    pub workload_api: Option<WorkloadApiConfig>,
    /// Log lines as JSON.
    pub log_json: bool,
    /// The control plane, without storage and enrollment.
    pub control_plane: IdentitySettings,
    /// The identities, each name once.
    pub identities: Vec<IdentityConfig>,
}

/// One identity.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityConfig {
    /// Its name in files, metrics and status.
    #[serde(deserialize_with = "value::name")]
    pub name: String,
    /// How it begins.
    pub enroll: EnrollConfig,
    /// Whether to follow the trust bundle: `bundle.pem` then follows a CA rotation within a second.
    #[serde(default = "yes")]
    pub follow_bundle: bool,
    /// A folder of PEM files.
    pub pem: Option<PemConfig>,
    /// Key and chain in one file.
    pub combined: Option<FileConfig>,
    /// A PKCS#12 file.
    pub pkcs12: Option<Pkcs12Config>,
    /// A command to run after each change.
    pub exec: Option<ExecConfig>,
    /// A process to signal after each change.
    pub signal: Option<SignalConfig>,
    /// The programs that get it from the workload API.
    #[serde(default)]
    pub workloads: Vec<Workload>,
    /// How it decides on requests for an Envoy among those programs.
    pub ext_authz: Option<ExtAuthzConfig>,
}

/// The SPIFFE Workload API and Envoy's SDS.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct WorkloadApiConfig {
    pub socket: PathBuf,
    /// Whether programs get the tenant's revocation lists too.
    #[serde(default = "yes")]
    pub revocation_lists: bool,
}

/// How an identity begins.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Enroll")]
pub struct EnrollConfig {
    /// The tenant; a join token knows its own.
    pub tenant: Option<TenantId>,
    /// The id to take, where the proof leaves it open.
    pub principal: Option<PrincipalId>,
    /// What speaks for it.
    pub proof: ProofConfig,
}

/// How that is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Enroll {
    tenant: Option<TenantId>,
    principal: Option<PrincipalId>,
    join_token_file: Option<PathBuf>,
    oidc_token_file: Option<PathBuf>,
    aws_iam: Option<AwsIam>,
    x509: Option<X509>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AwsIam {
    region: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct X509 {
    cert_file: PathBuf,
    key_file: PathBuf,
}

impl TryFrom<Enroll> for EnrollConfig {
    type Error = &'static str;
    fn try_from(written: Enroll) -> Result<Self, &'static str> {
        let Enroll { tenant, principal, join_token_file, oidc_token_file, aws_iam, x509 } = written;
        let proof = match (join_token_file, oidc_token_file, aws_iam, x509) {
            (Some(path), None, None, None) => ProofConfig::JoinToken(path),
            (None, Some(path), None, None) => ProofConfig::Oidc(path),
            (None, None, Some(AwsIam { region }), None) => ProofConfig::AwsIam { region },
            (None, None, None, Some(X509 { cert_file, key_file })) => ProofConfig::X509 { cert_file, key_file },
            _ => return Err("set one of join_token_file, oidc_token_file, aws_iam, x509"),
        };
        Ok(Self { tenant, principal, proof })
    }
}

/// What speaks for an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProofConfig {
    /// A join token in a file.
    JoinToken(PathBuf),
    /// A JWT of an OIDC issuer in a file that its platform replaces, e.g. Kubernetes.
    Oidc(PathBuf),
    /// The AWS credentials that this machine, task or pod has.
    AwsIam {
        /// Whose STS is asked.
        region: String,
    },
    /// A certificate of somebody else, e.g. the device's maker.
    X509 {
        /// The chain, PEM.
        cert_file: PathBuf,
        /// The key, PEM.
        key_file: PathBuf,
    },
}

impl ProofConfig {
    /// Whether it works again after a restart.
    pub const fn repeats(&self) -> bool {
        !matches!(self, Self::JoinToken(_))
    }

    /// The files that it is in.
    pub fn files(&self) -> Vec<&Path> {
        match self {
            Self::JoinToken(path) | Self::Oidc(path) => vec![path],
            Self::AwsIam { .. } => Vec::new(),
            Self::X509 { cert_file, key_file } => vec![cert_file, key_file],
        }
    }
}

/// A folder with `cert.pem`, `key.pem`, `ca.pem`, `bundle.pem` and, if wanted, `crl.pem`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct PemConfig {
    pub directory: PathBuf,
    /// Of the key; the others may be read by everybody.
    #[serde(default = "secret", with = "Permissions")]
    pub key: Access,
    /// Whether `crl.pem` is written too.
    #[serde(default)]
    pub crl: bool,
    /// The program that must refuse a certificate which is revoked on purpose.
    pub canary: Option<CanaryTarget>,
}

/// How [`Access`] is written.
#[derive(Deserialize)]
#[serde(remote = "Access", deny_unknown_fields)]
struct Permissions {
    #[serde(default = "secret_mode", deserialize_with = "value::mode")]
    mode: u32,
    #[serde(default, deserialize_with = "value::owner")]
    owner: Option<u32>,
    #[serde(default, deserialize_with = "value::group")]
    group: Option<u32>,
}

/// One file with secrets in it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct FileConfig {
    pub file: PathBuf,
    /// Who may read it.
    #[serde(rename = "permissions", default = "secret", with = "Permissions")]
    pub access: Access,
}

/// A PKCS#12 file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct Pkcs12Config {
    pub file: PathBuf,
    /// Who may read it.
    #[serde(rename = "permissions", default = "secret", with = "Permissions")]
    pub access: Access,
    /// File with its password; the first line counts.
    pub password_file: PathBuf,
    /// Friendly name of the entry.
    #[serde(default = "alias")]
    pub alias: String,
}

/// A command, run without a shell.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecConfig {
    /// What is run.
    pub command: Command,
    /// It is killed, with all that it has started, after this.
    #[serde(rename = "timeout_seconds", default = "half_a_minute", deserialize_with = "value::timeout")]
    pub timeout: Duration,
    /// What it reads.
    #[serde(default)]
    pub stdin: Stdin,
}

/// A program with its arguments.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Command {
    /// An absolute path.
    pub program: PathBuf,
    /// Words.
    pub arguments: Vec<String>,
}

impl TryFrom<Vec<String>> for Command {
    type Error = &'static str;
    fn try_from(words: Vec<String>) -> Result<Self, &'static str> {
        let mut words = words.into_iter();
        let program = words.next().map(PathBuf::from).filter(|program| program.components().count() > 1);
        let program = program.ok_or("must be a list of words, the path of a program first; there is no shell")?;
        Ok(Self { program, arguments: words.collect() })
    }
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

/// A process that is told by a signal.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignalConfig {
    /// Its pid file, read each time.
    pub pid_file: PathBuf,
    /// Which signal.
    #[serde(default = "hangup", deserialize_with = "value::signal")]
    pub signal: Signal,
}

fn yes() -> bool {
    true
}

fn secret() -> Access {
    Access::mode(secret_mode())
}

fn secret_mode() -> u32 {
    0o600
}

fn alias() -> String {
    "signet".into()
}

fn half_a_minute() -> Duration {
    Duration::from_secs(30)
}

fn hangup() -> Signal {
    Signal::SIGHUP
}

impl IdentityConfig {
    /// Whether it is another one only in how it decides on requests, which needs no restart.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let with_others_rules = Self { ext_authz: other.ext_authz.clone(), ..self.clone() };
        self.ext_authz.is_some() == other.ext_authz.is_some() && with_others_rules == *other
    }

    /// Whether a restart finds its key again.
    pub fn keeps_its_key(&self) -> bool {
        self.pem.is_some() || self.combined.is_some()
    }

    /// All that it names.
    pub(super) fn paths(&mut self) -> Vec<&mut PathBuf> {
        let mut paths = match &mut self.enroll.proof {
            ProofConfig::JoinToken(path) | ProofConfig::Oidc(path) => vec![path],
            ProofConfig::AwsIam { .. } => Vec::new(),
            ProofConfig::X509 { cert_file, key_file } => vec![cert_file, key_file],
        };
        paths.extend(self.pem.as_mut().map(|pem| &mut pem.directory));
        paths.extend(self.combined.as_mut().map(|combined| &mut combined.file));
        paths.extend(self.pkcs12.as_mut().into_iter().flat_map(|own| [&mut own.file, &mut own.password_file]));
        paths.extend(self.exec.as_mut().map(|exec| &mut exec.command.program));
        paths.extend(self.signal.as_mut().map(|signal| &mut signal.pid_file));
        paths
    }
}

impl fmt::Display for ProofConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JoinToken(path) => write!(f, "join token in {}", path.display()),
            Self::Oidc(path) => write!(f, "OIDC token in {}", path.display()),
            Self::AwsIam { region } => write!(f, "AWS credentials, STS of {region}"),
            Self::X509 { cert_file, .. } => write!(f, "certificate in {}", cert_file.display()),
        }
    }
}
