//! The life of CAs, followed for decades.

use proptest::prelude::*;
use signet_core::{
    CaId, Lifetime, TenantId, Time,
    authorities::{Ca, CaKind, CaState, RotationStep, plan_rotation},
};

const START: Time = Time::from_unix_seconds(1_800_000_000);

/// The CAs of one kind, and how long they and what they sign are valid.
struct Life {
    cas: Vec<Ca>,
    ca: Lifetime,
    leaf: Lifetime,
}

impl Life {
    fn tenant() -> Self {
        Self { cas: Vec::new(), ca: Lifetime::days(730), leaf: Lifetime::days(90) }
    }

    fn root() -> Self {
        Self { cas: Vec::new(), ca: Lifetime::days(3652), leaf: Lifetime::days(730) }
    }

    fn plan(&self, now: Time) -> Vec<RotationStep> {
        plan_rotation(&self.cas, self.leaf.millis(), now)
    }

    /// Plans and executes until nothing is due.
    fn follow(&mut self, now: Time) {
        for _ in 0..10 {
            let steps = self.plan(now);
            if steps.is_empty() {
                return;
            }
            steps.into_iter().for_each(|step| self.execute(step, now));
        }
        assert_eq!(self.plan(now), [], "the plan never ends");
    }

    fn execute(&mut self, step: RotationStep, now: Time) {
        match step {
            RotationStep::Prepare { generation } => {
                assert!(self.cas.iter().all(|ca| ca.generation < generation), "a name is used once");
                self.cas.push(ca(generation, now, self.ca));
            }
            RotationStep::Activate { ca, replaces } => {
                let next = self.cas.iter().find(|known| known.id == ca).unwrap();
                let nothing_signs = self.active().iter().all(|active| active.not_after <= now);
                assert!(nothing_signs || next.known_at() <= now, "verifiers do not know {ca} yet");
                if let Some(old) = replaces {
                    self.set(&old, CaState::Active, CaState::Retiring, now);
                }
                self.set(&ca, CaState::Prepared, CaState::Active, now);
            }
            RotationStep::Retire { ca } => {
                let old = self.cas.iter().find(|known| known.id == ca).unwrap();
                assert!(
                    old.updated_at.plus(self.leaf) < now || old.not_after <= now,
                    "{ca} may have signed what still lives"
                );
                self.set(&ca, CaState::Retiring, CaState::Retired, now);
            }
            RotationStep::Anchor { ca } => {
                let ca = self.cas.iter_mut().find(|known| known.id == ca).unwrap();
                assert!(ca.lacks_anchor());
                ca.anchor_der = vec![0x30];
            }
        }
    }

    fn set(&mut self, id: &CaId, from: CaState, to: CaState, now: Time) {
        let ca = self.cas.iter_mut().find(|ca| &ca.id == id).unwrap();
        assert_eq!(ca.state, from, "{id}");
        (ca.state, ca.updated_at) = (to, now);
    }

    fn active(&self) -> Vec<&Ca> {
        self.cas.iter().filter(|ca| ca.state == CaState::Active).collect()
    }
}

fn ca(generation: u32, now: Time, lifetime: Lifetime) -> Ca {
    let id = CaId::new("acme", generation).unwrap();
    Ca {
        key: format!("soft:{id}").parse().unwrap(),
        issuer: CaId::new("root", 1).unwrap(),
        id,
        tenant: "acme".parse::<TenantId>().unwrap(),
        kind: CaKind::Tenant,
        generation,
        state: CaState::Prepared,
        certificate_der: Vec::new(),
        anchor_der: vec![0x30],
        not_before: now,
        not_after: now.plus(lifetime),
        updated_at: now,
    }
}

fn day(number: u32) -> Time {
    START.plus(Lifetime::days(number))
}

