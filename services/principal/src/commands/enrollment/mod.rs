//! First certificates: by join token, by rule, and for a person who signs in.

pub mod enroll;
pub mod login;
pub mod rules;
pub mod tokens;
