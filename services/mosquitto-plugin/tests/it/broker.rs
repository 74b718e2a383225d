//! A Mosquitto process.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// What the README tells operators to write.
const RECIPE: &str = include_str!("../../mosquitto.conf");

pub(crate) struct Broker {
    process: Child,
    log: PathBuf,
    pub(crate) port: u16,
    /// Where no certificate is asked for.
    pub(crate) token_port: u16,
}

impl Broker {
    /// In a folder with `signet.toml`, `anchors.pem`, `server.pem` and `server-key.pem`.
    pub(crate) async fn start(dir: &Path) -> Self {
        Self::spawn(dir).listening().await
    }

    pub(crate) async fn listening(mut self) -> Self {
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self.process.try_wait().unwrap();
            assert!(ended.is_none(), "mosquitto has ended: {}", self.log());
            assert!(begun.elapsed() < Duration::from_secs(30), "mosquitto does not listen: {}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self
    }

    pub(crate) fn spawn(dir: &Path) -> Self {
        Self::spawn_with(dir, str::to_owned)
    }

    /// With another configuration than the README's.
    pub(crate) fn spawn_with(dir: &Path, change: impl Fn(&str) -> String) -> Self {
        let (port, token_port) = (free_port(), free_port());
        let log = dir.join("mosquitto.log");
        let dir_text = dir.display().to_string();
        let recipe = change(RECIPE)
            .replace("/usr/lib/signet/libsignet_mosquitto_plugin.so", &plugin().display().to_string())
            .replace("/etc/signet/mosquitto.toml", &format!("{dir_text}/signet.toml"))
            .replace("/etc/signet/mosquitto", &dir_text)
            .replace("8883", &port.to_string())
            .replace("8885", &token_port.to_string());
        // As root the broker would become a user who may not read the test's files.
        let own = format!("user root\nlog_dest file {}\n", log.display());
        let conf = dir.join("mosquitto.conf");
        fs::write(&conf, own + &recipe).unwrap();
        // Another release, for who has built one.
        let other = std::env::var("SIGNET_MOSQUITTO").ok();
        let debians = || Some("/usr/sbin/mosquitto".to_owned()).filter(|path| Path::new(path).exists());
        let program = other.or_else(debians).unwrap_or_else(|| "mosquitto".into());
        let process = Command::new(program).arg("-c").arg(&conf).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self { process: process.expect("Debian: apt-get install mosquitto"), log, port, token_port }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for a line.
    pub(crate) async fn says(&self, what: &str) {
        crate::world::eventually(what, || self.log().contains(what)).await;
    }

    /// How it ended by itself.
    pub(crate) async fn ended(mut self) -> (bool, String) {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return (status.success(), self.log());
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "it goes on: {}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends it in order.
    pub(crate) async fn stop(self) -> (bool, String) {
        let done = Command::new("kill").arg(self.process.id().to_string()).status().unwrap();
        assert!(done.success());
        self.ended().await
    }

    /// Has it read its configuration again.
    pub(crate) fn reload(&self) {
        let done = Command::new("kill").arg("-HUP").arg(self.process.id().to_string()).status().unwrap();
        assert!(done.success());
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Built with this test, beside it.
fn plugin() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let dir = test.parent().unwrap();
    let found = [dir, dir.parent().unwrap()].map(|dir| dir.join("libsignet_mosquitto_plugin.so"));
    found.into_iter().find(|path| path.exists()).expect("the plugin was built with this")
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
