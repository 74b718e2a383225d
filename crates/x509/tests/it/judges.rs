//! Running the independent judges: real programs on real files.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A folder that goes with the test.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// A PEM file with one certificate after the other.
    pub(crate) fn certificates(&self, name: &str, ders: &[&[u8]]) -> PathBuf {
        self.write(name, ders.iter().map(|der| signet_x509::pem::encode_certificate(der)).collect::<String>())
    }
}

/// Runs a command that must succeed; returns what it printed, errors included.
pub(crate) fn run(command: &mut Command) -> String {
    let (ok, text) = attempt(command);
    assert!(ok, "{command:?}:\n{text}");
    text
}

/// Runs a command; returns whether it succeeded and what it printed.
pub(crate) fn attempt(command: &mut Command) -> (bool, String) {
    let out = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let text = [out.stdout, out.stderr].concat();
    (out.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// A judge from the Python package index.
pub(crate) fn judge(name: &str) -> PathBuf {
    let folder = std::env::var_os("SIGNET_JUDGES")
        .unwrap_or_else(|| panic!("SIGNET_JUDGES is not set: export SIGNET_JUDGES=$(scripts/judges)"));
    Path::new(&folder).join(name)
}
