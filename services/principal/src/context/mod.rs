//! Contexts: which server to call, as whom. `contexts.toml` names them; each has a directory with its certificate,
//! key and root. Directories are 0700 and files 0600.

mod home;
mod lock;
pub mod private;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{exit::Exit, failure::Failure};

pub use home::Home;
pub use lock::Lock;

/// One server and one identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// The control plane, e.g. `https://signet.prod.example.com:8443`.
    pub endpoint: String,
    /// The name in the server's certificate, where it is not the endpoint's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// The public listener, e.g. `http://127.0.0.1:8080`: health, time and root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_endpoint: Option<String>,
    /// The tenant that commands work in; absent: the certificate's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Where certificate, key and root are; relative to the home directory.
    pub credentials: PathBuf,
    /// How a person gets its next certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
}

/// How a person signs in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The OpenID Connect issuer.
    pub issuer: String,
    /// What it knows this program as.
    pub client_id: String,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// The tenant to enroll in.
    pub tenant: String,
    /// In a browser on this machine instead of with a code.
    #[serde(default)]
    pub browser: bool,
}

/// All contexts of this user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contexts {
    /// The one that commands use without `--context`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// By name.
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
}

impl Contexts {
    /// Reads `contexts.toml`; none yet is an empty list.
    pub fn load(home: &Home) -> Result<Self, Failure> {
        let path = home.contexts_file();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(Failure::file(&path, &error)),
        };
        toml::from_str(&text).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
    }

    /// Changes `contexts.toml`: reads it, lets `change` work on it and writes it, and nobody else does meanwhile.
    pub fn update<T>(home: &Home, change: impl FnOnce(&mut Self) -> Result<T, Failure>) -> Result<T, Failure> {
        let _lock = Lock::take(home.path())?;
        let mut contexts = Self::load(home)?;
        let before = contexts.clone();
        let done = change(&mut contexts)?;
        if contexts != before {
            let text = toml::to_string_pretty(&contexts).map_err(Failure::other)?;
            private::write(&private::followed(&home.contexts_file()), text.as_bytes())?;
        }
        Ok(done)
    }

    /// The context called `name`, or the current one.
    pub fn select(&self, name: Option<&str>) -> Result<(&str, &Context), Failure> {
        let name = match name.or(self.current.as_deref()) {
            Some(name) => name,
            None => {
                return Err(Failure::usage("there is no current context")
                    .hint("create one: `principal bootstrap`, `principal enroll --save-context NAME` or `principal context add`"));
            }
        };
        let found = self.contexts.get_key_value(name).map(|(name, context)| (name.as_str(), context));
        found.ok_or_else(|| {
            let message = format!("there is no context {name}");
            Failure::new(Exit::NotFound, message).hint("`principal context list` shows them")
        })
    }

    /// The key of a context for another server must not be lost.
    pub fn refuse_other_server(&self, name: &str, planned: &Context) -> Result<(), Failure> {
        match self.contexts.get(name) {
            Some(there) if there.endpoint != planned.endpoint => {
                let message = format!("context {name} is for {}, not for {}", there.endpoint, planned.endpoint);
                Err(Failure::new(Exit::Conflict, message)
                    .hint("choose another name, or remove that context: `principal context remove`"))
            }
            _ => Ok(()),
        }
    }

    /// Adds or replaces a context; the first becomes the current one.
    pub fn put(&mut self, name: &str, context: Context) {
        self.contexts.insert(name.to_owned(), context);
        self.current.get_or_insert_with(|| name.to_owned());
    }
}

impl Context {
    /// The directory with the credentials.
    pub fn directory(&self, home: &Home) -> PathBuf {
        home.path().join(&self.credentials)
    }
}

/// A context's name becomes a directory's: 1 to 64 of `A-Z a-z 0-9 . _ -`, not starting with a dot or hyphen.
pub fn parse_name(text: &str) -> Result<String, String> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let ok = (1..=64).contains(&text.len()) && text.bytes().all(fine) && !text.starts_with(['.', '-']);
    if ok { Ok(text.to_owned()) } else { Err("may hold only A-Z a-z 0-9 . _ - (at most 64, not . or - first)".into()) }
}

/// The default credentials directory of a context, relative to the home directory.
pub fn default_directory(name: &str) -> PathBuf {
    Path::new("contexts").join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_never_leaves_the_home_directory() {
        for bad in ["", ".", "..", "a/b", ".hidden", "-x", "a b", &"a".repeat(65)] {
            assert!(parse_name(bad).is_err(), "{bad:?}");
        }
        assert!(parse_name("prod-eu.2_a").is_ok());
    }
}
