//! A node that has lost touch with the store says so and refuses; one that may serve says so and serves.

use std::{process::Stdio, time::Duration};

use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::{
    faulty::faulty,
    program::Program,
    status::who_am_i,
    world::{TestClock, World, eventually, http, reason},
};

#[tokio::test]
async fn a_node_out_of_touch_is_not_ready_and_refuses_until_it_hears_again() {
    let world = World::with_config("trust = { staleness_limit_seconds = 2 }").await;
    let (wired, store) = faulty(&world);
    let node = world.node_of(wired, TestClock::default()).await;
    let channel = world.admin(&node);
    assert!(who_am_i(&channel).await.is_ok());
    store.set_down(true);
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
    store.set_down(false);
    node.until_ready().await;
    eventually("calls are answered again", async || who_am_i(&channel).await.is_ok()).await;
    node.end().await;
}

#[tokio::test]
async fn a_node_that_may_serve_stale_shows_it() {
    let world = World::with_config("trust = { staleness_limit_seconds = 1, when_stale = \"serve\" }").await;
    let (wired, store) = faulty(&world);
    let node = world.node_of(wired, TestClock::default()).await;
    let channel = world.admin(&node);
    store.set_down(true);
    eventually("the answer says stale", async || {
        let (status, body) = node.http("/readyz").await;
        let readiness: serde_json::Value = serde_json::from_str(&body).unwrap();
        status == 200 && readiness["stale"] == true && readiness["when_stale"] == "serve"
    })
    .await;
    assert!(who_am_i(&channel).await.is_ok());
    node.end().await;
}

#[tokio::test]
async fn a_step_of_the_wall_clock_keeps_no_node_from_going_stale() {
    let world = World::with_config("trust = { staleness_limit_seconds = 1 }").await;
    let (wired, store) = faulty(&world);
    let clock = TestClock::default();
    let node = world.node_of(wired, clock.clone()).await;
    let channel = world.admin(&node);
    // An hour forward, long enough for the feed to answer there, and back.
    clock.step(3_600_000);
    let silence = async || node.readiness().await["staleness_ms"].as_u64().unwrap();
    eventually("some time passes", async || silence().await >= 50).await;
    eventually("the feed answers in the future", async || silence().await < 50).await;
    clock.step(-3_600_000);
    assert!(who_am_i(&channel).await.is_ok());
    store.set_down(true);
    eventually("the node is stale", async || {
        let readiness = node.readiness().await;
        assert!(readiness["staleness_ms"].is_u64(), "never negative: {readiness}");
        readiness["stale"] == true && readiness["ready"] == false
    })
    .await;
    let metrics = node.metrics().await;
    let line = metrics.lines().find(|line| line.starts_with("signet_feed_staleness_seconds")).unwrap();
    let seconds: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(seconds >= 1.0, "{line}");
    node.end().await;
}

#[tokio::test]
async fn an_operator_chooses_during_an_outage_what_a_stale_node_does() {
    let world = World::new().await;
    let program = Program::start(&world, "trust = { staleness_limit_seconds = 30 }", Stdio::piped()).await;
    let when_stale = async || {
        let (_, body) = http(program.public, "/readyz").await;
        serde_json::from_str::<serde_json::Value>(&body).unwrap_or_default()["when_stale"].clone()
    };
    assert_eq!(when_stale().await, "refuse");
    program.reload("trust = { staleness_limit_seconds = 30, when_stale = 'serve' }");
    eventually("the node serves when stale", async || when_stale().await == "serve").await;
    program.reload("trust = { when_stale = 'shrug' }");
    let (code, log) = program.end().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("trust.when_stale was changed"), "{log}");
}
