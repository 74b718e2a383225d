//! Presigned `GetCallerIdentity`: the checks before STS is asked, and STS at its worst.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{extract::Request, response::Response};
use signet_attest::{Attestors, Options};
use signet_core::{
    Lifetime, Time,
    enrollment::{attestation::Evidence, rule::Source},
};

use crate::{
    aws_presigned::{RECORDED, altered, example, headers, presign, recorded},
    world::{NOW, Server, attest, outcome, quick, response, silence, value},
};

const SOURCES: &[Source] = &[Source::AwsIam];

const ANSWER: &str = "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  \
    <GetCallerIdentityResult>\n    <Arn>arn:aws:sts::123456789012:assumed-role/worker/i-0abc</Arn>\n    \
    <UserId>AROAEXAMPLE:i-0abc</UserId>\n    <Account>123456789012</Account>\n  </GetCallerIdentityResult>\n  \
    <ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>\n</GetCallerIdentityResponse>";

fn at(server: &Server) -> Attestors {
    Attestors::new(Options { sts_endpoint: Some(server.url()), ..quick() }).unwrap()
}

/// STS that vouches for everybody, as the emulators do.
async fn trusting() -> Server {
    Server::start(|_| async { response(200, ANSWER) }).await
}

#[tokio::test]
async fn a_presigned_request_is_sent_as_it_was_signed_and_gives_facts() {
    let seen: Arc<Mutex<Option<Request>>> = Arc::default();
    let kept = Arc::clone(&seen);
    let server = Server::start(move |request: Request| {
        *kept.lock().unwrap() = Some(request);
        async { response(200, ANSWER) }
    });
    let server = server.await;
    let facts = attest(&at(&server), &recorded(), SOURCES, NOW).await.unwrap();
    assert_eq!((value(&facts, "account"), value(&facts, "role")), ("123456789012", "worker"));
    let request = seen.lock().unwrap().take().unwrap();
    assert_eq!((request.method().as_str(), request.uri().path()), ("GET", "/"));
    assert_eq!(request.headers()["host"], "sts.eu-central-1.amazonaws.com");
    let mut own: Vec<_> = request.headers().keys().filter(|name| name.as_str().starts_with("x-")).collect();
    own.sort_by_key(|name| name.as_str());
    assert_eq!(own, ["x-signet-key-sha256", "x-signet-server-id", "x-signet-tenant"]);
    let values = |query: &str| {
        let mut pairs: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        pairs.sort();
        pairs
    };
    assert_eq!(values(request.uri().query().unwrap()), values(RECORDED.split_once('?').unwrap().1));
}

