//! The `enroll` Lambda.
fn main() {}
