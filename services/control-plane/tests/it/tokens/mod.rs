//! Access tokens and SVIDs: who gets which, who may rely on them, and when they are good no more.

mod broker;
mod events;
mod judges;
mod keys;
mod oauth;
mod relying;
mod svids;

use serde_json::Value;
use signet_client::Credentials;
use signet_core::PrincipalType;
use signet_jwt::{Algorithm, DecodingKey, Token};
use signet_proto::v1::{
    self as pb, AccessToken, Isolation, authorization_service_client::AuthorizationServiceClient,
    token_service_client::TokenServiceClient,
};
use tonic::{Status, transport::Channel};

use crate::world::{Node, World, eventually, reason};

const ISSUER: &str = "tokens = { issuer = 'https://id.example.com/', lifetime_seconds = 300 }";
const WORKER: &str = "spiffe://acme.test.example.com/worker/w-1";

/// A tenant whose workers submit jobs and whose users read them.
struct Site {
    world: World,
    node: Node,
    admin: Credentials,
    worker: Credentials,
    service: Credentials,
}

impl Site {
    async fn new() -> Self {
        let world = World::with_config(ISSUER).await;
        let node = world.node().await;
        let [admin, worker, service] = tenant(&world, &node, "acme").await;
        Self { world, node, admin, worker, service }
    }

    fn tokens(&self, who: &Credentials) -> TokenServiceClient<Channel> {
        TokenServiceClient::new(self.world.channel(&self.node, who))
    }

    async fn token(&self, who: &Credentials) -> AccessToken {
        access_token(&mut self.tokens(who), "jobs", &[], 0).await.unwrap()
    }

    /// Whether it is good, as the service is told; else the reason.
    async fn look(&self, token: &str) -> Result<pb::IntrospectAccessTokenResponse, String> {
        let request = pb::IntrospectAccessTokenRequest { token: token.into() };
        let answer = self.tokens(&self.service).introspect_access_token(request).await.unwrap().into_inner();
        if answer.active { Ok(answer) } else { Err(answer.reason) }
    }

    /// A published key, from the public port.
    async fn published(&self, path: &str, key_id: &str) -> DecodingKey {
        let (status, body) = self.node.http(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        let set: Value = serde_json::from_str(&body).unwrap();
        let key = set["keys"].as_array().unwrap().iter().find(|key| key["kid"] == key_id);
        let key = key.unwrap_or_else(|| panic!("{path} has no {key_id}: {set}")).clone();
        DecodingKey::from_jwk(&serde_json::from_value(key).unwrap()).unwrap()
    }

    async fn rotate(&self, request: pb::RotateTokenKeysRequest) -> Result<Vec<pb::TokenKey>, Status> {
        let request = pb::RotateTokenKeysRequest { request_id: signet_client::request_id(), ..request };
        Ok(self.tokens(&self.admin).rotate_token_keys(request).await?.into_inner().keys)
    }
}

/// Its admin, a worker and a service.
async fn tenant(world: &World, node: &Node, id: &str) -> [Credentials; 3] {
    world.tenant(node, id, Isolation::Dedicated).await;
    let admin = world.principal(node, id, "boss", PrincipalType::Admin, &[]).await;
    let described = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), String::new())).collect();
    let grant = |to, permissions: &[&str]| pb::AuthorizationGrant {
        to: Some(pb::authorization_grant::To::PrincipalType(i32::from(to))),
        permissions: permissions.iter().map(ToString::to_string).collect(),
        expire_time: None,
    };
    let rules = pb::AuthorizationRules {
        permissions: described(&["jobs:submit", "jobs:dequeue", "jobs:read", "reports:read"]),
        grants: vec![
            grant(pb::PrincipalType::Worker, &["jobs:submit", "jobs:dequeue"]),
            grant(pb::PrincipalType::User, &["jobs:read", "reports:read"]),
        ],
        ..Default::default()
    };
    let set = pb::SetAuthorizationModelRequest {
        tenant_id: id.into(),
        rules: Some(rules),
        request_id: signet_client::request_id(),
        ..Default::default()
    };
    AuthorizationServiceClient::new(world.channel(node, &admin)).set_authorization_model(set).await.unwrap();
    let worker = world.principal(node, id, "w-1", PrincipalType::Worker, &[]).await;
    let service = world.principal(node, id, "api", PrincipalType::Service, &[]).await;
    eventually("the node has the rules", async || {
        let mut client = TokenServiceClient::new(world.channel(node, &worker));
        access_token(&mut client, "jobs", &[], 0).await.is_ok()
    })
    .await;
    [admin, worker, service]
}

