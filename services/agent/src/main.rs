//! `signet-agent` keeps certificates of this machine fresh.
fn main() {}
