//! PostgreSQL lets a client in as the user that its certificate names, and takes a new certificate of its own at
//! SIGHUP: an open session lives on.

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

use crate::{
    relying_parties::programs::recipe,
    world::{World, eventually, exists, free_port, run, shown_serial},
};

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

/// A cluster in `data` with the recipe of services/agent/relying-parties.
pub(crate) async fn make_cluster(world: &World, data: &Path, port: u16) {
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
    let recipe = |file: &str| recipe(world, file, port);
    let places = format!("port = {port}\nunix_socket_directories = '{}'\nfsync = off\n", data.display());
    let settings = fs::read_to_string(data.join("postgresql.conf")).unwrap() + &recipe("postgresql.conf") + &places;
    fs::write(data.join("postgresql.conf"), settings).unwrap();
    fs::write(data.join("pg_hba.conf"), "local all all trust\n".to_owned() + &recipe("pg_hba.conf")).unwrap();
    fs::write(data.join("pg_ident.conf"), recipe("pg_ident.conf")).unwrap();
}

pub(crate) fn server(data: &Path) -> Command {
    let mut server = as_server("postgres");
    server.arg("-D").arg(data).current_dir("/");
    server
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
    make_cluster(&world, &data, port).await;
    let (db, app) =
        (world.token(PrincipalType::Service, "db-1").await, world.token(PrincipalType::Worker, "app-1").await);
    let (db, app) = (db.display(), app.display());
    let group = if server_user().is_some() { "mode = \"0640\", group = \"postgres\"" } else { "mode = \"0600\"" };
    let identities = format!(
        "[[identity]]\nname = \"db\"\nenroll = {{ join_token_file = \"{db}\" }}\n\
         pem = {{ directory = \"web\", crl = true, key = {{ {group} }} }}\nsignal = {{ pid_file = \"pg/postmaster.pid\" }}\n\
         [[identity]]\nname = \"app\"\nenroll = {{ join_token_file = \"{app}\" }}\npem = {{ directory = \"app\" }}\n"
    );
    let (agent, mut reports) = world.agent(&identities).await;
    eventually("the lists are there", || exists(&world.path("web/crl.pem"))).await;
    let _server = Ended(server(&data).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let (socket, port_text) = (data.display().to_string(), port.to_string());
    let local =
        ["-h", &socket, "-p", &port_text, "-U", "postgres", "-d", "postgres", "-qXc", "create role \"app-1\" login"];
    eventually("PostgreSQL is up", || Command::new("psql").args(local).output().unwrap().status.success()).await;
    reports.until("it is told", IdentityReport::is_well).await;

    let first = who(&world, port, "app").await.unwrap();
    let mut session = Session::open(&world, port);
    let held = session.who();
    assert_eq!(serial(&held), serial(&first));
    let refused = who(&world, port, "web").await.unwrap_err();
    assert!(refused.contains("certificate authentication failed"), "somebody else of the tenant: {refused}");
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
