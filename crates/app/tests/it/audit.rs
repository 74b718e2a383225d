//! The log as it is sealed, read, followed and verified over the embedded store.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use futures::future::join_all;
use proptest::{prelude::*, test_runner::Config};
use signet_app::{
    App, AuditEntry, AuditTail, AuditWindow, Call, Chore, Follower, PageRequest, Settings, VerifyReport,
    audit::{events, sealing},
    authorities::lifecycle,
    enrollment::tokens,
};
use signet_core::{
    Actor, Error, KeyRef, Lifetime, Store, TenantId, Time, Uptime,
    audit::{AuditEvent, Finding, LATE_MINUTES, Seal, SealHead, Span, verify},
    store::scope::Housekeeper,
    store::{
        Entity, Versioned,
        commit::{Commit, Write},
    },
    trust::{DEFAULT_STALENESS_LIMIT, Trust, WhenStale},
};
use signet_testkit::{
    faulty::{Fault, FaultyStore, Hidden},
    fixtures::{NOW, later},
};

use crate::{
    nodes::Site,
    world::{acme, admin, call, environment, new_token, tid},
};

/// A site with an audit key.
pub(crate) struct Log {
    pub(crate) site: Site,
    pub(crate) key: KeyRef,
    /// A node that seals nothing, and so does not know what is sealed.
    elsewhere: Arc<App>,
}

/// Everything since before the site was made.
pub(crate) const ALL: AuditWindow =
    AuditWindow { start: Time::from_unix_seconds(4_102_440_000), end: Time::from_unix_millis(i64::MAX) };

/// All time there is.
const FOR_EVER: AuditWindow =
    AuditWindow { start: Time::from_unix_millis(i64::MIN), end: Time::from_unix_millis(i64::MAX) };

/// Long enough after `time` for its minute to be due.
pub(crate) fn due(time: Time) -> Time {
    time.plus(Lifetime::seconds(121))
}

pub(crate) fn process(now: Time) -> Chore {
    Chore::new("sealer", now)
}

impl Log {
    pub(crate) async fn new() -> Self {
        let site = Site::new().await;
        let key = site.keys.make("audit");
        let elsewhere = site.app_on(&site.store, Settings::default());
        Self { site, elsewhere, key }
    }

    pub(crate) async fn seal(&self, now: Time) -> u32 {
        sealing::seal_due(&self.site.app, &process(now), &self.key).await.unwrap()
    }

    /// Writes an event of `tenant` at `time`.
    pub(crate) async fn happens(&self, tenant: &str, time: Time) {
        happens(&self.elsewhere, tenant, time).await;
    }

    /// Writes an event of each of `count` tenants at `time`.
    async fn happens_to_many(&self, count: u32, time: Time) {
        let tenants: Vec<String> = (0..count).map(|number| format!("tenant-{number}")).collect();
        join_all(tenants.iter().map(|tenant| self.happens(tenant, time))).await;
    }

    pub(crate) async fn verify(&self, tenant: &str, now: Time) -> VerifyReport {
        let check = |message: &[u8], signature: &[u8]| self.site.keys.check(&self.key, message, signature);
        let scope = Housekeeper::appoint().tenant(&tid(tenant));
        events::verify_audit(&self.site.app, &process(now), &scope, &ALL, &check).await.unwrap()
    }

    pub(crate) async fn findings(&self, tenant: &str, now: Time) -> Vec<Finding> {
        self.verify(tenant, now).await.findings
    }

    pub(crate) async fn events(&self, now: Time) -> Vec<AuditEvent> {
        let page = PageRequest { size: 1000, token: String::new() };
        events::list_audit_events(&self.site.app, &process(now), &acme(), &ALL, &page).await.unwrap().events
    }

    pub(crate) async fn seals(&self, tenant: &str, now: Time) -> Vec<Versioned<Seal>> {
        let query = Seal::of(&tid(tenant)).limit(1000);
        environment().list(&*self.site.store, &query, now).await.unwrap().0
    }

