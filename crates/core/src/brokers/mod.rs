//! Message brokers: which topics are whose. One table says it, for the broker's plugin, which decides by it, and for
//! broker tokens, which carry it to brokers of others.

mod pattern;
mod profile;
mod rules;
mod topics;

pub use pattern::{TopicPattern, wanted_filter};
pub use profile::{BROKER_AUDIENCE, DEFAULT_TOPICS, DefaultTopics, default_rules};
pub use rules::{MOST_RULES, TopicRights, TopicRule, TopicRules, TopicUse};
pub use topics::{BrokerTopics, FilterFault, FilterProblem, MOST_FILTER_BYTES, MOST_FILTERS};
