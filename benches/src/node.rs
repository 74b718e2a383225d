//! signetd in a process of its own, and a client of it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use signet_client::{Connector, Credentials, IdentitySettings};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};
use tonic::transport::Channel;

use crate::{
    Result,
    machine::{cpu_of, memory},
};

/// An environment that `principal bootstrap --local` made.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Environment {
    /// Release build of signetd, for the rows that need the whole node
    #[arg(long, requires_all = ["config", "admin", "grpc", "public"])]
    pub(crate) signetd: Option<PathBuf>,
    /// Its configuration
    #[arg(long)]
    config: Option<PathBuf>,
    /// Folder with the admin's cert.pem, key.pem and ca.pem
    #[arg(long)]
    admin: Option<PathBuf>,
    /// Its gRPC listener
    #[arg(long)]
    grpc: Option<SocketAddr>,
    /// Its public listener
    #[arg(long)]
    public: Option<SocketAddr>,
    /// Whether its node listens there and not where the configuration says.
    #[arg(skip)]
    is_beside: bool,
}

/// Ended when dropped.
pub(crate) struct Node {
    child: Child,
    /// From its start until it said that it is ready.
    pub(crate) ready_after: Duration,
}

impl Node {
    /// Starts it and waits until it is ready.
    pub(crate) async fn start(signetd: &Path, environment: &Environment) -> Result<Self> {
        Self::start_with(signetd, environment, &[]).await
    }

    /// The same with settings by variables.
    pub(crate) async fn start_with(
        signetd: &Path,
        environment: &Environment,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let config = environment.config.as_ref().ok_or("--config is missing")?;
        let public = environment.public.ok_or("--public is missing")?;
        let started = Instant::now();
        let mut command = Command::new(signetd);
        command.envs(settings.iter().copied());
        command.arg("--config").arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if environment.is_beside {
            let grpc = environment.grpc.ok_or("--grpc is missing")?;
            command.env("SIGNET_LISTEN__GRPC", grpc.to_string()).env("SIGNET_LISTEN__PUBLIC", public.to_string());
            command.env("SIGNET_LISTEN__METRICS", "127.0.0.1:0");
        }
        let mut node = Self { child: command.spawn()?, ready_after: Duration::ZERO };
        while !is_ready(public).await {
            if let Some(status) = node.child.try_wait()? {
                return Err(format!("signetd ended: {status}").into());
            }
            if started.elapsed() > Duration::from_secs(30) {
                return Err("signetd is not ready after 30 s".into());
            }
            sleep(Duration::from_millis(2)).await;
        }
        node.ready_after = started.elapsed();
        Ok(node)
    }

    pub(crate) fn cpu(&self) -> Result<Duration> {
        cpu_of(self.child.id())
    }

    /// Resident memory, bytes.
    pub(crate) fn memory(&self) -> Result<f64> {
        memory(self.child.id(), "VmRSS")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It keeps nothing that a sudden end would harm.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Environment {
    /// A second node of it, on ports of its own.
    pub(crate) fn beside(&self) -> Result<Self> {
        let free = || std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        Ok(Self { grpc: Some(free()?), public: Some(free()?), is_beside: true, ..self.clone() })
    }

    /// Its public listener.
    pub(crate) fn public(&self) -> Result<SocketAddr> {
        self.public.ok_or_else(|| "--public is missing".into())
    }

    /// A connection of the admin.
    pub(crate) async fn connect(&self) -> Result<Channel> {
        self.connect_as(&Credentials::load(self.admin.as_ref().ok_or("--admin is missing")?)?).await
    }

    /// A connection of somebody.
    pub(crate) async fn connect_as(&self, credentials: &Credentials) -> Result<Channel> {
        let address = self.grpc.ok_or("--grpc is missing")?;
        let connector = Connector::new(&format!("https://{address}"), credentials.root_der(), Some(credentials))?;
        Ok(connector.with_server_name("localhost")?.connect().await?)
    }

    /// For identities of this environment that follow no bundle.
    pub(crate) fn settings(&self) -> Result<IdentitySettings> {
        let admin = Credentials::load(self.admin.as_ref().ok_or("--admin is missing")?)?;
        let address = self.grpc.ok_or("--grpc is missing")?;
        let settings = IdentitySettings::new(format!("https://{address}"), admin.root_der().to_vec());
        Ok(IdentitySettings { server_name: Some("localhost".into()), follow_bundle: false, ..settings })
    }
}

async fn is_ready(public: SocketAddr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(public).await?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer.starts_with(b"HTTP/1.1 200"))
    };
    matches!(timeout(Duration::from_secs(1), ask).await, Ok(Ok(true)))
}
