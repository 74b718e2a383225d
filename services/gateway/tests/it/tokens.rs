//! The token road: a certificate in, a token out, and the token on the routes that take it.

use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    client::{Client, SOON, get},
    upstreams::echo,
    world::World,
};

async fn world(lifetime: u32) -> World {
    let address = echo().await;
    let rest = format!(
        "[token]\npermission = \"none\"\nlifetime_seconds = {lifetime}\n\
         [[upstream]]\nname = \"jobs\"\nurl = \"http://{address}\"\n\
         [[route]]\npath = \"/jobs/*\"\nupstream = \"jobs\"\npermission = \"jobs:submit\"\naccept = [\"token\"]\n\
         [[route]]\npath = \"/both/*\"\nupstream = \"jobs\"\npermission = \"jobs:submit\"\n\
         accept = [\"certificate\", \"token\"]\n\
         [[route]]\npath = \"/sse/*\"\nupstream = \"jobs\"\npermission = \"jobs:watch\"\naccept = [\"token\"]\n\
         unbound = true\n\
         [[route]]\npath = \"/unbound/*\"\nupstream = \"jobs\"\npermission = \"jobs:submit\"\naccept = [\"token\"]\n\
         unbound = true\n\
         [[route]]\npath = \"/certificate/*\"\nupstream = \"jobs\"\npermission = \"jobs:submit\"\n"
    );
    World::with("certificate_optional = true", &rest).await
}

async fn token(client: &Client) -> String {
    let answer = client.http1().await.post("/auth/token", "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        (&answer.headers["cache-control"], &answer.json()["token_type"]),
        (&"no-store".parse().unwrap(), &"Bearer".into())
    );
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

async fn get_with(client: &Client, path: &str, token: &str) -> crate::client::Answer {
    client.http1().await.get_with(path, "authorization", &format!("Bearer {token}")).await
}

/// All of them come from one address.
#[tokio::test]
async fn forged_tokens_of_one_principal_cost_others_nothing() {
    let world = world(300).await;
    let (one, other) = (world.worker("w-1").await, world.worker("w-2").await);
    let (text, good) = (token(&one).await, token(&other).await);
    let (signed, _) = text.rsplit_once('.').unwrap();
    let mut connection = one.http1().await;
    let mut refused = 0;
    for number in 0..200_u8 {
        let forged = format!("Bearer {signed}.{}", URL_SAFE_NO_PAD.encode([number; 64]));
        let answer = connection.get_with("/jobs/1", "authorization", &forged).await;
        assert!(matches!(answer.status, 401 | 429), "{answer:?}");
        refused += usize::from(answer.status == 429);
    }
    assert!(refused > 0, "a flood of forged tokens is checked without end");
    assert_eq!(get_with(&other, "/jobs/1", &good).await.status, 200);
}

#[tokio::test]
async fn the_token_is_bound_to_its_certificate_and_says_so() {
    let world = world(300).await;
    let (one, other) = (world.worker("w-1").await, world.worker("w-2").await);
    let text = token(&one).await;
    let part = |number| -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text.split('.').nth(number).unwrap()).unwrap()).unwrap()
    };
    let (header, claims) = (part(0), part(1));
    assert_eq!((&header["typ"], &header["alg"]), (&"at+jwt".into(), &"ES256".into()));
    for name in ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"] {
        assert!(claims.get(name).is_some(), "RFC 9068 section 2.2 wants {name}: {claims}");
    }
    assert_eq!(claims["sub"], "spiffe://acme.test.example.com/worker/w-1");
    let answer = get_with(&one, "/jobs/1", &text).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.seen("authorization").is_empty(), "it is not the upstream's");
    assert_eq!(answer.seen("signet-identity").len(), 1);

    // Another certificate, none, and another road.
    let answer = get_with(&other, "/jobs/1", &text).await;
    assert_eq!((answer.status, answer.reason().as_str()), (401, "ACCESS_TOKEN_REFUSED"));
    assert_eq!(answer.headers["www-authenticate"], "Bearer error=\"invalid_token\"");
    assert_eq!(get_with(&one.anonymous(), "/jobs/1", &text).await.status, 401);
    let answer = one.get("/jobs/1").await;
    assert_eq!((answer.status, answer.reason().as_str()), (401, "ACCESS_TOKEN_REQUIRED"));
    let answer = one.anonymous().get("/certificate/1").await;
    assert_eq!((answer.status, answer.reason().as_str()), (401, "CERTIFICATE_REQUIRED"));
    assert_eq!(one.get("/both/1").await.status, 200);
    // A token that is not ours is the upstream's where a certificate is enough.
    let answer = get_with(&one, "/certificate/1", "the-upstreams-own").await;
    assert_eq!(answer.seen("authorization"), ["Bearer the-upstreams-own"]);
    let event = world.event("the refusal", |event| event["reason"] == "ACCESS_TOKEN_REFUSED").await;
    assert_eq!(event["detail"], "it was given for another certificate");
    let issued = world.event("the token", |event| event["event"] == "token").await;
    assert!(issued["detail"].as_str().unwrap().starts_with("jti ") && !issued.to_string().contains(&text), "{issued}");
}

