//! Open connections end when they must, and only then.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use signet_core::{
    Entropy, Lifetime, PrincipalType, Role,
    trust::{Refusal, change::Change},
};
use signet_mtls::{AcceptSettings, Ages, Ended};
use tokio::io::AsyncReadExt;

use crate::{
    client::{Client, Greeted},
    world::{World, eventually},
};

/// Reads until the connection ends; how long that took.
async fn ends(greeted: &mut Greeted) -> Duration {
    let started = Instant::now();
    let mut rest = Vec::new();
    // The end may be a reset.
    let _ = tokio::time::timeout(Duration::from_secs(5), greeted.stream.read_to_end(&mut rest)).await.unwrap();
    started.elapsed()
}

#[tokio::test]
async fn a_revocation_ends_the_open_connection_and_no_other() {
    let world = World::new();
    let address = world.start(AcceptSettings::default()).await;
    let good = world.pki.worker(&world.acme, "w-2");
    let mut other = Client::new(&world.pki, Some(&good)).greet(address).await.unwrap();
    // Twice: the second time right after the first, so not by the luck of the timer.
    for round in 1..=2 {
        let bad = world.pki.worker(&world.acme, "w-1");
        let mut revoked = Client::new(&world.pki, Some(&bad)).greet(address).await.unwrap();
        assert_eq!(revoked.echo("open").await.unwrap(), "open");
        world.revoke(&bad);
        let took = ends(&mut revoked).await;
        assert!(took < Duration::from_millis(600), "{took:?}");
        assert_eq!(world.observer.endings(), vec![Ended::Refused(Refusal::Revoked); round]);
    }
    assert_eq!(other.echo("open").await.unwrap(), "open");
}

#[tokio::test]
async fn a_lost_notification_is_made_up_for_by_the_timer() {
    let world = World::new();
    let address = world.start(AcceptSettings::default()).await;
    let holder = world.pki.worker(&world.acme, "w-1");
    let mut greeted = Client::new(&world.pki, Some(&holder)).greet(address).await.unwrap();
    // Changed behind the feed's back.
    let suspended = signet_core::tenants::Tenant {
        status: signet_core::tenants::TenantStatus::Suspended,
        ..signet_testkit::fixtures::tenant(&world.acme.ca.tenant)
    };
    world.trust.set_tenant(&suspended, std::slice::from_ref(&world.acme.ca));
    let took = ends(&mut greeted).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(world.observer.endings(), [Ended::Refused(Refusal::TenantSuspended)]);
}

#[tokio::test]
async fn no_connection_outlives_its_certificate_or_its_age() {
    let world = World::with_ages(Ages { max_age: Lifetime::hours(6), jitter: Lifetime::hours(1), ..Ages::default() });
    let address = world.start(AcceptSettings::default()).await;
    let holder = world.pki.worker(&world.acme, "w-1");
    let client = Client::new(&world.pki, Some(&holder));
    let mut old = client.greet(address).await.unwrap();
    let start = world.now();
    world.travel(start.plus(Lifetime::hours(5)));
    assert_eq!(world.registry.sweep(world.now()).await, 0);
    let mut young = client.greet(address).await.unwrap();
    world.travel(start.plus(Lifetime::hours(7)));
    ends(&mut old).await;
    assert_eq!(world.observer.endings(), [Ended::MaxAge]);
    assert_eq!(young.echo("young").await.unwrap(), "young");
    world.travel(holder.not_after);
    ends(&mut young).await;
    assert_eq!(world.observer.endings(), [Ended::MaxAge, Ended::Refused(Refusal::Expired)]);
}

#[tokio::test]
async fn strangers_stay_for_a_minute() {
    let world = World::new();
    let address = world.start(AcceptSettings { anonymous: true, ..AcceptSettings::default() }).await;
    let mut stranger = Client::new(&world.pki, None).greet(address).await.unwrap();
    let known = Client::new(&world.pki, Some(&world.pki.worker(&world.acme, "w-1")));
    let mut known = known.greet(address).await.unwrap();
    world.travel(world.now().plus(Lifetime::seconds(50)));
    assert_eq!(world.registry.sweep(world.now()).await, 0);
    world.travel(world.now().plus(Lifetime::seconds(10)));
    ends(&mut stranger).await;
    assert_eq!(world.observer.endings(), [Ended::MaxAge]);
    assert_eq!(known.echo("stays").await.unwrap(), "stays");
}

#[tokio::test]
async fn ages_are_spread() {
    let world = World::with_ages(Ages { max_age: Lifetime::hours(1), jitter: Lifetime::hours(1), ..Ages::default() });
    let address = world.start(AcceptSettings::default()).await;
    let client = Client::new(&world.pki, Some(&world.pki.worker(&world.acme, "w-1")));
    let mut open = Vec::new();
    for _ in 0..16 {
        open.push(client.greet(address).await.unwrap());
    }
    let start = world.now();
    assert_eq!(world.registry.sweep(start.plus(Lifetime::minutes(59))).await, 0);
    let early = world.registry.sweep(start.plus(Lifetime::minutes(90))).await;
    assert!((1..16).contains(&early), "{early} of 16 after half of the jitter");
    assert_eq!(early + world.registry.sweep(start.plus(Lifetime::hours(2)).plus(Lifetime::minutes(1))).await, 16);
}

