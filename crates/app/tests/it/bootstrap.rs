//! The first start of an environment.

use signet_app::{Bootstrap, Call, PageRequest, authorities, bootstrap, certificates};
use signet_core::{
    Error, Lifetime, PrincipalType, Time,
    authorities::{Ca, CaKind, CaState},
    certificates::{Certificate, CertificateState},
};
use signet_testkit::fixtures::NOW;

use crate::world::*;

fn bootstrap_call() -> Call {
    Call::process("bootstrap", NOW)
}

#[tokio::test]
async fn an_environment_has_its_authorities_a_server_and_an_admin() {
    let world = World::empty();
    let report = world.bootstrap().await.unwrap();
    let made: Vec<&str> = report.items.iter().filter(|item| item.made).map(|item| item.what.as_str()).collect();
    let expected = [
        "tenant system",
        "certificate authority root.1",
        "certificate authority system.1",
        "certificate authority shared.1",
        "certificate authority server.1",
        "server certificate",
        "admin root",
        "certificate of admin root",
    ];
    assert_eq!(made, expected);
    let cas = authorities::list_cas(&world.app, &call("ListCas"), &scope("system")).await.unwrap();
    assert!(cas.len() == 4 && cas.iter().all(|ca| ca.state == CaState::Active));
    let admin = world.authenticate("system", &report.admin.chain_der[0], NOW).await.unwrap();
    assert_eq!((admin.principal, admin.principal_type), (pid("root"), PrincipalType::Admin));
    assert_eq!(report.server_chain_der.len(), 2);
}

#[tokio::test]
async fn a_second_bootstrap_changes_nothing() {
    let world = World::empty();
    let input = bootstrap_input();
    let first = bootstrap::bootstrap(&world.app, &bootstrap_call(), &input).await.unwrap();
    let (events, signatures) = (world.ledger.events().len(), world.keys.signatures());
    let second = bootstrap::bootstrap(&world.app, &bootstrap_call(), &input).await.unwrap();
    assert!(second.items.iter().all(|item| !item.made), "{:?}", second.items);
    assert_eq!((second.server_chain_der, second.admin), (first.server_chain_der, first.admin));
    assert_eq!((world.ledger.events().len(), world.keys.signatures()), (events, signatures));
}

#[tokio::test]
async fn a_bootstrap_with_new_keys_makes_only_their_certificates() {
    let world = World::empty();
    world.bootstrap().await.unwrap();
    let again = world.bootstrap().await.unwrap();
    let made: Vec<&str> = again.items.iter().filter(|item| item.made).map(|item| item.what.as_str()).collect();
    assert_eq!(made, ["server certificate", "certificate of admin root"]);
}

#[tokio::test]
async fn an_admin_who_lost_its_keys_again_and_again_gets_in() {
    let world = World::empty();
    world.bootstrap().await.unwrap();
    let mut revoked = Vec::new();
    for _ in 0..4 {
        let report = world.bootstrap().await.unwrap();
        let leaf = &report.admin.chain_der[0];
        world.authenticate("system", leaf, NOW).await.unwrap();
        revoked.extend(report.revoked);
    }
    assert_eq!(revoked.len(), 2, "of the five that were made, three are as many as there may be");
    let (call, page, system, admin) = (call("List"), PageRequest::default(), scope("system"), pid("root"));
    let held = certificates::list_certificates(&world.app, &call, &system, &admin, &page).await.unwrap().items;
    let is_revoked = |found: &&Certificate| matches!(found.state, CertificateState::Revoked { .. });
    let names = held.iter().filter(is_revoked).map(|found| format!("{}/{}", found.issuer, found.serial));
    let mut names: Vec<String> = names.collect();
    names.sort();
    revoked.sort();
    assert_eq!(names, revoked);
}

