//! Verification: an honest log has no finding, and no single alteration goes without one.

use proptest::{prelude::*, sample::Index};
use signet_core::{
    Lifetime,
    audit::{AuditEvent, Finding, LATE_MINUTES, Seal, Span, verify},
};

use crate::history::{FIRST, Fact, Log, MINUTES, SEALED, check, event, facts, judge, live, span, tenant};

fn two(facts: Vec<Fact>, others: Vec<Fact>) -> (Log, Log) {
    let mut logs = live(&[(tenant("acme"), facts), (tenant("globex"), others)], SEALED);
    let other = logs.pop().unwrap();
    (logs.pop().unwrap(), other)
}

fn one(facts: Vec<Fact>) -> Log {
    two(facts, Vec::new()).0
}

/// What somebody with write access to the store might do to it.
#[derive(Clone, Debug)]
enum Tampering {
    RemoveEvent(Index),
    AddEvent(Fact),
    ChangePayload(Index),
    ChangeTime(Index, u32),
    ChangeId(Index),
    ChangeOwner(Index),
    SwapIds(Index, Index),
    SwapTimes(Index, Index),
    SwapPayloads(Index, Index),
    RemoveSeal(Index),
    SwapSeals(Index, Index),
    RepeatSeal(Index),
    RemoveSealAndRelink(Index),
    TakeSealOfOther(Index),
    ChangeCount(Index),
    ChangeRoot(Index),
    ForgetLate(Index),
    ChangeMinute(Index),
    ChangePlace(Index),
    ChangeSignature(Index),
    ResealWithoutKey(Index),
}

fn tampering() -> impl Strategy<Value = Tampering> {
    use Tampering::*;
    let i = any::<Index>;
    let fact = (0..MINUTES, 0u32..60, any::<u8>());
    prop_oneof![
        4 => i().prop_map(RemoveEvent),
        4 => fact.prop_map(|(minute, second, payload)| AddEvent(Fact { minute, second, late: 0, payload })),
        2 => i().prop_map(ChangePayload),
        2 => (i(), 1u32..300).prop_map(|(i, by)| ChangeTime(i, by)),
        2 => i().prop_map(ChangeId),
        1 => i().prop_map(ChangeOwner),
        2 => (i(), i()).prop_map(|(i, j)| SwapIds(i, j)),
        2 => (i(), i()).prop_map(|(i, j)| SwapTimes(i, j)),
        2 => (i(), i()).prop_map(|(i, j)| SwapPayloads(i, j)),
        4 => i().prop_map(RemoveSeal),
        2 => (i(), i()).prop_map(|(i, j)| SwapSeals(i, j)),
        1 => i().prop_map(RepeatSeal),
        2 => i().prop_map(RemoveSealAndRelink),
        1 => i().prop_map(TakeSealOfOther),
        1 => i().prop_map(ChangeCount),
        1 => i().prop_map(ChangeRoot),
        1 => i().prop_map(ForgetLate),
        1 => i().prop_map(ChangeMinute),
        1 => i().prop_map(ChangePlace),
        1 => i().prop_map(ChangeSignature),
        1 => i().prop_map(ResealWithoutKey),
    ]
}

fn change(event: &mut AuditEvent, tampering: &Tampering) {
    match tampering {
        Tampering::ChangePayload(_) => event.payload.push(' '),
        Tampering::ChangeTime(_, by) => event.at = event.at.plus(Lifetime::seconds(*by)),
        Tampering::ChangeId(_) => event.id = event.id.replace('7', "8"),
        Tampering::ChangeOwner(_) => event.tenant = tenant("globex"),
        _ => unreachable!(),
    }
}

