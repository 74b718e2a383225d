//! The agent as a process of its own, asked by its own commands.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use signet_agent::report::{IdentityReport, Report};

/// `signet-agent --config FILE`, to which a command is added. Nothing of this process's AWS settings goes on to it.
pub(crate) fn agent(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_signet-agent"));
    command.arg("--config").arg(config).env_remove("NOTIFY_SOCKET").stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
        command.env_remove(name);
    }
    command
}

pub(crate) async fn ask(config: &Path, arguments: &[&str]) -> Output {
    let mut command = agent(config);
    command.args(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

pub(crate) async fn report(config: &Path) -> Option<Report> {
    serde_json::from_slice(&ask(config, &["status", "--output", "json"]).await.stdout).ok()
}

pub(crate) fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

/// A running agent with one identity; killed when dropped.
pub(crate) struct Process {
    child: Child,
    config: PathBuf,
}

impl Process {
    pub(crate) fn start(config: &Path, variables: &[(&str, &str)]) -> Self {
        let mut command = agent(config);
        command.arg("run").envs(variables.iter().copied()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { child: command.spawn().unwrap(), config: config.to_owned() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// With this umask, octal.
    pub(crate) fn under_umask(config: &Path, umask: &str) -> Self {
        let mut command = Command::new("sh");
        let line = format!("umask {umask}; exec \"$0\" --config \"$1\" run");
        command.args(["-c", &line, env!("CARGO_BIN_EXE_signet-agent")]).arg(config).env_remove("NOTIFY_SOCKET");
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Self { child: command.spawn().unwrap(), config: config.to_owned() }
    }

    /// Asks for its status until the identity is so; 30 s at most.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&IdentityReport) -> bool) -> IdentityReport {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let found = report(&self.config).await.and_then(|report| report.identities.into_iter().next());
            match found {
                Some(found) if is_so(&found) => return found,
                found => assert!(Instant::now() < deadline, "not in time: {what}: {found:?}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(crate) async fn renew(&self, name: &str) {
        assert!(ask(&self.config, &["renew", name]).await.status.success());
    }

    /// What `status` says to people, and its exit code.
    pub(crate) async fn shown(&self) -> (String, Option<i32>) {
        let output = ask(&self.config, &["status"]).await;
        (String::from_utf8(output.stdout).unwrap(), output.status.code())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
