//! A tenant's rules: who, proven how, becomes which principal.

mod check;
mod decide;
mod entity;
mod glob;
mod template;

pub use check::{
    MAX_ANCHOR, MAX_ANCHORS, MAX_CONDITIONS, MAX_CONDITIONS_BYTES, MAX_FACT, MAX_NAME, MAX_PATTERN, MAX_PATTERNS,
};
pub use decide::{Decision, Grant, decide};
pub use entity::{Condition, EnrollmentRule, Miss, RuleTemplate, Source};
pub use glob::matches;
pub use template::IdTemplate;
