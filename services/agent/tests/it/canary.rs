//! A certificate that is revoked on purpose shows what a program does with the revoked.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt as _,
    process::{Child, Command},
};

use signet_agent::{
    Agent, Config,
    report::{CanaryReport, IdentityReport},
};
use signet_proto::v1::PrincipalType;

use crate::{
    relying_parties::programs::{recipe, system},
    world::{Reports, World, eventually, exists, free_port, run},
};

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

fn state(one: &IdentityReport) -> (&str, &str) {
    one.canary.as_ref().map_or(("", ""), |canary| (&canary.state, &canary.message))
}

fn is_proved(one: &IdentityReport) -> bool {
    state(one) == (CanaryReport::PROVED, "") && one.is_well()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_reads_a_bad_list_is_found_out_and_told_again() {
    let world = World::new().await;
    let (token, port) = (world.token(PrincipalType::Service, "broker-1").await, free_port());
    let (dir, log) = (world.dir.path().display(), world.path("mosquitto.log"));
    let conf = format!("user root\npid_file {dir}/mosquitto.pid\n{}", recipe(&world, "mosquitto.conf", port));
    fs::write(world.path("mosquitto.conf"), conf).unwrap();
    fs::write(world.path("acl"), "").unwrap();
    let identities = format!(
        "[[identity]]\nname = \"broker\"\nenroll = {{ join_token_file = \"{}\" }}\n\
         pem = {{ directory = \"web\", crl = true, canary = \"127.0.0.1:{port}\" }}\nsignal = {{ pid_file = \"mosquitto.pid\" }}\n",
        token.display()
    );
    let (agent, mut reports) = world.agent(&identities).await;
    eventually("the lists are there", || exists(&world.path("web/crl.pem"))).await;
    let mut broker = Command::new(system("mosquitto"));
    broker.args(["-c", &format!("{dir}/mosquitto.conf")]).stderr(File::create(&log).unwrap());
    let _broker = Ended(broker.spawn().unwrap());
    let unknown = |one: &IdentityReport| state(one).1.contains("no certificate before the present one");
    let first = reports.until("nothing is known, which is no alarm", |one| unknown(one) && one.is_well()).await;
    assert_eq!(state(&first[0]).0, CanaryReport::NOT_PROVED);

    reports.renew(&agent, "broker").await;
    reports.until("the broker refuses the one before", is_proved).await;
    let kept = fs::metadata(world.path("state/broker.canary")).unwrap();
    assert_eq!(kept.permissions().mode() & 0o777, 0o600);
    agent.stop().await;

    // Somebody else writes the file, and has the broker read it.
    fs::write(world.path("web/crl.pem"), "no list\n").unwrap();
    let pid = fs::read_to_string(world.path("mosquitto.pid")).unwrap();
    run("kill", &["-HUP", pid.trim()]).await;
    eventually("the broker has read it", || fs::read_to_string(&log).unwrap().contains("certificate revocation file"))
        .await;
    let agent = Agent::start(Config::load(&world.path("agent.toml")).unwrap()).await.unwrap();
    let mut reports = Reports::of(&agent);
    let found = reports.until("it is found out", |one| state(one).0 == CanaryReport::ACCEPTED).await;
    assert!(!found[0].is_well() && state(&found[0]).1.contains("told once more"), "{found:?}");
    reports.until("it is told, and refuses again", is_proved).await;
    agent.stop().await;
}

/// nginx says it in HTTP; with TLS 1.2, HAProxy says it in the handshake.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_understood_however_it_is_said() {
    let world = World::new().await;
    let (web, lb) =
        (world.token(PrincipalType::Service, "web-1").await, world.token(PrincipalType::Service, "lb-1").await);
    let (dir, nginx, haproxy) = (world.dir.path().display(), free_port(), free_port());
    let recipe_of = |file: &str, port: u16| recipe(&world, file, port);
    let conf = format!(
        "user root;\ndaemon off;\npid {dir}/nginx.pid;\nerror_log {dir}/nginx.log;\nevents {{}}\n\
         http {{\naccess_log off;\nserver {{\n{}location / {{ return 200; }}\n}}\n}}\n",
        recipe_of("nginx.conf", nginx)
    );
    fs::write(world.path("nginx.conf"), conf).unwrap();
    let conf = recipe_of("haproxy.cfg", haproxy).replace(&format!("{dir}/web"), &format!("{dir}/lb"));
    let conf = conf.replacen(
        "frontend",
        "defaults\n    timeout client 10s\n    timeout server 10s\n    timeout connect 10s\nfrontend",
        1,
    );
    let conf =
        conf.replace("verify required", "verify required ssl-max-ver TLSv1.2") + "    http-request return status 200\n";
    fs::write(world.path("haproxy.cfg"), conf).unwrap();
    let reload = |file: &str, signal: &str| {
        format!(
            "exec = {{ command = [\"/bin/sh\", \"-c\", \"[ ! -s {dir}/{file} ] || kill -{signal} $(head -n 1 {dir}/{file})\"] }}"
        )
    };
    let identities = format!(
        "[[identity]]\nname = \"web\"\nenroll = {{ join_token_file = \"{}\" }}\n\
         pem = {{ directory = \"web\", crl = true, canary = \"https://127.0.0.1:{nginx}/\" }}\n{}\n\
         [[identity]]\nname = \"lb\"\nenroll = {{ join_token_file = \"{}\" }}\ncombined = {{ file = \"lb.pem\" }}\n\
         pem = {{ directory = \"lb\", crl = true, canary = \"127.0.0.1:{haproxy}\" }}\n{}\n",
        web.display(),
        reload("nginx.pid", "HUP"),
        lb.display(),
        reload("haproxy.pid", "USR2")
    );
    let (agent, mut reports) = world.agent(&identities).await;
    reports.until("they are told", IdentityReport::is_well).await;
    let start =
        |program: &str, arguments: &[&str]| Ended(Command::new(system(program)).args(arguments).spawn().unwrap());
    let _nginx = start("nginx", &["-c", &format!("{dir}/nginx.conf")]);
    let _haproxy = start("haproxy", &["-W", "-p", &format!("{dir}/haproxy.pid"), "-f", &format!("{dir}/haproxy.cfg")]);
    for port in [nginx, haproxy] {
        eventually("it is up", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
    }
    assert!(agent.renew("web") && agent.renew("lb"));
    reports.until("both refuse the one before", is_proved).await;
    agent.stop().await;
}
