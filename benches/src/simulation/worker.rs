//! One worker: a clock, a machine that sleeps and restarts, and a schedule.

use signet_core::certificates::renewal::{Failure, Next, Schedule, advise};

use super::{
    DAY, HOUR, MINUTE, Outcome, Random, STEP, at,
    scenario::{Answer, Scenario},
};

/// A failed request takes this long.
const TIME_LIMIT: i64 = 5_000;

pub(super) struct Worker {
    random: Random,
    number: i64,
    enrolled_at: i64,
    /// How far its clock is ahead of the true time, until clocks are set.
    skew: i64,
    schedule: Option<Schedule>,
    made_at: i64,
    expires_at: i64,
    /// Whether the present certificate's expiry was counted.
    expired: bool,
}

impl Worker {
    pub(super) fn new(scenario: &Scenario, number: usize, seed: u64) -> Self {
        let number = i64::try_from(number).unwrap_or(0);
        let mut random = Random(seed ^ number.unsigned_abs().wrapping_mul(0xd134_2543_de82_ef95));
        // Most are right; some are minutes, a few are hours off.
        let skew = match random.below(100) {
            0..2 => random.below(6 * HOUR) - 3 * HOUR,
            2..12 => random.below(10 * MINUTE) - 5 * MINUTE,
            _ => random.below(200) - 100,
        };
        // Rolled out within a working day.
        let enrolled_at = random.below(8 * HOUR);
        let expires_at = enrolled_at + scenario.lifetime;
        Self { random, number, enrolled_at, skew, schedule: None, made_at: 0, expires_at, expired: false }
    }

    pub(super) fn enrolled_at(&self) -> i64 {
        self.enrolled_at
    }

    /// Does what is due at the true time `now`; returns when to look again.
    pub(super) fn act(&mut self, scenario: &Scenario, now: i64, outcome: &mut Outcome) -> i64 {
        if let Some(until) = self.away_until(scenario, now) {
            return until;
        }
        let Some(mut schedule) = self.schedule.take() else {
            self.receive(scenario, now, now);
            return now;
        };
        self.count_expiry(scenario, now, outcome);
        let own = now + self.skew(scenario, now);
        let mut again = now;
        match schedule.next(at(own), self.random.next()) {
            Next::Wait { until } => again = until.unix_millis() - self.skew(scenario, now),
            Next::AskWindow => self.ask(scenario, &mut schedule, now, own, outcome),
            Next::Renew => again = self.renew(scenario, &mut schedule, now, false, outcome),
            Next::RenewOutOfBand => again = self.renew(scenario, &mut schedule, now, true, outcome),
            Next::EnrollAgain => {
                outcome.enrolled_again += 1;
                self.receive(scenario, now, now);
            }
        }
        self.schedule.get_or_insert(schedule);
        // Clocks that are set wake everybody, as the longest sleep does.
        scenario.clocks_set.filter(|set| now < *set).map_or(again, |set| again.min(set))
    }

    fn ask(&mut self, scenario: &Scenario, schedule: &mut Schedule, now: i64, own: i64, outcome: &mut Outcome) {
        outcome.questions += 1;
        if !scenario.answers(now) {
            return schedule.advised(at(own), None, self.random.next());
        }
        let delay = self.random.below(400);
        schedule.clock.learn(at(now + delay / 2), at(own), at(own + delay));
        let steering = scenario.steering(now);
        let advice = advise(schedule.validity(), at(self.made_at), steering.as_ref(), None, scenario.grace);
        schedule.advised(at(own), Some(&advice), self.random.next());
    }

    /// Returns when the attempt is over.
    fn renew(
        &mut self,
        scenario: &Scenario,
        schedule: &mut Schedule,
        now: i64,
        out_of_band: bool,
        outcome: &mut Outcome,
    ) -> i64 {
        let answer = scenario.renewal(now, out_of_band);
        // One request in a hundred is lost on its way, one answer in five hundred on its way back.
        let (lost, answer_lost) = (self.random.once_in(100), self.random.once_in(500));
        let retry_after = match answer {
            Answer::Later(after) => Some(after),
            Answer::Served if !lost => {
                let step = usize::try_from(now / STEP).unwrap_or(0);
                outcome.renewals.get_mut(step).into_iter().for_each(|count| *count += 1);
                outcome.out_of_band += u64::from(out_of_band);
                if !answer_lost {
                    let clock = schedule.clock;
                    let took = 50 + self.random.below(200);
                    self.receive(scenario, now, now + took);
                    self.schedule.iter_mut().for_each(|next| next.clock = clock);
                    return now + took;
                }
                None
            }
            Answer::Served | Answer::Silence => None,
        };
        outcome.failures += 1;
        let over = now + if retry_after.is_some() { 100 } else { TIME_LIMIT };
        let failure = Failure::Passing { retry_after };
        schedule.failed(at(over + self.skew(scenario, over)), failure, self.random.next());
        over
    }

    /// A certificate that was made at `made` and came at `now`.
    fn receive(&mut self, scenario: &Scenario, made: i64, now: i64) {
        let to = made + scenario.lifetime;
        (self.made_at, self.expires_at, self.expired) = (made, to, false);
        let own = now + self.skew(scenario, now);
        let mut schedule = Schedule::new(at(made), at(to), at(own), self.random.next());
        schedule.out_of_band = true;
        self.schedule = Some(schedule);
    }

    fn count_expiry(&mut self, scenario: &Scenario, now: i64, outcome: &mut Outcome) {
        if self.expired || now < self.expires_at {
            return;
        }
        self.expired = true;
        outcome.expired += 1;
        let end = self.expires_at - 1;
        let awake = self.away_until(scenario, end).is_none() && self.away_until(scenario, end - 30_000).is_none();
        let open = scenario.open_since(end).is_some_and(|since| end - since >= 30_000);
        outcome.expired_while_open += u64::from(awake && open);
    }

    fn skew(&self, scenario: &Scenario, now: i64) -> i64 {
        if scenario.clocks_set.is_some_and(|set| now >= set) { 0 } else { self.skew }
    }

    /// When the machine is back, if it is asleep or restarting: one in twenty sleeps at night, each restarts every few
    /// days, and half of them at once when something is rolled out.
    fn away_until(&self, scenario: &Scenario, now: i64) -> Option<i64> {
        let (day, hour) = (now.div_euclid(DAY), now.rem_euclid(DAY) / HOUR);
        if self.number % 20 == 0 && !(7..22).contains(&hour) {
            let morning = if hour < 7 { day } else { day + 1 };
            return Some(morning * DAY + 7 * HOUR);
        }
        let mut luck = Random(self.number.unsigned_abs() << 20 ^ day.unsigned_abs());
        let restart = day * DAY + luck.below(DAY);
        if luck.once_in(3) && (restart..restart + 3 * MINUTE).contains(&now) {
            return Some(restart + 3 * MINUTE);
        }
        let rollout = scenario.mass_restart.filter(|_| self.number % 2 == 0)?;
        (rollout..rollout + MINUTE).contains(&now).then_some(rollout + MINUTE)
    }
}
