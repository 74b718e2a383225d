//! Runs of the plane, one a seed.

use std::{env, panic, thread};

use tokio::runtime::Builder;

use crate::plane::Plane;

/// Steps of a run.
const STEPS: u32 = 60;
/// Runs for every commit; `scripts/nightly sim` makes 10,000.
const SEEDS: u64 = 200;

/// Runs a seed. Returns a digest of all that happened; `Err`: what went wrong, and how to see it again.
fn run(seed: u64) -> Result<String, String> {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let plane = Plane::new(seed).await.unwrap();
        for step in 0..=STEPS {
            if step < STEPS { plane.step(step).await } else { plane.settle().await }
            let violations = plane.site.oracle.lock().unwrap().violations.clone();
            if let Some(first) = violations.first() {
                let lines = plane.site.last_lines(40);
                return Err(format!(
                    "seed {seed}, step {step}: {first}\n{lines}\nagain: SIGNET_SIM_SEED={seed} cargo test -p signet-sim seeds"
                ));
            }
        }
        Ok(plane.site.trace_digest())
    })
}

fn setting(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let [one, two] = [1, 2].map(|seed| run(seed).unwrap_or_else(|wrong| panic!("{wrong}")));
    assert_eq!((&one, &two), (&run(1).unwrap(), &run(2).unwrap()));
    assert_ne!(one, two);
}

/// `SIGNET_SIM_SEED` repeats one; `SIGNET_SIM_SEEDS` says how many.
#[test]
fn invariants_hold_for_all_seeds() {
    let one = setting("SIGNET_SIM_SEED");
    let first = one.unwrap_or(0);
    let seeds = if one.is_some() { 1 } else { setting("SIGNET_SIM_SEEDS").unwrap_or(SEEDS) };
    let workers = thread::available_parallelism().unwrap().get() as u64;
    let failed: Vec<String> = thread::scope(|scope| {
        let worker =
            |worker: u64| (first + worker..first + seeds).step_by(workers as usize).find_map(|seed| run(seed).err());
        let threads: Vec<_> = (0..workers).map(|number| scope.spawn(move || worker(number))).collect();
        threads
            .into_iter()
            .filter_map(|thread| thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic)))
            .collect()
    });
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}
