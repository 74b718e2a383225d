//! Warnings: of what was not replaced, once per threshold, whoever looks at the same time.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use signet_app::{
    App, BATCH, Chore, Notifier, Settings, TaskReport, authorities,
    certificates::{expiry, issuance, renewal},
    principals::{self, deletion},
};
use signet_core::{
    Lifetime, Time,
    certificates::{
        Certificate,
        expiry::{Ending, ExpiryWarning, HORIZON, ScanCursor, Threshold, due},
    },
    store::{Query, SortRange},
};
use signet_testkit::{entropy::SeededEntropy, faulty::Fault, fixtures::NOW};

use crate::world::{World, acme, at, call, call_with_id, csr, pid, renewal_of};

/// Keeps what it is told; tells nothing on while it is deaf.
#[derive(Debug, Default)]
struct Crier {
    told: Mutex<Vec<ExpiryWarning>>,
    deaf: Mutex<bool>,
}

#[async_trait]
impl Notifier for Crier {
    async fn tell(&self, warnings: &[ExpiryWarning]) -> Vec<(usize, String)> {
        if *self.deaf.lock().unwrap() {
            return (0..warnings.len()).map(|index| (index, "ThrottlingException".to_owned())).collect();
        }
        self.told.lock().unwrap().extend_from_slice(warnings);
        Vec::new()
    }
}

impl Crier {
    /// What was told since the last time, of principals but the first admin.
    fn leaves(&self) -> Vec<(String, String)> {
        let told = std::mem::take(&mut *self.told.lock().unwrap());
        let leaf = |warning: ExpiryWarning| match warning.ending {
            Ending::Leaf { principal, .. } if principal.as_str() != "root" => {
                Some((principal.to_string(), warning.threshold.name()))
            }
            _ => None,
        };
        told.into_iter().filter_map(leaf).collect()
    }
}

async fn look(world: &World, crier: &Crier, now: Time) -> TaskReport {
    expiry::warn_expiries(&world.app, &Chore::new("warn-expiry", now), crier, &|| Some(now)).await.unwrap()
}

#[test]
fn thresholds_follow_the_length_of_a_life() {
    let at_left = |life: Lifetime, left: Lifetime| due(NOW, NOW.plus(life), NOW.plus(life).minus(left));
    let (year, week, day) = (Lifetime::days(365), Lifetime::days(7), Lifetime::hours(24));
    assert_eq!(at_left(year, Lifetime::days(31)), None);
    assert_eq!(at_left(year, Lifetime::days(30)), Some(Threshold::Days(30)));
    assert_eq!(at_left(year, Lifetime::days(6)), Some(Threshold::Days(7)));
    assert_eq!(at_left(year, Lifetime::minutes(1)), Some(Threshold::Days(1)));
    assert_eq!(at_left(year, Lifetime::seconds(0)), None, "it is over");
    assert_eq!(at_left(week, Lifetime::hours(43)), None);
    assert_eq!(at_left(week, Lifetime::hours(42)), Some(Threshold::Percent(25)));
    assert_eq!(at_left(week, Lifetime::hours(24)), Some(Threshold::Days(1)));
    assert_eq!(at_left(week, Lifetime::hours(16)), Some(Threshold::Percent(10)));
    assert_eq!(at_left(day, Lifetime::hours(7)), None);
    assert_eq!(at_left(day, Lifetime::hours(6)), Some(Threshold::Percent(25)));
    assert_eq!(at_left(day, Lifetime::hours(2)), Some(Threshold::Percent(10)));
}

#[tokio::test]
async fn a_principal_that_does_not_renew_is_warned_of_once_per_threshold() {
    let (world, crier) = (World::new().await, Crier::default());
    for id in ["lazy", "busy", "gone"] {
        world.principal(id).await;
    }
    world.issue("lazy").await;
    let busy = world.issue("busy").await;
    world.issue("gone").await;
    let lifetime = busy.certificate.not_after.millis_since(busy.certificate.not_before);
    let when = |percent_left: i64| {
        Time::from_unix_millis(busy.certificate.not_after.unix_millis() - lifetime / 100 * percent_left)
    };
    look(&world, &crier, when(60)).await;
    assert_eq!(crier.leaves(), []);
    let renew = at(call_with_id("RenewCertificate", "r-1"), when(50));
    renewal::renew_certificate(&world.app, &renew, &renewal_of(&busy), &acme(), &csr()).await.unwrap();
    deletion::delete_principal(
        &world.app,
        &at(call("DeletePrincipal"), when(50)),
        &crate::world::admin(),
        &acme(),
        &pid("gone"),
    )
    .await
    .unwrap();
    let expected = [("lazy".to_owned(), "25pct".to_owned())];
    let (one, other) = tokio::join!(look(&world, &crier, when(24)), look(&world, &crier, when(24)));
    assert_eq!(crier.leaves(), expected, "{one:?} {other:?}");
    look(&world, &crier, when(20)).await;
    assert_eq!(crier.leaves(), [], "once");
    look(&world, &crier, when(9)).await;
    assert_eq!(crier.leaves(), [("lazy".to_owned(), "10pct".to_owned())]);
}

