//! Who gets through, and what the server behind gets.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::Value;
use signet_client::Question;

use crate::{
    client::{Client, get, whole},
    upstreams::{echo, routed},
    world::World,
};

/// A part of a token, not verified.
fn part(token: &str, number: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(number).unwrap()).unwrap()).unwrap()
}

#[tokio::test]
async fn the_server_behind_is_told_who_it_is_and_can_prove_it() {
    let world = World::new(&routed(echo().await)).await;
    let worker = world.worker("w-1").await;
    let answer = worker.get("/jobs/1?x=%2F&y=a//b").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["target"], "/jobs/1?x=%2F&y=a//b");
    let leaf = worker.identity.with_credentials(|credentials| credentials.chain_der()[0].clone());
    let thumbprint = signet_jwt::x5t_s256(&leaf);
    let client_cert = base64::engine::general_purpose::STANDARD.encode(&leaf);
    assert_eq!(answer.seen("client-cert"), [format!(":{client_cert}:")]);
    let xfcc = &answer.seen("x-forwarded-client-cert")[0];
    assert!(xfcc.contains("URI=spiffe://acme.test.example.com/worker/w-1"), "{xfcc}");
    assert!(xfcc.starts_with("By=spiffe://acme.test.example.com/service/gateway-1;Hash="), "{xfcc}");
    assert_eq!(answer.seen("host"), ["gateway.example.com"]);
    assert_eq!(answer.seen("x-forwarded-for"), ["127.0.0.1"]);

    let token = &answer.seen("signet-identity")[0];
    let (header, claims) = (part(token, 0), part(token, 1));
    assert_eq!((&header["alg"], &header["typ"]), (&"ES256".into(), &"signet-identity+jwt".into()));
    assert_eq!(claims["iss"], "spiffe://acme.test.example.com/service/gateway-1");
    assert_eq!(claims["sub"], "spiffe://acme.test.example.com/worker/w-1");
    assert_eq!((&claims["aud"], &claims["tenant"]), (&"jobs".into(), &"acme".into()));
    assert_eq!(claims["cnf"]["x5t#S256"], thumbprint.as_str());
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 60);
    assert_eq!(header["x5c"].as_array().unwrap().len(), 2);

    // As an upstream does it: by the key set, which names the key.
    let keys: Value = serde_json::from_str(&world.private("/jwks.json").await.1).unwrap();
    let jwk = keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == header["kid"]).unwrap();
    assert_eq!(jwk["use"], "sig");
    let own =
        world.gateway().identity().with_credentials(|credentials| credentials.key().public_key().spki_der().to_vec());
    let public = signet_jwt::PublicKey::from_spki(&own).unwrap();
    assert_eq!(public.published(signet_jwt::Use::Signature)["x"], jwk["x"]);
    let parsed = signet_jwt::Token::parse(token, &[signet_jwt::Algorithm::ES256]).unwrap();
    assert_eq!(parsed.verify::<Value>(&public.decoding_key().unwrap()).unwrap(), claims);

    let event = world.event("the request", |event| event["event"] == "request" && event["path"] == "/jobs/1").await;
    assert_eq!((&event["outcome"], &event["status"]), (&"success".into(), &200.into()));
    assert_eq!(event["spiffe_id"], "spiffe://acme.test.example.com/worker/w-1");
    assert!(!event.to_string().contains("y=a"), "queries may hold secrets: {event}");
}

#[tokio::test]
async fn a_connection_signs_once_and_the_next_answer_is_the_same() {
    let world = World::new(&routed(echo().await)).await;
    let mut connection = world.worker("w-1").await.http1().await;
    let (one, two) = (connection.get("/jobs/1").await, connection.get("/jobs/2").await);
    assert_eq!(one.seen("signet-identity"), two.seen("signet-identity"));
}

