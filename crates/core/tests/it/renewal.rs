//! The rules of renewal, as properties.

use proptest::prelude::*;
use signet_core::{
    Lifetime, Time,
    certificates::renewal::{Advice, AdviceReason, Failure, JitterSeed, Next, Schedule, Steering, Window, advise},
};

const PASSING: Failure = Failure::Passing { retry_after: None };

fn at(millis: i64) -> Time {
    Time::from_unix_millis(millis)
}

/// Validity from 0; any lifetime that a tenant may set.
fn lifetimes() -> impl Strategy<Value = i64> {
    prop_oneof![Just(60_000), Just(86_400_000), 60_000..7_776_000_000_i64]
}

fn advice(window: Window, grace: Lifetime) -> Advice {
    Advice { window, grace, ask_again: Lifetime::hours(1), reason: AdviceReason::Steered }
}

/// Follows a schedule from `now` until it wants something else than to wait or to ask; with the time of that.
fn follow(schedule: &mut Schedule, mut now: Time, random: u64) -> (Next, Time) {
    for _ in 0..10_000 {
        match schedule.next(now, random) {
            Next::Wait { until } => {
                assert!(until > now, "waits until {until:?} at {now:?}");
                now = until;
            }
            Next::AskWindow => schedule.advised(now, None, random),
            other => return (other, now),
        }
    }
    unreachable!("waits for ever");
}

