//! Lines for the broker's log: of refusals no more than anybody reads, and those of our own thread, which must not call
//! the broker.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tracing_subscriber::fmt::MakeWriter;

/// Refusals that are told of at once after a quiet time, and then in a second.
const BURST: u32 = 50;
const PER_SECOND: u32 = 10;
/// Lines of our own thread that wait.
const MOST_WAITING: usize = 200;

/// How much a line matters; the broker's numbers (`mosquitto.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    Notice = 2,
    Warning = 4,
    Error = 8,
}

pub(crate) type Line = (Weight, String);

/// Of the broker's thread.
#[derive(Debug)]
pub(crate) struct Journal {
    lines: Vec<Line>,
    left: u32,
    refilled: Instant,
    untold: u64,
    other: OtherLines,
}

impl Journal {
    pub(crate) fn new(other: OtherLines) -> Self {
        Self { lines: Vec::new(), left: BURST, refilled: Instant::now(), untold: 0, other }
    }

    pub(crate) fn say(&mut self, weight: Weight, line: String) {
        self.lines.push((weight, line));
    }

    /// A refusal: what clients bring about has no more lines than [`PER_SECOND`].
    pub(crate) fn refusal(&mut self, line: impl FnOnce() -> String) {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                self.lines.push((Weight::Notice, line()));
            }
            None => self.untold = self.untold.saturating_add(1),
        }
    }

    /// To be called again and again.
    pub(crate) fn tick(&mut self, now: Instant) {
        if now.duration_since(self.refilled) >= Duration::from_secs(1) {
            self.refilled = now;
            self.left = self.left.saturating_add(PER_SECOND).min(BURST);
            let untold = std::mem::take(&mut self.untold);
            if untold > 0 {
                self.lines.push((Weight::Notice, format!("{untold} more refusals in the last second")));
            }
        }
        let mut other = self.other.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.lines.extend(other.drain(..));
    }

    /// What the broker's log has not got yet.
    pub(crate) fn take(&mut self) -> Vec<Line> {
        std::mem::take(&mut self.lines)
    }
}

/// What is said on our own thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct OtherLines(Arc<Mutex<VecDeque<Line>>>);

impl io::Write for OtherLines {
    /// One line a call, which is how `tracing_subscriber` writes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(bytes).trim_end().to_owned();
        let weight = if line.starts_with("ERROR") { Weight::Error } else { Weight::Warning };
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < MOST_WAITING {
            waiting.push_back((weight, line));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for OtherLines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_has_few_lines_and_all_are_counted() {
        let mut journal = Journal::new(OtherLines::default());
        let begun = Instant::now();
        (0..1000).for_each(|number| journal.refusal(|| number.to_string()));
        assert_eq!(journal.take().len(), 50);
        journal.tick(begun + Duration::from_secs(2));
        assert_eq!(journal.take(), [(Weight::Notice, "950 more refusals in the last second".to_owned())]);
        (0..1000).for_each(|number| journal.refusal(|| number.to_string()));
        assert_eq!(journal.take().len(), 10);
    }
}