    /// Somebody with access to the store.
    pub(crate) async fn tamper(&self, writes: Vec<Write>, now: Time) {
        let commit = Commit::bookkeeping(now).writes(writes);
        self.site.store.transact(commit.to_transaction(None)).await.unwrap();
    }

    pub(crate) async fn versioned(&self, event: &AuditEvent, now: Time) -> Versioned<AuditEvent> {
        environment().get(&*self.site.store, &event.key(), now).await.unwrap().unwrap()
    }
}

pub(crate) async fn happens(app: &App, tenant: &str, time: Time) {
    let call = Call { actor: Actor::Anonymous, ..Call::process("Test", time) };
    events::refuse(app, &call, &tid(tenant), &AuditEntry::refused(&call, "NOT_TODAY").detail("try", 1)).await.unwrap();
}

pub(crate) fn minutes(count: u32) -> Time {
    NOW.plus(Lifetime::minutes(count))
}

#[tokio::test]
async fn what_happened_is_sealed_a_while_after_its_minute_and_verifies() {
    let log = Log::new().await;
    assert_eq!(log.seal(later(119)).await, 0, "the minute has 60 seconds, and 60 more for stragglers");
    assert_eq!(log.seal(later(120)).await, 1);
    assert_eq!(log.seal(later(120)).await, 0, "once");
    log.happens("acme", later(121)).await;
    log.happens("globex", later(122)).await;
    assert_eq!(log.seal(later(240)).await, 1);
    for (tenant, seals) in [("system", 1), ("acme", 2), ("globex", 1)] {
        let report = log.verify(tenant, later(241)).await;
        assert_eq!((report.findings.as_slice(), report.seals), ([].as_slice(), seals), "{tenant}");
        assert!(report.events >= seals);
        assert_eq!(report.to, NOW.minute() + 2);
    }
    let seals = log.seals("acme", later(241)).await;
    assert_eq!(seals[1].value.statement.previous, seals[0].value.statement.digest());
    assert_eq!((seals[1].value.batch_size, seals[0].value.statement.previous), (2, [0; 32]));
}

#[tokio::test]
async fn a_shorter_delay_seals_sooner() {
    let log = Log::new().await;
    let settings = Settings { seal_delay: Lifetime::seconds(2), ..Settings::default() };
    let hasty = log.site.app_on(&log.site.store, settings);
    assert_eq!(sealing::seal_due(&hasty, &process(later(61)), &log.key).await, Ok(0));
    assert_eq!(sealing::seal_due(&hasty, &process(later(62)), &log.key).await, Ok(1));
    assert_eq!(log.findings("acme", later(62)).await, []);
}

#[tokio::test]
async fn how_much_is_not_sealed_is_known_from_the_first_look() {
    let log = Log::new().await;
    let unsealed = |now| sealing::unsealed_minutes(&log.site.app, now);
    assert_eq!(unsealed(later(3600)), None, "before any look");
    log.seal(later(119)).await;
    assert_eq!(unsealed(later(119)), Some(1), "the minute that has no 60 s behind it");
    log.seal(later(120)).await;
    assert_eq!((unsealed(later(120)), unsealed(later(420))), (Some(1), Some(6)));
    assert_eq!(unsealed(NOW), Some(0), "a clock that was set back");
}

#[tokio::test]
async fn an_event_written_after_its_minute_was_sealed_is_named_in_the_next_seal() {
    let log = Log::new().await;
    log.seal(due(NOW)).await;
    log.happens("acme", later(3)).await;
    log.happens("late-only", later(4)).await;
    assert_eq!(log.findings("acme", due(NOW)).await, [], "it may still be named");
    log.seal(due(minutes(1))).await;
    for (tenant, late) in [("acme", 1), ("late-only", 1), ("system", 0)] {
        assert_eq!(log.findings(tenant, due(minutes(1))).await, [], "{tenant}");
        let named = log.seals(tenant, due(minutes(1))).await;
        assert_eq!(named.iter().map(|seal| seal.value.statement.late.len()).sum::<usize>(), late, "{tenant}");
    }
    for minute in 2..10 {
        log.seal(due(minutes(minute))).await;
    }
    assert_eq!(log.seals("acme", due(minutes(10))).await.len(), 2, "named once");
    assert_eq!(log.findings("acme", due(minutes(10))).await, []);
    // Later than this nothing is late: it was put in.
    log.happens("acme", later(5)).await;
    log.seal(due(minutes(11))).await;
    let added = Finding::EventAdded { minute: NOW.minute(), extra: 1 };
    assert_eq!(log.findings("acme", due(minutes(11))).await, [added]);
}

