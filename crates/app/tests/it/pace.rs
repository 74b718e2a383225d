//! How often an instance may renew.

use proptest::prelude::*;
use signet_app::{TenantPatch, enrollment::out_of_band, tenants};
use signet_core::{
    Error, Lifetime, PrincipalType, Time,
    certificates::{
        Certificate, CertificateState, Confirmation, Successor,
        lineage::{MAX_SUPERSEDED, Standing, UNPACED, earliest_next, standing},
    },
};
use signet_testkit::fixtures::{self, NOW, later, principal};

use crate::{
    lineage::{renew_at, signed, worker},
    world::*,
};

/// A loop at the default limits: nobody else pays for it.
#[tokio::test]
async fn a_loop_of_renewals_gets_one_a_minute_and_signs_nothing_between() {
    let world = World::new().await;
    world.principal("worker").await;
    let mut held = world.issue("worker").await;
    for _ in 0..UNPACED {
        held = renew_at(&world, &held, NOW).await.unwrap();
    }
    let signed = world.keys.signatures();
    let mut renewed = 0;
    for second in 0..600 {
        match renew_at(&world, &held, later(second)).await {
            Ok(next) => (held, renewed) = (next, renewed + 1),
            Err(error) => {
                assert!(matches!(error, Error::Exhausted { reason: "RENEWED_TOO_RECENTLY", .. }), "{error:?}");
            }
        }
    }
    // From the ninth valid one on the pace is a tenth of a life.
    let paced = MAX_SUPERSEDED - UNPACED;
    assert_eq!((renewed, world.keys.signatures() - signed), (paced, paced));
}

/// All at once, from one certificate: as many are signed as one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn renewals_at_once_are_no_way_round_it() {
    let world = World::new().await;
    world.principal("worker").await;
    let held = world.issue("worker").await;
    let signed = world.keys.signatures();
    let answers = futures::future::join_all((0..50).map(|_| renew_at(&world, &held, NOW))).await;
    let renewed = answers.iter().filter(|answer| answer.is_ok()).count();
    // The first, and one in place of an answer that may have been lost.
    assert_eq!((renewed, world.keys.signatures() - signed), (2, 2));
}

/// A container that loses each answer and starts again, on and on: each costs an entry of the feed until it expires.
#[tokio::test]
async fn lost_answers_come_slower_and_slower() {
    let world = World::new().await;
    world.principal("worker").await;
    let held = world.issue("worker").await;
    renew_at(&world, &held, NOW).await.unwrap();
    let mut at_minutes = Vec::new();
    for minute in 0..12 * 60 {
        if renew_at(&world, &held, later(minute * 60)).await.is_ok() {
            at_minutes.push(minute);
        }
    }
    // One, two, four minutes; never more than a tenth of a life.
    assert_eq!(at_minutes, [0, 1, 3, 7, 15, 31, 63, 127, 255, 399, 543, 687]);
}

/// A minute's certificate is renewed every 20 to 40 seconds.
#[tokio::test]
async fn a_certificate_of_a_minute_may_be_renewed_after_six_seconds() {
    let world = World::new().await;
    let lifetimes = Some([(PrincipalType::Worker, Lifetime::seconds(60))].into());
    let patch = TenantPatch { lifetimes, ..Default::default() };
    tenants::update_tenant(&world.app, &call("UpdateTenant"), &environment(), &tid("acme"), patch).await.unwrap();
    world.principal("worker").await;
    let mut last = world.issue("worker").await;
    for _ in 0..UNPACED {
        last = renew_at(&world, &last, later(20)).await.unwrap();
    }
    assert_eq!(renew_at(&world, &last, later(25)).await.unwrap_err().reason(), "RENEWED_TOO_RECENTLY");
    renew_at(&world, &last, later(26)).await.unwrap();
}

#[tokio::test]
async fn out_of_band_there_is_the_same_pace() {
    let world = World::new().await;
    let (key, leaf) = worker(&world, "worker").await;
    let ask = async |id: &str| {
        let input = signed(&world, &key, &leaf, id, NOW);
        out_of_band::renew_out_of_band(&world.app, &at(anonymous(id), NOW), &input).await
    };
    ask("one").await.unwrap();
    ask("two").await.unwrap();
    assert_eq!(ask("three").await.unwrap_err().reason(), "RENEWED_TOO_RECENTLY");
}

fn leaf(number: u8, made_at: Time, life: u32) -> Certificate {
    let mut leaf = fixtures::certificate(&principal(&tid("acme"), "worker"), number.into());
    leaf.serial = signet_core::Serial::new(made_at, [number; 10]);
    leaf.not_after = made_at.plus(Lifetime::seconds(life));
    leaf.state = CertificateState::Issued;
    leaf
}

proptest! {
    #[test]
    fn a_wait_is_never_longer_than_a_tenth_of_a_life(
        life in 60_u32..7_776_000, lost in 0_u32..40, generation in 0_u64..40, superseded in 0_usize..20,
        renewed in any::<bool>(),
    ) {
        let mut presented = leaf(1, NOW, life);
        (presented.lineage.generation, presented.lineage.answers_lost) = (generation, lost);
        let successor = leaf(2, later(5), life);
        if renewed {
            presented.lineage.successor =
                Some(Successor { issuer: successor.issuer.clone(), serial: successor.serial });
        }
        let standing = standing(&presented, renewed.then_some(&successor));
        match earliest_next(&presented, standing, Some(&successor), superseded) {
            Some(earliest) => {
                let wait = earliest.millis_since(if renewed { later(5) } else { NOW });
                prop_assert!(wait >= 6000 && wait <= i64::from(life) * 100);
                let slow = if renewed { lost > 1 } else { superseded >= MAX_SUPERSEDED };
                prop_assert!(slow || wait <= 60_000);
            }
            None => prop_assert!((renewed && lost == 0) || (!renewed && superseded < UNPACED)),
        }
    }

    /// Whatever is known of a successor: only one that nobody is known to hold is replaced.
    #[test]
    fn only_an_answer_that_was_lost_is_replaced(
        recorded in any::<bool>(), confirmed in any::<bool>(), renewed in any::<bool>(), issued in any::<bool>(),
    ) {
        let (mut presented, mut successor) = (leaf(1, NOW, 60), leaf(2, NOW, 60));
        presented.lineage.successor = Some(Successor { issuer: successor.issuer.clone(), serial: successor.serial });
        successor.lineage.confirmed = confirmed.then_some(Confirmation { at: NOW, source: None });
        successor.lineage.successor = presented.lineage.successor.clone().filter(|_| renewed);
        if !issued {
            successor.state = CertificateState::Abandoned;
        }
        let lost = standing(&presented, recorded.then_some(&successor)) == Standing::AnswerLost;
        prop_assert_eq!(lost, recorded && issued && !confirmed && !renewed);
    }
}
