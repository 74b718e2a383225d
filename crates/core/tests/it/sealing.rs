//! The sealer's plan.

use std::collections::BTreeMap;

use proptest::prelude::*;
use signet_core::{
    Uptime,
    audit::{
        Finding, LATE_MINUTES,
        sealing::{EventLeaf, HeadWatch, MOST_LATE, plan},
    },
};

use crate::history::{FIRST, Fact, SEALED, event, facts, judge, live, tenant};

fn fact(minute: i64, late: i64, payload: u8) -> Fact {
    Fact { minute, second: 5, late, payload }
}

proptest! {
    #[test]
    fn every_event_is_covered_once_or_named_late_once(facts in facts(LATE_MINUTES)) {
        let log = live(&[(tenant("acme"), facts.clone())], SEALED).remove(0);
        let mut named: Vec<&str> = log.seals.iter().flat_map(|s| &s.statement.late).map(|l| l.id.as_str()).collect();
        named.sort_unstable();
        let late = facts.iter().enumerate().filter(|(_, fact)| fact.late > 0);
        let mut expected: Vec<String> = late.map(|(n, fact)| event(&tenant("acme"), n, fact).id).collect();
        expected.sort_unstable();
        prop_assert_eq!(named, expected);
        let covered: u64 = log.seals.iter().map(|seal| seal.statement.count).sum();
        prop_assert_eq!(covered, facts.iter().filter(|fact| fact.late == 0).count() as u64);
    }
}

#[test]
fn a_late_event_is_named_in_the_next_seal_even_if_nothing_else_happened() {
    let log = live(&[(tenant("acme"), vec![fact(0, 0, 1), fact(0, 2, 2)])], SEALED).remove(0);
    let minutes: Vec<(i64, u64, usize)> =
        log.seals.iter().map(|s| (s.statement.minute - FIRST, s.statement.count, s.statement.late.len())).collect();
    assert_eq!(minutes, [(0, 1, 0), (2, 0, 1)]);
}

#[test]
fn a_removed_event_is_not_hidden_by_a_late_one() {
    let mut log = live(&[(tenant("acme"), vec![fact(0, 0, 1), fact(0, 0, 2), fact(0, 1, 3)])], SEALED).remove(0);
    let sealed = log.seals[1].statement.late[0].id.clone();
    let victim = log.events.iter().position(|event| event.id != sealed).unwrap();
    log.events.remove(victim);
    assert_eq!(judge(&log, SEALED), [Finding::EventRemoved { minute: FIRST, missing: 1 }]);
}

#[test]
fn an_altered_cover_hides_nothing() {
    let acme = tenant("acme");
    let honest = live(&[(acme.clone(), vec![fact(0, 0, 1), fact(0, 0, 2)])], FIRST).remove(0);
    let late = event(&acme, 7, &fact(0, 1, 3));
    let leaves = |events: &[signet_core::audit::AuditEvent]| -> Vec<EventLeaf> {
        events.iter().map(|e| EventLeaf { id: e.id.clone(), leaf: e.leaf() }).collect()
    };
    // The cover now claims the late event in the place of a sealed one, which is removed.
    let mut forged = honest.clone();
    forged.seals[0].cover.splice(0..4, late.leaf()[..4].iter().copied());
    let events = [forged.events.split_off(1), vec![late]].concat();
    let window = BTreeMap::from([(FIRST, leaves(&events))]);
    assert_eq!(plan(&acme, FIRST + 1, &window, &forged.seals), None, "as many as were sealed");
    forged.events = events;
    assert_eq!(judge(&forged, FIRST + 1), [Finding::EventChanged { minute: FIRST }]);
}

#[test]
fn a_minute_is_sealed_once_and_an_empty_one_not_at_all() {
    let acme = tenant("acme");
    let log = live(&[(acme.clone(), vec![fact(0, 0, 1)])], FIRST).remove(0);
    let window =
        BTreeMap::from([(FIRST, vec![EventLeaf { id: log.events[0].id.clone(), leaf: log.events[0].leaf() }])]);
    assert!(plan(&acme, FIRST, &window, &[]).is_some());
    assert_eq!(plan(&acme, FIRST, &window, &log.seals), None);
    assert_eq!(plan(&acme, FIRST + 1, &window, &log.seals), None);
    assert_eq!(plan(&acme, FIRST, &BTreeMap::new(), &[]), None);
}

