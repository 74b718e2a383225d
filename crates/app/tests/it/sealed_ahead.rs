//! A clock that was far ahead for a while, and what it leaves in the audit log.

use signet_app::{AuditTail, PageRequest, Settings};
use signet_core::{Lifetime, audit::LATE_MINUTES};
use signet_testkit::fixtures::NOW;

use crate::{
    audit::{ALL, Log, due, happens, minutes, process},
    world::acme,
};

/// The head is two days ahead; every node writes behind it since.
async fn two_days_ahead() -> Log {
    let log = Log::new().await;
    let ahead = NOW.plus(Lifetime::days(2));
    while log.site.app.unsealed_minutes(ahead) != Some(1) {
        log.seal(due(ahead).minus(Lifetime::minutes(2))).await;
    }
    log
}

#[tokio::test]
async fn what_is_written_behind_a_head_that_is_ahead_is_listed_and_followed() {
    let log = two_days_ahead().await;
    let (app, now) = (&log.site.app, minutes(5));
    let mut tail = AuditTail::new(now);
    app.audit_events_since(&process(now), &acme(), &mut tail).await.unwrap();
    happens(app, "acme", now).await;
    let page = PageRequest { size: 1000, token: String::new() };
    let listed = app.list_audit_events(&process(now), &acme(), &ALL, &page).await.unwrap().events;
    let event = listed.last().unwrap();
    assert!(event.at > NOW.plus(Lifetime::days(1)) && event.payload.contains("NOT_TODAY"), "{event:?}");
    let window = app.audit_window(None, None, now).unwrap();
    assert!(window.start < now && window.end > event.at, "{window:?}");
    for expected in [vec![event.clone()], vec![]] {
        assert_eq!(app.audit_events_since(&process(now), &acme(), &mut tail).await.unwrap(), expected);
    }
}

/// A minute is not over for its events because the sealer's clock says that they have expired.
#[tokio::test]
async fn a_sealer_far_ahead_seals_what_seems_to_have_expired() {
    let log = Log::new().await;
    let settings = Settings { audit_retention: Lifetime::hours(1), ..Default::default() };
    let app = log.site.app_on(&log.site.store, settings);
    for round in 0..2 {
        happens(&app, "acme", minutes(round)).await;
        happens(&app, "acme", minutes(round + 1)).await;
        app.seal_due(&process(NOW.plus(Lifetime::hours(3 * (round + 1)))), &log.key).await.unwrap();
        let report = log.verify("acme", minutes(10)).await;
        assert_eq!((report.findings, report.chain), (vec![], vec![]), "{round}");
        assert!(report.seals > 1 + round as usize);
    }
}

/// A lone node, which has nobody to wait for: its clock was set, and may be set right again.
#[tokio::test]
async fn a_lone_node_whose_clock_was_set_seals_no_further_than_what_can_be_named_as_late() {
    let log = Log::new().await;
    log.seal(due(NOW)).await;
    let app = &log.site.app;
    let seal = async |now| {
        app.seal_near(&process(now), &log.key).await.unwrap();
        app.sealed_through(&process(now)).await.unwrap().unwrap() - NOW.minute()
    };
    assert_eq!(seal(minutes(1440)).await, 0, "a day ahead");
    assert_eq!(seal(minutes(8)).await, 0);
    assert_eq!(seal(minutes(7)).await, LATE_MINUTES);
}