fn forge(seal: &mut Seal, tampering: &Tampering) {
    match tampering {
        Tampering::ChangeCount(_) => seal.statement.count += 1,
        Tampering::ChangeRoot(_) => seal.statement.root[0] ^= 1,
        Tampering::ForgetLate(_) => seal.statement.late.clear(),
        Tampering::ChangeMinute(_) => seal.statement.minute += 1,
        Tampering::ChangePlace(_) => seal.batch_size += 1,
        Tampering::ChangeSignature(_) => seal.signature[0] ^= 1,
        Tampering::ResealWithoutKey(_) => {
            let mut statement = seal.statement.clone();
            statement.previous[31] ^= 1;
            let (mut paths, message) = signet_core::audit::batch(statement.minute, &[statement.clone()]);
            seal.statement = statement;
            (seal.batch_index, seal.batch_size, seal.batch_path) = (0, 1, paths.remove(0));
            seal.signature = message;
        }
        _ => unreachable!(),
    }
}

/// Applies it; true if the log is another one now.
fn tamper(log: &mut Log, other: &Log, tampering: &Tampering) -> bool {
    use Tampering::*;
    let before = (log.events.clone(), log.seals.clone());
    let (events, seals) = (&mut log.events, &mut log.seals);
    match tampering {
        RemoveEvent(i) => drop(events.remove(i.index(events.len()))),
        AddEvent(fact) => events.push(event(&tenant("acme"), 1000, fact)),
        ChangePayload(i) | ChangeTime(i, _) | ChangeId(i) | ChangeOwner(i) => {
            let i = i.index(events.len());
            change(&mut events[i], tampering);
        }
        SwapIds(i, j) | SwapTimes(i, j) | SwapPayloads(i, j) => {
            let (i, j) = (i.index(events.len()), j.index(events.len()));
            let (mut a, mut b) = (events[i].clone(), events[j].clone());
            match tampering {
                SwapIds(..) => std::mem::swap(&mut a.id, &mut b.id),
                SwapTimes(..) => std::mem::swap(&mut a.at, &mut b.at),
                _ => std::mem::swap(&mut a.payload, &mut b.payload),
            }
            (events[i], events[j]) = (a, b);
        }
        RemoveSeal(i) => drop(seals.remove(i.index(seals.len()))),
        SwapSeals(i, j) => {
            let count = seals.len();
            seals.swap(i.index(count), j.index(count));
        }
        RepeatSeal(i) => {
            let i = i.index(seals.len());
            seals.insert(i, seals[i].clone());
        }
        RemoveSealAndRelink(i) => {
            let removed = seals.remove(i.index(seals.len()));
            events.retain(|event| event.at.minute() != removed.statement.minute);
            let follows = |seal: &&mut Seal| seal.statement.previous == removed.statement.digest();
            let Some(next) = seals.iter_mut().find(follows) else { return false };
            next.statement.previous = removed.statement.previous;
        }
        TakeSealOfOther(i) => {
            let i = i.index(seals.len());
            let Some(theirs) = other.seals.iter().find(|s| s.statement.minute == seals[i].statement.minute) else {
                return false;
            };
            seals[i] = theirs.clone();
        }
        ChangeCount(i) | ChangeRoot(i) | ForgetLate(i) | ChangeMinute(i) | ChangePlace(i) | ChangeSignature(i)
        | ResealWithoutKey(i) => {
            let i = i.index(seals.len());
            forge(&mut seals[i], tampering);
        }
    }
    (&log.events, &log.seals) != (&before.0, &before.1)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn an_honest_log_has_no_finding_however_late_its_events(facts in facts(LATE_MINUTES)) {
        prop_assert_eq!(judge(&one(facts), SEALED), vec![]);
    }

    #[test]
    fn an_honest_log_has_no_finding_at_any_moment(facts in facts(LATE_MINUTES), sealed in FIRST..SEALED, ahead in 0i64..3) {
        let mut log = live(&[(tenant("acme"), facts.clone())], sealed).remove(0);
        // Some that come later are there already; they are late, or of minutes that are not sealed yet.
        let arrived = |fact: &&Fact| (sealed + 1..=sealed + ahead).contains(&(FIRST + fact.minute + fact.late));
        let numbered = facts.iter().enumerate().filter(|(_, fact)| arrived(fact));
        log.events.extend(numbered.map(|(number, fact)| event(&tenant("acme"), number, fact)));
        prop_assert_eq!(judge(&log, sealed), vec![]);
    }

    #[test]
    fn no_single_alteration_goes_without_a_finding(
        facts in facts(LATE_MINUTES),
        others in facts(0),
        tampering in tampering(),
    ) {
        let (mut log, other) = two(facts, others);
        prop_assume!(tamper(&mut log, &other, &tampering));
        prop_assert_ne!(judge(&log, SEALED), vec![], "{:?}", tampering);
    }

    #[test]
    fn a_part_of_a_log_is_judged_as_the_whole_is(
        facts in facts(LATE_MINUTES),
        from in 0..MINUTES,
        length in 0..MINUTES,
        pick in any::<Index>(),
    ) {
        let whole = one(facts);
        let (from, to) = (FIRST + from, FIRST + from + length);
        let before = whole.seals.iter().rfind(|seal| seal.statement.minute < from);
        let span = Span {
            from,
            to,
            sealed_through: SEALED,
            previous: Some(before.map_or([0; 32], |seal| seal.statement.digest())),
        };
        let within = |minute: i64, more: i64| (from..=to + more).contains(&minute);
        let mut events = whole.events.clone();
        events.retain(|event| within(event.at.minute(), 0));
        let mut seals = whole.seals.clone();
        seals.retain(|seal| within(seal.statement.minute, LATE_MINUTES));
        prop_assert_eq!(verify(&events, &seals, &span, &check), vec![]);
        if !events.is_empty() {
            events.remove(pick.index(events.len()));
            prop_assert_ne!(verify(&events, &seals, &span, &check), vec![]);
        }
    }

    #[test]
    fn an_event_that_comes_too_late_is_found_as_added(minute in 0..MINUTES, facts in facts(0)) {
        let mut log = one(facts);
        log.events.push(event(&tenant("acme"), 1000, &Fact { minute, second: 1, late: 0, payload: 0 }));
        let added = |f: &Finding| {
            let minute = FIRST + minute;
            *f == Finding::EventAdded { minute, extra: 1 } || *f == Finding::SealMissing { minute }
        };
        let found = judge(&log, SEALED);
        prop_assert!(found.len() == 1 && found.iter().all(added), "{found:?}");
    }
}