#[tokio::test]
async fn a_node_judges_expiry_by_its_clock_wherever_its_events_go() {
    let log = Log::new().await;
    let head = SealHead { tenant: TenantId::system(), minute: i64::from(u32::MAX) };
    log.tamper(vec![Write::create(head)], NOW).await;
    let trust = Trust::new(DEFAULT_STALENESS_LIMIT, WhenStale::Refuse, || Uptime::from_millis(1));
    Follower::new(Arc::clone(&log.site.app), Arc::new(trust)).poll(NOW).await.unwrap();
    // What ends in hours is not over: it is counted on, not counted anew.
    for _ in 0..20 {
        tokens::create_token(&log.site.app, &call("CreateToken"), &admin(), &acme(), new_token()).await.unwrap();
    }
}

#[tokio::test]
async fn the_events_of_a_long_task_say_when_each_piece_was_done() {
    let log = Log::new().await;
    let (half_life, pieces) = (NOW.plus(Lifetime::days(366)), AtomicU32::new(0));
    // Seven minutes from one piece to the next.
    let go_on = || Some(half_life.plus(Lifetime::minutes(7 * pieces.fetch_add(1, Ordering::SeqCst))));
    let report = lifecycle::rotate_due_cas(&log.site.app, &Chore::new("rotate-cas", half_life), &go_on).await.unwrap();
    assert!(report.done.len() > 1 && report.failed.is_empty(), "{report:?}");
    let window = AuditWindow { start: half_life, end: half_life.plus(Lifetime::days(1)) };
    let page = PageRequest { size: 1000, token: String::new() };
    let mut minutes = BTreeSet::new();
    for tenant in ["system", "acme"] {
        let scope = Housekeeper::appoint().tenant(&tid(tenant));
        let events =
            events::list_audit_events(&log.site.app, &process(half_life), &scope, &window, &page).await.unwrap().events;
        minutes.extend(events.iter().map(|event| event.at.minute() - half_life.minute()));
    }
    assert!(minutes.len() > 1 && minutes.iter().all(|minute| minute % 7 == 0), "{minutes:?}");
}

#[tokio::test]
async fn what_is_done_to_the_store_is_found() {
    let log = Log::new().await;
    for second in 1..5 {
        log.happens("acme", later(second)).await;
        log.happens("acme", minutes(1).plus(Lifetime::seconds(second))).await;
    }
    let now = due(minutes(1 + u32::try_from(LATE_MINUTES).unwrap()));
    log.seal(now).await;
    assert_eq!(log.findings("acme", now).await, []);
    let victim = log.versioned(&log.events(now).await[2], now).await;
    let minute = NOW.minute();

    log.tamper(vec![Write::Delete(victim.value.key(), victim.version)], now).await;
    assert_eq!(log.findings("acme", now).await, [Finding::EventRemoved { minute, missing: 1 }]);
    let changed = AuditEvent { payload: victim.value.payload.replace("NOT_TODAY", "OK"), ..victim.value.clone() };
    log.tamper(vec![Write::create(changed.clone())], now).await;
    assert_eq!(log.findings("acme", now).await, [Finding::EventChanged { minute }]);
    let changed = log.versioned(&changed, now).await;
    log.tamper(vec![Write::replace(victim.value.clone(), changed.version)], now).await;
    assert_eq!(log.findings("acme", now).await, [], "as it was");

    let seals = log.seals("acme", now).await;
    log.tamper(vec![Write::Delete(seals[0].value.key(), seals[0].version.clone())], now).await;
    let found = log.findings("acme", now).await;
    assert_eq!(found, [Finding::BrokenChain { minute: minute + 1 }, Finding::SealMissing { minute }]);
    log.tamper(vec![Write::create(seals[0].value.clone())], now).await;
    log.tamper(vec![Write::Delete(seals[1].value.key(), seals[1].version.clone())], now).await;
    assert_eq!(log.findings("acme", now).await, [Finding::SealMissing { minute: minute + 1 }]);
}

