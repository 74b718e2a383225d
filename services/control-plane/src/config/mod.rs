//! The configuration: environment variables `SIGNET_<SECTION>__<KEY>` over a TOML file, of which either will do alone.
//!
//! Read raw, then checked once: code that holds a [`Config`] holds a good one.

mod check;
mod raw;
mod variables;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use figment::{
    Figment,
    providers::{Format, Toml},
};
use signet_app::ServerIdentity;
use signet_core::{Cidr, Lifetime, authorization::ExtraGrant, trust::WhenStale};
use signet_x509::Environment;
use thiserror::Error;
use variables::Variables;

/// What is wrong with the configuration. `Display` says where, which key and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{file}: {key}: {problem}")]
pub struct ConfigError {
    /// The file, or the environment variables.
    pub file: String,
    /// Dotted path of the key, e.g. `listen.grpc`.
    pub key: String,
    /// What is wrong and what to write instead.
    pub problem: String,
}

/// A checked configuration. Every field is explained in `signet.sample.toml`.
#[derive(Clone, Debug)]
pub struct Config {
    /// Short name of the environment, e.g. `dev`; in logs and in `check`'s output.
    pub name: String,
    /// What all its certificates share.
    pub environment: Environment,
    /// Where state lives.
    pub storage: Storage,
    /// Where CA keys live.
    pub keys: Keys,
    /// Where the server's own certificate and key live.
    pub server_identity: ServerIdentitySource,
    /// How AWS is reached, if anything above is there.
    pub aws: Aws,
    /// The S3 bucket that trust bundles and revocation lists are published in, if any.
    pub publication_bucket: Option<String>,
    /// The EventBridge bus that warnings go to, if any.
    pub event_bus: Option<String>,
    /// Where to listen.
    pub listen: Listen,
    /// The names in the server's certificate.
    pub server: ServerIdentity,
    /// How long the node answers without the feed.
    pub trust: TrustConfig,
    /// Limits.
    pub limits: Limits,
    /// The audit log.
    pub audit: AuditConfig,
    /// Logs and traces.
    pub telemetry: Telemetry,
    /// Rights that this environment adds to the built-in ones.
    pub grants: Vec<ExtraGrant>,
    /// Whether callers without a certificate may connect, to enroll.
    pub anonymous_enrollment: bool,
    /// Whom enrollment proofs are checked with.
    pub enrollment: Enrollment,
}

/// Where state lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// One file.
    Sqlite {
        /// The database file; made if missing.
        path: PathBuf,
    },
    /// Tables `<prefix>-<name>`.
    Dynamodb {
        /// E.g. `signet-dev`.
        prefix: String,
    },
}

/// Where CA keys live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Encrypted files.
    Softkey {
        /// The folder; made if missing.
        dir: PathBuf,
        /// A file whose text unlocks them.
        passphrase_file: PathBuf,
    },
    /// KMS keys `alias/<prefix>-<name>`.
    Kms {
        /// E.g. `signet-dev`.
        prefix: String,
        /// The key policy of dedicated tenants' CA keys; `None`: KMS's default, which leaves it to IAM.
        tenant_key_policy: Option<TenantKeyPolicy>,
    },
}

/// A KMS key policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TenantKeyPolicy {
    /// The JSON itself.
    Text(String),
    /// A file that holds it.
    File(PathBuf),
}

/// Where the server's certificate and key live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerIdentitySource {
    /// A folder of PEM files; this process renews the certificate.
    Files {
        /// The folder; made if missing.
        dir: PathBuf,
    },
    /// The Secrets Manager secret and the SSM parameters below a path; another component renews the certificate.
    Aws {
        /// E.g. `/signet/dev`.
        prefix: String,
    },
}

/// How AWS is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aws {
    /// `None`: as the usual chain says (environment, profile, instance).
    pub region: Option<String>,
    /// For emulators.
    pub endpoint_url: Option<String>,
}

/// Whom enrollment proofs are checked with.
#[derive(Clone, Debug)]
pub struct Enrollment {
    /// See there; without the CAs of `issuer_ca_file`.
    pub options: signet_attest::Options,
    /// Further CAs that OIDC issuers' TLS certificates may come from, PEM.
    pub issuer_ca_file: Option<PathBuf>,
}

