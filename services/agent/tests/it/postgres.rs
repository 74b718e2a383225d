//! PostgreSQL lets a client in by its certificate, and takes a new one of its own at SIGHUP: an open session lives on,
//! and whoever comes from another tenant stays outside.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use nix::unistd::{Uid, User};
use signet_agent::report::IdentityReport;
use signet_proto::v1::PrincipalType;

use crate::world::{World, eventually, free_port, run, shown_serial};

/// A process that ends with its test. PostgreSQL takes SIGINT for "at once, and leave no memory behind".
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}

/// Debian has its commands where no PATH looks.
fn command(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.map(|version| version.path().join("bin").join(name)).filter(|path| path.exists()).max();
    newest.unwrap_or_else(|| name.into())
}

/// It refuses to run as root: as whom then, if that is who we are.
fn server_user() -> Option<User> {
    Uid::effective().is_root().then(|| User::from_name("postgres").unwrap().unwrap())
}

fn as_server(name: &str) -> Command {
    let mut command = Command::new(command(name));
    if let Some(user) = server_user() {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    command
}

/// A cluster in `data` that asks for certificates of this environment's principals and lets in those of `acme`, each as
/// the user of its name.
async fn make_cluster(world: &World, data: &Path) {
    fs::create_dir(data).unwrap();
    if let Some(user) = server_user() {
        std::os::unix::fs::chown(data, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
        fs::set_permissions(world.dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
    }
    let mut initdb = as_server("initdb");
    initdb.args(["--no-sync", "--auth=trust", "--username=postgres", "--locale=C", "--pgdata"]).arg(data);
    let made = tokio::task::spawn_blocking(move || initdb.current_dir("/").output()).await.unwrap();
    let made = made.unwrap_or_else(|error| panic!("PostgreSQL is not installed (see scripts/lib/judges.sh): {error}"));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let rules =
        "local all all trust\nhostssl all all 127.0.0.1/32 cert clientcert=verify-full clientname=DN map=signet\n";
    fs::write(data.join("pg_hba.conf"), rules).unwrap();
    fs::write(data.join("pg_ident.conf"), "signet \"/^CN=([^,]+),O=acme$\" \\1\n").unwrap();
}

fn start(world: &World, data: &Path, port: u16) -> Ended {
    let dir = world.dir.path().display();
    let mut server = as_server("postgres");
    for setting in [
        format!("port={port}"),
        format!("unix_socket_directories={}", data.display()),
        "ssl=on".into(),
        format!("ssl_cert_file={dir}/db/cert.pem"),
        format!("ssl_key_file={dir}/db/key.pem"),
        format!("ssl_ca_file={dir}/db/bundle.pem"),
        "fsync=off".into(),
    ] {
        server.args(["-c", &setting]);
    }
    server.arg("-D").arg(data).current_dir("/").stdout(Stdio::null()).stderr(Stdio::null());
    Ended(server.spawn().unwrap())
}

/// How `identity` gets in as the user app-1; the server must be db-1.
fn place(world: &World, port: u16, identity: &str) -> String {
    let dir = world.dir.path().display();
    format!(
        "host=db-1.service.acme.test.example.com hostaddr=127.0.0.1 port={port} dbname=postgres user=app-1 \
         sslmode=verify-full sslrootcert={dir}/app/bundle.pem \
         sslcert={dir}/{identity}/cert.pem sslkey={dir}/{identity}/key.pem"
    )
}

const WHO: &str = "select pg_backend_pid(), client_serial from pg_stat_ssl where pid = pg_backend_pid()";

/// The server process and the client's serial number of a connection of its own.
async fn who(world: &World, port: u16, identity: &str) -> Result<String, String> {
    let done = run("psql", &["-XAt", "-d", &place(world, port, identity), "-c", WHO]).await;
    let text = |bytes| String::from_utf8(bytes).unwrap().trim().to_owned();
    if done.status.success() { Ok(text(done.stdout)) } else { Err(text(done.stderr)) }
}

/// A session that stays.
struct Session {
    _child: Ended,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Session {
    fn open(world: &World, port: u16) -> Self {
        let mut psql = Command::new("psql");
        psql.args(["-XAt", "-d", &place(world, port, "app")]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = psql.spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { _child: Ended(child), stdin, stdout: BufReader::new(stdout) }
    }

    fn who(&mut self) -> String {
        writeln!(self.stdin, "{WHO};").unwrap();
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }
}

fn serial(who: &str) -> &str {
    who.split_once('|').unwrap().1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_rotates_under_an_open_session() {
    let world = World::new().await;
    let (data, port) = (world.path("pg"), free_port());
    make_cluster(&world, &data).await;
    world.tenant("globex").await;
    let (db, app) =
        (world.token(PrincipalType::Service, "db-1").await, world.token(PrincipalType::Worker, "app-1").await);
    let (db, app) = (db.display(), app.display());
    let stranger = world.token_of("globex", PrincipalType::Worker, "app-1", "stranger.token").await;
    let group = if server_user().is_some() { "mode = \"0640\", group = \"postgres\"" } else { "mode = \"0600\"" };
    let identities = format!(
        "[[identity]]\nname = \"db\"\nenroll = {{ join_token_file = \"{db}\" }}\n\
         pem = {{ directory = \"db\", key = {{ {group} }} }}\nsignal = {{ pid_file = \"pg/postmaster.pid\" }}\n\
         [[identity]]\nname = \"app\"\nenroll = {{ join_token_file = \"{app}\" }}\npem = {{ directory = \"app\" }}\n\
         [[identity]]\nname = \"stranger\"\nenroll = {{ join_token_file = \"{}\" }}\npem = {{ directory = \"stranger\" }}\n",
        stranger.display()
    );
    let (agent, mut reports) = world.agent(&identities).await;
    let _server = start(&world, &data, port);
    let (socket, port_text) = (data.display().to_string(), port.to_string());
    let local =
        ["-h", &socket, "-p", &port_text, "-U", "postgres", "-d", "postgres", "-qXc", "create role \"app-1\" login"];
    eventually("PostgreSQL is up", || Command::new("psql").args(local).output().unwrap().status.success()).await;
    reports.until("it is told", IdentityReport::is_well).await;

    let first = who(&world, port, "app").await.unwrap();
    let mut session = Session::open(&world, port);
    let held = session.who();
    assert_eq!(serial(&held), serial(&first));
    for (outsider, why) in [("stranger", "unknown ca"), ("db", "certificate authentication failed")] {
        let refused = who(&world, port, outsider).await.unwrap_err();
        assert!(refused.contains(why), "{outsider}: {refused}");
    }
    let shown = || shown_serial(port, &["-starttls", "postgres"]);
    let before = shown().await;
    assert!(before.starts_with("serial="), "{before}");
    assert!(agent.renew("db"));
    let deadline = Instant::now() + Duration::from_secs(30);
    while shown().await == before {
        assert_eq!(session.who(), held);
        assert!(Instant::now() < deadline, "PostgreSQL still shows {before}");
    }
    assert!(agent.renew("app"));
    while serial(&who(&world, port, "app").await.unwrap()) == serial(&first) {
        assert!(Instant::now() < deadline, "the client still shows {first}");
    }
    assert_eq!(session.who(), held, "the same server process, and what was shown to it");
    agent.stop().await;
}