/// Each alteration is found before anything is sent.
#[tokio::test]
async fn altered_requests_are_refused_and_never_sent() {
    let server = trusting().await;
    let attestors = at(&server);
    let host = "https://sts.eu-central-1.amazonaws.com/";
    for (from, to, reason) in [
        // Where it would go.
        (host, "http://sts.eu-central-1.amazonaws.com/", "AWS_URL_MALFORMED"),
        (host, "https://sts.eu-central-1.amazonaws.com:8443/", "AWS_URL_MALFORMED"),
        (host, "https://user@sts.eu-central-1.amazonaws.com/", "AWS_URL_MALFORMED"),
        (host, "https://sts.eu-central-1.amazonaws.com/x/", "AWS_URL_MALFORMED"),
        (host, "https://sts.eu-central-1.amazonaws.com\\@evil.example/", "AWS_URL_MALFORMED"),
        (host, "https://sts.eu-central-1.amazonaws.com//", "AWS_URL_MALFORMED"),
        (host, "https://evil.example/", "AWS_HOST_NOT_ALLOWED"),
        (host, "https://sts.eu-central-1.amazonaws.com.evil.example/", "AWS_HOST_NOT_ALLOWED"),
        (host, "https://sts.evil.example/", "AWS_HOST_NOT_ALLOWED"),
        (host, "https://sts.s3-eu-west-1.amazonaws.com/", "AWS_HOST_NOT_ALLOWED"),
        (host, "https://sts.amazonaws.com/", "AWS_HOST_NOT_ALLOWED"),
        (host, "https://sts.eu-central-1.amazonaws.com.cn/", "AWS_HOST_NOT_ALLOWED"),
        (host, "https://sts.cn-north-1.amazonaws.com/", "AWS_HOST_NOT_ALLOWED"),
        (host, "https://sts.eu-central-1.amazonaws.com./", "AWS_HOST_NOT_ALLOWED"),
        (host, "https://STS.eu-central-1.amazonaws.com/", "AWS_HOST_NOT_ALLOWED"),
        (host, "https://sts.eu-central-9.amazonaws.com/", "AWS_HOST_NOT_ALLOWED"),
        (host, "https://s3.eu-central-1.amazonaws.com/", "AWS_HOST_NOT_ALLOWED"),
        (host, "https://169.254.169.254/", "AWS_HOST_NOT_ALLOWED"),
        // What it would do there.
        ("GetCallerIdentity", "AssumeRole", "AWS_QUERY_NOT_ALLOWED"),
        ("2011-06-15", "2010-05-08", "AWS_QUERY_NOT_ALLOWED"),
        ("&X-Amz-Date", "&Action=GetCallerIdentity&X-Amz-Date", "AWS_QUERY_NOT_ALLOWED"),
        ("&X-Amz-Date", "&X-Amz-Expires=60&X-Amz-Date", "AWS_QUERY_NOT_ALLOWED"),
        ("&X-Amz-Date", "&RoleArn=x&X-Amz-Date", "AWS_QUERY_NOT_ALLOWED"),
        ("&X-Amz-Date", "&x-amz-date=20261122T060000Z&X-Amz-Date", "AWS_QUERY_NOT_ALLOWED"),
        ("&X-Amz-Expires=60", "", "AWS_QUERY_NOT_ALLOWED"),
        ("&X-Amz-Expires=60", "&X-Amz-Expires", "AWS_QUERY_NOT_ALLOWED"),
        ("Expires=60", "Expires=0", "AWS_QUERY_NOT_ALLOWED"),
        ("Expires=60", "Expires=901", "AWS_QUERY_NOT_ALLOWED"),
        ("Expires=60", "Expires=-60", "AWS_QUERY_NOT_ALLOWED"),
        ("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256", "AWS_QUERY_NOT_ALLOWED"),
        ("20261122T060000Z", "2026-11-22T06:00:00Z", "AWS_QUERY_NOT_ALLOWED"),
        ("20261122T060000Z", "20261332T060000Z", "AWS_QUERY_NOT_ALLOWED"),
        ("X-Amz-Signature=3", "X-Amz-Signature=G", "AWS_QUERY_NOT_ALLOWED"),
        ("%2Btoken", "%2token", "AWS_QUERY_NOT_ALLOWED"),
        ("%2Btoken", "+token", "AWS_QUERY_NOT_ALLOWED"),
        ("&X-Amz-Date", "#&X-Amz-Date", "AWS_URL_MALFORMED"),
        ("&X-Amz-Date", "\r\n&X-Amz-Date", "AWS_URL_MALFORMED"),
        // What it is signed for.
        ("%2Feu-central-1%2F", "%2Feu-west-1%2F", "AWS_SCOPE_MISMATCH"),
        ("%2F20261122%2F", "%2F20261121%2F", "AWS_SCOPE_MISMATCH"),
        ("%2Fsts%2F", "%2Fs3%2F", "AWS_SCOPE_MISMATCH"),
        ("aws4_request", "aws4_request%2Fx", "AWS_SCOPE_MISMATCH"),
        // What it binds.
        ("%3Bx-signet-tenant", "", "AWS_HEADERS_NOT_ALLOWED"),
        ("%3Bx-signet-key-sha256", "", "AWS_HEADERS_NOT_ALLOWED"),
        ("host%3B", "", "AWS_HEADERS_NOT_ALLOWED"),
        ("%3Bx-signet-tenant", "%3Bx-signet-tenant%3Bx-other", "AWS_HEADERS_NOT_ALLOWED"),
    ] {
        let result = attest(&attestors, &altered(from, to), SOURCES, NOW).await;
        assert_eq!(outcome(&result), reason, "{from} -> {to}: {result:?}");
    }
    let long = altered("EXAMPLE%2F", &"x".repeat(9000));
    assert_eq!(outcome(&attest(&attestors, &long, SOURCES, NOW).await), "AWS_URL_MALFORMED");
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn headers_bind_server_tenant_and_key() {
    let server = trusting().await;
    let attestors = at(&server);
    let with = |name: &str, value: Option<&str>| {
        let mut headers = headers();
        match value {
            Some(value) => headers.insert(name.into(), value.into()),
            None => headers.remove(name),
        };
        Evidence::AwsIam { url: RECORDED.into(), headers }
    };
    for (name, value, reason) in [
        ("x-signet-server-id", Some("prod.example.com"), "AWS_OTHER_SERVER"),
        ("x-signet-tenant", Some("globex"), "AWS_OTHER_TENANT"),
        ("x-signet-key-sha256", Some("cd"), "AWS_OTHER_KEY"),
        ("x-signet-key-sha256", Some(""), "AWS_OTHER_KEY"),
        ("x-signet-server-id", None, "AWS_HEADERS_NOT_ALLOWED"),
        ("x-signet-tenant", None, "AWS_HEADERS_NOT_ALLOWED"),
        ("X-Signet-Tenant", Some("acme"), "AWS_HEADERS_NOT_ALLOWED"),
        ("host", Some("evil.example"), "AWS_HEADERS_NOT_ALLOWED"),
        ("transfer-encoding", Some("chunked"), "AWS_HEADERS_NOT_ALLOWED"),
    ] {
        let result = attest(&attestors, &with(name, value), SOURCES, NOW).await;
        assert_eq!(outcome(&result), reason, "{name}: {result:?}");
    }
    assert_eq!(outcome(&attest(&attestors, &recorded(), &[], NOW).await), "AWS_NOT_TRUSTED");
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn a_request_can_be_replayed_for_minutes_only() {
    let server = trusting().await;
    let attestors = at(&server);
    let long_lived = presign(example(), "sts.eu-central-1.amazonaws.com", "eu-central-1", NOW, 900);
    let later = |seconds| NOW.plus(Lifetime::seconds(seconds));
    for (evidence, now, expected) in [
        (recorded(), later(60), "OK"),
        (recorded(), later(61), "AWS_REQUEST_EXPIRED"),
        (recorded(), NOW.minus(Lifetime::seconds(60)), "OK"),
        (recorded(), NOW.minus(Lifetime::seconds(61)), "AWS_REQUEST_FROM_FUTURE"),
        (long_lived.clone(), later(300), "OK"),
        (long_lived.clone(), later(301), "AWS_REQUEST_EXPIRED"),
        (long_lived, Time::from_unix_seconds(0), "AWS_REQUEST_FROM_FUTURE"),
    ] {
        assert_eq!(outcome(&attest(&attestors, &evidence, SOURCES, now).await), expected);
    }
}

#[tokio::test]
async fn other_regions_and_partitions_are_asked_if_allowed() {
    let server = trusting().await;
    let only = |region: &str| {
        let options = Options { sts_endpoint: Some(server.url()), aws_regions: vec![region.into()], ..quick() };
        Attestors::new(options).unwrap()
    };
    assert_eq!(outcome(&attest(&only("eu-central-1"), &recorded(), SOURCES, NOW).await), "OK");
    assert_eq!(outcome(&attest(&only("eu-west-1"), &recorded(), SOURCES, NOW).await), "AWS_HOST_NOT_ALLOWED");
    // The answer of a lying STS: an account of another partition.
    let china = presign(example(), "sts.cn-north-1.amazonaws.com.cn", "cn-north-1", NOW, 60);
    assert_eq!(outcome(&attest(&only("cn-north-1"), &china, SOURCES, NOW).await), "UNAVAILABLE");
}

#[tokio::test]
async fn sts_may_be_slow_down_lying_or_endless() {
    let elsewhere = trusting().await;
    let moved = elsewhere.url();
    let redirecting = Server::start(move |_| {
        let moved = moved.clone();
        async move { Response::builder().status(302).header("location", moved).body("".into()).unwrap() }
    });
    let error = "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code></Error></ErrorResponse>";
    let huge = || ANSWER.replace("<RequestId>", &" ".repeat(20_000));
    let cases = [
        (Server::start(|_| silence()).await, "UNAVAILABLE"),
        (Server::start(|_| async { endless() }).await, "UNAVAILABLE"),
        (Server::start(move |_| async move { response(200, huge()) }).await, "UNAVAILABLE"),
        (redirecting.await, "UNAVAILABLE"),
        (Server::start(|_| async { response(200, "<html>login</html>") }).await, "UNAVAILABLE"),
        (Server::start(|_| async { response(503, "") }).await, "UNAVAILABLE"),
        (Server::start(move |_| async move { response(403, error) }).await, "AWS_STS_REFUSED"),
    ];
    for (server, expected) in &cases {
        let started = Instant::now();
        let result = attest(&at(server), &recorded(), SOURCES, NOW).await;
        assert_eq!(outcome(&result), *expected, "{result:?}");
        assert!(!format!("{result:?}").contains("X-Amz-Signature"), "the request is a secret: {result:?}");
        // One request, no second try, and not much longer than the limit.
        assert_eq!(server.requests(), 1, "{result:?}");
        assert!(started.elapsed() < Duration::from_secs(8), "{result:?}");
    }
    assert_eq!(elsewhere.requests(), 0);
    let nobody = Attestors::new(Options { sts_endpoint: Some("http://127.0.0.1:1".into()), ..quick() }).unwrap();
    let result = attest(&nobody, &recorded(), SOURCES, NOW).await;
    assert_eq!(outcome(&result), "UNAVAILABLE");
    assert!(!format!("{result:?}").contains("X-Amz"), "{result:?}");
}

/// A body that never ends, a little at a time: each piece comes in time, the whole does not.
fn endless() -> Response {
    let pieces = futures::stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Some((Ok::<_, std::io::Error>("<a>"), ()))
    });
    response(200, axum::body::Body::from_stream(pieces))
}

/// With STS silent, callers beyond the limit are turned away at once instead of queueing.
#[tokio::test]
async fn a_crowd_does_not_queue_before_a_silent_sts() {
    let server = Server::start(|_| silence()).await;
    let attestors = at(&server);
    let evidence = recorded();
    let started = Instant::now();
    let all = (0..200).map(|_| attest(&attestors, &evidence, SOURCES, NOW));
    let results = futures::future::join_all(all).await;
    assert!(results.iter().all(|result| outcome(result) == "UNAVAILABLE"));
    assert!(started.elapsed() < Duration::from_secs(10));
    let asked = server.requests();
    assert!((1..=32).contains(&asked), "{asked}");
    // The places are free again: the next one is asked about.
    let result = attest(&attestors, &evidence, SOURCES, NOW).await;
    assert_eq!(outcome(&result), "UNAVAILABLE");
    assert_eq!(server.requests(), asked + 1);
}