/// Where to listen. Port 0 takes a free one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// gRPC over mTLS.
    pub grpc: SocketAddr,
    /// Plain HTTP: health and public material.
    pub public: SocketAddr,
    /// Plain HTTP: health alone, for balancers. Keep it private.
    pub health: Option<SocketAddr>,
    /// Plain HTTP: metrics. Keep it private.
    pub metrics: SocketAddr,
    /// Networks whose connections start with a PROXY v2 header.
    pub proxy_protocol_from: Vec<Cidr>,
}

/// What to do without the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustConfig {
    /// How long the feed may be silent.
    pub staleness_limit: Lifetime,
    /// What happens then.
    pub when_stale: WhenStale,
}

/// Limits; each protects the others' share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections.
    pub max_connections: usize,
    /// Handshakes at once.
    pub max_handshakes: usize,
    /// Time for PROXY header and handshake.
    pub handshake_timeout: Duration,
    /// Handshakes a second of one source address.
    pub handshakes_per_second_per_address: u32,
    /// A connection is asked to go after this, with jitter.
    pub max_connection_age: Duration,
    /// Requests of callers with a certificate at once, all connections together; others have a quarter as many beside.
    pub max_concurrent_requests: usize,
    /// Requests at once on one connection.
    pub max_requests_per_connection: usize,
    /// Calls without a certificate from one source address in a second; ten times as many after a quiet time.
    pub anonymous_calls_per_second_per_address: u32,
    /// Calls a second of one principal.
    pub calls_per_second_per_principal: u32,
    /// Calls a second of all of a tenant's principals.
    pub calls_per_second_per_tenant: u32,
    /// Open streams (watch, tail), all connections together; they are not among the requests.
    pub max_streams: usize,
    /// Time for one unary call.
    pub request_timeout: Duration,
    /// Time for calls in flight when the process is asked to end.
    pub drain: Duration,
    /// Refusals for one reason written to one tenant's audit log in a minute; the others are only counted.
    pub audited_refusals_per_minute: u32,
}

/// The audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditConfig {
    /// How long events and seals are kept.
    pub retention: Lifetime,
    /// How long after a minute's end it is sealed.
    pub seal_delay: Lifetime,
}

/// Logs and traces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telemetry {
    /// One JSON object a line instead of text for people.
    pub json: bool,
    /// `tracing` filter directives.
    pub filter: String,
    /// Where spans go (OTLP over gRPC), if anywhere.
    pub otlp_endpoint: Option<String>,
}

impl Config {
    /// Reads and checks `file`, which the environment variables override. Relative paths in it start from its folder.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file).map_err(|error| ConfigError {
            file: file.display().to_string(),
            key: "(file)".into(),
            problem: format!("cannot be read: {error}; start from signet.sample.toml, or set {}", variables::ALL),
        })?;
        Self::from_figment(Figment::from(Toml::string(&text)).merge(Variables::of_process()), file)
    }

    /// Reads and checks the environment variables alone. Relative paths start from the working directory.
    pub fn from_environment() -> Result<Self, ConfigError> {
        Self::from_variables(Variables::of_process())
    }

    /// The same for variables that are given here: names with the prefix `SIGNET_`, and texts.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, ConfigError> {
        Self::from_variables(Variables::new(pairs))
    }

    /// Checks a configuration that is not in a file; relative paths start from `base`.
    pub fn from_toml(text: &str, base: &Path) -> Result<Self, ConfigError> {
        Self::from_figment(Figment::from(Toml::string(text)), &base.join("configuration"))
    }

    fn from_variables(variables: Variables) -> Result<Self, ConfigError> {
        Self::from_figment(Figment::from(variables), Path::new(variables::ALL))
    }

    fn from_figment(figment: Figment, file: &Path) -> Result<Self, ConfigError> {
        let raw: raw::RawConfig = figment.extract().map_err(|error| unreadable(error, file))?;
        let base = file.parent().unwrap_or(Path::new("."));
        check::check(raw, base).map_err(|(key, problem)| ConfigError {
            file: origin(figment.find_metadata(&key), file),
            key,
            problem,
        })
    }
}

/// The first of figment's errors, in our words.
fn unreadable(error: figment::Error, file: &Path) -> ConfigError {
    let key = if error.path.is_empty() { "(top level)".to_owned() } else { error.path.join(".") };
    ConfigError { file: origin(error.metadata.as_ref(), file), key, problem: error.kind.to_string() }
}

/// Where a value comes from: what is said by nobody is missing in the file.
fn origin(found: Option<&figment::Metadata>, file: &Path) -> String {
    match found {
        Some(found) if found.name == variables::ALL => variables::ALL.to_owned(),
        _ => file.display().to_string(),
    }
}
