//! A node that has lost touch with the store says so and refuses; one that may serve says so and serves.

use std::time::Duration;

use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::{
    faulty::{Faults, faulty},
    status::who_am_i,
    world::{TestClock, World, eventually, reason},
};

#[tokio::test]
async fn a_node_out_of_touch_is_not_ready_and_refuses_until_it_hears_again() {
    let world = World::with_config("trust = { staleness_limit_seconds = 2 }").await;
    let faults = Faults::default();
    let node = world.node_of(faulty(&world, &faults), TestClock::default()).await;
    let channel = world.admin(&node);
    assert!(who_am_i(&channel).await.is_ok());
    faults.off(true);
    // Invariant 7: until the limit nothing changes.
    assert!(who_am_i(&channel).await.is_ok());
    let took = eventually("the node is not ready", async || node.http("/readyz").await.0 == 503).await;
    assert!(took > Duration::from_secs(1), "{took:?}");
    let (_, body) = node.http("/readyz").await;
    let readiness: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&readiness["reasons"][0]["reason"], &readiness["stale"]), (&"NODE_STALE".into(), &true.into()));
    // The open connection is cut; whoever comes back is told why.
    eventually("calls are refused as stale", async || {
        who_am_i(&channel)
            .await
            .is_err_and(|status| status.code() == Code::Unavailable && reason(&status) == "NODE_STALE")
    })
    .await;
    let health = HealthClient::new(world.connector(&node, None).channel());
    eventually("gRPC health says so too", async || {
        let mut health = health.clone();
        let answer = health.check(HealthCheckRequest::default()).await;
        answer.is_ok_and(|answer| answer.into_inner().status() == ServingStatus::NotServing)
    })
    .await;
    faults.off(false);
    node.until_ready().await;
    eventually("calls are answered again", async || who_am_i(&channel).await.is_ok()).await;
    node.end().await;
}

#[tokio::test]
async fn a_node_that_may_serve_stale_shows_it() {
    let world = World::with_config("trust = { staleness_limit_seconds = 1, when_stale = \"serve\" }").await;
    let faults = Faults::default();
    let node = world.node_of(faulty(&world, &faults), TestClock::default()).await;
    let channel = world.admin(&node);
    faults.off(true);
    eventually("the answer says stale", async || {
        let (status, body) = node.http("/readyz").await;
        let readiness: serde_json::Value = serde_json::from_str(&body).unwrap();
        status == 200 && readiness["stale"] == true && readiness["when_stale"] == "serve"
    })
    .await;
    assert!(who_am_i(&channel).await.is_ok());
    node.end().await;
}