proptest! {
    #[test]
    fn a_draw_lies_in_its_window_and_keeps_its_place(start in 0..1_i64 << 40, width in 1..1_i64 << 40, lot: u64) {
        let window = Window { start: at(start), end: at(start + width) };
        let drawn = window.draw(JitterSeed(lot));
        prop_assert!(window.start <= drawn && drawn < window.end);
        let other = Window { start: at(0), end: at(width) };
        prop_assert_eq!(other.draw(JitterSeed(lot)).unix_millis(), drawn.unix_millis() - start);
    }

    #[test]
    fn the_first_attempt_comes_in_the_middle_third(life in lifetimes(), lot: u64, random: u64) {
        let mut schedule = Schedule::new(at(0), at(life), at(0), lot);
        let (next, when) = follow(&mut schedule, at(0), random);
        prop_assert_eq!(next, Next::Renew);
        prop_assert!(when >= at(life / 3) && when <= at(life - life / 3), "{:?} of {}", when, life);
        prop_assert_eq!(when, schedule.renew_at());
    }

    /// However often everything fails, whatever the server asks for: between any instant and expiry, but for the last
    /// seconds, there is an attempt.
    #[test]
    fn until_expiry_there_is_always_another_attempt(
        life in lifetimes(),
        lot: u64,
        randoms in prop::collection::vec(any::<u64>(), 1..20),
        retry_after in prop::option::of(0..100_000_u32),
    ) {
        let mut schedule = Schedule::new(at(0), at(life), at(0), lot);
        let failure = Failure::Passing { retry_after: retry_after.map(Lifetime::seconds) };
        let (mut now, mut attempts, mut left) = (at(0), 0, life);
        for random in randoms.iter().cycle().take(1000) {
            let (next, when) = follow(&mut schedule, now, *random);
            left = at(life).millis_since(when);
            if left <= 2500 {
                break;
            }
            prop_assert_eq!(next, Next::Renew);
            schedule.failed(when, failure, *random);
            now = at(when.unix_millis() + 1);
            attempts += 1;
        }
        prop_assert!(attempts >= 1 && (0..=2500).contains(&left), "{} attempts, the last {} ms before", attempts, left);
    }

    #[test]
    fn what_the_server_asks_for_is_honoured_while_there_is_time(lot: u64, random: u64, asked in 1..3_600_u32) {
        let mut schedule = Schedule::new(at(0), at(86_400_000), at(0), lot);
        let (_, when) = follow(&mut schedule, at(0), random);
        schedule.failed(when, Failure::Passing { retry_after: Some(Lifetime::seconds(asked)) }, random);
        let (_, again) = follow(&mut schedule, at(when.unix_millis() + 1), random);
        prop_assert!(again.millis_since(when) >= i64::from(asked) * 1000);
    }

    /// A holder whose clock is wrong asks at the server's right time.
    #[test]
    fn a_wrong_clock_moves_nothing(lot: u64, random: u64, skew in -1_000_000_000_i64..1_000_000_000) {
        let (from, to) = (2_000_000_000, 2_086_400_000);
        let mut right = Schedule::new(at(from), at(to), at(from), lot);
        let mut wrong = Schedule::new(at(from), at(to), at(from + skew), lot);
        let sent = at(from + skew);
        wrong.clock.learn(at(from + 50), sent, at(sent.unix_millis() + 100));
        wrong.advised(sent, None, random);
        right.advised(at(from), None, random);
        let (next, when) = follow(&mut wrong, sent, random);
        prop_assert_eq!((next, at(when.unix_millis() - skew)), follow(&mut right, at(from), random));
    }

    /// Of a fleet that wakes together, nobody is due at once, all before a quarter of what they have left.
    #[test]
    fn who_wakes_late_is_spread(lot: u64, random: u64, slept in 58_000_000..86_000_000_i64) {
        let life = 86_400_000;
        let mut schedule = Schedule::new(at(0), at(life), at(0), lot);
        let (next, when) = follow(&mut schedule, at(slept), random);
        prop_assert_eq!(next, Next::Renew);
        let width = (life - slept).min(4 * life / 24) / 4;
        let expected = slept + ((i128::from(width) * i128::from(random)) >> 64) as i64;
        prop_assert!((when.unix_millis() - expected).abs() <= 1, "{:?}, not {}", when, expected);
        // Drawn once: the next look says the same.
        prop_assert_eq!(schedule.next(when, random.wrapping_mul(7)), Next::Renew);
    }

    /// Validity begins before the certificate is made, for clocks that are slow: of a certificate of a minute, that is
    /// half of it.
    #[test]
    fn what_was_just_made_is_not_due(life in lifetimes(), backdated in 0..600_000_i64, lot: u64, retired in prop::option::of(0..60_000_i64)) {
        let validity = Window { start: at(-backdated), end: at(life) };
        let advice = advise(validity, at(0), None, retired.map(at), Lifetime::seconds(0));
        let window = advice.window;
        // What a CA signed just before it retired waits until all have heard of that.
        let soonest = at((life / 3).min(2 * advice.ask_again.millis()));
        prop_assert!(soonest <= window.start && window.start < window.end && window.end < at(life), "{:?}", advice);
        let mut schedule = Schedule::new(at(0), at(life), at(0), lot);
        schedule.advised(at(0), Some(&advice), lot);
        prop_assert!(schedule.renew_at() >= soonest && schedule.renew_at() < at(life));
        let waits = matches!(schedule.next(at(0), lot), Next::Wait { until } if until > at(0));
        prop_assert!(waits, "due at once");
    }

    /// A serial number without a time, or one of a server whose clock is off.
    #[test]
    fn wherever_it_was_made_the_window_is_in_its_validity(
        life in lifetimes(),
        made in any::<i64>(),
        retired in prop::option::of(any::<i64>()),
    ) {
        let validity = Window { start: at(0), end: at(life) };
        let window = advise(validity, at(made), None, retired.map(at), Lifetime::seconds(0)).window;
        prop_assert!(at(0) <= window.start && window.start <= window.end && window.end <= at(life), "{:?}", window);
    }

    #[test]
    fn after_expiry_the_grace_decides(lot: u64, random: u64, grace in 0..100_u32, after in 0..100_i64) {
        let life = 86_400_000;
        let mut schedule = Schedule::new(at(0), at(life), at(0), lot);
        schedule.out_of_band = true;
        let window = Window::of_lifetime(at(0), at(life));
        schedule.advised(at(1000), Some(&advice(window, Lifetime::hours(grace))), random);
        let (next, when) = follow(&mut schedule, at(life + after * 3_600_000), random);
        let in_grace = when < at(life + i64::from(grace) * 3_600_000);
        prop_assert_eq!(next, if in_grace { Next::RenewOutOfBand } else { Next::EnrollAgain });
    }
}

