//! Trying again: the same request, with its request id, after a pause that grows and is drawn anew each time.

use std::time::Duration;

use aws_lc_rs::rand;
use tokio::time::sleep;

use crate::error::ClientError;

/// How patiently a call is repeated while the control plane is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts altogether; at least one is made.
    pub attempts: u32,
    /// Longest pause after the first attempt; doubles with each.
    pub first_pause: Duration,
    /// No pause is longer.
    pub longest_pause: Duration,
}

/// Eight attempts over 11 to 23 seconds: longer than a control plane takes to restart.
impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 8, first_pause: Duration::from_millis(200), longest_pause: Duration::from_secs(10) }
    }
}

impl Retry {
    /// Calls until it succeeds, fails for good, or the attempts are used up.
    pub async fn run<T, F>(&self, mut call: impl FnMut() -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let mut longest = self.first_pause;
        let mut attempt = 1;
        loop {
            match call().await {
                Err(error) if error.is_transient() && attempt < self.attempts => {
                    tracing::debug!(attempt, error = %error, "trying again");
                    // Half of it for sure: the attempts together outlast a restart, and none comes at the same time.
                    sleep(longest / 2 + jittered(longest / 2)).await;
                    longest = longest.saturating_mul(2).min(self.longest_pause);
                    attempt += 1;
                }
                done => return done,
            }
        }
    }
}

/// Between nothing and `longest`, so that clients that failed together do not come back together.
pub fn jittered(longest: Duration) -> Duration {
    let mut byte = [0; 2];
    // Without randomness the full pause is as good.
    if rand::fill(&mut byte).is_err() {
        return longest;
    }
    longest.mul_f64(f64::from(u16::from_be_bytes(byte)) / f64::from(u16::MAX))
}

/// 64 random bits.
pub(crate) fn random() -> u64 {
    let mut bytes = [0; 8];
    // As below: it does not fail, and what is drawn here is no secret.
    let _ = rand::fill(&mut bytes);
    u64::from_be_bytes(bytes)
}

/// A request id: 128 random bits, hexadecimal (AIP-155).
pub fn request_id() -> String {
    let mut bytes = [0; 16];
    // The operating system's generator does not fail once it is up; if it did, an id that repeats is refused by the
    // server, which compares the requests.
    let _ = rand::fill(&mut bytes);
    hex::encode(bytes)
}
