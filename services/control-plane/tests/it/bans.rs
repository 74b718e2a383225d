//! Bans of a real node, as its file tells them to Debian's fail2ban.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use crate::world::{Node, World, eventually};

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fail2ban");
/// One of loopback's other addresses, which is a source of its own.
const SOURCE: &str = "127.0.2.1";

fn run(program: &str, arguments: &[&str]) -> Output {
    let missing = |error| panic!("{program}: {error} (Debian: apt-get install openssl fail2ban)");
    Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap_or_else(missing)
}

/// A handshake with a certificate that nobody knows.
async fn fail(folder: PathBuf, node: &Node) {
    let (to, from) = (format!("127.0.0.1:{}", node.running.grpc_addr.port()), format!("{SOURCE}:0"));
    let handshake = move || {
        let [key, certificate] = ["key.pem", "certificate.pem"].map(|file| folder.join(file));
        let (key, certificate) = (key.to_str().unwrap(), certificate.to_str().unwrap());
        if !Path::new(key).exists() {
            let new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"];
            let made = run("openssl", &[&new[..], &["-subj", "/CN=x", "-keyout", key, "-out", certificate]].concat());
            assert!(made.status.success(), "{made:?}");
        }
        let dial = ["s_client", "-connect", &to, "-bind", &from, "-cert", certificate, "-key", key, "-alpn", "h2"];
        run("openssl", &dial)
    };
    tokio::task::spawn_blocking(handshake).await.unwrap();
}

/// fail2ban with our jail, whose action only writes down whom it would drop.
struct Jail {
    server: Child,
    folder: PathBuf,
}

impl Jail {
    fn start(folder: &Path, log: &Path) -> Self {
        let folder = folder.join("fail2ban");
        let debian = run("cp", &["-r", "/etc/fail2ban", folder.to_str().unwrap()]);
        let ours = run("cp", &["-r", &format!("{SHIPPED}/."), folder.to_str().unwrap()]);
        assert!(debian.status.success() && ours.status.success(), "{debian:?} {ours:?}");
        // Debian's guards sshd, and our source is this machine.
        fs::remove_file(folder.join("jail.d/defaults-debian.conf")).unwrap();
        let here = format!("[signetd]\nlogpath = {}\nbanaction = dummy\nignoreself = false\n", log.display());
        fs::write(folder.join("jail.d/zz-test.local"), here).unwrap();
        let dummy = format!("[Init]\ntarget = {}\n", folder.join("banned").display());
        fs::write(folder.join("action.d/dummy.local"), dummy).unwrap();
        let quiet = format!("[Definition]\nlogtarget = {}\ndbfile = None\n", folder.join("log").display());
        fs::write(folder.join("fail2ban.local"), quiet).unwrap();
        let [socket, pid] = ["socket", "pid"].map(|file| folder.join(file));
        let server = Command::new("fail2ban-server")
            .args(["-f", "-c", folder.to_str().unwrap(), "-s", socket.to_str().unwrap(), "-p", pid.to_str().unwrap()])
            .arg("start")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { server, folder }
    }

    /// What its action was told to do.
    fn told(&self) -> String {
        fs::read_to_string(self.folder.join("banned")).unwrap_or_default()
    }
}

impl Drop for Jail {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[tokio::test]
async fn fail2ban_reads_whom_the_node_bans() {
    let world = World::with_config("bans = { failed_handshakes = 3, log_file = 'bans.log' }").await;
    let node = world.node().await;
    let (folder, log) = (world.dir.path().to_owned(), world.dir.path().join("bans.log"));
    for _ in 0..3 {
        fail(folder.clone(), &node).await;
    }
    let lines = || fs::read_to_string(&log).unwrap();
    eventually("it is written", async || !lines().is_empty()).await;
    let ending = format!("Z signetd ban src={SOURCE} reason=bad-certificate\n");
    assert!(lines().starts_with("20") && lines().ends_with(&ending) && lines().lines().count() == 1, "{}", lines());
    fail(folder, &node).await;
    let refused = "signet_connections_refused_total{reason=\"SOURCE_BANNED\"} 1";
    eventually("it is closed at once", async || node.metrics().await.contains(refused)).await;
    let metrics = node.metrics().await;
    assert!(metrics.contains("signet_sources_banned_total{reason=\"bad-certificate\"} 1"), "{metrics}");
    let is_told = async || world.audit(&node, "system").await.iter().any(|event| event["outcome"] == "SOURCE_BANNED");
    eventually("it is audited", is_told).await;
    node.end().await;

    let filter = format!("{SHIPPED}/filter.d/signetd.conf");
    let read = run("fail2ban-regex", &[log.to_str().unwrap(), &filter]);
    let read = String::from_utf8_lossy(&read.stdout);
    assert!(read.contains("Lines: 1 lines, 0 ignored, 1 matched, 0 missed"), "{read}");
    let jail = Jail::start(world.dir.path(), &log);
    eventually("the jail drops it", async || jail.told().contains(SOURCE)).await;
}

#[tokio::test]
async fn a_node_that_cannot_write_the_file_does_not_start() {
    let world = World::new().await;
    let mut config = world.config();
    config.bans.log_file = Some(world.dir.path().join("no-such-folder/bans.log"));
    let (stop, clock) = (tokio_util::sync::CancellationToken::new(), crate::world::TestClock::default().clock());
    let refused = signet_control_plane::serve(config, world.wired.clone(), stop, clock).await.unwrap_err();
    assert!(refused.to_string().contains("bans.log_file"), "{refused}");
}
