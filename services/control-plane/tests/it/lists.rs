//! Revocation lists from outside: over HTTP and as a stream, on the node that revokes and on another. OpenSSL is the
//! judge.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
    time::Duration,
};

use signet_client::Credentials;
use signet_core::PrincipalType;
use signet_proto::v1::{
    self as pb, Isolation, certificate_service_client::CertificateServiceClient,
    trust_service_client::TrustServiceClient,
};
use tokio::time::timeout;

use crate::world::{Node, World, eventually};

pub const ACME: (&str, &str) = ("acme", "acme.1");
const SOON: Duration = Duration::from_secs(10);

pub async fn revoke(world: &World, node: &Node, (tenant, ca): (&str, &str), leaf: &Credentials) {
    let revoke = pb::RevokeCertificateRequest {
        tenant_id: tenant.into(),
        issuer_id: ca.into(),
        serial_number: leaf.facts().serial_number.clone(),
        reason: pb::RevocationReason::KeyCompromise.into(),
        request_id: signet_client::request_id(),
        or_unrecorded: false,
    };
    CertificateServiceClient::new(world.admin(node)).revoke_certificate(revoke).await.unwrap();
}

/// Status, head and body.
fn get(address: SocketAddr, path: &str, header: &str) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{header}\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap().to_lowercase();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head, answer[end + 4..].to_vec())
}

async fn fetch(address: SocketAddr, path: &str, header: &str) -> (u16, String, Vec<u8>) {
    let (path, header) = (path.to_owned(), header.to_owned());
    tokio::task::spawn_blocking(move || get(address, &path, &header)).await.unwrap()
}

/// What OpenSSL says of a leaf, as stock servers ask it: the tenant's anchor, its list, and every certificate checked.
fn verified(folder: &Path, leaf: &Credentials) -> String {
    std::fs::write(folder.join("leaf.pem"), leaf.chain_pem()).unwrap();
    let arguments = ["verify", "-crl_check_all", "-CAfile", "bundle.pem", "-CRLfile", "crl.pem", "leaf.pem"];
    let output = Command::new("openssl").current_dir(folder).args(arguments).output().unwrap();
    [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat()
}

#[tokio::test]
async fn a_revocation_is_on_the_list_of_every_node() {
    let world = World::new().await;
    let (one, two) = (world.node().await, world.node_apart().await);
    world.tenant(&one, "acme", Isolation::Dedicated).await;
    let good = world.principal(&one, "acme", "good", PrincipalType::Device, &[]).await;
    let bad = world.principal(&one, "acme", "bad", PrincipalType::Device, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    eventually("the other node knows the tenant", async || two.http("/v1/tenants/acme/crl.pem").await.0 == 200).await;
    let keep = async |node: &Node| {
        std::fs::write(folder.path().join("bundle.pem"), node.http("/v1/tenants/acme/bundle.pem").await.1).unwrap();
        std::fs::write(folder.path().join("crl.pem"), node.http("/v1/tenants/acme/crl.pem").await.1).unwrap();
    };
    for node in [&one, &two] {
        keep(node).await;
        for leaf in [&good, &bad] {
            let said = verified(folder.path(), leaf);
            assert!(said.contains("leaf.pem: OK"), "{said}");
        }
    }
    revoke(&world, &one, ACME, &bad).await;
    for node in [&one, &two] {
        eventually("the list has it", async || {
            keep(node).await;
            verified(folder.path(), &bad).contains("certificate revoked")
        })
        .await;
        let said = verified(folder.path(), &good);
        assert!(said.contains("leaf.pem: OK"), "{said}");
    }
    let show = ["crl", "-in", "crl.pem", "-noout", "-verify", "-CAfile", "bundle.pem"];
    let judged = Command::new("openssl").current_dir(folder.path()).args(show).output().unwrap();
    assert!(String::from_utf8_lossy(&judged.stderr).contains("verify OK"), "{judged:?}");
    one.end().await;
    two.end().await;
}

#[tokio::test]
async fn caches_are_told_what_they_go_by() {
    let world = World::new().await;
    let node = world.node().await;
    world.tenant(&node, "acme", Isolation::Dedicated).await;
    world.tenant(&node, "globex", Isolation::Shared).await;
    let address = node.running.public_addr;
    let paths =
        ["/v1/tenants/acme/crl.pem", "/v1/crl/acme.1.crl", "/v1/tenants/globex/crl.pem", "/v1/crl/shared.1.crl"];
    let (_, head, _) = fetch(address, "/v1/tenants/acme/bundle.json", "").await;
    assert!(head.contains("cache-control: no-store"), "its first key of SVIDs signs at once: {head}");
    for path in paths {
        let (status, head, body) = fetch(address, path, "").await;
        assert!(status == 200 && !body.is_empty(), "{path}: {head}");
        assert!(head.contains("cache-control: public, max-age=60") && head.contains(" gmt"), "{path}: {head}");
        let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
        let known = format!("If-None-Match: \"other\", {tag}\r\n");
        let (status, head, body) = fetch(address, path, &known).await;
        assert!(status == 304 && body.is_empty() && head.contains(&tag), "{path}: {head}");
        assert_eq!(fetch(address, path, "If-None-Match: \"other\"\r\n").await.0, 200);
    }
    for unknown in ["/v1/tenants/nobody/crl.pem", "/v1/crl/nobody.1.crl", "/v1/crl/acme.1", "/v1/crl/root.1.crl"] {
        assert_eq!(fetch(address, unknown, "").await.0, 404, "{unknown}");
    }
    node.end().await;
}

#[tokio::test]
async fn a_watcher_gets_the_lists_and_every_new_one() {
    let world = World::new().await;
    let node = world.node().await;
    world.tenant(&node, "acme", Isolation::Dedicated).await;
    let worker = world.principal(&node, "acme", "w-1", PrincipalType::Worker, &[]).await;
    let bad = world.principal(&node, "acme", "bad", PrincipalType::Device, &[]).await;
    let mut client = TrustServiceClient::new(world.channel(&node, &worker));
    let request = pb::WatchRevocationListsRequest::default();
    let mut lists = client.watch_revocation_lists(request).await.unwrap().into_inner();
    let mut next = async || timeout(SOON, lists.message()).await.unwrap().unwrap().unwrap();
    let first = next().await;
    assert_eq!((first.tenant_id.as_str(), first.ca_id.as_str(), first.more), ("acme", "acme.1", false));
    revoke(&world, &node, ACME, &bad).await;
    let second = next().await;
    assert!(second.number > first.number && second.der.len() > first.der.len());
    let serial: Vec<u8> = hex::decode(&bad.facts().serial_number).unwrap();
    assert!(second.der.windows(16).any(|window| window == serial));
    node.end().await;
}