#[tokio::test]
async fn bad_input_makes_nothing() {
    let world = World::empty();
    let good = bootstrap_input();
    let no_names = signet_app::ServerNames { dns: Vec::new(), ip: Vec::new() };
    let bad_name = signet_app::ServerNames { dns: vec!["No Name".into()], ip: Vec::new() };
    let cases = [
        ("csr_der", Bootstrap { server_csr_der: vec![0; 9], ..good.clone() }),
        ("csr_der", Bootstrap { admin_csr_der: Vec::new(), ..good.clone() }),
        ("server", Bootstrap { server: no_names, ..good.clone() }),
        ("server.dns", Bootstrap { server: bad_name, ..good }),
    ];
    for (wrong, input) in cases {
        let refused = bootstrap::bootstrap(&world.app, &bootstrap_call(), &input).await.unwrap_err();
        assert!(matches!(refused, Error::Invalid { field, .. } if field == wrong), "{wrong}: {refused:?}");
        assert!(world.ledger.events().is_empty() && world.keys.signatures() == 0, "{wrong}");
    }
}

#[tokio::test]
async fn an_operators_keys_are_used_where_given() {
    let world = World::empty();
    let label = |id: &str| signet_core::KeyLabel { tenant: tid("system"), ca: id.parse().unwrap() };
    let root = signet_core::KeyManager::create(&*world.keys, &label("root.77")).await.unwrap();
    let mut input = bootstrap_input();
    input.keys.root = Some(root.clone());
    bootstrap::bootstrap(&world.app, &bootstrap_call(), &input).await.unwrap();
    assert_eq!(authorities::roots(&world.app, NOW).await.unwrap()[0].key, root);
}

/// Bootstrap as an administrator runs it whose certificate is over: with the same keys, `days` after the first time.
async fn again_after(world: &World, input: &Bootstrap, days: u32) -> (signet_app::BootstrapReport, Time) {
    let now = NOW.plus(Lifetime::days(days));
    let report = bootstrap::bootstrap(&world.app, &Call { now, ..bootstrap_call() }, input).await;
    (report.unwrap_or_else(|error| panic!("day {days}: {error:?}")), now)
}

fn made(report: &signet_app::BootstrapReport) -> Vec<&str> {
    report.items.iter().filter(|item| item.made).map(|item| item.what.as_str()).collect()
}

#[tokio::test]
async fn the_way_back_is_open_on_every_day() {
    for days in [1, 29, 31, 45, 60, 365, 639] {
        let world = World::empty();
        let input = bootstrap_input();
        bootstrap::bootstrap(&world.app, &bootstrap_call(), &input).await.unwrap();
        let (report, now) = again_after(&world, &input, days).await;
        let renewed = ["certificate of admin root"];
        let expected = if days < 7 { &renewed[..] } else { &["server certificate", "certificate of admin root"] };
        assert_eq!(made(&report), expected, "day {days}");
        let admin = world.authenticate("system", &report.admin.chain_der[0], now).await.unwrap();
        assert_eq!(admin.principal, pid("root"), "day {days}");
    }
}

fn states(cas: &[Ca], kind: CaKind) -> Vec<(u32, CaState)> {
    cas.iter().filter(|ca| ca.kind == kind).map(|ca| (ca.generation, ca.state)).collect()
}

#[tokio::test]
async fn authorities_that_can_sign_no_more_are_made_anew() {
    for days in [641, 729, 731, 2000, 2900] {
        let world = World::empty();
        let input = bootstrap_input();
        bootstrap::bootstrap(&world.app, &bootstrap_call(), &input).await.unwrap();
        let (report, now) = again_after(&world, &input, days).await;
        let all = [
            "certificate authority system.2",
            "certificate authority shared.2",
            "certificate authority server.2",
            "server certificate",
            "certificate of admin root",
        ];
        assert_eq!(made(&report), all, "day {days}");
        world.authenticate("system", &report.admin.chain_der[0], now).await.unwrap();
        let cas = authorities::list_cas(&world.app, &at(call("ListCas"), now), &scope("system")).await.unwrap();
        assert_eq!(states(&cas, CaKind::Server), [(1, CaState::Retiring), (2, CaState::Active)], "day {days}");
        assert_eq!(states(&cas, CaKind::Root), [(1, CaState::Active)], "day {days}");
        let (events, signatures) = (world.ledger.events().len(), world.keys.signatures());
        let (second, _) = again_after(&world, &input, days).await;
        assert!(made(&second).is_empty(), "{:?}", second.items);
        assert_eq!((world.ledger.events().len(), world.keys.signatures()), (events, signatures), "day {days}");
    }
}

