//! Access tokens before a real control plane: who shows one is let in with the certificate that it is bound to, and as
//! long as both are good.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures::stream;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Bytes;
use serde_json::{Value, json};
use signet_client::{
    Authorizer, GuardedRequest, Identity, LiveChannel, PeerPolicy, Question, QuestionSubject, Require, ShownToken,
    TokenChannel, serve,
};
use signet_proto::v1::{
    self as pb, PrincipalType, authorization_grant::To, authorization_service_client::AuthorizationServiceClient,
    certificate_service_client::CertificateServiceClient, principal_service_client::PrincipalServiceClient,
    token_service_client::TokenServiceClient,
};
use signet_testbed::Environment;
use tokio::{net::TcpListener, time::timeout};
use tonic::body::Body;
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};

const SOON: Duration = Duration::from_secs(10);
const ISSUER: &str = "tokens = { issuer = \"https://id.example.com\" }";

pub(crate) struct Shop {
    environment: Environment,
    address: SocketAddr,
    authorizer: Authorizer,
    _service: Identity,
}

/// What the service answers: who showed the token, and then nothing for ever.
async fn welcome<B>(request: Request<B>) -> Result<Response<Body>, Infallible> {
    let shown = request.extensions().get::<ShownToken>().map(|shown| shown.claims().sub.clone());
    let first = Bytes::from(shown.unwrap_or_default());
    let lines = stream::once(async { Ok::<_, BoxError>(Frame::data(first)) });
    let body = StreamBody::new(futures::StreamExt::chain(lines, stream::pending()));
    Ok(Response::new(Body::new(body)))
}

fn guarded<B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static>(
    layer: &Require,
) -> impl Service<Request<B>, Response = Response<signet_client::Guarded<Body>>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ 'static {
    layer.layer(service_fn(welcome::<GuardedRequest<B>>))
}

impl Shop {
    /// A service of `acme` that wants `jobs:submit` by a token, and workers of `acme` and `globex` who have it.
    async fn new() -> Self {
        let environment = Environment::start(ISSUER).await;
        for tenant in ["acme", "globex"] {
            environment.tenant(tenant).await;
            let to = To::PrincipalType(PrincipalType::Worker.into());
            let names = || ["jobs:submit", "events:stream"].map(str::to_owned);
            let grant = pb::AuthorizationGrant { to: Some(to), permissions: names().to_vec(), expire_time: None };
            let permissions = names().into_iter().chain(["jobs:cancel".to_owned()]);
            let rules = pb::AuthorizationRules {
                permissions: permissions.map(|name| (name, "for tests".to_owned())).collect(),
                grants: vec![grant],
                ..Default::default()
            };
            let request = pb::SetAuthorizationModelRequest {
                tenant_id: tenant.into(),
                rules: Some(rules),
                request_id: signet_client::request_id(),
                ..Default::default()
            };
            AuthorizationServiceClient::new(environment.admin()).set_authorization_model(request).await.unwrap();
        }
        let service = environment.enrolled("acme", PrincipalType::Service, "jobs").await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, authorizer) = (listener.local_addr().unwrap(), service.authorizer());
        let (identity, app) = (service.clone(), guarded(&authorizer.require("jobs:submit").with_access_token()));
        tokio::spawn(async move {
            serve(listener, &identity, PeerPolicy::anybody(), app, std::future::pending()).await.unwrap();
        });
        Self { environment, address, authorizer, _service: service }
    }

    async fn worker(&self, tenant: &str, id: &str) -> Identity {
        self.environment.enrolled(tenant, PrincipalType::Worker, id).await
    }

    fn channel(&self, identity: &Identity) -> LiveChannel {
        identity.channel_to(&format!("https://{}", self.address), PeerPolicy::anybody()).unwrap()
    }

    fn with_tokens(&self, identity: &Identity) -> TokenChannel {
        identity.tokens().on(self.channel(identity), "jobs", &[])
    }

    /// What a token gets on a connection with an identity's certificate.
    async fn show(&self, identity: &Identity, token: &str) -> Told {
        let request = Request::get("/").header(header::AUTHORIZATION, format!("Bearer {token}"));
        told(self.channel(identity).oneshot(request.body(Body::empty()).unwrap()).await.unwrap()).await
    }

    async fn suspend(&self, id: &str) {
        let request = pb::SuspendPrincipalRequest {
            tenant_id: "acme".into(),
            principal_id: id.into(),
            request_id: signet_client::request_id(),
        };
        PrincipalServiceClient::new(self.environment.admin()).suspend_principal(request).await.unwrap();
    }

    async fn rotate_now(&self) {
        let request = pb::RotateTokenKeysRequest {
            tenant_id: "acme".into(),
            r#use: pb::TokenUse::AccessToken.into(),
            now: true,
            request_id: signet_client::request_id(),
            ..Default::default()
        };
        TokenServiceClient::new(self.environment.admin()).rotate_token_keys(request).await.unwrap();
    }
}

