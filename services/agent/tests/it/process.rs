//! The program as systemd and its operator meet it.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    path::Path,
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use signet_proto::v1::PrincipalType;

use crate::{
    binary::{Process, agent, ask, report, signal},
    world::{World, eventually, free_port},
};

/// Systemd's end of the notifications.
fn notifications(path: &Path) -> Receiver<String> {
    let socket = UnixDatagram::bind(path).unwrap();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(length) = socket.recv(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
            if text.lines().any(|line| sender.send(line.to_owned()).is_err()) {
                return;
            }
        }
    });
    receiver
}

/// Waits for a line that begins so, and takes it out of those heard so far.
fn heard(lines: &Receiver<String>, seen: &mut Vec<String>, what: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(at) = seen.iter().position(|line| line.starts_with(what)) {
            seen.remove(at);
            return;
        }
        assert!(Instant::now() < deadline, "systemd was not told {what}, only {seen:?}");
        seen.extend(lines.recv_timeout(Duration::from_secs(1)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_runs_tells_systemd_answers_and_ends() {
    let world = World::new().await;
    let identity = |name: &str, token: &Path| {
        format!(
            "[[identity]]\nname = \"{name}\"\nenroll = {{ join_token_file = \"{}\" }}\npem = {{ directory = \"{name}\" }}\n",
            token.display()
        )
    };
    let one = identity("one", &world.token(PrincipalType::Worker, "w-1").await);
    let two = identity("two", &world.token(PrincipalType::Worker, "w-2").await);
    let config = world.configure(&one);
    let port = free_port();
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("metrics = \"127.0.0.1:{port}\"\n{text}")).unwrap();

    let checked = ask(&config, &["check"]).await;
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    assert_eq!(ask(&config, &["status"]).await.status.code(), Some(2), "nobody is there to ask");
    let socket = world.path("systemd");
    let (lines, mut seen) = (notifications(&socket), Vec::new());
    let mut child =
        agent(&config).arg("run").env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "300000").spawn().unwrap();
    for what in ["READY=1", "WATCHDOG=1", "STATUS=1 of 1 identities are ok", "WATCHDOG=1"] {
        heard(&lines, &mut seen, what);
    }
    let shown = ask(&config, &["status"]).await;
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.status.success() && text.contains("one") && text.contains("fresh"), "{text}");
    let metrics = crate::world::run("curl", &["-sS", &format!("http://127.0.0.1:{port}/metrics")]).await;
    let metrics = String::from_utf8_lossy(&metrics.stdout).into_owned();
    assert!(metrics.contains("signet_agent_standing{identity=\"one\",standing=\"fresh\"} 1"), "{metrics}");
    let second = ask(&config, &["run"]).await;
    assert_eq!(second.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another signet-agent is using"));

    let before = report(&config).await.unwrap().identities[0].serial_number.clone();
    assert!(ask(&config, &["renew", "one"]).await.status.success());
    assert_eq!(ask(&config, &["renew", "nobody"]).await.status.code(), Some(2));
    let mut renewed = false;
    let deadline = Instant::now() + Duration::from_secs(10);
    while !renewed && Instant::now() < deadline {
        renewed = report(&config).await.unwrap().identities[0].serial_number != before;
    }
    assert!(renewed);

    fs::write(&config, format!("{}{two}", fs::read_to_string(&config).unwrap())).unwrap();
    signal(&child, "-HUP");
    heard(&lines, &mut seen, "RELOADING=1");
    heard(&lines, &mut seen, "STATUS=2 of 2 identities are ok");
    // What is wrong changes nothing.
    fs::write(&config, "nonsense").unwrap();
    signal(&child, "-HUP");
    heard(&lines, &mut seen, "RELOADING=1");
    signal(&child, "-TERM");
    heard(&lines, &mut seen, "STOPPING=1");
    eventually("it has ended", || child.try_wait().unwrap().is_some()).await;
    assert!(child.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_that_is_away_is_told_and_waited_for() {
    let world = World::new().await;
    let token = world.path("late.token");
    let config = world.configure(&format!(
        "[[identity]]\nname = \"late\"\nenroll = {{ join_token_file = \"{}\" }}\npem = {{ directory = \"late\" }}\n",
        token.display()
    ));
    let mut child = agent(&config).arg("run").spawn().unwrap();
    let mut problem = None;
    let deadline = Instant::now() + Duration::from_secs(10);
    while problem.is_none() && Instant::now() < deadline {
        problem = report(&config).await.and_then(|report| report.identities[0].problem.clone());
    }
    let problem = problem.unwrap();
    assert!(problem.action == "enroll" && problem.message.contains("late.token"), "{problem:?}");
    assert_eq!(ask(&config, &["status"]).await.status.code(), Some(1));
    let made = world.token(PrincipalType::Worker, "w-9").await;
    fs::rename(made, &token).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !ask(&config, &["status"]).await.status.success() {
        assert!(Instant::now() < deadline, "it does not begin");
    }
    signal(&child, "-TERM");
    eventually("it has ended", || child.try_wait().unwrap().is_some()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_waits_for_a_command_holds_up_neither_the_watchdog_nor_the_end() {
    let world = World::new().await;
    let token = world.token(PrincipalType::Worker, "w-1").await;
    let (hook, up) = (world.path("hook"), world.path("up"));
    fs::write(&hook, format!("#!/bin/sh\ntouch {}\nexec sleep 300\n", up.display())).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let identity = format!(
        "[[identity]]\nname = \"one\"\nenroll = {{ join_token_file = \"{}\" }}\npem = {{ directory = \"one\" }}\n",
        token.display()
    );
    let exec = format!("exec = {{ command = [\"{}\"], timeout_seconds = 300 }}\n", hook.display());
    let config = world.configure(&format!("{identity}{exec}"));
    let socket = world.path("systemd");
    let (lines, mut seen) = (notifications(&socket), Vec::new());
    let mut child =
        agent(&config).arg("run").env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "300000").spawn().unwrap();
    eventually("the command runs", || up.exists()).await;
    // Without the command it is another identity, and the present one has to end first.
    world.configure(&identity);
    signal(&child, "-HUP");
    heard(&lines, &mut seen, "RELOADING=1");
    let next = |seen: &mut Vec<String>| if seen.is_empty() { lines.recv().unwrap() } else { seen.remove(0) };
    let first = std::iter::from_fn(|| Some(next(&mut seen)))
        .find(|line| line.starts_with("WATCHDOG=1") || line.starts_with("READY=1"));
    assert_eq!(first.as_deref(), Some("WATCHDOG=1"), "the reload waits, and the watchdog is told");
    signal(&child, "-TERM");
    heard(&lines, &mut seen, "STOPPING=1");
    signal(&child, "-KILL");
    child.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_metrics_port_in_use_is_told_and_keeps_no_certificate_from_being_renewed() {
    let world = World::new().await;
    let token = world.token(PrincipalType::Worker, "w-1").await;
    let config = world.configure(&format!(
        "[[identity]]\nname = \"one\"\nenroll = {{ join_token_file = \"{}\" }}\npem = {{ directory = \"one\" }}\n",
        token.display()
    ));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("metrics = \"{}\"\n{text}", taken.local_addr().unwrap())).unwrap();
    let checked = ask(&config, &["check"]).await;
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.code() == Some(1) && said.contains("cannot be opened"), "{said}");
    let process = Process::start(&config, &[]);
    process.until("it is well", signet_agent::report::IdentityReport::is_well).await;
}
