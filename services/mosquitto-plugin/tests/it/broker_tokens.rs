//! Clients of partners, who show a broker token as password: it says itself what it opens.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use rustls::ClientConfig;
use signet_client::Identity;
use signet_proto::v1::{
    BrokerToken, CreateBrokerTokenRequest, PrincipalType, RotateTokenKeysRequest, TokenUse,
    token_service_client::TokenServiceClient,
};
use tokio::time::timeout;

use crate::{
    mqtt::{Hello, Mqtt, Refusal},
    world::{SOON, World, access_token},
};

const DENIED: Refusal = Refusal::Code(5);
const PUMP: &str = "acme/partner:pump";

struct Partners {
    world: World,
    nobody: Arc<ClientConfig>,
}

/// What one of the partner's devices may.
fn pump() -> CreateBrokerTokenRequest {
    CreateBrokerTokenRequest {
        publish: vec!["tenant/{tenant}/{id}/pump/telemetry/#".into()],
        subscribe: vec!["tenant/acme/partner/pump/commands".into()],
        client_id_suffix: "pump".into(),
        lifetime_seconds: 60,
    }
}

async fn broker_token(of: &Identity, wanted: CreateBrokerTokenRequest) -> BrokerToken {
    TokenServiceClient::new(of.channel().unwrap()).create_broker_token(wanted).await.unwrap().into_inner()
}

impl Partners {
    async fn new() -> Self {
        let world = World::with_tokens().await;
        let nobody = world.tls(None, false);
        Self { world, nobody }
    }

    async fn connect(&self, client_id: &str, token: &str) -> Result<Mqtt, Refusal> {
        self.said(&Hello { username: Some("whoever"), password: Some(token), ..Hello::of(client_id) }).await
    }

    async fn said(&self, hello: &Hello<'_>) -> Result<Mqtt, Refusal> {
        Mqtt::connect(&self.nobody, self.world.broker().token_port, hello).await
    }

    /// Once the broker has heard of the key, or of what was given back.
    async fn connected(&self, client_id: &str, token: &str) -> Mqtt {
        let begun = Instant::now();
        loop {
            if let Ok(client) = self.connect(client_id, token).await {
                return client;
            }
            assert!(begun.elapsed() < SOON * 5, "{}", self.world.broker().log());
        }
    }