/// Status, reason and challenge of an answer.
type Told = (StatusCode, String, String);

async fn told<B>(answer: Response<B>) -> Told
where
    B: http_body::Body<Data = Bytes, Error: std::fmt::Debug> + Unpin,
{
    let status = answer.status();
    let challenge = answer.headers().get(header::WWW_AUTHENTICATE);
    let challenge = challenge.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    if status == StatusCode::OK {
        return (status, String::new(), challenge);
    }
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let problem: Value = serde_json::from_slice(&body).unwrap();
    (status, problem["reason"].as_str().unwrap().to_owned(), challenge)
}

fn invalid(reason: &str) -> Told {
    (StatusCode::UNAUTHORIZED, reason.to_owned(), "Bearer error=\"invalid_token\"".to_owned())
}

fn get() -> Request<Body> {
    Request::get("/").body(Body::empty()).unwrap()
}

/// An open answer of the service, of which the first part was read.
async fn open(mut channel: TokenChannel) -> Body {
    let mut body = channel.call(get()).await.unwrap().into_body();
    let first = timeout(SOON, body.frame()).await.unwrap().unwrap().unwrap().into_data().unwrap();
    assert!(first.starts_with(b"spiffe://acme."), "{first:?}");
    body
}

/// How long it takes until an open answer is cut.
async fn cut(mut body: Body) -> Duration {
    let from = Instant::now();
    assert!(timeout(2 * SOON, body.frame()).await.unwrap().unwrap().is_err(), "it ends without an error");
    from.elapsed()
}

async fn until<T>(what: &str, mut found: impl AsyncFnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(found) = found().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(2 * SOON, wait).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}

fn good() -> Told {
    (StatusCode::OK, String::new(), String::new())
}

#[tokio::test]
async fn a_token_is_good_on_connections_with_its_own_certificate_only() {
    let shop = Shop::new().await;
    let (mine, other) = (shop.worker("acme", "w-1").await, shop.worker("acme", "w-2").await);
    drop(open(shop.with_tokens(&mine)).await);
    let token = mine.tokens().access_token("jobs", &[]).await.unwrap();
    assert_eq!(token.scopes, ["jobs:submit"], "what it has of jobs");
    assert_eq!(shop.show(&mine, token.secret()).await, good());
    assert_eq!(shop.show(&other, token.secret()).await, invalid("ACCESS_TOKEN_NOT_BOUND"), "it was stolen");
    let (bare, required) =
        (told(shop.channel(&mine).oneshot(get()).await.unwrap()).await, "ACCESS_TOKEN_REQUIRED".to_owned());
    assert_eq!(bare, (StatusCode::UNAUTHORIZED, required, "Bearer".to_owned()));

    // Without a certificate, as behind a proxy that ends TLS: refused, unless the service says otherwise.
    let shown = || {
        let request = Request::get("/").header(header::AUTHORIZATION, format!("bearer {}", token.secret()));
        request.body(Body::empty()).unwrap()
    };
    let bound = shop.authorizer.require("jobs:submit").with_access_token();
    assert_eq!(told(guarded(&bound).oneshot(shown()).await.unwrap()).await, invalid("ACCESS_TOKEN_NOT_BOUND"));
    let any = shop.authorizer.require("jobs:submit").with_stealable_access_token();
    assert_eq!(told(guarded(&any).oneshot(shown()).await.unwrap()).await, good());
    let mut twice = shown();
    twice.headers_mut().append(header::AUTHORIZATION, HeaderValue::from_static("Bearer x"));
    assert_eq!(told(guarded(&any).oneshot(twice).await.unwrap()).await.1, "ACCESS_TOKEN_REQUIRED");
}

