//! By raw socket: spoofed headers in every spelling, and requests that two parsers could read in two ways.

use serde_json::Value;

use crate::{
    upstreams::{echo, routed},
    world::World,
};

#[tokio::test]
async fn spoofed_identity_headers_do_not_arrive_in_any_spelling() {
    let world = World::new(&format!("[headers]\nremove = [\"X-User\"]\n{}", routed(echo().await))).await;
    let worker = world.worker("w-1").await;
    for name in [
        "Client-Cert",
        "client-cert",
        "CLIENT_CERT",
        "Client_Cert",
        "client_cert-chain",
        "Signet-Identity",
        "signet_identity",
        "SIGNET_IDENTITY",
        "Signet-Other",
        "X-Forwarded-Client-Cert",
        "x_forwarded_client_cert",
        "X-Forwarded_For",
        "X_Forwarded_User",
        "x-forwarded-email",
        "Forwarded",
        "X-Real-IP",
        "x_user",
        "X-USER",
        // Some servers take all but letters and digits for one character.
        "Client.Cert",
        "signet~identity",
        "X.Forwarded!User",
        "Remote-User",
        "X-SSL-Client-S-DN",
        // By these a client would have another request answered than the one that was decided on.
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-HTTP-Method-Override",
    ] {
        let request = format!("GET /jobs/1 HTTP/1.1\r\nHost: a\r\n{name}: forged\r\nConnection: close\r\n\r\n");
        let answer = worker.raw(request.as_bytes(), "\0").await;
        assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("forged"), "{name}: {answer}");
    }
}

/// CVE-2025-48865: the proxy takes its own header for one that the client wants removed.
#[tokio::test]
async fn connection_cannot_name_what_the_gateway_adds() {
    let world = World::new(&routed(echo().await)).await;
    let worker = world.worker("w-1").await;
    for named in ["Signet-Identity, Client-Cert, X-Forwarded-Client-Cert", "close, signet-identity, host, X-Secret"] {
        let request = format!("GET /jobs/1 HTTP/1.1\r\nHost: a\r\nX-Secret: b\r\nConnection: {named}\r\n\r\n");
        let answer = worker.raw(request.as_bytes(), "\"body\"").await;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        for name in ["signet-identity", "client-cert", "x-forwarded-client-cert", "\"host\""] {
            assert!(body.contains(name), "{named}: {name}: {answer}");
        }
        assert!(!body.contains("x-secret") || !named.contains("X-Secret"), "{answer}");
    }
}

const HEADS: [&str; 39] = [
    "get /jobs/1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "Delete /jobs/1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /jobs;a=b/1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /jobs/1%3Ba HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /jobs/1 HTTP/1.1\r\nHost: a.\r\n\r\n",
    "POST /jobs/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST /jobs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "POST /jobs/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "POST /jobs/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "POST /jobs/1 HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
    "POST /jobs/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3,3\r\n\r\nabc",
    "POST /jobs/1 HTTP/1.1\r\nHost: a\r\ncontent_length: 3\r\n\r\n",
    "POST /jobs/1 HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\n\r\n",
    "POST /jobs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "POST /jobs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "POST /jobs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST /jobs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "POST /jobs/1 HTTP/1.1\r\nHost: a\r\nX: b\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "GET /jobs/1 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "GET /jobs/1 HTTP/1.1\r\n\r\n",
    "GET /jobs/1 HTTP/1.1\r\nHost:\r\n\r\n",
    "GET /jobs/1 HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "GET http://b/jobs/1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /jobs/1#x HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /jobs/1 HTTP/1.0\r\nHost: a\r\n\r\n",
    "GET  /jobs/1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /jobs/1 HTTP/1.1\nHost: a\n\n",
    "\r\nGET /jobs/1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /jobs/1 HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n",
    "GET /jobs/1 HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n",
    "GET /forbidden/..%2fjobs/1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /jobs/..%5c..%5cforbidden/1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /jobs//1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /../jobs/1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /jobs/..;/forbidden/1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /jobs/%zz HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /jobs/%00 HTTP/1.1\r\nHost: a\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
];

#[tokio::test]
async fn ambiguous_requests_are_400_and_audited() {
    let world = World::new(&routed(echo().await)).await;
    let worker = world.worker("w-1").await;
    for (number, head) in HEADS.iter().enumerate() {
        let answer = worker.raw(head.as_bytes(), "HTTP/1.1 ").await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{head:?}: {answer}");
        let is_it = |event: &&Value| event["reason"] == "AMBIGUOUS_REQUEST";
        let begun = std::time::Instant::now();
        while world.events().iter().filter(is_it).count() <= number {
            assert!(begun.elapsed() < crate::client::SOON, "not audited: {head:?}: {:#?}", world.events());
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
    let events = world.events();
    let reached = events.iter().filter(|event| event["event"] == "request" && event["outcome"] == "success").count();
    assert_eq!(reached, 0, "{events:#?}");
}

#[tokio::test]
async fn a_request_behind_another_is_seen_as_what_it_is() {
    let world = World::new(&routed(echo().await)).await;
    let worker = world.worker("w-1").await;
    // Pipelined: two answers, the second for what the caller may not.
    let two =
        "POST /jobs/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /forbidden/1 HTTP/1.1\r\nHost: a\r\n\r\n";
    let answer = worker.raw(two.as_bytes(), "PERMISSION_MISSING").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("HTTP/1.1 403"), "{answer}");
    // A malformed chunk ends the connection: what follows is not a request.
    let hidden = "POST /jobs/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                  3;x\r\nabc\r\n0\r\n\r\nGET /jobs/2 HTTP/1.1\r\nHost: a\r\n\r\n";
    let answer = worker.raw(hidden.as_bytes(), "\0").await;
    assert!(!answer.contains("/jobs/2"), "{answer}");
}

/// What is decided on is what is sent on.
#[tokio::test]
async fn paths_are_sent_on_as_they_were_decided_on() {
    let world = World::new(&routed(echo().await)).await;
    let worker = world.worker("w-1").await;
    for (path, sent) in [("/forbidden/../jobs/1", "/jobs/1"), ("/%6Aobs/%7e", "/jobs/~"), ("/jobs/./a/../b", "/jobs/b")]
    {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answer = worker.raw(request.as_bytes(), "\0").await;
        assert!(answer.contains(&format!("\"target\":\"{sent}\"")), "{path}: {answer}");
    }
    let request = "GET /jobs/../forbidden/1 HTTP/1.1\r\nHost: a\r\n\r\n";
    assert!(worker.raw(request.as_bytes(), "PERMISSION").await.starts_with("HTTP/1.1 403"));
}

#[tokio::test]
async fn http2_pseudo_headers_name_one_host() {
    let world = World::new(&routed(echo().await)).await;
    let mut two = world.worker("w-1").await.http2().await;
    let request = |path: &str, host: &str| {
        let request = http::Request::get(format!("https://gateway.example.com{path}")).header("host", host);
        request.body(http_body_util::Full::<bytes::Bytes>::default()).unwrap()
    };
    let answer = crate::client::whole(two.send(request("/jobs/1", "other")).await).await;
    assert_eq!((answer.status, answer.reason().as_str()), (400, "AMBIGUOUS_REQUEST"));
    let answer = crate::client::whole(two.send(request("/jobs/1", "gateway.example.com")).await).await;
    assert_eq!(answer.status, 200);
    assert_eq!(two.get("/jobs/..%2fforbidden").await.status, 400);
}
