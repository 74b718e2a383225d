//! Partners without a certificate, who show an access token as password.

use std::time::{Duration, Instant};

use signet_proto::v1::PrincipalType;
use tokio::time::timeout;

use crate::{
    mqtt::{Hello, Mqtt, Refusal},
    world::{SOON, World, access_token},
};

const DENIED: Refusal = Refusal::Code(5);

struct Partners {
    world: World,
    nobody: std::sync::Arc<rustls::ClientConfig>,
}

impl Partners {
    async fn connect(&self, client_id: &str, token: &str) -> Result<Mqtt, Refusal> {
        let hello = Hello { username: Some("partner"), password: Some(token), ..Hello::of(client_id) };
        Mqtt::connect(&self.nobody, self.world.broker().token_port, &hello).await
    }

    /// Once the broker knows the tenant's first key.
    async fn connected(&self, client_id: &str, token: &str) -> Mqtt {
        let begun = Instant::now();
        loop {
            match self.connect(client_id, token).await {
                Ok(client) => return client,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{}", self.world.broker().log());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_opens_what_it_names_until_it_ends() {
    let world = World::with_tokens().await;
    let nobody = world.tls(None, false);
    let partners = Partners { world, nobody };
    let world = &partners.world;
    let (partner, reader) = (world.service("partner").await, world.service("reader").await);
    let minute = Duration::from_secs(60);
    let write = access_token(&partner, "mqtt", &["mqtt:publish"], minute).await;
    let mut reader =
        Mqtt::connect(&world.tls(Some(&reader), false), world.broker().port, &Hello::of("acme/reader")).await.unwrap();
    assert_eq!(reader.subscribe("tenant/acme/#").await, 1);
    let mut client = partners.connected("acme/partner", &write).await;
    assert!(client.publish("tenant/acme/orders", "1", false).await);
    assert_eq!(reader.message().await, ("tenant/acme/orders".to_owned(), "1".to_owned()));
    // The service itself may read; its token does not say so.
    assert_eq!(client.subscribe("tenant/acme/#").await, 0x80);
    client.publish("tenant/globex/orders", "forged", false).await;

    // Of another audience, changed, of another, on another's client id, and no token.
    let other = access_token(&partner, "jobs", &["jobs:submit"], minute).await;
    let (head, signature) = write.rsplit_once('.').unwrap();
    let changed = format!("{head}.{}", signature.chars().rev().collect::<String>());
    for bad in [other.as_str(), &changed, head, "", "a.b.c", &"x".repeat(60_000)] {
        assert_eq!(partners.connect("acme/partner:2", bad).await.err(), Some(DENIED), "{bad:.40}");
    }
    for client_id in ["acme/reader", "partner", "globex/partner"] {
        assert_eq!(partners.connect(client_id, &write).await.err(), Some(DENIED), "{client_id}");
    }
    let foreign = world.enrolled("globex", PrincipalType::Service, "partner").await;
    let foreign = access_token(&foreign, "mqtt", &["mqtt:publish"], minute).await;
    partners.connected("globex/partner", &foreign).await;
    assert_eq!(partners.connect("acme/partner", &foreign).await.err(), Some(DENIED));

    // The end of the token.
    let short = access_token(&partner, "mqtt", &["mqtt:publish"], Duration::from_secs(10)).await;
    let mut brief = partners.connected("acme/partner:brief", &short).await;
    let begun = Instant::now();
    timeout(Duration::from_secs(12), brief.ended()).await.expect("it ends with the token");
    println!("a token of 10 s: ended {:?} after the connection began", begun.elapsed());

    // The right to it: the permission, and then the certificate that it was given for.
    world.grant_only(1, &["mqtt:subscribe"]).await;
    let begun = Instant::now();
    timeout(SOON * 2, client.ended()).await.expect("it ends with the permission");
    println!("permission lost: ended after {:?}", begun.elapsed());
    world.grant_only(2, &["mqtt:publish", "mqtt:subscribe"]).await;
    let mut client = partners.connected("acme/partner", &write).await;
    world.revoke(&partner).await;
    let begun = Instant::now();
    timeout(SOON, client.ended()).await.expect("it ends with the certificate");
    println!("revoked: ended after {:?}", begun.elapsed());
    assert_eq!(partners.connect("acme/partner", &write).await.err(), Some(DENIED));
}