/// For handlers, and for servers without the layer.
#[tokio::test]
async fn a_handler_verifies_a_token_and_asks_what_its_holder_may() {
    let shop = Shop::new().await;
    let (mine, other) = (shop.worker("acme", "w-1").await, shop.worker("acme", "w-2").await);
    let peer = |identity: &Identity| {
        let leaf = identity.with_credentials(|own| own.chain_der()[0].clone());
        identity.peer(Some(&[leaf.into()])).unwrap()
    };
    let token = mine.tokens().access_token("jobs", &[]).await.unwrap();
    let shown = shop.authorizer.verify_token(token.secret(), "jobs", &peer(&mine)).await.unwrap();
    let claims = shown.claims();
    assert_eq!((claims.client_id.as_str(), claims.aud.as_str()), ("w-1", "jobs"));
    assert!(!format!("{shown:?} {claims:?}").contains(token.secret()));
    let ask = |permission: &str| Question::of(QuestionSubject::AccessToken(shown.clone()), permission.into());
    assert!(shop.authorizer.decide(&ask("jobs:submit")).await.allowed);
    assert_eq!(shop.authorizer.decide(&ask("jobs:cancel")).await.reason, "SCOPE_MISSING");
    for (identity, audience, reason) in
        [(&other, "jobs", "ACCESS_TOKEN_NOT_BOUND"), (&mine, "events", "ACCESS_TOKEN_FOR_ANOTHER_AUDIENCE")]
    {
        let refused = shop.authorizer.verify_token(token.secret(), audience, &peer(identity)).await.unwrap_err();
        assert_eq!(refused.reason, reason);
    }
}

#[tokio::test]
async fn a_token_is_good_for_its_audience_and_permissions_only() {
    let shop = Shop::new().await;
    let mine = shop.worker("acme", "w-1").await;
    let tokens = mine.tokens();
    let events = tokens.access_token("events", &[]).await.unwrap();
    assert_eq!(shop.show(&mine, events.secret()).await, invalid("ACCESS_TOKEN_FOR_ANOTHER_AUDIENCE"));
    let jobs = tokens.access_token("jobs", &["jobs:submit"]).await.unwrap();
    let cancel = shop.authorizer.require("jobs:cancel").with_stealable_access_token();
    let request = Request::get("/").header(header::AUTHORIZATION, format!("Bearer {}", jobs.secret()));
    let refused = told(guarded(&cancel).oneshot(request.body(Body::empty()).unwrap()).await.unwrap()).await;
    let lacks = "Bearer error=\"insufficient_scope\"".to_owned();
    assert_eq!(refused, (StatusCode::FORBIDDEN, "SCOPE_MISSING".to_owned(), lacks));
    // What the control plane says of tokens that nobody may have comes as it said it.
    let error = tokens.access_token("jobs", &["jobs:cancel"]).await.unwrap_err();
    assert_eq!(error.reason(), "SCOPE_NOT_GRANTED", "{error}");
    let error = tokens.access_token("nothing", &[]).await.unwrap_err();
    assert_eq!(error.reason(), "UNKNOWN_AUDIENCE", "{error}");
}

