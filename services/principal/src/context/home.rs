//! Where contexts live.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use crate::failure::Failure;

/// The directory with `contexts.toml` and `contexts/<name>/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home(PathBuf);

impl Home {
    /// `$SIGNET_HOME`, else `$XDG_CONFIG_HOME/signet`, else `~/.config/signet`.
    pub fn locate() -> Result<Self, Failure> {
        Self::from_variables(|name| env::var_os(name))
    }

    fn from_variables(get: impl Fn(&str) -> Option<OsString>) -> Result<Self, Failure> {
        let set = |name| get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let dir = set("SIGNET_HOME")
            .or_else(|| set("XDG_CONFIG_HOME").filter(|dir| dir.is_absolute()).map(|dir| dir.join("signet")))
            .or_else(|| set("HOME").map(|dir| dir.join(".config/signet")));
        dir.map(Self).ok_or_else(|| Failure::usage("no home directory").hint("set SIGNET_HOME to a directory"))
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The list of contexts.
    pub fn contexts_file(&self) -> PathBuf {
        self.0.join("contexts.toml")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_variable_that_is_set_wins() {
        let home = |pairs: &[(&str, &str)]| {
            let get = |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
            Home::from_variables(get).ok().map(|home| home.0)
        };
        assert_eq!(home(&[("SIGNET_HOME", "/a"), ("HOME", "/h")]), Some("/a".into()));
        assert_eq!(home(&[("XDG_CONFIG_HOME", "/x"), ("HOME", "/h")]), Some("/x/signet".into()));
        assert_eq!(home(&[("XDG_CONFIG_HOME", "relative"), ("HOME", "/h")]), Some("/h/.config/signet".into()));
        assert_eq!(home(&[("SIGNET_HOME", "")]), None);
    }
}
