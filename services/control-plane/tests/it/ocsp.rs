//! OCSP from outside. OpenSSL and Java ask, and judge the answers.

use std::{net::SocketAddr, path::Path, process::Command, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use signet_client::Credentials;
use signet_core::PrincipalType;
use signet_proto::v1::Isolation;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    faulty::faulty,
    lists::{ACME, revoke},
    plain::from,
    world::{Node, TestClock, World, eventually},
};

const URL: &str = "/v1/ocsp/acme.1";
const SHA256: &str = "-sha256";
const MADE_UP: &str = "0197f0c0ffee40008000000000000001";
const TRY_LATER: &[u8] = &[0x30, 3, 0x0a, 1, 3];

/// One request over HTTP: status, head in lower case, body.
async fn exchange(address: SocketAddr, head: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("{head}host: test\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap().to_lowercase();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head, answer[end + 4..].to_vec())
}

/// The body of the next answer on a connection.
async fn next_body(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    loop {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0);
        let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
        let length: usize = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
        if answer.len() == end + 4 + length {
            return answer.split_off(end + 4);
        }
    }
}

async fn post(node: &Node, path: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
    let head = format!("POST {path} HTTP/1.1\r\ncontent-type: application/ocsp-request\r\n");
    exchange(node.running.public_addr, &head, body).await
}

/// A tenant's anchor and some leaves in a folder, for OpenSSL.
struct Asker {
    folder: TempDir,
}

impl Asker {
    async fn new(node: &Node, tenant: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (status, bundle) = node.http(&format!("/v1/tenants/{tenant}/bundle.pem")).await;
        assert_eq!(status, 200);
        std::fs::write(folder.path().join("anchor.pem"), bundle).unwrap();
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The leaf as OpenSSL's arguments name it.
    fn keep(&self, leaf: &Credentials) -> [String; 2] {
        let name = format!("{}.pem", leaf.facts().serial_number);
        std::fs::write(self.path().join(&name), leaf.chain_pem()).unwrap();
        ["-cert".into(), name]
    }

    async fn openssl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("openssl");
        command.current_dir(self.path()).args(["ocsp", "-issuer", "anchor.pem", "-CAfile", "anchor.pem"]);
        command.args(arguments);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat()
    }

    /// OpenSSL's request about a certificate, by its file or its serial number.
    async fn request(&self, about: &[String; 2], options: &[&str]) -> Vec<u8> {
        let about = about.each_ref().map(String::as_str);
        self.openssl(&[options, &about, &["-reqout", "request.der"]].concat()).await;
        std::fs::read(self.path().join("request.der")).unwrap()
    }

    /// What OpenSSL says of an answer to its last request.
    async fn judged(&self, about: &[String; 2], hash: &str, answer: &[u8]) -> String {
        std::fs::write(self.path().join("answer.der"), answer).unwrap();
        let about = about.each_ref().map(String::as_str);
        self.openssl(&[&[hash], &about[..], &["-no_nonce", "-respin", "answer.der"]].concat()).await
    }
}

fn by_serial(serial: &str) -> [String; 2] {
    ["-serial".into(), format!("0x{serial}")]
}

/// How often a CA has certified a responder.
async fn certified(world: &World, node: &Node, tenant: &str) -> usize {
    let events = world.audit(node, tenant).await;
    events.iter().filter(|event| event["operation"] == "ocsp-responder").count()
}

