//! A clock that was far ahead for a while, and what it leaves in the audit log.

use std::sync::Arc;

use signet_app::{
    AuditTail, Follower, PageRequest, Settings,
    audit::{events, sealing},
};
use signet_core::{
    Error, Lifetime, Uptime,
    audit::LATE_MINUTES,
    trust::{DEFAULT_STALENESS_LIMIT, Trust, WhenStale},
};
use signet_testkit::fixtures::NOW;

use crate::{
    audit::{ALL, Log, due, happens, minutes, process},
    world::acme,
};

/// The head is two days ahead; every node writes behind it since.
async fn two_days_ahead() -> Log {
    let log = Log::new().await;
    let ahead = NOW.plus(Lifetime::days(2));
    while sealing::unsealed_minutes(&log.site.app, ahead) != Some(1) {
        log.seal(due(ahead).minus(Lifetime::minutes(2))).await;
    }
    log
}

#[tokio::test]
async fn what_is_written_behind_a_head_that_is_ahead_is_listed_and_followed() {
    let log = two_days_ahead().await;
    let (app, now) = (&log.site.app, minutes(5));
    let mut tail = AuditTail::new(now);
    events::audit_events_since(app, &process(now), &acme(), &mut tail).await.unwrap();
    happens(app, "acme", now).await;
    let page = PageRequest { size: 1000, token: String::new() };
    let listed = events::list_audit_events(app, &process(now), &acme(), &ALL, &page).await.unwrap().events;
    let event = listed.last().unwrap();
    assert!(event.at > NOW.plus(Lifetime::days(1)) && event.payload.contains("NOT_TODAY"), "{event:?}");
    let window = events::audit_window(app, None, None, now).unwrap();
    assert!(window.start < now && window.end > event.at, "{window:?}");
    for expected in [vec![event.clone()], vec![]] {
        assert_eq!(events::audit_events_since(app, &process(now), &acme(), &mut tail).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_head_far_ahead_is_reported_and_one_a_little_ahead_is_not() {
    let log = two_days_ahead().await;
    let (app, head) = (&log.site.app, NOW.plus(Lifetime::days(2)));
    let refused = sealing::require_not_ahead(app, minutes(5)).unwrap_err();
    assert!(matches!(&refused, Error::Misconfigured { cause, .. } if cause.contains("2874 minutes")), "{refused:?}");
    assert_eq!(sealing::require_not_ahead(app, head.minus(Lifetime::minutes(10))), Ok(()));
    let fresh = log.site.app_on(&log.site.store, Settings::default());
    assert_eq!(sealing::require_not_ahead(&fresh, NOW), Ok(()), "it knows nothing yet");
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
        sealing::seal_due(&app, &process(NOW.plus(Lifetime::hours(3 * (round + 1)))), &log.key).await.unwrap();
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
        sealing::seal_near(app, &process(now), &log.key).await.unwrap();
        events::sealed_through(app, &process(now)).await.unwrap().unwrap() - NOW.minute()
    };
    assert_eq!(seal(minutes(1440)).await, 0, "a day ahead");
    assert_eq!(seal(minutes(8)).await, 0);
    assert_eq!(seal(minutes(7)).await, LATE_MINUTES);
}

#[tokio::test]
async fn a_node_whose_clock_was_set_back_puts_nothing_into_sealed_minutes() {
    let log = Log::new().await;
    log.happens("acme", minutes(69)).await;
    log.seal(due(minutes(70))).await;
    let (node, other) = (&log.site.app, log.site.app_on(&log.site.store, Settings::default()));
    // Another node's clock goes 5 s behind, this one's was set back by an hour.
    happens(&other, "acme", minutes(71).minus(Lifetime::seconds(5))).await;
    happens(node, "acme", minutes(10)).await;
    for minute in 71..80 {
        log.seal(due(minutes(minute))).await;
    }
    assert_eq!(log.findings("acme", due(minutes(80))).await, []);
    assert_eq!(log.verify("acme", due(minutes(80))).await.events, log.events(due(minutes(80))).await.len());
}

#[tokio::test]
async fn a_node_whose_clock_is_an_hour_ahead_seals_nothing_that_others_still_write() {
    let log = Log::new().await;
    let (node, ahead) = (&log.site.app, log.site.app_on(&log.site.store, Settings::default()));
    let uptime = |minute: u32| Uptime::from_millis(u64::from(minute) * 60_000);
    for minute in 0..20 {
        let now = due(minutes(minute));
        log.happens("acme", now).await;
        sealing::seal_beside_others(&ahead, &process(now.plus(Lifetime::hours(1))), &log.key, uptime(minute), true)
            .await
            .unwrap();
        log.happens("acme", now).await;
        sealing::seal_beside_others(node, &process(now), &log.key, uptime(minute), true).await.unwrap();
    }
    // The other one is gone: it takes a while until this one knows.
    for minute in 20..24 {
        sealing::seal_beside_others(&ahead, &process(due(minutes(60 + minute))), &log.key, uptime(minute), true)
            .await
            .unwrap();
    }
    assert_eq!(log.findings("acme", due(minutes(60))).await, []);
    assert_eq!(log.verify("acme", due(minutes(60))).await.events, 41, "and one of its making");
}

#[tokio::test]
async fn a_node_that_starts_with_a_clock_that_is_behind_knows_what_is_sealed() {
    for is_sealed in [true, false] {
        let log = Log::new().await;
        if is_sealed {
            log.happens("acme", minutes(60)).await;
            log.seal(due(minutes(60))).await;
        }
        let (new, behind) = (log.site.app_on(&log.site.store, Settings::default()), NOW.minus(Lifetime::hours(1)));
        let trust = Trust::new(DEFAULT_STALENESS_LIMIT, WhenStale::Refuse, || Uptime::from_millis(1));
        Follower::new(Arc::clone(&new), Arc::new(trust)).poll(behind).await.unwrap();
        happens(&new, "acme", behind).await;
        for minute in 61..70 {
            log.seal(due(minutes(minute))).await;
        }
        assert_eq!(log.findings("acme", due(minutes(70))).await, [], "{is_sealed}");
    }
}