/// The seed's way: the second request comes without a certificate.
#[tokio::test]
async fn an_unbound_route_takes_the_token_alone_until_its_principal_is_suspended() {
    let world = world(300).await;
    let one = world.worker("w-1").await;
    let text = token(&one).await;
    let nobody = one.anonymous();
    let answer = get_with(&nobody, "/unbound/1", &text).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.seen("client-cert").is_empty());
    let body = nobody.http1().await;
    let mut body = {
        let mut connection = body;
        let mut request = get("/sse/1");
        request.headers_mut().insert("authorization", format!("Bearer {text}").parse().unwrap());
        connection.send(request).await.into_body()
    };
    let begun = Instant::now();
    world.suspend("w-1").await;
    let ended =
        timeout(SOON, async { while let Some(Ok(_)) = http_body_util::BodyExt::frame(&mut body).await {} }).await;
    println!("the stream of a token ended after {:?}", begun.elapsed());
    assert!(ended.is_ok());
    let answer = get_with(&nobody, "/unbound/1", &text).await;
    assert_eq!((answer.status, answer.reason().as_str()), (403, "PRINCIPAL_DENIED"));
    assert_eq!(one.http1().await.post("/auth/token", "").await.status, 403);
}

#[tokio::test]
async fn a_token_and_its_streams_end_with_its_time() {
    let world = world(2).await;
    let one = world.worker("w-1").await;
    let text = token(&one).await;
    let mut connection = one.http1().await;
    let mut request = get("/sse/1");
    request.headers_mut().insert("authorization", format!("Bearer {text}").parse().unwrap());
    let begun = Instant::now();
    let mut body = connection.send(request).await.into_body();
    let ended =
        timeout(SOON, async { while let Some(Ok(_)) = http_body_util::BodyExt::frame(&mut body).await {} }).await;
    assert!(ended.is_ok() && begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(get_with(&one, "/jobs/1", &text).await.status, 401);
    world.event("the end", |event| event["reason"] == "ACCESS_TOKEN_EXPIRED").await;
}

#[tokio::test]
async fn forged_and_malformed_tokens_are_refused() {
    let world = world(300).await;
    let one = world.worker("w-1").await;
    let text = token(&one).await;
    let parts: Vec<&str> = text.split('.').collect();
    let claims = URL_SAFE_NO_PAD.decode(parts[1]).unwrap();
    let other_claims = URL_SAFE_NO_PAD.encode(String::from_utf8(claims).unwrap().replace("w-1", "w-2"));
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"at+jwt"}"#);
    let identity = get_with(&one, "/jobs/1", &text).await.seen("signet-identity")[0].clone();
    for bad in [
        String::new(),
        "a".into(),
        "a.b.c".into(),
        format!("{}.{other_claims}.{}", parts[0], parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{none}.{}.", parts[1]),
        format!("{}.{}.{}.{}", parts[0], parts[1], parts[2], parts[2]),
        "x".repeat(10_000),
        // Another kind of token of the same key.
        identity,
    ] {
        let answer = get_with(&one, "/jobs/1", &bad).await;
        assert!(answer.status == 401, "{bad:.60}: {answer:?}");
    }
}

/// Signatures are checked a hundred times at once; a flood of what is no token of ours takes none of them.
#[tokio::test]
async fn a_flood_of_bad_tokens_costs_comparisons_and_forged_ones_are_slowed_down() {
    let world = world(300).await;
    let one = world.worker("w-1").await;
    let mut connection = one.http1().await;
    for number in 0..300 {
        let bad = format!("Bearer eyJhbGciOiJFUzI1NiJ9.{number}.AAAA");
        assert_eq!(connection.get_with("/jobs/1", "authorization", &bad).await.status, 401);
    }
    let text = token(&one).await;
    assert_eq!(get_with(&one, "/jobs/1", &text).await.status, 200);
    let (header, _) = text.split_once('.').unwrap();
    let mut statuses = std::collections::BTreeSet::new();
    for number in 0..300 {
        let forged = format!("Bearer {header}.{number}.AAAA");
        statuses.insert(connection.get_with("/jobs/1", "authorization", &forged).await.status);
    }
    assert_eq!(statuses.into_iter().collect::<Vec<_>>(), [401, 429]);
    // One that was checked before costs no check.
    assert_eq!(get_with(&one, "/jobs/1", &text).await.status, 200);
}

#[tokio::test]
async fn the_endpoint_says_what_rfc_6749_wants() {
    let world = world(300).await;
    let one = world.worker("w-1").await;
    let mut connection = one.http1().await;
    for (body, status, error) in [
        ("grant_type=client_credentials", 200, ""),
        ("grant_type=client_credentials&client_id=spiffe://acme.test.example.com/worker/w-1", 200, ""),
        ("grant_type=password", 400, "unsupported_grant_type"),
        ("grant_type=client_credentials&client_id=w-2", 401, "invalid_client"),
        ("client_secret=a", 400, "invalid_request"),
        ("grant_type=a&grant_type=b", 400, "invalid_request"),
    ] {
        let answer = connection.post("/auth/token", body).await;
        let told = answer.json()["error"].as_str().unwrap_or_default().to_owned();
        assert_eq!((answer.status, told.as_str()), (status, error), "{body}");
    }
    assert_eq!(connection.get("/auth/token").await.status, 405);
    assert_eq!(one.anonymous().http1().await.post("/auth/token", "").await.status, 401);
}
