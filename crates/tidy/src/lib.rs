//! The house rules, as one test: `cargo test -p signet-tidy`.