#[test]
fn a_steered_window_moves_the_renewal_and_keeps_the_lot() {
    let mut schedule = Schedule::new(at(0), at(86_400_000), at(0), u64::MAX / 2);
    let window = Window { start: at(3_600_000), end: at(7_200_000) };
    schedule.advised(at(1000), Some(&advice(window, Lifetime::seconds(0))), 0);
    assert_eq!(schedule.renew_at(), at(5_399_999));
    let (next, when) = follow(&mut schedule, at(1000), 0);
    assert_eq!((next, when), (Next::Renew, at(5_399_999)));
}

#[test]
fn a_window_beyond_the_lifetime_leaves_time_to_retry() {
    let mut schedule = Schedule::new(at(0), at(86_400_000), at(0), u64::MAX);
    let window = Window { start: at(80_000_000), end: at(200_000_000) };
    schedule.advised(at(1000), Some(&advice(window, Lifetime::seconds(0))), 0);
    assert_eq!(schedule.renew_at(), at(72_000_000));
}

#[test]
fn without_the_other_path_an_expired_certificate_means_enrolling_again() {
    let mut schedule = Schedule::new(at(0), at(86_400_000), at(0), 7);
    assert_eq!(follow(&mut schedule, at(90_000_000), 7).0, Next::EnrollAgain);
}

#[test]
fn a_clock_that_disagrees_costs_no_enrollment() {
    let mut schedule = Schedule::new(at(0), at(86_400_000), at(0), 7);
    // It was learned that the server is ten days ahead; the clock was set right since.
    schedule.clock.learn(at(864_000_000), at(0), at(0));
    assert_eq!(follow(&mut schedule, at(1000), 7).0, Next::Renew);
}

/// It slept, and its clock was set right meanwhile: what it had learned about it now says that the certificate has
/// expired.
#[test]
fn a_clock_set_right_during_sleep_costs_no_certificate() {
    let (end, learned) = (86_400_000, 600_000);
    for left in [10_000, 60_000, 300_000] {
        let mut schedule = Schedule::new(at(0), at(end), at(0), 7);
        schedule.clock.learn(at(learned), at(0), at(0));
        let (_, when) = follow(&mut schedule, at(end - left), u64::MAX);
        assert!(when <= at(end - left * 3 / 4), "{when:?} with {left} ms left");
    }
}

/// What is lost near the end is not the last word.
#[test]
fn in_the_last_half_minute_there_are_some_attempts() {
    let end = 86_400_000;
    let mut schedule = Schedule::new(at(0), at(end), at(0), 7);
    let (mut now, mut last) = (at(end - 3_000_000), Vec::new());
    while now < at(end - 2_500) {
        schedule.failed(now, PASSING, 1 << 63);
        let (_, when) = follow(&mut schedule, now, 7);
        if when >= at(end - 30_000) {
            last.push(when);
        }
        // Nobody answers for five seconds.
        now = at(when.unix_millis() + 5_000);
    }
    assert!(last.len() >= 3, "{last:?}");
}

#[test]
fn a_clock_turned_back_makes_the_holder_ask() {
    let mut schedule = Schedule::new(at(200_000_000), at(286_400_000), at(200_000_000), 7);
    assert_eq!(schedule.next(at(1000), 7), Next::AskWindow);
    schedule.advised(at(1000), None, 7);
    assert!(matches!(schedule.next(at(1000), 7), Next::Wait { .. }), "not in a loop");
}