#[tokio::test]
async fn openssl_is_told_who_is_good_revoked_and_unknown() {
    let world = World::new().await;
    let node = world.node().await;
    for (tenant, isolation, ca) in [("acme", Isolation::Dedicated, "acme.1"), ("globex", Isolation::Shared, "shared.1")]
    {
        world.tenant(&node, tenant, isolation).await;
        let asker = Asker::new(&node, tenant).await;
        let good = world.principal(&node, tenant, "good", PrincipalType::Device, &[]).await;
        let bad = world.principal(&node, tenant, "bad", PrincipalType::Device, &[]).await;
        revoke(&world, &node, (tenant, ca), &bad).await;
        let url = format!("http://{}/v1/ocsp/{ca}", node.running.public_addr);
        for hash in ["-sha1", "-sha256"] {
            for (about, says) in [
                (asker.keep(&good), ": good"),
                (asker.keep(&bad), ": revoked"),
                (by_serial(MADE_UP), ": unknown"),
                (by_serial("05"), ": unknown"),
            ] {
                let about = about.each_ref().map(String::as_str);
                let said = asker.openssl(&[&[hash, "-url", &url], &about[..]].concat()).await;
                assert!(said.contains("Response verify OK") && said.contains(says), "{hash} {about:?}: {said}");
                assert!(says != ": revoked" || said.contains("Reason: keyCompromise"), "{said}");
                assert!(said.contains("WARNING: no nonce in response"), "{said}");
            }
        }
    }
    assert_eq!(certified(&world, &node, "acme").await, 1);
    node.end().await;
}

#[tokio::test]
async fn get_is_answered_as_post_is_and_caches_are_told_how_long() {
    let world = World::new().await;
    let node = world.node().await;
    world.tenant(&node, "acme", Isolation::Dedicated).await;
    let asker = Asker::new(&node, "acme").await;
    let leaf = world.principal(&node, "acme", "d-1", PrincipalType::Device, &[]).await;
    let about = asker.keep(&leaf);
    for hash in ["-sha1", "-sha256"] {
        let request = asker.request(&about, &[hash, "-no_nonce"]).await;
        let (status, head, posted) = post(&node, URL, &request).await;
        assert!(status == 200 && head.contains("content-type: application/ocsp-response"), "{head}");
        let base64 = STANDARD.encode(&request);
        let encoded = base64.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        for path in [encoded.as_str(), &base64, base64.trim_end_matches('=')] {
            let get = |header: &str| format!("GET {URL}/{path} HTTP/1.1\r\n{header}");
            let (status, head, answer) = exchange(node.running.public_addr, &get(""), &[]).await;
            assert_eq!((status, &answer), (200, &posted), "{path}: {head}");
            assert!(asker.judged(&about, hash, &answer).await.contains("Response verify OK"));
            let seconds = head.split("cache-control: max-age=").nth(1).unwrap().split(',').next().unwrap();
            assert!((590..=600).contains(&seconds.parse::<u32>().unwrap()), "{head}");
            assert!(head.contains(", public, no-transform, must-revalidate"), "{head}");
            assert!(head.contains("expires: ") && head.contains("last-modified: "), "{head}");
            let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
            let again = get(&format!("if-none-match: {tag}\r\n"));
            let (status, _, body) = exchange(node.running.public_addr, &again, &[]).await;
            assert_eq!((status, body.len()), (304, 0));
        }
    }
    node.end().await;
}

#[tokio::test]
async fn what_is_no_question_for_this_ca_is_refused_without_a_signature() {
    let world = World::new().await;
    let node = world.node().await;
    world.tenant(&node, "acme", Isolation::Dedicated).await;
    world.tenant(&node, "globex", Isolation::Dedicated).await;
    let (acme, globex) = (Asker::new(&node, "acme").await, Asker::new(&node, "globex").await);
    let (malformed, unauthorized) = ([0x30, 3, 0x0a, 1, 1], [0x30, 3, 0x0a, 1, 6]);
    let foreign = globex.request(&by_serial("05"), &[SHA256]).await;
    let strange = acme.request(&by_serial("05"), &["-sha384"]).await;
    let long_nonce = vec![0x30; 2048];
    for (body, expected) in
        [(&foreign[..], unauthorized), (&strange, unauthorized), (b"x", malformed), (&long_nonce, malformed)]
    {
        let (status, head, answer) = post(&node, URL, body).await;
        assert_eq!((status, answer.as_slice()), (200, expected.as_slice()), "{head}");
        assert!(head.contains("cache-control: no-store"), "{head}");
    }
    let (status, _, answer) = exchange(node.running.public_addr, &format!("GET {URL}/!! HTTP/1.1\r\n"), &[]).await;
    assert_eq!((status, answer.as_slice()), (200, malformed.as_slice()));
    assert_eq!(post(&node, URL, &vec![0x30; 2049]).await.0, 413);
    for unknown in ["/v1/ocsp/nobody.1", "/v1/ocsp/acme.2", "/v1/ocsp/root.1", "/v1/ocsp/server.1", "/v1/ocsp/x"] {
        assert_eq!(post(&node, unknown, &foreign).await.0, 404, "{unknown}");
    }
    for tenant in ["acme", "globex"] {
        assert_eq!(certified(&world, &node, tenant).await, 0, "nobody was answered for {tenant}");
    }
    node.end().await;
}