#[tokio::test]
async fn a_warning_that_could_not_be_told_is_told_by_the_next_run() {
    let (world, crier) = (World::new().await, Crier::default());
    world.principal("lazy").await;
    let leaf = world.issue("lazy").await.certificate;
    let late = leaf.not_after.minus(Lifetime::minutes(30));
    *crier.deaf.lock().unwrap() = true;
    let report = look(&world, &crier, late).await;
    assert!(report.done.is_empty() && !report.failed.is_empty(), "{report:?}");
    *crier.deaf.lock().unwrap() = false;
    look(&world, &crier, late).await;
    assert_eq!(crier.leaves().len(), 1);
    look(&world, &crier, late).await;
    assert_eq!(crier.leaves(), []);
}

#[tokio::test]
async fn authorities_and_the_server_certificate_are_warned_of_too() {
    let (world, crier) = (World::new().await, Crier::default());
    look(&world, &crier, NOW.plus(Lifetime::days(6))).await;
    let told = std::mem::take(&mut *crier.told.lock().unwrap());
    assert!(matches!(&told[..], [ExpiryWarning { ending: Ending::Server { .. }, .. }]), "{told:?}");
    let end = authorities::list_cas(&world.app, &call("ListCas"), &acme()).await.unwrap()[0].not_after;
    let report =
        expiry::warn_expiries(&world.app, &Chore::new("warn-expiry", end.minus(Lifetime::days(20))), &crier, &|| None)
            .await;
    assert!(report.unwrap().unfinished, "time was over before the certificates");
    let told = std::mem::take(&mut *crier.told.lock().unwrap());
    let cas: Vec<String> = told
        .iter()
        .filter_map(|warning| match &warning.ending {
            Ending::Ca { ca } if warning.threshold == Threshold::Days(30) => Some(ca.to_string()),
            _ => None,
        })
        .collect();
    assert!(cas.contains(&"acme.1".to_owned()), "{told:?}");
}

#[test]
fn a_look_goes_over_everything_once_and_what_ends_first_comes_first() {
    let mut place = Some(ScanCursor::first(NOW));
    let mut queries: Vec<Query> = Vec::new();
    while let Some(at) = place {
        queries.push(at.query(10));
        place = at.next(None, NOW);
    }
    for shard in 0..8 {
        let of_shard = queries.iter().filter(|query| query.partition.ends_with(&format!("#{shard}")));
        let ranges: Vec<(i64, i64)> = of_shard.map(range).collect();
        assert!(ranges.windows(2).all(|pair| pair[0].1 == pair[1].0), "no gaps: {ranges:?}");
        let (first, last) = (ranges[0].0, ranges[ranges.len() - 1].1);
        assert_eq!(first, NOW.unix_millis());
        assert!(last >= NOW.plus(HORIZON).unix_millis() && ranges.len() < 24 + 1 + 31, "{} {last}", ranges.len());
    }
    assert!(queries.windows(2).all(|pair| range(&pair[0]).0 <= range(&pair[1]).0));
    for query in &queries {
        let (from, until) = range(query);
        let day = |millis: i64| millis.div_euclid(86_400_000);
        assert_eq!(day(from), day(until - 1), "a partition holds one day");
        assert!(query.partition.starts_with(&format!("expires#{}#", day(from))), "{query:?}");
    }
}

fn range(query: &Query) -> (i64, i64) {
    let SortRange::Between(from, until) = &query.range else { unreachable!() };
    (from.parse().unwrap(), until.parse().unwrap())
}

/// The application with a page of two certificates.
fn with_small_pages(world: &World) -> App {
    let settings = Settings { expiry_page: 2, ..Settings::default() };
    let (environment, entropy) = (world.app.environment().clone(), Arc::new(SeededEntropy::new(5)));
    App::new(world.store.clone(), world.keys.clone(), entropy, environment, settings)
}

