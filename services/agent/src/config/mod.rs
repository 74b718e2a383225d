//! What the agent is to do: read once, checked, and then only carried out. `agent.sample.toml` explains each key.

mod check;
mod error;
mod sections;
pub(crate) mod value;

use std::{fs, path::Path};

use figment::{
    Figment,
    error::Kind,
    providers::{Format, Toml},
};
use sections::File;

pub use error::ConfigError;
pub use sections::{
    Command, Config, EnrollConfig, ExecConfig, FileConfig, IdentityConfig, PemConfig, Pkcs12Config, ProofConfig,
    SignalConfig, Stdin, WorkloadApiConfig,
};

impl Config {
    /// Reads a file. Relative paths in it start at its folder.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(ConfigError::File)?;
        let base = path.parent().filter(|base| !base.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self::from_toml(&text, &std::path::absolute(base).map_err(ConfigError::File)?)
    }

    /// Reads a text. Relative paths in it start at `base`.
    pub fn from_toml(text: &str, base: &Path) -> Result<Self, ConfigError> {
        let figment = Figment::from(Toml::string(text));
        let file: File = figment.extract().map_err(|error| ConfigError::Syntax(in_words(&figment, &error)))?;
        check::config(file, base)
    }
}

fn name_of(figment: &Figment, number: &str) -> Option<String> {
    let identities = figment.find_value("identity").ok()?;
    let one = identities.as_array()?.get(number.parse::<usize>().ok()?)?;
    Some(one.find_ref("name")?.as_str()?.to_owned())
}

/// figment separates the key from the problem, numbers identities, and names Rust's types.
fn in_words(figment: &Figment, error: &figment::Error) -> String {
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
        let mut path = error.path.clone();
        if let [first, number, ..] = path.as_mut_slice()
            && first == "identity"
            && let Some(name) = name_of(figment, number)
        {
            *number = name;
        }
        let path = path.join(".");
        if path.is_empty() { what } else { format!("{path}: {what}") }
    };
    error.clone().into_iter().map(|error| one(&error)).collect::<Vec<_>>().join("; ")
}
