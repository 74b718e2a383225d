//! `signetd` itself, on a world's environment.

use std::{net::SocketAddr, path::PathBuf, process::Stdio, time::Duration};

use signet_client::Connector;
use tokio::{io::AsyncReadExt, process::Child};
use tonic::transport::Channel;

use crate::world::{World, eventually, http};

pub struct Program {
    child: Child,
    grpc: SocketAddr,
    pub public: SocketAddr,
    file: PathBuf,
    config: String,
    pub ready_after: Duration,
}

impl Program {
    pub async fn start(world: &World, more: &str, stderr: Stdio) -> Self {
        let file = world.dir.path().join("signet.toml");
        let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (grpc, public) = (free(), free());
        let config = format!(
            "environment = {{ name = 'test', trust_domain_suffix = 'test.example.com' }}\n\
             storage = {{ kind = 'sqlite', path = 'signet.db' }}\n\
             keys = {{ kind = 'softkey', dir = 'keys', passphrase_file = 'passphrase' }}\n\
             server_identity = {{ kind = 'files', dir = 'server' }}\n\
             listen = {{ grpc = '{grpc}', public = '{public}', metrics = '127.0.0.1:0' }}\n"
        );
        std::fs::write(&file, format!("{config}{more}")).unwrap();
        let mut signetd = tokio::process::Command::new(env!("CARGO_BIN_EXE_signetd"));
        let child = signetd.arg("--config").arg(&file).stderr(stderr).kill_on_drop(true).spawn().unwrap();
        let ready_after = eventually("signetd is ready", async || http(public, "/readyz").await.0 == 200).await;
        Self { child, grpc, public, file, config, ready_after }
    }

    /// Has it read its configuration again, with other lines in place of `more`.
    pub fn reload(&self, more: &str) {
        std::fs::write(&self.file, format!("{}{more}", self.config)).unwrap();
        self.signal("-HUP");
    }

    /// `signetd check` beside it.
    pub async fn check(&self) -> std::process::Output {
        let mut signetd = tokio::process::Command::new(env!("CARGO_BIN_EXE_signetd"));
        signetd.arg("--config").arg(&self.file).arg("check").output().await.unwrap()
    }

    /// The same for a reader that has seen enough.
    pub async fn check_of_nobody(&self) -> std::process::Output {
        let mut shell = tokio::process::Command::new("bash");
        let line = "\"$0\" --config \"$1\" check | true";
        shell
            .args(["-o", "pipefail", "-c", line, env!("CARGO_BIN_EXE_signetd")])
            .arg(&self.file)
            .output()
            .await
            .unwrap()
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    pub fn channel(&self, world: &World) -> Channel {
        let endpoint = format!("https://localhost:{}", self.grpc.port());
        Connector::new(&endpoint, &world.roots, Some(&world.admin)).unwrap().channel()
    }

    /// Sends SIGTERM and returns exit code and log.
    pub async fn end(mut self) -> (Option<i32>, String) {
        self.signal("-TERM");
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).await.unwrap();
        (self.child.wait().await.unwrap().code(), log)
    }
}