#[test]
fn a_flood_of_late_events_is_named_seal_by_seal() {
    let count = MOST_LATE + 3;
    let flood = (0..count).map(|_| fact(0, 1, 0)).collect();
    let log = live(&[(tenant("acme"), flood)], SEALED).remove(0);
    let named: Vec<usize> = log.seals.iter().map(|seal| seal.statement.late.len()).collect();
    assert_eq!(named, [MOST_LATE, 3]);
    assert_eq!(judge(&log, SEALED), []);
}

#[test]
fn a_node_that_is_ahead_of_others_seals_nothing_and_one_that_is_alone_goes_on() {
    let second = |second: u64| Uptime::from_millis(second * 1000);
    let mut watch = HeadWatch::default();
    // An hour ahead, and somebody moves the head.
    for minute in 0..30 {
        assert_eq!(
            watch.may_seal_through(10 + minute, 70 + minute, second(60 * minute.unsigned_abs()), true),
            10 + minute
        );
    }
    // Nobody does any more.
    for after in [60, 120, 179] {
        assert_eq!(watch.may_seal_through(39, 102, second(60 * 29 + after), true), 39);
    }
    assert_eq!(watch.may_seal_through(39, 102, second(60 * 29 + 180), true), 102);
    // Whose clock was set lately goes on by steps that others can follow.
    let mut watch = HeadWatch::default();
    for after in [0, 60, 120] {
        assert_eq!(watch.may_seal_through(10, 70, second(after), false), 10);
    }
    assert_eq!(watch.may_seal_through(10, 70, second(180), false), 15);
    assert_eq!(watch.may_seal_through(15, 70, second(195), false), 15);
    // The store was away, so that nobody could move it, nor look.
    let mut watch = HeadWatch::default();
    watch.may_seal_through(10, 70, second(0), true);
    assert_eq!(watch.may_seal_through(10, 70, second(600), true), 10);
    // The head stands still because all is sealed: a step of the clock is no reason to go on alone.
    let mut watch = HeadWatch::default();
    watch.may_seal_through(10, 10, second(0), true);
    watch.may_seal_through(10, 10, second(200), true);
    assert_eq!(watch.may_seal_through(10, 70, second(201), true), 10);
}

/// However often a clock is set forward, and however many nodes are ahead by different times: whoever is behind has
/// minutes to hear of the head.
#[test]
fn no_clock_seals_much_faster_than_time_passes() {
    let second = |second: u64| Uptime::from_millis(second * 1000);
    let (mut watches, mut head) = ([HeadWatch::default(); 3], 10);
    for at in 0..1200 {
        let minute = i64::try_from(at / 60).unwrap();
        for (ahead, watch) in [0, 2, 5 + (minute / 3) * 2].into_iter().zip(&mut watches) {
            head = watch.may_seal_through(head, 10 + ahead + minute, second(at), true).max(head);
        }
        assert!(head <= 10 + i64::try_from(at / 54).unwrap(), "{head} after {at} s");
    }
    assert_eq!(head, 10 + 1199 * 1000 / 54_545, "and so fast one of them does");
    // Others have gone on alone: from there on it counts again.
    let mut watch = HeadWatch::default();
    watch.may_seal_through(10, 15, second(0), true);
    assert_eq!(watch.may_seal_through(16, 21, second(60), true), 16);
    assert_eq!(watch.may_seal_through(17, 22, second(115), true), 17);
    // An hour without a step is no credit for one.
    let mut watch = HeadWatch::default();
    for minute in 0..60_i64 {
        watch.may_seal_through(9 + minute, 10 + minute, second(60 * minute.unsigned_abs()), true);
    }
    assert_eq!(watch.may_seal_through(69, 74, second(3600), true), 70);
    // As fast as all clocks go, for a day; who began three minutes behind has caught up in an hour.
    let (mut watch, mut head) = (HeadWatch::default(), 10);
    for minute in 0..1440_i64 {
        head = watch.may_seal_through(head, 13 + minute, second(60 * minute.unsigned_abs()), true).max(head);
        assert!(minute < 60 || head == 13 + minute, "minute {minute}: {head}");
    }
}
