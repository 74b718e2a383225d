//! What the plugin is to do: read once, checked, and then only carried out. `mosquitto.sample.toml` explains each key.

mod check;
mod error;
mod file;
mod settings;

use std::{fs, path::Path};

pub use error::ConfigError;
pub use settings::{Config, TenantConfig};

impl Config {
    /// Reads a file. Relative paths in it start at its folder.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(ConfigError::File)?;
        let base = path.parent().filter(|base| !base.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self::from_toml(&text, &std::path::absolute(base).map_err(ConfigError::File)?)
    }

    /// Reads a text. Relative paths in it start at `base`.
    pub fn from_toml(text: &str, base: &Path) -> Result<Self, ConfigError> {
        let file =
            toml::from_str(text).map_err(|error| ConfigError::Syntax(error.to_string().trim_end().to_owned()))?;
        check::config(file, base)
    }
}