    /// By certificate, with all of the tenant's topics.
    async fn reader(&self, id: &str) -> Mqtt {
        let reader = self.world.service(id).await;
        let (tls, client_id) = (self.world.tls(Some(&reader), false), format!("acme/{id}"));
        let mut reader = Mqtt::connect(&tls, self.world.broker().port, &Hello::of(&client_id)).await.unwrap();
        assert_eq!(reader.subscribe("tenant/acme/#").await, 1);
        reader
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_token_opens_its_topics_on_its_client_id_and_nothing_else() {
    let partners = Partners::new().await;
    let world = &partners.world;
    let partner = world.service("partner").await;
    let mut reader = partners.reader("reader").await;
    let made = broker_token(&partner, pump()).await;
    assert_eq!(made.client_id, PUMP);
    assert_eq!(made.publish, ["tenant/acme/partner/pump/telemetry/#"]);
    let mut client = partners.connected(PUMP, &made.broker_token).await;
    // The partner itself may all of it; the token does not say so.
    for topic in ["tenant/acme/orders", "tenant/acme/partner/pump/commands", "tenant/globex/partner/pump/telemetry"] {
        client.publish(topic, "forged", false).await;
    }
    assert!(client.publish("tenant/acme/partner/pump/telemetry/a", "1", false).await);
    assert_eq!(reader.message().await, ("tenant/acme/partner/pump/telemetry/a".to_owned(), "1".to_owned()));
    for filter in ["tenant/acme/#", "tenant/acme/partner/+/commands", "tenant/acme/partner/pump/#", "$share/g/tenant/#"]
    {
        assert_eq!(client.subscribe(filter).await, 0x80, "{filter}");
    }
    assert_eq!(client.subscribe("$share/g/tenant/acme/partner/pump/commands").await, 1);
    for (topic, payload) in [("tenant/acme/partner/valve/commands", "2"), ("tenant/acme/partner/pump/commands", "3")] {
        assert!(reader.publish(topic, payload, false).await);
        assert_eq!(reader.message().await.1, payload);
    }
    assert_eq!(client.message().await.1, "3");
    // Nor does a will.
    let mut hello = Hello { will: Some(("tenant/acme/orders", "forged")), ..Hello::of(PUMP) };
    hello.password = Some(&made.broker_token);
    hello.username = Some("");
    for will in ["tenant/acme/orders", "tenant/acme/partner/pump/telemetry/will"] {
        let hello = Hello { will: Some((will, "gone")), ..hello.clone() };
        partners.said(&hello).await.unwrap().vanish().await;
    }
    assert_eq!(reader.message().await, ("tenant/acme/partner/pump/telemetry/will".to_owned(), "gone".to_owned()));
    for client_id in ["acme/partner", "acme/partner:pump2", "acme/partner:", "acme/reader", "globex/partner:pump"] {
        assert_eq!(partners.connect(client_id, &made.broker_token).await.err(), Some(DENIED), "{client_id}");
    }
    devices(&partners, &mut reader).await;
    others(&partners, &partner, &made.broker_token).await;
}

/// A device has its own topics, by any of its client ids; and another tenant's broker token is that tenant's.
async fn devices(partners: &Partners, reader: &mut Mqtt) {
    let device = partners.world.device("d1").await;
    let made = broker_token(&device, CreateBrokerTokenRequest::default()).await;
    let mut client = partners.connected("acme/d1:loop", &made.broker_token).await;
    client.publish("tenant/acme/device/d2/telemetry", "forged", false).await;
    assert!(client.publish("tenant/acme/device/d1/telemetry", "4", false).await);
    assert_eq!(reader.message().await.1, "4");
    let foreign = partners.world.enrolled("globex", PrincipalType::Service, "partner").await;
    let foreign = broker_token(&foreign, CreateBrokerTokenRequest::default()).await.broker_token;
    let mut stranger = partners.connected("globex/partner", &foreign).await;
    stranger.publish("tenant/acme/orders", "forged", false).await;
    assert_eq!(partners.connect("acme/partner", &foreign).await.err(), Some(DENIED));
    assert!(client.publish("tenant/acme/device/d1/telemetry", "5", false).await);
    assert_eq!(reader.message().await.1, "5");
}

/// No kind of token passes for the other, whatever its header says.
async fn others(partners: &Partners, partner: &Identity, broker: &str) {
    let access = access_token(partner, "mqtt", &["mqtt:publish"], Duration::from_secs(60)).await;
    let parts = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (access, broker) = (parts(&access), parts(broker));
    let with = |head: &str, rest: &[String]| format!("{head}.{}.{}", rest[1], rest[2]);
    let renamed = |head: &str, from: &str, to: &str| {
        let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(head).unwrap()).unwrap();
        BASE64_URL_SAFE_NO_PAD.encode(text.replace(from, to))
    };
    let (as_broker, as_access) = (renamed(&access[0], "at+jwt", "mqtt+jwt"), renamed(&broker[0], "mqtt+jwt", "at+jwt"));
    let stranger = broker[2].chars().rev().collect::<String>();
    for (bad, reason) in [
        (with(&as_broker, &access), "BROKER_TOKEN_KEY_UNKNOWN"),
        (with(&as_access, &broker), "ACCESS_TOKEN_KEY_UNKNOWN"),
        (with(&broker[0], &access), "BROKER_TOKEN_BAD_SIGNATURE"),
        (format!("{}.{}.{stranger}", broker[0], broker[1]), "BROKER_TOKEN_BAD_SIGNATURE"),
    ] {
        let before = partners.world.broker().log().matches(reason).count();
        assert_eq!(partners.connect(PUMP, &bad).await.err(), Some(DENIED), "{reason}");
        crate::world::eventually(reason, || partners.world.broker().log().matches(reason).count() > before).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_ends_with_its_broker_token_and_with_all_that_it_rests_on() {
    let partners = Partners::new().await;
    let world = &partners.world;
    let partner = world.service("partner").await;
    let token = broker_token(&partner, pump()).await.broker_token;
    // The shortest there is.
    let brief = broker_token(&partner, CreateBrokerTokenRequest { lifetime_seconds: 10, ..pump() }).await;
    let mut client = partners.connected(PUMP, &brief.broker_token).await;
    let until = brief.expire_time.unwrap().seconds * 1000;
    timeout(Duration::from_secs(12), client.ended()).await.expect("it ends with the token");
    let late = signet_client::system_clock()().unix_millis() - until;
    println!("ended {late} ms after the token");
    assert!((0..1000).contains(&late), "{late}");
    assert_eq!(partners.connect(PUMP, &brief.broker_token).await.err(), Some(DENIED));

    let ends = async |client: &mut Mqtt, token: &str, what: &str| {
        let begun = Instant::now();
        timeout(SOON, client.ended()).await.unwrap_or_else(|_| panic!("{what}: {}", world.broker().log()));
        println!("{what}: ended after {:?}", begun.elapsed());
        assert_eq!(partners.connect(PUMP, token).await.err(), Some(DENIED), "{what}");
    };
    // Its holder.
    let mut client = partners.connected(PUMP, &token).await;
    world.suspend("partner").await;
    ends(&mut client, &token, "suspended").await;
    world.activate("partner").await;
    // Its permissions: of all, it is in nobody's place any more.
    let mut client = partners.connected(PUMP, &token).await;
    world.grant_only(1, &[]).await;
    ends(&mut client, &token, "permissions lost").await;
    // Of one of two, it comes back with what is left.
    world.grant_only(2, &["mqtt:subscribe"]).await;
    let mut client = partners.connected(PUMP, &token).await;
    let mut reader = partners.reader("reader").await;
    client.publish("tenant/acme/partner/pump/telemetry/a", "lost", false).await;
    assert_eq!(client.subscribe("tenant/acme/partner/pump/commands").await, 1);
    world.grant_only(3, &["mqtt:publish", "mqtt:subscribe"]).await;
    let begun = Instant::now();
    let heard = async {
        loop {
            client.publish("tenant/acme/partner/pump/telemetry/a", "given back", false).await;
            if let Ok((_, payload)) = timeout(Duration::from_millis(50), reader.message()).await {
                return payload;
            }
        }
    };
    assert_eq!(timeout(SOON * 5, heard).await.expect("what is granted holds soon"), "given back", "{begun:?}");
    // Its key.
    let request = RotateTokenKeysRequest {
        tenant_id: "acme".into(),
        r#use: TokenUse::BrokerToken.into(),
        now: true,
        request_id: signet_client::request_id(),
        ..Default::default()
    };
    TokenServiceClient::new(world.environment.admin()).rotate_token_keys(request).await.unwrap();
    ends(&mut client, &token, "key replaced").await;
    let token = broker_token(&partner, pump()).await.broker_token;
    let mut client = partners.connected(PUMP, &token).await;
    // The certificate that it was asked for with; and the tenant.
    world.revoke(&partner).await;
    ends(&mut client, &token, "revoked").await;
    let other = world.service("other").await;
    let token = broker_token(&other, CreateBrokerTokenRequest::default()).await.broker_token;
    let mut client = partners.connected("acme/other", &token).await;
    world.suspend_tenant("acme").await;
    timeout(SOON, client.ended()).await.expect("it ends with the tenant");
    assert_eq!(partners.connect("acme/other", &token).await.err(), Some(DENIED));
}
