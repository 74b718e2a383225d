//! A node that has lost touch with the store says so and refuses; one that may serve says so and serves.

use std::time::Duration;

use async_trait::async_trait;
use signet_app::{App, Settings};
use signet_core::{
    Store, StoreError, Time,
    store::{Body, Key, Page, Query, Transaction, Versioned},
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::{
    status::who_am_i,
    world::{TestClock, World, eventually, reason},
};

/// A store that can be switched off.
#[derive(Debug)]
struct Switched {
    store: signet_sqlite::SqliteStore,
    off: Arc<AtomicBool>,
}

impl Switched {
    fn on(&self) -> Result<(), StoreError> {
        if self.off.load(Ordering::Acquire) { Err(StoreError::Unavailable("switched off".into())) } else { Ok(()) }
    }
}

#[async_trait]
impl Store for Switched {
    async fn get(&self, key: &Key, now: Time) -> Result<Option<Versioned<Body>>, StoreError> {
        self.on()?;
        self.store.get(key, now).await
    }
    async fn query(&self, query: &Query, now: Time) -> Result<Page, StoreError> {
        self.on()?;
        self.store.query(query, now).await
    }
    async fn transact(&self, transaction: Transaction) -> Result<(), StoreError> {
        self.on()?;
        self.store.transact(transaction).await
    }
}

/// The environment's parts with a store that the switch turns off.
fn switched(world: &World, off: &Arc<AtomicBool>) -> signet_control_plane::wiring::Wired {
    let store = signet_sqlite::SqliteStore::open(&world.dir.path().join("signet.db")).unwrap();
    let passphrase = secrecy::SecretString::from("correct horse battery staple");
    let keys = signet_softkey::SoftKeys::open(&world.dir.path().join("keys"), passphrase).unwrap();
    let store = Switched { store, off: Arc::clone(off) };
    let environment = world.wired.app.environment().clone();
    let entropy = Arc::clone(&world.wired.entropy);
    let app = App::new(Arc::new(store), Arc::new(keys), entropy, environment, Settings::default());
    signet_control_plane::wiring::Wired { app: Arc::new(app), ..world.wired.clone() }
}

#[tokio::test]
async fn a_node_out_of_touch_is_not_ready_and_refuses_until_it_hears_again() {
    let world = World::with_config("trust = { staleness_limit_seconds = 2 }").await;
    let off = Arc::new(AtomicBool::new(false));
    let node = world.node_of(switched(&world, &off), TestClock::default()).await;
    let channel = world.admin(&node);
    assert!(who_am_i(&channel).await.is_ok());
    off.store(true, Ordering::Release);
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
    let mut health = HealthClient::new(world.connector(&node, None).channel());
    eventually("gRPC health says so too", async || {
        let mut health = health.clone();
        let answer = health.check(HealthCheckRequest::default()).await;
        answer.is_ok_and(|answer| answer.into_inner().status() == ServingStatus::NotServing)
    })
    .await;
    off.store(false, Ordering::Release);
    node.until_ready().await;
    eventually("calls are answered again", async || who_am_i(&channel).await.is_ok()).await;
    let _ = health.check(HealthCheckRequest::default()).await;
    node.end().await;
}

#[tokio::test]
async fn a_node_that_may_serve_stale_shows_it() {
    let world = World::with_config("trust = { staleness_limit_seconds = 1, when_stale = \"serve\" }").await;
    let off = Arc::new(AtomicBool::new(false));
    let node = world.node_of(switched(&world, &off), TestClock::default()).await;
    let channel = world.admin(&node);
    off.store(true, Ordering::Release);
    eventually("the answer says stale", async || {
        let (status, body) = node.http("/readyz").await;
        let readiness: serde_json::Value = serde_json::from_str(&body).unwrap();
        status == 200 && readiness["stale"] == true && readiness["when_stale"] == "serve"
    })
    .await;
    assert!(who_am_i(&channel).await.is_ok());
    node.end().await;
}