/// A run that has time for so many pages.
async fn look_at(app: &App, crier: &Crier, now: Time, pages: usize) -> TaskReport {
    let asked = AtomicUsize::new(0);
    let go_on = || (asked.fetch_add(1, Ordering::SeqCst) < pages).then_some(now);
    expiry::warn_expiries(app, &Chore::new("warn-expiry", now), crier, &go_on).await.unwrap()
}

/// Fifty workers that do not renew, one of which ends first, and when all of them should be warned of.
async fn fleet(world: &World) -> (Vec<String>, Time) {
    world.principal("first").await;
    let first: Certificate = world.issue("first").await.certificate;
    let names: Vec<String> = (0..50).map(|number| format!("worker-{number:02}")).collect();
    for (number, name) in names.iter().enumerate() {
        world.principal(name).await;
        let issue = at(call("IssueCertificate"), NOW.plus(Lifetime::minutes(100 + number as u32)));
        issuance::issue_certificate(&world.app, &issue, &acme(), &pid(name), &csr()).await.unwrap();
    }
    (names, first.not_after.minus(Lifetime::minutes(30)))
}

#[tokio::test]
async fn runs_that_end_too_early_go_on_where_the_last_one_stopped() {
    let (world, crier) = (World::new().await, Crier::default());
    let ((mut names, now), app) = (fleet(&world).await, with_small_pages(&world));
    let (mut told, mut runs) = (Vec::new(), 0);
    loop {
        let report = look_at(&app, &crier, now, 20).await;
        told.extend(crier.leaves().into_iter().map(|(name, _)| name));
        runs += 1;
        assert!(runs < 100, "{} of {} were warned of", told.len(), names.len() + 1);
        if !report.unfinished {
            break;
        }
    }
    assert!(runs > 10, "the pages of a run are few: {runs}");
    assert_eq!(told.remove(0), "first");
    told.sort();
    names.sort();
    assert_eq!(told, names, "each once");
    // All was looked at: the next run begins anew, and has nothing to tell.
    let report = look(&world, &crier, now).await;
    assert_eq!((report.unfinished, crier.leaves()), (false, Vec::new()));
}

#[tokio::test]
async fn every_run_looks_at_the_most_urgent_first() {
    let (world, crier) = (World::new().await, Crier::default());
    let ((_, now), app) = (fleet(&world).await, with_small_pages(&world));
    let suspend = at(call("SuspendPrincipal"), now);
    principals::suspend_principal(&world.app, &suspend, &crate::world::admin(), &acme(), &pid("first")).await.unwrap();
    for _ in 0..5 {
        assert!(look_at(&app, &crier, now, 40).await.unfinished);
    }
    assert!(crier.leaves().iter().all(|(name, _)| name != "first"));
    let activate = at(call("ActivatePrincipal"), now);
    principals::activate_principal(&world.app, &activate, &crate::world::admin(), &acme(), &pid("first"))
        .await
        .unwrap();
    // Half of a run's pages are for what ends first: the shards of the first two hours, of which it is in one.
    assert!(look_at(&app, &crier, now, 40).await.unfinished);
    assert!(crier.leaves().iter().any(|(name, _)| name == "first"));
}

/// Of a batch whose telling failed every claim is given up, whichever of them cannot be.
#[tokio::test]
async fn one_claim_that_stays_keeps_no_other_warning_from_being_told() {
    let (world, crier) = (World::new().await, Crier::default());
    for id in ["a", "b", "c", "d"] {
        world.principal(id).await;
        world.issue(id).await;
    }
    let leaf = world.issue("a").await.certificate;
    let late = leaf.not_after.minus(Lifetime::minutes(30));
    *crier.deaf.lock().unwrap() = true;
    let due = look(&world, &crier, late).await.failed.len();
    assert!((4..BATCH).contains(&due), "{due} warnings in one batch, all given up");
    // The transaction after that many claims is the first that gives one up.
    world.store.arm(due, Fault::lost_request());
    let report = look(&world, &crier, late).await;
    assert!(report.failed.iter().any(|(what, _)| what.contains("stays claimed")), "{report:?}");
    *crier.deaf.lock().unwrap() = false;
    let report = look(&world, &crier, late).await;
    assert_eq!((report.done.len(), report.failed), (due - 1, vec![]), "all but the one that stays claimed");
}
