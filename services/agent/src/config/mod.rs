//! What the agent is to do: read once, checked, and then only carried out. `agent.sample.toml` explains each key.

mod check;
mod raw;

use std::{
    fmt, fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use figment::{
    Figment,
    error::Kind,
    providers::{Format, Toml},
};
use nix::sys::signal::Signal;
pub use raw::Stdin;
use signet_client::{Access, Settings};
use thiserror::Error;

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("it cannot be read: {0}; `signet-agent sample` prints one to start from")]
    File(io::Error),
    /// Not TOML, an unknown key, a wrong type.
    #[error("{0}")]
    Syntax(String),
    /// A value that cannot be.
    #[error("{key}: {problem}")]
    Value {
        /// The key, e.g. `identity.web.pem.key.mode`.
        key: String,
        /// What is wrong and what to do.
        problem: String,
    },
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
    /// Log lines as JSON.
    pub log_json: bool,
    /// The control plane, without storage and enrollment.
    pub control_plane: Settings,
    /// The identities, each name once.
    pub identities: Vec<IdentityConfig>,
}

/// One identity. Two that are equal need no restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityConfig {
    /// Its name in files, metrics and status.
    pub name: String,
    /// How it begins.
    pub enroll: EnrollConfig,
    /// Whether to follow the trust bundle: `bundle.pem` then follows a CA rotation within a second.
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
}

/// How an identity begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrollConfig {
    /// The tenant; a join token knows its own.
    pub tenant: Option<String>,
    /// The id to take, where the proof leaves it open.
    pub principal: Option<String>,
    /// What speaks for it.
    pub proof: ProofConfig,
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

/// A folder with `cert.pem`, `key.pem`, `ca.pem` and `bundle.pem`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PemConfig {
    /// Where.
    pub directory: PathBuf,
    /// Of the key; the others may be read by everybody.
    pub key: Access,
}

/// One file with secrets in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileConfig {
    /// Where.
    pub file: PathBuf,
    /// Who may read it.
    pub access: Access,
}

/// A PKCS#12 file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pkcs12Config {
    /// Where, and who may read it.
    pub file: FileConfig,
    /// File with its password; the first line counts.
    pub password_file: PathBuf,
    /// Friendly name of the entry.
    pub alias: String,
}

/// A command, run without a shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecConfig {
    /// The program; an absolute path.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// It is killed, with all that it has started, after this.
    pub timeout: Duration,
    /// What it reads.
    pub stdin: Stdin,
}

/// A process that is told by a signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignalConfig {
    /// Its pid file, read each time.
    pub pid_file: PathBuf,
    /// Which signal.
    pub signal: Signal,
}

impl Config {
    /// Reads a file. Relative paths in it start at its folder.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(ConfigError::File)?;
        let base = path.parent().filter(|base| !base.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self::from_toml(&text, &std::path::absolute(base).map_err(ConfigError::File)?)
    }

    /// Reads a text. Relative paths in it start at `base`.
    pub fn from_toml(text: &str, base: &Path) -> Result<Self, ConfigError> {
        let raw = Figment::from(Toml::string(text)).extract().map_err(|error| ConfigError::Syntax(in_words(&error)))?;
        check::config(raw, base)
    }
}

impl IdentityConfig {
    /// Whether a restart finds its key again.
    pub fn keeps_its_key(&self) -> bool {
        self.pem.is_some() || self.combined.is_some()
    }
}

/// figment names the key apart from what is wrong with it, and speaks of Rust's types.
fn in_words(error: &figment::Error) -> String {
    let one = |error: &figment::Error| {
        let what = match &error.kind {
            Kind::UnknownField(_, known) => format!("unknown key; valid keys are {}", known.join(", ")),
            Kind::UnknownVariant(found, known) => format!("{found:?} must be one of {}", known.join(", ")),
            Kind::InvalidType(found, wanted) => {
                let wanted = match wanted.as_str() {
                    "a sequence" => "a list, [ … ]",
                    wanted if wanted.starts_with("struct ") => "a table, { key = … }",
                    wanted => wanted,
                };
                format!("must be {wanted}, not the {found}")
            }
            kind => kind.to_string(),
        };
        let path = error.path.join(".");
        if path.is_empty() { what } else { format!("{path}: {what}") }
    };
    error.clone().into_iter().map(|error| one(&error)).collect::<Vec<_>>().join("; ")
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