#[tokio::test]
async fn the_log_of_a_tenant_that_does_not_exist_is_not_an_empty_one() {
    let log = Log::new().await;
    let (scope, page) = (Housekeeper::appoint().tenant(&tid("acmee")), PageRequest { size: 10, token: String::new() });
    let call = process(later(1));
    let missing = Error::not_found("tenant", "acmee");
    let app = &log.site.app;
    assert_eq!(events::list_audit_events(app, &call, &scope, &ALL, &page).await.unwrap_err(), missing);
    assert_eq!(events::list_audit_seals(app, &call, &scope, &ALL, &page).await.unwrap_err(), missing);
}

#[tokio::test]
async fn more_tenants_than_a_transaction_holds_are_sealed_in_batches() {
    let log = Log::new().await;
    log.happens_to_many(200, later(1)).await;
    assert_eq!(log.seal(due(NOW)).await, 1);
    let mut batches = BTreeSet::new();
    for number in 0..200 {
        let tenant = format!("tenant-{number}");
        assert_eq!(log.findings(&tenant, due(NOW)).await, []);
        let seals = log.seals(&tenant, due(NOW)).await;
        assert_eq!(seals.len(), 1);
        batches.insert((seals[0].value.batch_size, seals[0].value.signature.clone()));
    }
    let mut sizes: Vec<u32> = batches.into_iter().map(|(size, _)| size).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [22, 90, 90], "with system and acme");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sealers_that_race_leave_one_chain() {
    let log = Log::new().await;
    let others: Vec<Arc<App>> = (0..3).map(|_| log.site.app_on(&log.site.store, Settings::default())).collect();
    for minute in 0..6 {
        log.happens_to_many(100, minutes(minute)).await;
        let call = process(due(minutes(minute)));
        let races = others.iter().map(|app| sealing::seal_due(app, &call, &log.key));
        let sealed: u32 = join_all(races).await.into_iter().map(Result::unwrap).sum();
        assert!(sealed <= 1, "a minute is sealed by one node");
    }
    log.seal(due(minutes(6))).await;
    for tenant in ["tenant-0", "tenant-42", "tenant-99"] {
        assert_eq!(log.findings(tenant, due(minutes(6))).await, [], "{tenant}");
        assert_eq!(log.seals(tenant, due(minutes(6))).await.len(), 6);
    }
}

#[tokio::test]
async fn a_sealer_that_fails_anywhere_goes_on_where_it_was() {
    let now = due(minutes(2));
    for applies in [false, true] {
        for number in 0.. {
            let log = Log::new().await;
            log.happens_to_many(100, later(1)).await;
            log.happens("acme", minutes(2)).await;
            let flaky = FaultyStore::new(Arc::clone(&log.site.store));
            let app = log.site.app_on(&(Arc::clone(&flaky) as Arc<dyn Store>), Settings::default());
            flaky.arm(number, if applies { Fault::lost_answer() } else { Fault::lost_request() });
            let first = sealing::seal_due(&app, &process(now), &log.key).await;
            let failed = flaky.restart();
            assert_eq!(first.is_err(), failed, "write {number}: a failure is told");
            // Something else happens before the next try, also in a minute that may be half sealed.
            log.happens("tenant-1", later(2)).await;
            sealing::seal_due(&app, &process(now), &log.key).await.unwrap();
            sealing::seal_due(&app, &process(due(minutes(3))), &log.key).await.unwrap();
            for tenant in ["acme", "system", "tenant-0", "tenant-1", "tenant-99"] {
                assert_eq!(log.findings(tenant, due(minutes(3))).await, [], "{tenant}, write {number}");
            }
            if !failed {
                assert_eq!(number, 4, "the head, two batches, another minute, and all over");
                break;
            }
        }
    }
}