#[tokio::test]
async fn what_the_tenants_issuer_did_not_make_for_this_is_refused() {
    let shop = Shop::new().await;
    let (mine, theirs) = (shop.worker("acme", "w-1").await, shop.worker("globex", "w-1").await);
    let own = mine.tokens().access_token("jobs", &[]).await.unwrap();
    let foreign = theirs.tokens().access_token("jobs", &[]).await.unwrap();
    assert_eq!(shop.show(&mine, foreign.secret()).await, invalid("ACCESS_TOKEN_KEY_UNKNOWN"), "another tenant's");
    let svid = mine.tokens().jwt_svid(&["jobs"]).await.unwrap();
    assert_eq!(shop.show(&mine, svid.secret()).await, invalid("ACCESS_TOKEN_OF_ANOTHER_KIND"));
    let parts: Vec<&str> = own.secret().split('.').collect();
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[0]).unwrap()).unwrap();
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let with = |name: &str, value: Value| {
        let mut header = header.clone();
        header[name] = value;
        encode(&header)
    };
    let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
    claims["scope"] = json!("jobs:submit jobs:cancel");
    // The published key as an HMAC's secret: what it is signed with does not matter, since nobody looks.
    for (what, token, reason) in [
        ("alg none", format!("{}.{}.", with("alg", json!("none")), parts[1]), "ACCESS_TOKEN_MALFORMED"),
        ("HS256", format!("{}.{}.{}", with("alg", json!("HS256")), parts[1], parts[2]), "ACCESS_TOKEN_MALFORMED"),
        (
            "the key's other algorithm",
            format!("{}.{}.{}", with("alg", json!("RS256")), parts[1], parts[2]),
            "ACCESS_TOKEN_KEY_UNKNOWN",
        ),
        (
            "a forged kid",
            format!("{}.{}.{}", with("kid", json!("mine")), parts[1], parts[2]),
            "ACCESS_TOKEN_KEY_UNKNOWN",
        ),
        (
            "a key in the header",
            format!("{}.{}.{}", with("jwk", json!({})), parts[1], parts[2]),
            "ACCESS_TOKEN_BAD_SIGNATURE",
        ),
        ("other claims", format!("{}.{}.{}", parts[0], encode(&claims), parts[2]), "ACCESS_TOKEN_BAD_SIGNATURE"),
        ("no token", "x".to_owned(), "ACCESS_TOKEN_MALFORMED"),
    ] {
        assert_eq!(shop.show(&mine, &token).await, invalid(reason), "{what}");
    }
    assert_eq!(shop.show(&mine, own.secret()).await, good());
}

