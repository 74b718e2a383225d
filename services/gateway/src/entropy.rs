//! The operating system's randomness.

use signet_core::Entropy;

/// See the module's words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, out: &mut [u8]) {
        if aws_lc_rs::rand::fill(out).is_err() {
            // What goes on without randomness could be guessed.
            std::process::abort();
        }
    }
}