#[tokio::test]
async fn who_may_not_and_what_has_no_route_is_refused() {
    let world = World::new(&routed(echo().await)).await;
    let worker = world.worker("w-1").await;
    let answer = worker.get("/forbidden/1").await;
    assert_eq!((answer.status, answer.reason().as_str()), (403, "PERMISSION_MISSING"));
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    let answer = worker.get("/elsewhere").await;
    assert_eq!((answer.status, answer.reason().as_str()), (404, "ROUTE_NOT_FOUND"));
    // A pattern names what is below it, and not the folder itself.
    assert_eq!(worker.get("/jobs").await.status, 404);
    // Whoever is good gets where no permission is needed: other types, too.
    assert_eq!(worker.get("/open/1").await.status, 200);
    let device = world.environment.enrolled("acme", signet_proto::v1::PrincipalType::Device, "d-1").await;
    let device = Client::new(device, world.address());
    assert_eq!((device.get("/open/1").await.status, device.get("/jobs/1").await.status), (200, 403));
    world.suspend("d-1").await;
    let begun = std::time::Instant::now();
    loop {
        let answer = device.get("/open/1").await;
        if answer.status == 403 {
            assert_eq!(answer.reason(), "PRINCIPAL_DENIED");
            break;
        }
        assert!(begun.elapsed() < crate::client::SOON);
    }
    world.event("the refusal", |event| event["reason"] == "PRINCIPAL_DENIED" && event["path"] == "/open/1").await;
}

#[tokio::test]
async fn http2_clients_and_http2_servers_are_served() {
    let address = echo().await;
    let rest = routed(address)
        + &format!(
            "[[upstream]]\nname = \"two\"\nurl = \"http://{address}\"\nhttp2 = true\n\
             [[route]]\npath = \"/two/*\"\nupstream = \"two\"\npermission = \"jobs:submit\"\n"
        );
    let world = World::new(&rest).await;
    let worker = world.worker("w-1").await;
    let mut two = worker.http2().await;
    for (path, version) in [("/jobs/1", "HTTP/1.1"), ("/two/1", "HTTP/2.0")] {
        let answer = two.get(path).await;
        assert_eq!((answer.status, answer.json()["version"].as_str().unwrap()), (200, version), "{answer:?}");
        assert_eq!(answer.seen("signet-identity").len(), 1);
    }
    assert_eq!(two.get("/forbidden/1").await.status, 403);
    let mut one = worker.http1().await;
    assert_eq!(one.get("/two/1").await.json()["version"], "HTTP/2.0");
    // Crumbs of HTTP/2 are one header for HTTP/1.1.
    let request = Request::get("https://gateway.example.com/jobs/1").header("cookie", "a=1").header("cookie", "b=2");
    let answer = whole(two.send(request.body(Full::<Bytes>::default()).unwrap()).await).await;
    assert_eq!(answer.seen("cookie"), ["a=1; b=2"]);
}

#[tokio::test]
async fn bodies_pass_in_both_framings() {
    let world = World::new(&routed(echo().await)).await;
    let worker = world.worker("w-1").await;
    let text = "x".repeat(300_000);
    assert_eq!(worker.http1().await.post("/jobs/1", &text).await.json()["body"], text);
    let raw = "POST /jobs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: Signet-Identity\r\n\r\n\
               5\r\nhello\r\n0\r\nSignet-Identity: forged\r\n\r\n";
    let answer = worker.raw(raw.as_bytes(), "hello").await;
    assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("forged"), "{answer}");
    let mut request = get("/jobs/1");
    *request.method_mut() = http::Method::HEAD;
    let answer = whole(worker.http1().await.send(request).await).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
}

#[tokio::test]
async fn another_tenants_certificate_does_not_get_past_tls() {
    let world = World::new(&routed(echo().await)).await;
    let stranger = world.other_tenant("w-1").await;
    let question = Question::new(
        signet_client::PeerCertificate::from_der(&stranger.with_credentials(|own| own.chain_der()[0].clone())),
        "jobs:submit".into(),
    );
    assert!(!world.gateway().identity().authorizer().decide(&question).await.allowed);
    let worker = world.worker("w-1").await;
    // The server's certificate is judged by the bundle of its own tenant.
    let mut config = worker.identity.client_config(signet_client::PeerPolicy::anybody()).unwrap();
    let (chain, key) = stranger.with_credentials(|own| (own.chain_der().to_vec(), own.key().pkcs8_der().to_vec()));
    config.client_auth_cert_resolver = crate::doors::showing(chain, key);
    assert!(crate::doors::is_refused(world.address(), config).await);
    let event =
        world.event("the refusal", |event| event["event"] == "connection" && event["outcome"] == "failure").await;
    assert_eq!(event["reason"], "UNKNOWN_TENANT", "{event}");
    assert!(event.get("spiffe_id").is_none(), "nobody knows whether it is true: {event}");
}
