//! Mosquitto takes new certificates at SIGHUP: publishers come and go, a subscriber stays, and no message is lost.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use signet_proto::v1::PrincipalType;

use crate::{
    relying_parties::programs::{recipe, system},
    world::{World, eventually, exists, free_port, run, shown_serial},
};

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mosquitto_rotates_without_a_lost_message() {
    let world = World::new().await;
    let (broker, client) =
        (world.token(PrincipalType::Service, "broker-1").await, world.token(PrincipalType::Device, "sensor-1").await);
    let (dir, port) = (world.dir.path().display().to_string(), free_port());
    fs::write(world.path("mosquitto.conf"), configuration(&world, port)).unwrap();
    fs::write(world.path("acl"), "user CN=sensor-1,O=acme\ntopic readwrite soak\n").unwrap();
    // The client first: its own renewals need no telling.
    let identities = format!(
        "[[identity]]\nname = \"broker\"\nenroll = {{ join_token_file = \"{}\" }}\npem = {{ directory = \"web\", crl = true }}\n\
         signal = {{ pid_file = \"mosquitto.pid\" }}\n\
         [[identity]]\nname = \"sensor\"\nenroll = {{ join_token_file = \"{}\" }}\npem = {{ directory = \"sensor\" }}\n",
        broker.display(),
        client.display()
    );
    let (agent, mut reports) = world.agent(&identities).await;
    eventually("the lists are there", || exists(&world.path("web/crl.pem"))).await;
    let conf = format!("{dir}/mosquitto.conf");
    let _broker = Ended(Command::new(system("mosquitto")).args(["-c", &conf]).stderr(Stdio::null()).spawn().unwrap());
    eventually("mosquitto is up", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
    reports.until("it is told", signet_agent::report::IdentityReport::is_well).await;

    let common = arguments(&format!("{dir}/sensor"), port);
    let mut subscriber = Ended(
        Command::new("mosquitto_sub").args(&common).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap(),
    );
    let heard = Arc::new(Mutex::new(Vec::<String>::new()));
    let (lines, to) = (BufReader::new(subscriber.0.stdout.take().unwrap()), Arc::clone(&heard));
    std::thread::spawn(move || lines.lines().map_while(Result::ok).for_each(|line| to.lock().unwrap().push(line)));
    let publish = async |text: &str| {
        let all: Vec<&str> = common.iter().map(String::as_str).chain(["-m", text]).collect();
        let done = run("mosquitto_pub", &all).await;
        assert!(done.status.success(), "{text}: {}", String::from_utf8_lossy(&done.stderr));
    };
    loop {
        publish("hello").await;
        if heard.lock().unwrap().iter().any(|line| line == "hello") {
            break;
        }
    }
    let mut sent = Vec::new();
    for rotation in 0..3 {
        let before = shown_serial(port, &[]).await;
        assert!(agent.renew(if rotation == 1 { "sensor" } else { "broker" }));
        for number in 0..15 {
            sent.push(format!("{rotation}-{number}"));
            publish(&sent[sent.len() - 1]).await;
        }
        if rotation != 1 {
            let mut tries = 0;
            while shown_serial(port, &[]).await == before {
                tries += 1;
                assert!(tries < 100, "mosquitto still shows {before}");
            }
        }
    }
    eventually("all messages are there", || {
        let heard = heard.lock().unwrap();
        sent.iter().all(|text| heard.contains(text))
    })
    .await;
    assert!(subscriber.0.try_wait().unwrap().is_none(), "the subscriber is still the same");

    agent.stop().await;
}

/// With the recipe of services/agent/relying-parties.
fn configuration(world: &World, port: u16) -> String {
    let (dir, recipe) = (world.dir.path().display(), recipe(world, "mosquitto.conf", port));
    format!("user root\npid_file {dir}/mosquitto.pid\n{recipe}")
}

/// What both clients are told, with the certificate in `folder`.
fn arguments(folder: &str, port: u16) -> Vec<String> {
    let file = |name: &str| format!("{folder}/{name}.pem");
    let tls = ["--cafile", &file("bundle"), "--cert", &file("cert"), "--key", &file("key"), "--insecure"];
    let tls = tls.map(str::to_owned);
    let place = ["-h", "127.0.0.1", "-p", &port.to_string(), "-t", "soak", "-q", "1"].map(str::to_owned);
    tls.into_iter().chain(place).collect()
}