#[tokio::test]
async fn a_successor_that_waits_takes_over_and_one_that_is_over_too_does_not() {
    for (days, expected) in [
        (700, vec![(1, CaState::Retiring), (2, CaState::Active)]),
        (1400, vec![(1, CaState::Retiring), (2, CaState::Retired), (3, CaState::Active)]),
    ] {
        let world = World::empty();
        let input = bootstrap_input();
        bootstrap::bootstrap(&world.app, &bootstrap_call(), &input).await.unwrap();
        let prepare = at(call("RotateCa"), NOW.plus(Lifetime::days(366)));
        let action = signet_app::RotationAction::Due;
        authorities::rotate_ca(&world.app, &prepare, &scope("system"), CaKind::Server, action).await.unwrap();
        let (_, now) = again_after(&world, &input, days).await;
        let cas = authorities::list_cas(&world.app, &at(call("ListCas"), now), &scope("system")).await.unwrap();
        assert_eq!(states(&cas, CaKind::Server), expected, "day {days}");
    }
}

#[tokio::test]
async fn a_root_too_old_to_sign_gets_a_successor_while_it_is_trusted() {
    let world = World::empty();
    let input = bootstrap_input();
    bootstrap::bootstrap(&world.app, &bootstrap_call(), &input).await.unwrap();
    let (report, now) = again_after(&world, &input, 3000).await;
    assert_eq!(made(&report)[0], "certificate authority root.2");
    world.authenticate("system", &report.admin.chain_der[0], now).await.unwrap();
    assert_eq!(
        authorities::roots(&world.app, now).await.unwrap().len(),
        2,
        "who knows the old one alone still verifies what it signed"
    );
    // With the old root over, nobody who trusts it can be reached: a wrong clock is likelier than ten years.
    let late = Call { now: NOW.plus(Lifetime::days(3653)), ..bootstrap_call() };
    let world = World::empty();
    bootstrap::bootstrap(&world.app, &bootstrap_call(), &input).await.unwrap();
    let before = (world.ledger.events().len(), world.keys.signatures());
    let refused = bootstrap::bootstrap(&world.app, &late, &input).await.unwrap_err();
    assert!(matches!(refused, Error::Precondition { reason: "ROOT_EXPIRED", .. }), "{refused:?}");
    assert_eq!((world.ledger.events().len(), world.keys.signatures()), before);
}

/// The clock was set back since, or was ahead then.
#[tokio::test]
async fn a_certificate_that_is_not_valid_yet_is_no_way_back() {
    let world = World::empty();
    world.bootstrap().await.unwrap();
    let input = bootstrap_input();
    again_after(&world, &input, 2).await;
    let now = NOW.plus(Lifetime::days(2)).minus(Lifetime::minutes(15));
    let report = bootstrap::bootstrap(&world.app, &Call { now, ..bootstrap_call() }, &input).await.unwrap();
    assert_eq!(made(&report), ["server certificate", "certificate of admin root"]);
    world.authenticate("system", &report.admin.chain_der[0], now).await.unwrap();
}

/// A root is not made anew because of a clock.
#[tokio::test]
async fn a_clock_before_the_root_is_said_to_be_wrong() {
    let world = World::empty();
    let input = bootstrap_input();
    bootstrap::bootstrap(&world.app, &bootstrap_call(), &input).await.unwrap();
    let before = (world.ledger.events().len(), world.keys.signatures());
    let early = Call { now: NOW.minus(Lifetime::days(1)), ..bootstrap_call() };
    let refused = bootstrap::bootstrap(&world.app, &early, &input).await.map(|report| report.items);
    assert!(matches!(refused, Err(Error::Precondition { reason: "ROOT_NOT_YET_VALID", .. })), "{refused:?}");
    assert_eq!((world.ledger.events().len(), world.keys.signatures()), before);
}