#[test]
fn findings_name_what_was_done_and_when() {
    let at = |minute, payload| Fact { minute, second: 1, late: 0, payload };
    let honest = one(vec![at(0, 0), at(0, 1), at(1, 2), at(3, 3)]);
    let found = |change: &dyn Fn(&mut Log)| {
        let mut log = honest.clone();
        change(&mut log);
        judge(&log, SEALED)
    };
    assert_eq!(found(&|log| drop(log.events.remove(0))), [Finding::EventRemoved { minute: FIRST, missing: 1 }]);
    assert_eq!(found(&|log| log.events[0].payload.clear()), [Finding::EventChanged { minute: FIRST }]);
    assert_eq!(found(&|log| drop(log.seals.remove(1))).first(), Some(&Finding::BrokenChain { minute: FIRST + 3 }));
    assert!(found(&|log| drop(log.seals.pop())).contains(&Finding::SealMissing { minute: FIRST + 3 }));
    assert_eq!(found(&|log| log.seals[2].signature.clear()), [Finding::BadSignature { minute: FIRST + 3 }]);
    let first_gone = found(&|log| {
        log.seals.remove(0);
        log.events.retain(|event| event.at.minute() != FIRST);
    });
    assert_eq!(first_gone, [Finding::BrokenChain { minute: FIRST + 1 }]);
}

#[test]
fn another_key_is_no_audit_key() {
    let log = one(vec![Fact { minute: 0, second: 0, late: 0, payload: 0 }]);
    let found = verify(&log.events, &log.seals, &span(SEALED), &|_, _| false);
    assert_eq!(found, [Finding::BadSignature { minute: FIRST }]);
}
