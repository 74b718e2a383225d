//! The control plane goes away: what is known holds for half a minute, and then nothing does.

use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use tokio::{net::TcpStream, time::timeout};

use crate::{
    client::get,
    upstreams::{echo, routed},
    world::World,
};

#[tokio::test]
async fn an_outage_is_not_noticed_until_the_staleness_limit() {
    let world = World::new(&routed(echo().await)).await;
    let (known, new) = (world.worker("w-1").await, world.worker("w-2").await);
    let mut connection = known.http1().await;
    assert_eq!(connection.get("/jobs/1").await.status, 200);
    world.until_private("/healthz", |status, _| status == 200).await;
    let events = known.http1().await.send(get("/sse/1")).await.into_body();
    let reader = tokio::spawn(async move {
        let mut events = events;
        while let Some(Ok(_)) = events.frame().await {}
        Instant::now()
    });
    world.environment.stop_node();
    let begun = Instant::now();
    while TcpStream::connect(world.environment.node.grpc_addr).await.is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the node does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // A connection that is there, a new one, and nobody whom nobody knows.
    assert_eq!(connection.get("/jobs/1").await.status, 200);
    assert_eq!(known.get("/jobs/1").await.status, 200);
    let answer = new.get("/jobs/1").await;
    assert_eq!((answer.status, answer.reason().as_str()), (503, "CONTROL_PLANE_UNAVAILABLE"));
    world.until_private("/healthz", |status, _| status == 503).await;
    assert!(begun.elapsed() > Duration::from_secs(10), "{:?}", begun.elapsed());
    let answer = known.get("/jobs/1").await;
    assert_eq!((answer.status, answer.reason().as_str()), (503, "CONTROL_PLANE_UNAVAILABLE"));
    let ended = timeout(Duration::from_secs(10), reader).await.expect("streams end, too").unwrap();
    println!("after {:?} nothing is let through; the stream ended after {:?}", begun.elapsed(), ended - begun);
}
