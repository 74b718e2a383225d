//! The `rotate` Lambda.
fn main() {}
