//! The operating system's randomness.

use std::process::abort;

use signet_core::Entropy;

/// The operating system's generator, by aws-lc. Ends the process if it fails: nothing safe can be done without it.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&self, out: &mut [u8]) {
        if aws_lc_rs::rand::fill(out).is_err() {
            tracing::error!("the operating system returns no random bytes: stopping");
            abort();
        }
    }
}