#[tokio::test]
async fn a_revocation_counts_at_once_on_every_node() {
    let world = World::new().await;
    let (one, two) = (world.node().await, world.node_apart().await);
    world.tenant(&one, "acme", Isolation::Dedicated).await;
    let asker = Asker::new(&one, "acme").await;
    let leaf = world.principal(&one, "acme", "d-1", PrincipalType::Device, &[]).await;
    let about = asker.keep(&leaf);
    let request = asker.request(&about, &[SHA256]).await;
    let mut first = Vec::new();
    for node in [&one, &two] {
        eventually("the node knows the tenant", async || post(node, URL, &request).await.0 == 200).await;
        let kept = post(node, URL, &request).await.2;
        assert!(asker.judged(&about, SHA256, &kept).await.contains(": good"));
        assert_eq!(post(node, URL, &request).await.2, kept, "signed once");
        first.push(kept);
    }
    assert_ne!(first[0], first[1], "each node has a key of its own");
    revoke(&world, &one, ACME, &leaf).await;
    for (node, kept) in [&one, &two].into_iter().zip(&first) {
        let took = eventually("another answer", async || post(node, URL, &request).await.2 != *kept).await;
        assert!(took < Duration::from_secs(5), "{took:?}");
        assert!(asker.judged(&about, SHA256, &post(node, URL, &request).await.2).await.contains(": revoked"));
    }
    assert_eq!(certified(&world, &one, "acme").await, 2, "one of each node");
    one.end().await;
    two.end().await;
}

/// The default limits: one source that makes up serial numbers is told to wait, and takes nothing from others.
#[tokio::test]
async fn who_asks_about_made_up_certificates_keeps_nobody_from_an_answer() {
    let world = World::new().await;
    let node = world.node().await;
    world.tenant(&node, "acme", Isolation::Dedicated).await;
    let asker = Asker::new(&node, "acme").await;
    let leaf = world.principal(&node, "acme", "d-1", PrincipalType::Device, &[]).await;
    let number = hex::decode(MADE_UP).unwrap();
    let template = asker.request(&by_serial(MADE_UP), &[SHA256, "-no_nonce"]).await;
    let at = template.windows(16).position(|window| window == number).unwrap();
    let mut stream = from(1, node.running.public_addr, &[]).await;
    let mut refused = false;
    for asked in 0..5000_u16 {
        if asked % 100 == 99 {
            // A connection ends after so many.
            stream = from(1, node.running.public_addr, &[]).await;
        }
        let mut request = template.clone();
        request[at + 14..at + 16].copy_from_slice(&asked.to_be_bytes());
        let head = format!("POST {URL} HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n", request.len());
        stream.write_all(&[head.as_bytes(), &request].concat()).await.unwrap();
        refused = next_body(&mut stream).await == TRY_LATER;
        if refused {
            break;
        }
    }
    assert!(refused, "5000 look-ups in a row");
    let about = asker.keep(&leaf);
    let request = asker.request(&about, &[SHA256]).await;
    let answer = post(&node, URL, &request).await.2;
    assert!(asker.judged(&about, SHA256, &answer).await.contains(": good"));
    node.end().await;
}