#[tokio::test]
async fn whoever_hangs_up_has_no_keys_fetched_again() {
    let shop = Shop::new().await;
    let mine = shop.worker("acme", "w-1").await;
    let leaf = mine.with_credentials(|own| own.chain_der()[0].clone());
    let peer = mine.peer(Some(&[leaf.into()])).unwrap();
    let own = mine.tokens().access_token("jobs", &[]).await.unwrap();
    let parts: Vec<&str> = own.secret().split('.').collect();
    let mut header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[0]).unwrap()).unwrap();
    header["kid"] = json!("mine");
    let forged = format!("{}.{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), parts[1], parts[2]);
    let fetched = async || {
        let address = shop.environment.node.metrics_addr;
        let metrics = reqwest::get(format!("http://{address}/metrics")).await.unwrap().text().await.unwrap();
        let lines = metrics.lines().filter(|line| line.starts_with("signet_rpc_total") && line.contains("TokenKeySet"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u32>().ok()).sum::<u32>()
    };
    let (begun, before) = (Instant::now(), fetched().await);
    for _ in 0..200 {
        let answer = timeout(Duration::from_micros(100), shop.authorizer.verify_token(&forged, "jobs", &peer)).await;
        assert!(answer.is_err() || answer.is_ok_and(|answer| answer.is_err()));
    }
    // Until what was asked for has come.
    assert!(shop.authorizer.verify_token(&forged, "jobs", &peer).await.is_err());
    let most = u32::try_from(begun.elapsed().as_secs() / 3).unwrap() + 1;
    let fetches = fetched().await - before;
    assert!((1..=most).contains(&fetches), "{fetches} fetches in {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_token_ends_when_it_says_also_on_what_is_open() {
    let shop = Shop::new().await;
    let mine = shop.worker("acme", "w-1").await;
    let request = pb::CreateAccessTokenRequest { audience: "jobs".into(), scopes: Vec::new(), lifetime_seconds: 10 };
    let made = TokenServiceClient::new(mine.channel().unwrap()).create_access_token(request).await.unwrap();
    let (from, token) = (Instant::now(), made.into_inner().access_token);
    let request = Request::get("/").header(header::AUTHORIZATION, format!("Bearer {token}"));
    let answer = shop.channel(&mine).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let mut body = answer.into_body();
    body.frame().await.unwrap().unwrap();
    cut(body).await;
    let lasted = from.elapsed();
    // Its time began before its key was made, in whole seconds.
    assert!((5..14).contains(&lasted.as_secs()), "{lasted:?}");
    assert_eq!(shop.show(&mine, &token).await, invalid("ACCESS_TOKEN_EXPIRED"));
}

/// Measured at about 20 ms.
#[tokio::test]
async fn a_suspended_holder_loses_what_is_open_and_the_token() {
    let shop = Shop::new().await;
    let (mine, other) = (shop.worker("acme", "w-1").await, shop.worker("acme", "w-2").await);
    let (body, mut theirs) = (open(shop.with_tokens(&mine)).await, open(shop.with_tokens(&other)).await);
    let token = mine.tokens().access_token("jobs", &[]).await.unwrap();
    shop.suspend("w-1").await;
    let took = cut(body).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    let refused = shop.show(&mine, token.secret()).await;
    assert_eq!((refused.0, refused.1.as_str()), (StatusCode::FORBIDDEN, "PRINCIPAL_DENIED"));
    assert!(timeout(Duration::from_millis(300), theirs.frame()).await.is_err(), "the other's goes on");
}

#[tokio::test]
async fn a_revoked_certificate_takes_its_tokens_along() {
    let shop = Shop::new().await;
    let mine = shop.worker("acme", "w-1").await;
    let body = open(shop.with_tokens(&mine)).await;
    let request = pb::RevokeCertificateRequest {
        tenant_id: "acme".into(),
        issuer_id: "acme.1".into(),
        serial_number: mine.status().borrow().facts.serial_number.clone(),
        reason: pb::RevocationReason::KeyCompromise.into(),
        request_id: signet_client::request_id(),
        or_unrecorded: false,
    };
    CertificateServiceClient::new(shop.environment.admin()).revoke_certificate(request).await.unwrap();
    let took = cut(body).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
}

/// Somebody else may have the key: what it signed is good no more, at once. Measured at about 10 ms.
#[tokio::test]
async fn a_key_that_is_replaced_now_ends_its_tokens_and_clients_go_on_by_themselves() {
    let shop = Shop::new().await;
    let mine = shop.worker("acme", "w-1").await;
    let (channel, tokens) = (shop.with_tokens(&mine), mine.tokens());
    let body = open(channel.clone()).await;
    let token = tokens.access_token("jobs", &[]).await.unwrap();
    shop.rotate_now().await;
    let took = cut(body).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(shop.show(&mine, token.secret()).await, invalid("ACCESS_TOKEN_KEY_UNKNOWN"));
    until("the channel has a token of the new key", async || {
        let answer = channel.clone().call(get()).await.unwrap();
        (answer.status() == StatusCode::OK).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_new_certificate_has_new_tokens_and_the_channel_never_mixes_them() {
    let shop = Shop::new().await;
    let mine = shop.worker("acme", "w-1").await;
    let (mut channel, tokens) = (shop.with_tokens(&mine), mine.tokens());
    assert_eq!(channel.call(get()).await.unwrap().status(), StatusCode::OK);
    let old = tokens.access_token("jobs", &[]).await.unwrap();
    let serial = mine.status().borrow().facts.serial_number.clone();
    mine.renew_now();
    let mut calls = 0;
    until("it has the next certificate, and the channel uses it", async || {
        // Whichever certificate the connection of the moment has.
        assert_eq!(channel.call(get()).await.unwrap().status(), StatusCode::OK, "call {calls}");
        calls += 1;
        let renewed = mine.status().borrow().facts.serial_number != serial;
        (renewed && shop.show(&mine, old.secret()).await == invalid("ACCESS_TOKEN_NOT_BOUND")).then_some(())
    })
    .await;
    assert_eq!(channel.call(get()).await.unwrap().status(), StatusCode::OK);
    let new = tokens.access_token("jobs", &[]).await.unwrap();
    assert!(!Arc::ptr_eq(&old, &new) && new.secret() != old.secret());
}

#[tokio::test]
async fn who_wants_the_same_token_waits_for_one_request() {
    let shop = Shop::new().await;
    let mine = shop.worker("acme", "w-1").await;
    let tokens = mine.tokens();
    let all = futures::future::join_all((0..50).map(|_| tokens.access_token("jobs", &[]))).await;
    let all: Vec<_> = all.into_iter().map(Result::unwrap).collect();
    assert!(all.iter().all(|one| Arc::ptr_eq(one, &all[0])));
    assert!(!format!("{:?} {tokens:?}", all[0]).contains(all[0].secret()));
    let header = tokens.authorization("jobs", &[]).await.unwrap();
    assert!(header.is_sensitive() && header.to_str().unwrap() == format!("Bearer {}", all[0].secret()));
}