#[tokio::test]
async fn after_a_downtime_sealing_catches_up_in_bounded_steps() {
    let log = Log::new().await;
    let end = NOW.plus(Lifetime::days(2));
    log.happens("acme", NOW.plus(Lifetime::hours(30))).await;
    log.happens("acme", end).await;
    let (mut sealed, mut calls) = (0, 0);
    while events::sealed_through(&log.site.app, &process(end)).await.unwrap() != Some(end.minute()) {
        sealed += log.seal(due(end)).await;
        calls += 1;
        assert!(calls < 10, "each call moves on");
    }
    assert_eq!(sealed, 3);
    assert!(calls > 2, "no call does it all");
    assert_eq!(log.findings("acme", due(end)).await, []);
}

#[tokio::test]
async fn a_log_whose_beginning_has_expired_verifies_from_its_first_seal_on() {
    let log = Log::new().await;
    let settings = Settings { audit_retention: Lifetime::days(1), ..Settings::default() };
    let app = log.site.app_on(&log.site.store, settings);
    let check = |message: &[u8], signature: &[u8]| log.site.keys.check(&log.key, message, signature);
    for hour in 1..40 {
        let time = NOW.plus(Lifetime::hours(hour)).plus(Lifetime::seconds(30));
        happens(&app, "globex", time).await;
        while events::sealed_through(&app, &process(due(time))).await.unwrap() < Some(time.minute()) {
            sealing::seal_due(&app, &process(due(time)), &log.key).await.unwrap();
        }
        for after in [0, 15, 30, 45, 60] {
            let now = due(time).plus(Lifetime::seconds(after));
            let globex = Housekeeper::appoint().tenant(&tid("globex"));
            let report = events::verify_audit(&app, &process(now), &globex, &FOR_EVER, &check).await.unwrap();
            assert_eq!(report.findings, [], "hour {hour}");
            // As somebody does who knows nothing of retention.
            let seals: Vec<Seal> = log.seals("globex", now).await.into_iter().map(|seal| seal.value).collect();
            let page = PageRequest { size: 1000, token: String::new() };
            let events =
                events::list_audit_events(&app, &process(now), &globex, &FOR_EVER, &page).await.unwrap().events;
            let sealed_through = events::sealed_through(&app, &process(now)).await.unwrap().unwrap();
            let span = Span { from: seals[0].statement.minute, to: i64::MAX, sealed_through, previous: None };
            assert_eq!(verify(&events, &seals, &span, &check), [], "hour {hour}");
            assert!(seals.len() <= 24 && seals.len() as u32 >= hour.min(23));
        }
    }
}

#[tokio::test]
async fn nothing_is_sealed_before_there_is_an_environment() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::new().await;
    let empty: Arc<dyn Store> = Arc::new(signet_sqlite::SqliteStore::open(&folder.path().join("store")).unwrap());
    let app = log.site.app_on(&empty, Settings::default());
    assert_eq!(sealing::seal_due(&app, &process(due(NOW)), &log.key).await, Ok(0));
    assert_eq!(events::sealed_through(&app, &process(due(NOW))).await, Ok(None));
}