#[tokio::test]
async fn a_change_of_roles_reaches_open_connections() {
    let world = World::new();
    let address = world.start(AcceptSettings::default()).await;
    let holder = world.pki.holder(&world.acme, PrincipalType::User, "ann", &["operator"]);
    let client = Client::new(&world.pki, Some(&holder));
    let before = client.greet(address).await.unwrap();
    assert_eq!(before.greeting, "acme/ann operator");
    let roles: Vec<Role> = vec!["viewer".parse().unwrap()];
    let (principal, until) = ("ann".parse().unwrap(), holder.not_after);
    world.change(&world.acme.ca.tenant, Change::PrincipalRoles { principal, roles, until });
    assert_eq!(client.greet(address).await.unwrap().greeting, "acme/ann viewer");
    assert!(world.observer.endings().is_empty(), "a change of roles ends nothing");
}

#[tokio::test]
async fn a_node_that_lost_touch_ends_its_sessions_once_and_says_so_to_newcomers() {
    let world = World::new();
    let address = world.start(AcceptSettings::default()).await;
    let holder = world.pki.worker(&world.acme, "w-1");
    let client = Client::new(&world.pki, Some(&holder));
    let mut open = client.greet(address).await.unwrap();
    world.travel(world.now().minus(Lifetime::hours(1)));
    world.uptime.advance(6 * 60 * 1000);
    assert_eq!(world.registry.sweep(world.now()).await, 1, "a clock that was set back hides no silence");
    ends(&mut open).await;
    assert_eq!(world.observer.endings(), [Ended::Refused(Refusal::Stale)]);
    let _newcomer = client.greet(address).await.unwrap();
    assert_eq!(world.registry.sweep(world.now()).await, 0, "it was told in its calls");
}

#[tokio::test]
async fn draining_ends_all_connections() {
    let world = World::new();
    let address = world.start(AcceptSettings::default()).await;
    let holder = world.pki.worker(&world.acme, "w-1");
    let client = Client::new(&world.pki, Some(&holder));
    let (mut one, mut two) = (client.greet(address).await.unwrap(), client.greet(address).await.unwrap());
    world.shutdown.cancel();
    eventually("nobody listens", || std::net::TcpStream::connect(address).is_err()).await;
    assert_eq!(one.echo("open until drained").await.unwrap(), "open until drained");
    assert_eq!(world.registry.drain(), 2);
    futures::future::join(ends(&mut one), ends(&mut two)).await;
    assert_eq!(world.observer.endings(), [Ended::Drained; 2]);
}

/// Does something at the one moment between the look at the certificate and the registration: when the connection's
/// age is drawn.
#[derive(Default)]
struct Meanwhile(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Entropy for Meanwhile {
    fn fill(&self, out: &mut [u8]) {
        out.fill(0);
        if let Some(action) = self.0.lock().unwrap().take() {
            action();
        }
    }
}

impl fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meanwhile")
    }
}

#[tokio::test]
async fn a_revocation_between_handshake_and_registration_is_not_missed() {
    let meanwhile = Arc::new(Meanwhile::default());
    let world = Arc::new(World::with(Ages::default(), Arc::clone(&meanwhile) as Arc<dyn Entropy>));
    let address = world.start(AcceptSettings::default()).await;
    let holder = Arc::new(world.pki.worker(&world.acme, "w-1"));
    let (revoker, revoked) = (Arc::clone(&world), Arc::clone(&holder));
    *meanwhile.0.lock().unwrap() = Some(Box::new(move || {
        revoker.revoke(&revoked);
        // The sweep that follows does not find the connection: it is not registered yet.
        assert_eq!(revoker.registry.sweep(revoker.now()).now_or_never(), Some(0));
    }));
    assert!(Client::new(&world.pki, Some(&holder)).greet(address).await.is_err());
    eventually("a refusal", || world.observer.refusals() == ["CERTIFICATE_REVOKED"]).await;
    assert!(world.observer.endings().is_empty(), "it never came in");
}

/// Whatever the interleaving of a revocation with handshakes: once the revocation is known, nobody stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_revocation_is_missed_under_load() {
    let world = World::new();
    let address = world.start(AcceptSettings::default()).await;
    for round in 0..25 {
        let holder = world.pki.worker(&world.acme, &format!("w-{round}"));
        let client = Client::new(&world.pki, Some(&holder));
        let dials = futures::future::join_all((0..4).map(|_| client.greet(address)));
        let pause = Duration::from_micros(round * 150);
        let revocation = async {
            tokio::time::sleep(pause).await;
            world.revoke(&holder);
        };
        let (greeted, ()) = futures::future::join(dials, revocation).await;
        for mut greeted in greeted.into_iter().flatten() {
            ends(&mut greeted).await;
        }
        eventually("nobody stays", || world.registry.is_empty()).await;
    }
}