/// For a minute it was a day ahead, and what was refused then says nothing of now.
#[test]
fn what_came_of_a_clock_that_was_wrong_is_forgotten_when_it_is_right() {
    let fresh = || {
        let mut schedule = Schedule::new(at(0), at(43_200_000), at(0), 7);
        schedule.out_of_band = true;
        schedule
    };
    for failure in [Failure::Final, PASSING] {
        let mut schedule = fresh();
        assert_eq!(schedule.next(at(86_400_000), 7), Next::RenewOutOfBand);
        schedule.failed(at(86_400_000), failure, 7);
        let (next, when) = follow(&mut schedule, at(60_000), 7);
        assert!(next == Next::Renew && when < at(36_000_000), "{next:?} {when:?}");
        assert!(!schedule.needs_enrollment(at(60_000)));
    }
    // Late by a wrong clock, and set right before the attempt.
    let mut schedule = fresh();
    assert_eq!(schedule.next(at(43_000_000), u64::MAX), Next::AskWindow, "before it renews");
    let (next, when) = follow(&mut schedule, at(60_000), 7);
    assert!(next == Next::Renew && when < at(36_000_000), "{next:?} {when:?}");
    // Clocks differ a little, also by what was learned of them.
    let mut schedule = fresh();
    schedule.failed(at(1_000_000), Failure::Final, 7);
    assert!(schedule.needs_enrollment(at(800_000)));
}

#[test]
fn a_final_refusal_means_enrolling_again_and_not_in_a_loop() {
    let mut schedule = Schedule::new(at(0), at(86_400_000), at(0), 7);
    schedule.out_of_band = true;
    schedule.failed(at(40_000_000), Failure::Final, 7);
    assert_eq!(schedule.next(at(40_000_000), 7), Next::EnrollAgain);
    schedule.failed(at(40_000_000), PASSING, u64::MAX);
    assert!(matches!(schedule.next(at(40_000_001), 7), Next::Wait { .. }));
    assert!(schedule.needs_enrollment(at(40_000_001)), "while it waits, too");
    let (next, when) = follow(&mut schedule, at(40_000_001), 7);
    assert_eq!(next, Next::EnrollAgain);
    assert!(when < at(40_061_000), "{when:?}");
}

#[test]
fn whoever_is_in_a_hurry_gets_the_next_attempt_at_once_whatever_it_is() {
    let attempt = |schedule: &mut Schedule, now| {
        assert!(matches!(schedule.next(now, 7), Next::Wait { .. }));
        schedule.hurry(now);
        schedule.next(now, 7)
    };
    let mut schedule = Schedule::new(at(0), at(86_400_000), at(0), 7);
    assert_eq!(attempt(&mut schedule, at(1000)), Next::Renew);
    schedule.failed(at(1000), Failure::Final, 7);
    schedule.failed(at(1000), PASSING, u64::MAX);
    assert_eq!(attempt(&mut schedule, at(1001)), Next::EnrollAgain);
}

#[test]
fn who_fails_often_tries_the_other_path_in_turn() {
    let mut schedule = Schedule::new(at(0), at(86_400_000), at(0), 7);
    schedule.out_of_band = true;
    let (mut now, mut seen) = (at(0), Vec::new());
    for _ in 0..7 {
        let (next, when) = follow(&mut schedule, now, 7);
        seen.push(next);
        schedule.failed(when, PASSING, 7);
        now = at(when.unix_millis() + 1);
    }
    let (renew, other) = (Next::Renew, Next::RenewOutOfBand);
    assert_eq!(seen, [renew, renew, renew, other, renew, other, renew]);
}

#[test]
fn the_server_steers_what_was_made_before_and_hastens_what_a_retiring_ca_signed() {
    let (day, grace) = (86_400_000, Lifetime::days(7));
    let window = Window { start: at(0), end: at(1000) };
    let steering = Steering { issued_before: at(500), window };
    let made = |not_before, retiring: Option<i64>| {
        let validity = Window { start: at(not_before - 60), end: at(not_before + day) };
        let advice = advise(validity, at(not_before), Some(&steering), retiring.map(at), grace);
        (advice.reason, advice.window)
    };
    assert_eq!(made(499, Some(600)), (AdviceReason::Steered, window));
    assert_eq!(made(500, None), (AdviceReason::Default, Window::of_lifetime(at(500), at(500 + day))));
    let hastened = Window { start: at(7_201_000), end: at(7_201_000 + day / 3) };
    assert_eq!(made(500, Some(1000)), (AdviceReason::CaRotation, hastened));
    // Its own window comes first.
    assert_eq!(made(500, Some(day)).0, AdviceReason::Default);
}
