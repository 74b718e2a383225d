//! Runs the real binary in a home of its own.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// A user's machine.
pub(crate) struct Machine {
    dir: TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Outcome {
    /// Standard output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// It must have succeeded.
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// `principal ARGUMENTS`, in a clean environment and without a terminal.
    pub(crate) fn principal(&self, arguments: &[&str]) -> Outcome {
        self.principal_with(arguments, &[], b"")
    }

    pub(crate) fn principal_with(&self, arguments: &[&str], variables: &[(&str, &str)], input: &[u8]) -> Outcome {
        let mut child = self.spawn(arguments, variables);
        // A command that reads nothing may be gone before this is written.
        let _: std::io::Result<()> = child.stdin.take().unwrap().write_all(input);
        finish(child)
    }

    /// Starts `principal ARGUMENTS`.
    pub(crate) fn spawn(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_principal"))
            .args(arguments)
            .current_dir(self.dir.path())
            .env_clear()
            .env("SIGNET_HOME", self.home())
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// A context that leads nowhere, with credentials of a throw-away CA.
    pub(crate) fn add_dead_context(&self, name: &str) {
        self.principal(&["context", "add", name, "--endpoint", "https://127.0.0.1:1"]).ok();
    }
}

/// Waits for a command's end.
pub(crate) fn finish(child: Child) -> Outcome {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

/// The permission bits of `path`.
pub(crate) fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}
