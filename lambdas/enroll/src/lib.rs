//! The `enroll` Lambda.
