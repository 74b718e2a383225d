//! Another configuration, and nobody notices but those whom it is about.

use http_body_util::BodyExt;
use signet_gateway::Gateway;
use tokio::time::timeout;

use crate::{
    client::{SOON, get},
    upstreams::{echo, routed},
    world::World,
};

#[tokio::test]
async fn a_reload_drops_no_connection_and_no_stream() {
    let (one, two) = (echo().await, echo().await);
    let mut world = World::new(&routed(one)).await;
    let worker = world.worker("w-1").await;
    let mut connection = worker.http1().await;
    assert_eq!(connection.get("/jobs/1").await.status, 200);
    let mut events = worker.http1().await.send(get("/sse/1")).await.into_body();
    assert!(events.frame().await.is_some());

    let rest = routed(two).replace("/forbidden/*", "/new/*").replace("jobs:delete", "jobs:submit");
    let config = world.config("", &rest);
    world.gateway.as_mut().unwrap().reload(config).unwrap();
    // The same connection, by the new routes.
    assert_eq!(connection.get("/new/1").await.status, 200);
    assert_eq!(connection.get("/forbidden/1").await.status, 404);
    // The old server's stream goes on.
    for _ in 0..5 {
        assert!(matches!(timeout(SOON, events.frame()).await.unwrap(), Some(Ok(_))));
    }
}

#[tokio::test]
async fn requests_under_way_end_before_the_gateway_does() {
    let mut world = World::new(&routed(echo().await)).await;
    let worker = world.worker("w-1").await;
    let mut connection = worker.http1().await;
    assert_eq!(connection.get("/jobs/1").await.status, 200);
    let gateway = world.gateway.take().unwrap();
    let address = gateway.https();
    timeout(SOON, gateway.stop()).await.expect("an idle connection keeps nobody waiting");
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    // The next one takes up the identity that is there; the token was good for once.
    let again = Gateway::start(world.config("", &routed(echo().await))).await.unwrap();
    assert_eq!(worker.at(again.https()).get("/jobs/1").await.status, 200);
    let events = world.events();
    assert!(events.iter().any(|event| event["path"] == "/jobs/1"), "the last lines are written: {events:?}");
}
