//! What strangers send, one function for each parser: given any bytes it checks that the parser's laws hold, and panics
//! where they do not. `fuzz/` runs them under libFuzzer (`scripts/nightly fuzz`); the tests here feed them the kept
//! corpus.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken law is a panic"
)]

mod attested;
mod calls;
mod certificates;
mod keys;
mod plain;

pub use attested::{jwt, sts};
pub use calls::{enroll, join_token, page_token, renew};
pub use certificates::{certificate, chain, csr, ocsp};
pub use plain::{join_uri, proxy, stored, topic_filter};

/// A target: it panics where a law is broken.
pub type Target = fn(&[u8]);

/// Every target, by the name of its corpus below `fuzz/corpus` and of its file in `fuzz/fuzz_targets`.
pub const TARGETS: [(&str, Target); 14] = [
    ("certificate", certificate),
    ("chain", chain),
    ("csr", csr),
    ("enroll", enroll),
    ("join_token", join_token),
    ("join_uri", join_uri),
    ("jwt", jwt),
    ("ocsp", ocsp),
    ("page_token", page_token),
    ("proxy", proxy),
    ("renew", renew),
    ("stored", stored),
    ("sts", sts),
    ("topic_filter", topic_filter),
];
