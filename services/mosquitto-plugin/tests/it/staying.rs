//! Sessions that stay while their clients are away, through a reload and a restart of the broker.

use crate::{
    broker::Broker,
    mqtt::{Hello, Mqtt},
    world::World,
};

/// A reload asks for everybody anew, also for whom is not connected; and a broker that was restarted knows sessions
/// that the plugin has never seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_who_is_good_is_kept_and_for_who_is_not_is_dropped() {
    let mut world = World::without_broker("").await;
    let dir = world.environment.dir.path().to_owned();
    let persistent = |recipe: &str| format!("persistence true\npersistence_location {}/\n{recipe}", dir.display());
    world.restart_broker_with(Broker::spawn_with(&dir, persistent).listening().await);
    world.broker().says("following the control plane for tenant acme").await;
    let (d1, d2, operator) = (world.device("d1").await, world.device("d2").await, world.service("operator").await);
    let (d1, d2, operator) =
        (world.tls(Some(&d1), false), world.tls(Some(&d2), false), world.tls(Some(&operator), false));
    let stays = |client_id| Hello { stays: true, ..Hello::of(client_id) };
    let port = world.broker().port;
    for (tls, client_id, topic) in
        [(&d1, "acme/d1", "tenant/acme/device/d1/commands"), (&d2, "acme/d2", "tenant/acme/device/d2/commands")]
    {
        let sleeper = Mqtt::connect(tls, port, &stays(client_id)).await;
        let mut sleeper = sleeper.unwrap_or_else(|refusal| panic!("{refusal:?}: {}", world.broker().log()));
        assert_eq!(sleeper.subscribe(topic).await, 1);
        sleeper.vanish().await;
    }
    let mut client = Mqtt::connect(&d2, port, &Hello::of("acme/d2:awake")).await.unwrap();
    world.broker().reload();
    world.broker().says("Reloading config").await;
    assert!(client.publish("tenant/acme/device/d2/telemetry", "1", false).await, "{}", world.broker().log());
    let sent = async |world: &World, text: &str| {
        let mut operator = Mqtt::connect(&operator, world.broker().port, &Hello::of("acme/operator")).await.unwrap();
        for device in ["d1", "d2"] {
            assert!(operator.publish(&format!("tenant/acme/device/{device}/commands"), text, false).await);
        }
    };
    sent(&world, "before").await;

    let (is_good, log) = world.stop_broker().await;
    assert!(is_good, "{log}");
    world.restart_broker_with(Broker::spawn_with(&dir, persistent).listening().await);
    world.broker().says("mosquitto version").await;
    let mut client = loop {
        if let Ok(client) = Mqtt::connect(&d2, world.broker().port, &Hello::of("acme/d2:awake")).await {
            break client;
        }
    };
    world.suspend("d2").await;
    client.ended().await;
    sent(&world, "after").await;
    let mut awake = Mqtt::connect(&d1, world.broker().port, &stays("acme/d1")).await.unwrap();
    assert_eq!(awake.message().await.1, "before");
    assert_eq!(awake.message().await.1, "after");
    // Of what came while it was suspended nothing waits for it; what it has lost the right to later on is the broker's.
    world.activate("d2").await;
    let mut awake = loop {
        if let Ok(client) = Mqtt::connect(&d2, world.broker().port, &stays("acme/d2")).await {
            break client;
        }
    };
    sent(&world, "last").await;
    assert_eq!(awake.message().await.1, "before");
    assert_eq!(awake.message().await.1, "last");
}
