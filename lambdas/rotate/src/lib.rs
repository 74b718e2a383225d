//! The `rotate` Lambda.
