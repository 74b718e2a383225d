//! Closing reservations that were never committed.

use signet_app::{
    Chore,
    certificates::{issuance, sweep},
};
use signet_core::certificates::CertificateState;
use signet_testkit::{faulty::Fault, fixtures::later};

use crate::world::*;

async fn sweep(world: &World, seconds: u32) -> usize {
    sweep::sweep_reservations(&world.app, &Chore::new("sweeper", later(seconds)), &|| Some(later(seconds)))
        .await
        .unwrap()
        .done
        .len()
}

#[tokio::test]
async fn an_old_reservation_is_closed_once_and_its_request_told_so() {
    let world = World::new().await;
    world.principal("worker").await;
    let (issue, csr) = (call_with_id("IssueCertificate", "one"), csr());
    world.store.arm(1, Fault::CrashBefore);
    issuance::issue_certificate(&world.app, &issue, &acme(), &pid("worker"), &csr).await.unwrap_err();
    world.store.restart();
    assert_eq!(sweep(&world, 299).await, 0, "its maker may still be at work");
    assert_eq!(sweep(&world, 301).await, 1);
    assert_eq!(sweep(&world, 302).await, 0);
    assert_eq!(world.outcomes("sweeper"), ["OK"]);
    let event = world.ledger.events().pop().unwrap();
    assert!(event.tenant == tid("acme") && event.payload.contains("NEVER_COMMITTED"), "{event:?}");
    let retry = at(issue, later(303));
    let refused = issuance::issue_certificate(&world.app, &retry, &acme(), &pid("worker"), &csr).await.unwrap_err();
    assert_eq!(refused.reason(), "RESERVATION_ABANDONED");
    let fresh = call_with_id("IssueCertificate", "two");
    issuance::issue_certificate(&world.app, &fresh, &acme(), &pid("worker"), &csr)
        .await
        .expect("a new request id works");
}

/// The sweeper and a late maker may meet: one of them wins, and the record says who.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_late_maker_and_the_sweeper_agree() {
    let world = World::new().await;
    for round in 0..20 {
        let id = format!("worker-{round}");
        world.principal(&id).await;
        let (issue, csr) = (call_with_id("IssueCertificate", &id), csr());
        world.store.arm(1, Fault::CrashBefore);
        issuance::issue_certificate(&world.app, &issue, &acme(), &pid(&id), &csr).await.unwrap_err();
        world.store.restart();
        let late = at(issue, later(400));
        let (scope, principal, sweeper) = (acme(), pid(&id), Chore::new("sweeper", later(400)));
        let go_on = || Some(sweeper.now);
        let (made, closed) = tokio::join!(
            issuance::issue_certificate(&world.app, &late, &scope, &principal, &csr),
            sweep::sweep_reservations(&world.app, &sweeper, &go_on)
        );
        let held = world.get_principal(&id).await.certificates;
        assert_eq!(made.is_ok(), closed.unwrap().done.is_empty(), "round {round}");
        assert_eq!(made.is_ok(), held.len() == 1, "round {round}");
    }
}

#[tokio::test]
async fn an_issued_certificate_is_left_alone() {
    let world = World::new().await;
    world.principal("worker").await;
    let leaf = world.issue("worker").await.certificate;
    assert_eq!(sweep(&world, 4000).await, 0);
    assert_eq!(world.record(&leaf.issuer, &leaf.serial).await.state, CertificateState::Issued);
}
