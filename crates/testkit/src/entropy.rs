//! Randomness for tests.

use std::sync::Mutex;

use aws_lc_rs::digest::{SHA256, digest};
use signet_core::Entropy;

/// A deterministic source: the same seed gives the same bytes in the same order.
#[derive(Debug)]
pub struct SeededEntropy {
    state: Mutex<(u64, u64)>,
}

impl SeededEntropy {
    /// A source for `seed`.
    pub const fn new(seed: u64) -> Self {
        Self { state: Mutex::new((seed, 0)) }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, out: &mut [u8]) {
        let mut state = self.state.lock().unwrap();
        for chunk in out.chunks_mut(32) {
            let block = [state.0.to_be_bytes(), state.1.to_be_bytes()].concat();
            state.1 += 1;
            chunk.copy_from_slice(&digest(&SHA256, &block).as_ref()[..chunk.len()]);
        }
    }
}
