//! The configuration: environment variables `SIGNET_<SECTION>__<KEY>` override a TOML file (either is enough), which
//! overrides the defaults in `signet.sample.toml`.
//!
//! A [`Config`] has been checked.

mod check;
mod sections;
mod value;
mod variables;

use std::path::Path;

use figment::{
    Figment, Provider as _,
    providers::{Format as _, Serialized, Toml},
    value::{Dict, Value},
};
use thiserror::Error;
use variables::Variables;

pub use sections::{
    AuditConfig, Authorization, Aws, Bans, Config, Enrollment, Environment, Events, Keys, Limits, Listen, Log, Probe,
    Publication, ServerIdentitySource, Storage, Telemetry, Tenants, TrustConfig,
};

pub(crate) const SAMPLE: &str = include_str!("../../signet.sample.toml");
/// Sections without defaults, except for `oid_arc`.
const CHOSEN: [&str; 4] = ["environment", "storage", "keys", "server_identity"];

/// What is wrong with the configuration. `Display` says where, which key and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{file}: {}{problem}", if key.is_empty() { String::new() } else { format!("{key}: ") })]
pub struct ConfigError {
    /// The file, or the environment variables.
    pub file: String,
    /// Dotted path of the key, e.g. `listen.grpc`; empty: none of them.
    pub key: String,
    /// What is wrong and what to write instead.
    pub problem: String,
}

impl Config {
    /// Reads and checks `file`, which the environment variables override. Relative paths in it start from its folder.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file).map_err(|error| ConfigError {
            file: file.display().to_string(),
            key: "(file)".into(),
            problem: format!(
                "cannot be read: {error}; create an environment with `principal bootstrap --local DIR`, start from \
                 signet.sample.toml, or set {}",
                variables::ALL
            ),
        })?;
        Self::read(Some(&text), &variables::of_process(), file)
    }

    /// What signetd starts with where it is told nothing: `signet.toml` in the working directory, else the environment
    /// variables.
    pub fn usual() -> Result<Self, ConfigError> {
        let usual = Path::new("signet.toml");
        match () {
            () if usual.exists() => Self::load(usual),
            () if variables::has_settings(&variables::of_process()) => Self::from_environment(),
            () => Err(ConfigError {
                file: "no signet.toml here".into(),
                key: String::new(),
                problem: format!(
                    "create an environment with `principal bootstrap --local DIR`, give --config FILE, or set {}",
                    variables::ALL
                ),
            }),
        }
    }

    /// Reads and checks the environment variables alone. Relative paths start from the working directory.
    pub fn from_environment() -> Result<Self, ConfigError> {
        Self::read(None, &variables::of_process(), Path::new(variables::ALL))
    }

    /// The same for variables that are given here: names with the prefix `SIGNET_`, and texts.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, ConfigError> {
        let pairs: Vec<_> = pairs.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
        Self::read(None, &pairs, Path::new(variables::ALL))
    }

    /// Checks a configuration that is not in a file; relative paths start from `base`.
    pub fn from_toml(text: &str, base: &Path) -> Result<Self, ConfigError> {
        Self::read(Some(text), &[], &base.join("configuration"))
    }

    fn read(toml: Option<&str>, variables: &[(String, String)], file: &Path) -> Result<Self, ConfigError> {
        if let Some((name, setting)) = variables::misspelt(variables, SAMPLE) {
            let problem = format!("is not a setting: did you mean {setting}?");
            return Err(ConfigError { file: variables::ALL.into(), key: name.into(), problem });
        }
        let sample = Toml::string(SAMPLE).data().map_err(|error| unreadable(error, file))?;
        let defaults = defaults(sample.into_values().next().unwrap_or_default());
        let variables = Variables::new(variables, &defaults);
        let figment = Figment::from(Serialized::defaults(defaults));
        let figment = toml.map_or(figment.clone(), |text| figment.merge(Toml::string(text))).merge(variables);
        let mut config: Self = figment.extract().map_err(|error| unreadable(error, file))?;
        config.rebase(file.parent().unwrap_or(Path::new(".")));
        check::together(&config).map_err(|(key, problem)| ConfigError {
            file: origin(figment.find_metadata(&key), file),
            key,
            problem,
        })?;
        Ok(config)
    }

    /// Relative paths start from `base`.
    fn rebase(&mut self, base: &Path) {
        let mut paths = Vec::from_iter(&mut self.enrollment.issuer_ca_file);
        paths.extend(&mut self.bans.log_file);
        if let Storage::Sqlite { path } = &mut self.storage {
            paths.push(path);
        }
        match &mut self.keys {
            Keys::Softkey { dir, passphrase_file } => paths.extend([dir, passphrase_file]),
            Keys::Kms { tenant_key_policy_file, .. } => paths.extend(tenant_key_policy_file),
        }
        if let ServerIdentitySource::Files { dir } = &mut self.server_identity {
            paths.push(dir);
        }
        for path in paths {
            *path = base.join(&*path);
        }
    }
}

/// The defaults: the sample without what each deployment must set.
fn defaults(mut sample: Dict) -> Dict {
    let arc = sample.get("environment").and_then(|environment| environment.find_ref("oid_arc")).cloned();
    sample.retain(|section, _| !CHOSEN.contains(&section.as_str()));
    sample.extend(arc.map(|arc| ("environment".to_owned(), Value::from(Dict::from([("oid_arc".to_owned(), arc)])))));
    sample
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