#[test]
fn each_step_comes_at_its_time() {
    let mut life = Life::tenant();
    life.follow(day(0));
    assert_eq!(life.active().len(), 1, "the first one signs at once");
    assert_eq!(life.plan(day(364)), []);
    assert_eq!(life.plan(day(365)), [RotationStep::Prepare { generation: 2 }]);
    life.follow(day(365));
    assert_eq!(life.plan(day(607)), []);
    let (old, new) = (life.cas[0].id.clone(), life.cas[1].id.clone());
    assert_eq!(life.plan(day(609)), [RotationStep::Activate { ca: new, replaces: Some(old.clone()) }]);
    life.follow(day(609));
    assert_eq!(life.plan(day(699)), []);
    assert_eq!(life.plan(day(700)), [RotationStep::Retire { ca: old }]);
}

/// A root stops to sign while a CA that it signs still fits into its own life: else no tenant could be made.
#[test]
fn a_root_is_replaced_before_what_it_signs_would_outlive_it() {
    let mut life = Life::root();
    for number in 0..12_000 {
        life.follow(day(number));
        let active = life.active()[0];
        assert!(day(number).plus(life.leaf) <= active.not_after, "day {number}");
    }
}

proptest! {
    /// However irregularly the scheduler comes, at most one CA signs, nothing is trusted too short, and as long
    /// as it comes every few weeks, the one that signs can sign for the longest lifetime.
    #[test]
    fn there_is_always_one_that_signs(gaps in prop::collection::vec(1u32..25, 1..400)) {
        for mut life in [Life::tenant(), Life::root()] {
            let mut today = 0;
            life.follow(day(today));
            for gap in &gaps {
                today += gap;
                let now = day(today);
                life.follow(now);
                prop_assert_eq!(life.active().len(), 1);
                prop_assert!(now.plus(life.leaf) <= life.active()[0].not_after, "day {}", today);
            }
        }
    }

    /// After any absence, also of years, the plan leads back to one CA that signs and is valid.
    #[test]
    fn the_plan_recovers_from_any_absence(absence in 1u32..10_000) {
        let mut life = Life::tenant();
        life.follow(day(0));
        life.follow(day(absence));
        prop_assert_eq!(life.active().len(), 1);
        prop_assert!(day(absence) < life.active()[0].not_after);
    }

    /// What the plan asks for, it asks for once.
    #[test]
    fn a_step_that_was_taken_is_not_due_again(number in 0u32..3_000) {
        let mut life = Life::tenant();
        life.follow(day(0));
        let now = day(number);
        for step in life.plan(now) {
            life.execute(step.clone(), now);
            prop_assert!(!life.plan(now).contains(&step));
        }
    }
}

/// The clock was ahead for one look, or for two, and is right again.
#[test]
fn a_ca_of_a_clock_that_was_ahead_is_passed_over() {
    let id = |life: &Life, generation: usize| life.cas[generation - 1].id.clone();
    let mut life = Life::tenant();
    life.follow(day(0));
    life.follow(day(400));
    assert_eq!(life.plan(day(10)), [], "nothing is due, and nothing wrong");
    assert_eq!(life.plan(day(366)), [RotationStep::Prepare { generation: 3 }]);
    life.follow(day(366));
    let replaces = Some(id(&life, 1));
    assert_eq!(life.plan(day(609)), [RotationStep::Activate { ca: id(&life, 3), replaces }]);
    life.execute(life.plan(day(609)).remove(0), day(609));
    assert_eq!(life.active()[0].generation, 3);

    let mut life = Life::tenant();
    life.follow(day(0));
    life.follow(day(400));
    life.follow(day(620));
    assert_eq!(life.active()[0].generation, 2);
    let back = RotationStep::Activate { ca: id(&life, 1), replaces: Some(id(&life, 2)) };
    assert_eq!(life.plan(day(10)), [back], "the old one is known everywhere, and not over");

    let mut life = Life::tenant();
    life.follow(day(0));
    life.follow(day(800));
    assert_eq!(life.cas[0].state, CaState::Retired);
    assert_eq!(life.plan(day(10)), [RotationStep::Prepare { generation: 3 }]);
    life.execute(RotationStep::Prepare { generation: 3 }, day(10));
    let takes_over = RotationStep::Activate { ca: id(&life, 3), replaces: Some(id(&life, 2)) };
    assert_eq!(life.plan(day(10)), [takes_over], "at once: nothing else signs");
}