async fn access_token(
    client: &mut TokenServiceClient<Channel>,
    audience: &str,
    scopes: &[&str],
    lifetime_seconds: u32,
) -> Result<AccessToken, Status> {
    let scopes = scopes.iter().map(ToString::to_string).collect();
    let request = pb::CreateAccessTokenRequest { audience: audience.into(), scopes, lifetime_seconds };
    Ok(client.create_access_token(request).await?.into_inner())
}

fn parsed(token: &str) -> Token<'_> {
    Token::parse(token, &[Algorithm::ES256, Algorithm::RS256]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_says_who_may_what_and_with_which_certificate() {
    let site = Site::new().await;
    let made = site.token(&site.worker).await;
    let token = parsed(&made.access_token);
    assert_eq!((token.typ(), token.algorithm()), (Some("at+jwt"), Algorithm::ES256));
    let key = site.published("/t/acme/jwks.json", token.key_id().unwrap()).await;
    let claims: Value = token.verify(&key).unwrap();
    assert_eq!(claims["iss"], "https://id.example.com/t/acme");
    assert_eq!(claims["sub"], WORKER);
    assert_eq!((&claims["aud"], &claims["client_id"]), (&"jobs".into(), &"w-1".into()));
    assert_eq!(claims["scope"], "jobs:dequeue jobs:submit");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 300);
    let thumbprint = signet_jwt::x5t_s256(&site.worker.chain_der()[0]);
    assert_eq!(claims["cnf"]["x5t#S256"], thumbprint.as_str());
    assert_eq!((made.certificate_thumbprint, made.scopes.join(" ")), (thumbprint, "jobs:dequeue jobs:submit".into()));
    let again: Value = parsed(&site.token(&site.worker).await.access_token).claimed().unwrap();
    assert_ne!(again["jti"], claims["jti"]);
    site.node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_a_token_for_what_it_may_not() {
    let site = Site::new().await;
    let mut worker = site.tokens(&site.worker);
    let refused = async |client: &mut TokenServiceClient<Channel>, audience: &str, scopes: &[&str], lifetime| {
        reason(&access_token(client, audience, scopes, lifetime).await.unwrap_err())
    };
    for audience in ["", "job", "jobs:submit", "billing", "principals", "jobs ", "*"] {
        assert_eq!(refused(&mut worker, audience, &[], 0).await, "UNKNOWN_AUDIENCE", "{audience:?}");
    }
    assert_eq!(refused(&mut worker, "reports", &[], 0).await, "SCOPE_NOT_GRANTED");
    for scopes in [&["jobs:read"][..], &["jobs:submit", "jobs:read"], &["reports:read"], &["jobs:submit jobs:read"]] {
        assert_eq!(refused(&mut worker, "jobs", scopes, 0).await, "SCOPE_NOT_GRANTED", "{scopes:?}");
    }
    for lifetime in [1, 9, 901, u32::MAX] {
        assert_eq!(refused(&mut worker, "jobs", &[], lifetime).await, "OUT_OF_RANGE", "{lifetime}");
    }
    let less = access_token(&mut worker, "jobs", &["jobs:submit"], 10).await.unwrap();
    assert_eq!(less.scopes, ["jobs:submit"]);
    site.node.end().await;
}

/// RFC 8705 section 6.3: it is of no use after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_never_outlives_its_certificate() {
    let world = World::with_config(ISSUER).await;
    let clock = crate::world::TestClock::default();
    let node = world.node_of(world.wired.clone(), clock.clone()).await;
    let [_, worker, _] = tenant(&world, &node, "acme").await;
    let left = worker.facts().not_after_unix_millis / 1000 - clock.clock()().unix_seconds();
    clock.advance(std::time::Duration::from_secs(u64::try_from(left - 100).unwrap()));
    let mut client = TokenServiceClient::new(world.channel(&node, &worker));
    let made = access_token(&mut client, "jobs", &[], 900).await.unwrap();
    assert_eq!(made.expire_time.unwrap().seconds, worker.facts().not_after_unix_millis / 1000);
    node.end().await;
}