#[test]
fn pages_are_the_whole_log_oldest_first() {
    let now = NOW.plus(Lifetime::days(5));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let log = runtime.block_on(Log::new());
    let case = (prop::collection::vec(0u32..4 * 86_400, 1..30), 1u32..9, 0u32..86_400, 0u32..4 * 86_400);
    let mut runner = proptest::test_runner::TestRunner::new(Config::with_cases(20));
    runner
        .run(&case, |(times, size, start, end)| {
            runtime.block_on(async {
                for second in times {
                    log.happens("acme", later(second)).await;
                }
                let window = AuditWindow { start: later(start), end: later(end.max(start)) };
                let mut expected = log.events(now).await;
                assert!(expected.is_sorted_by(|a, b| a.id < b.id));
                expected.retain(|event| event.at >= window.start && event.at < window.end);
                let (mut listed, mut page) = (Vec::new(), PageRequest { size, token: String::new() });
                loop {
                    let got =
                        events::list_audit_events(&log.site.app, &process(now), &acme(), &window, &page).await.unwrap();
                    assert!(got.events.len() <= size as usize);
                    listed.extend(got.events);
                    page.token = got.next_page_token;
                    if page.token.is_empty() {
                        break;
                    }
                }
                assert_eq!(listed, expected);
            });
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn a_long_silence_is_paged_through() {
    let log = Log::new().await;
    let end = NOW.plus(Lifetime::days(200));
    log.happens("acme", end).await;
    let (mut page, mut pages, mut last) = (PageRequest::default(), 0, None);
    loop {
        let got = events::list_audit_events(&log.site.app, &process(end), &acme(), &FOR_EVER, &page).await.unwrap();
        last = got.events.last().cloned().or(last);
        pages += 1;
        page.token = got.next_page_token;
        if page.token.is_empty() {
            break;
        }
    }
    assert_eq!(last.map(|event| event.at), Some(end));
    assert!((10..20).contains(&pages), "{pages} pages");
}

/// What an admin writes into its tenant's log must not keep others from reading it.
#[tokio::test]
async fn a_page_is_cut_where_callers_could_not_take_it() {
    let log = Log::new().await;
    let before = log.events(NOW).await.len();
    for second in 0..10 {
        let call = Call { actor: Actor::Anonymous, ..Call::process("Test", later(second)) };
        let entry = AuditEntry::refused(&call, "NOT_TODAY").detail("long", "x".repeat(300_000));
        events::refuse(&log.elsewhere, &call, &tid("acme"), &entry).await.unwrap();
    }
    let (mut listed, mut page, mut pages) = (0, PageRequest { size: 1000, token: String::new() }, 0);
    loop {
        let got = events::list_audit_events(&log.site.app, &process(later(60)), &acme(), &ALL, &page).await.unwrap();
        assert!(got.events.iter().map(|event| event.payload.len()).sum::<usize>() <= 1024 * 1024);
        (listed, page.token, pages) = (listed + got.events.len(), got.next_page_token, pages + 1);
        if page.token.is_empty() {
            break;
        }
    }
    assert_eq!((listed, pages), (before + 10, 4));
}

#[tokio::test]
async fn a_token_is_good_for_its_own_listing_only() {
    let log = Log::new().await;
    log.happens("acme", later(1)).await;
    log.seal(due(NOW)).await;
    let page = PageRequest { size: 1, token: String::new() };
    let token =
        events::list_audit_events(&log.site.app, &process(NOW), &acme(), &ALL, &page).await.unwrap().next_page_token;
    let other = Housekeeper::appoint().tenant(&tid("globex"));
    for token in [token.as_str(), "!", "e30", &token[1..]] {
        let page = PageRequest { size: 1, token: token.to_owned() };
        let refused = events::list_audit_events(&log.site.app, &process(NOW), &other, &ALL, &page).await.unwrap_err();
        assert_eq!(refused.reason(), "INVALID_PAGE_TOKEN");
        let refused = events::list_audit_seals(&log.site.app, &process(NOW), &acme(), &ALL, &page).await.unwrap_err();
        assert_eq!(refused.reason(), "INVALID_PAGE_TOKEN");
    }
    let page = PageRequest { size: 1001, token: String::new() };
    let refused = events::list_audit_events(&log.site.app, &process(NOW), &acme(), &ALL, &page).await.unwrap_err();
    assert!(matches!(refused, Error::Invalid { field: "page_size", .. }));
    assert!(AuditWindow::new(Some(later(2)), Some(later(1)), NOW).is_err());
    for (start, end) in
        [(later(1), later(1)), (later(2), later(1)), (Time::from_unix_seconds(0), Time::from_unix_seconds(1))]
    {
        let window = AuditWindow { start, end };
        let nothing =
            events::list_audit_events(&log.site.app, &process(NOW), &acme(), &window, &PageRequest::default()).await;
        assert_eq!(nothing.unwrap().events, []);
    }
}

#[tokio::test]
async fn seals_are_listed_page_by_page() {
    let log = Log::new().await;
    for minute in 0..5 {
        log.happens("acme", minutes(minute)).await;
    }
    let now = due(minutes(5));
    log.seal(now).await;
    let window = AuditWindow { start: minutes(1), end: minutes(4) };
    let (mut seals, mut page) = (Vec::new(), PageRequest { size: 2, token: String::new() });
    loop {
        let got = events::list_audit_seals(&log.site.app, &process(now), &acme(), &window, &page).await.unwrap();
        assert_eq!(got.sealed_through, Some(minutes(5).minute()));
        seals.extend(got.seals.into_iter().map(|seal| seal.statement.minute));
        page.token = got.next_page_token;
        if page.token.is_empty() {
            break;
        }
    }
    assert_eq!(seals, [1, 2, 3].map(|minute| minutes(minute).minute()));
}

#[tokio::test]
async fn a_follower_gets_every_event_once_however_late_it_turns_up() {
    let log = Log::new().await;
    let flaky = FaultyStore::new(Arc::clone(&log.site.store));
    let app = log.site.app_on(&(Arc::clone(&flaky) as Arc<dyn Store>), Settings::default());
    let mut tail = AuditTail::new(NOW);
    let mut got: Vec<String> = Vec::new();
    for second in 1..100 {
        log.happens("acme", later(second)).await;
        if second > 40 {
            // An operation that took forty seconds.
            log.happens("acme", later(second - 40)).await;
        }
        if second % 5 == 0 {
            // The index shows some of them later.
            flaky.show_all();
            let events = log.events(NOW).await;
            flaky.hide(Hidden::Indexed(events[events.len() - 1].key()));
        }
        let new = events::audit_events_since(&app, &process(later(second)), &acme(), &mut tail).await.unwrap();
        got.extend(new.into_iter().map(|event| event.id));
    }
    flaky.show_all();
    let new = events::audit_events_since(&app, &process(later(101)), &acme(), &mut tail).await.unwrap();
    got.extend(new.into_iter().map(|event| event.id));
    got.sort();
    let all: Vec<String> = log.events(NOW).await.into_iter().map(|event| event.id).collect();
    assert_eq!(got, all);
}

#[tokio::test]
async fn a_follower_that_starts_in_the_past_catches_up_in_pages() {
    let log = Log::new().await;
    join_all((0..2500).map(|number| log.happens("acme", later(number)))).await;
    let mut tail = AuditTail::new(NOW);
    let mut got = Vec::new();
    loop {
        let new = events::audit_events_since(&log.site.app, &process(later(2500)), &acme(), &mut tail).await.unwrap();
        assert!(new.len() <= 1000);
        if new.is_empty() {
            break;
        }
        got.extend(new);
    }
    assert!(got.is_sorted_by(|a, b| a.id < b.id), "oldest first, each once");
    assert_eq!(got.len(), 2501, "and the tenant's own creation");
}

#[tokio::test]
async fn a_refusal_says_what_was_refused_and_why() {
    let log = Log::new().await;
    log.happens("acme", later(1)).await;
    let events = log.events(later(1)).await;
    let payload: serde_json::Value = serde_json::from_str(&events.last().unwrap().payload).unwrap();
    let expected = serde_json::json!({
        "operation": "Test", "actor": { "kind": "anonymous" }, "outcome": "NOT_TODAY", "details": { "try": "1" }
    });
    assert_eq!(payload, expected);
}