#[tokio::test]
async fn a_nonce_is_repeated_where_that_is_configured() {
    let world = World::with_config("ocsp = { nonce = true }").await;
    let node = world.node().await;
    world.tenant(&node, "acme", Isolation::Dedicated).await;
    let asker = Asker::new(&node, "acme").await;
    let leaf = world.principal(&node, "acme", "d-1", PrincipalType::Device, &[]).await;
    let about = asker.keep(&leaf);
    let url = format!("http://{}{URL}", node.running.public_addr);
    for _ in 0..2 {
        let [option, file] = &about;
        let said = asker.openssl(&["-url", &url, option, file]).await;
        assert!(said.contains("Response verify OK") && said.contains(": good"), "{said}");
        assert!(!said.contains("WARNING"), "{said}");
    }
    let request = asker.request(&about, &["-nonce"]).await;
    assert!(post(&node, URL, &request).await.1.contains("cache-control: no-store"));
    let request = asker.request(&about, &["-no_nonce"]).await;
    assert!(post(&node, URL, &request).await.1.contains("cache-control: max-age="));
    node.end().await;
}

#[tokio::test]
async fn a_node_out_of_touch_vouches_for_nobody() {
    let world = World::with_config("trust = { staleness_limit_seconds = 2, when_stale = \"serve\" }").await;
    let (wired, store) = faulty(&world);
    let node = world.node_of(wired, TestClock::default()).await;
    world.tenant(&node, "acme", Isolation::Dedicated).await;
    let asker = Asker::new(&node, "acme").await;
    let leaf = world.principal(&node, "acme", "d-1", PrincipalType::Device, &[]).await;
    let about = asker.keep(&leaf);
    let request = asker.request(&about, &[SHA256]).await;
    let other = asker.request(&by_serial(MADE_UP), &[SHA256]).await;
    let kept = post(&node, URL, &request).await.2;
    assert!(asker.judged(&about, SHA256, &kept).await.contains(": good"));
    store.set_down(true);
    assert_eq!(post(&node, URL, &request).await.2, kept, "until the limit nothing changes");
    assert_eq!(post(&node, URL, &other).await.2, TRY_LATER, "what must be looked up");
    eventually("nobody is vouched for", async || post(&node, URL, &request).await.2 == TRY_LATER).await;
    store.set_down(false);
    eventually("answered again", async || post(&node, URL, &request).await.2 == kept).await;
    node.end().await;
}

#[tokio::test]
async fn at_half_of_its_life_another_responder_takes_its_place() {
    let world = World::new().await;
    let clock = TestClock::default();
    let node = world.node_of(world.wired.clone(), clock.clone()).await;
    world.tenant(&node, "acme", Isolation::Dedicated).await;
    let asker = Asker::new(&node, "acme").await;
    let request = asker.request(&by_serial(MADE_UP), &[SHA256]).await;
    for number in 1..=20 {
        // What was never issued is looked up again after half a minute.
        clock.advance(Duration::from_secs(31));
        assert!(post(&node, URL, &request).await.2.len() > 300, "{number}");
    }
    assert_eq!(certified(&world, &node, "acme").await, 1);
    clock.advance(Duration::from_secs(6 * 3600));
    eventually("another one", async || {
        assert!(post(&node, URL, &request).await.2.len() > 300);
        certified(&world, &node, "acme").await == 2
    })
    .await;
    // Both are over: who asks waits for the next.
    clock.advance(Duration::from_secs(24 * 3600));
    eventually("the third", async || post(&node, URL, &request).await.2.len() > 300).await;
    node.end().await;
}

#[tokio::test]
async fn java_believes_the_answers() {
    let world = World::new().await;
    let node = world.node().await;
    world.tenant(&node, "acme", Isolation::Dedicated).await;
    let asker = Asker::new(&node, "acme").await;
    let good = world.principal(&node, "acme", "good", PrincipalType::Device, &[]).await;
    let bad = world.principal(&node, "acme", "bad", PrincipalType::Device, &[]).await;
    revoke(&world, &node, ACME, &bad).await;
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/Revocation.java");
    for (leaf, says) in [(&good, "good"), (&bad, "REVOKED")] {
        let mut java = Command::new("java");
        let [_, leaf] = asker.keep(leaf);
        let url = format!("http://{}{URL}", node.running.public_addr);
        java.current_dir(asker.path()).arg(&program).args(["anchor.pem", &leaf, &url]);
        let output = tokio::task::spawn_blocking(move || java.output().unwrap()).await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.starts_with(says), "{said}{}", String::from_utf8_lossy(&output.stderr));
    }
    node.end().await;
}
