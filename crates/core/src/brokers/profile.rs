//! The topics that hold where nobody has written others: a device's own; and for services, by the tenant's permissions,
//! the tenant's.

use super::{
    pattern::TopicPattern,
    rules::{TopicRule, TopicRules},
};
use crate::PrincipalType;

/// `aud` of broker tokens, as of access tokens for a broker: what stands before the colon of the permissions below.
pub const BROKER_AUDIENCE: &str = "mqtt";

/// A rule as text.
#[derive(Clone, Copy, Debug)]
pub struct DefaultTopics {
    /// Empty: all.
    pub types: &'static [PrincipalType],
    /// Of the tenant's services.
    pub permission: Option<&'static str>,
    /// Patterns, as [`TopicPattern`] reads them.
    pub publish: &'static [&'static str],
    /// The same.
    pub subscribe: &'static [&'static str],
}

/// See the module's words.
pub const DEFAULT_TOPICS: [DefaultTopics; 3] = [
    DefaultTopics {
        types: &[PrincipalType::Device],
        permission: None,
        publish: &[
            "tenant/{tenant}/device/{id}/telemetry/#",
            "tenant/{tenant}/device/{id}/shadow/reported",
            "tenant/{tenant}/device/{id}/commands/ack",
        ],
        subscribe: &[
            "tenant/{tenant}/device/{id}/shadow/desired",
            "tenant/{tenant}/device/{id}/commands",
            "tenant/{tenant}/device/{id}/jobs/#",
        ],
    },
    DefaultTopics { types: &[], permission: Some("mqtt:publish"), publish: &["tenant/{tenant}/#"], subscribe: &[] },
    DefaultTopics { types: &[], permission: Some("mqtt:subscribe"), publish: &[], subscribe: &["tenant/{tenant}/#"] },
];

/// [`DEFAULT_TOPICS`], to decide by.
pub fn default_rules() -> TopicRules {
    let mut rules = TopicRules::default();
    for DefaultTopics { types, permission, publish, subscribe } in DEFAULT_TOPICS {
        let permission = permission.map(|permission| rules.number_of(permission));
        let (publish, subscribe) = (patterns(publish), patterns(subscribe));
        rules.rules.push(TopicRule { types: types.to_vec(), permission, publish, subscribe });
    }
    rules
}

fn patterns(texts: &[&str]) -> Vec<TopicPattern> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_the_default_topics_are_patterns_of_one_tenant() {
        let rules = default_rules();
        for (rule, text) in rules.rules.iter().zip(DEFAULT_TOPICS) {
            assert_eq!((rule.publish.len(), rule.subscribe.len()), (text.publish.len(), text.subscribe.len()));
            assert!(rule.publish.iter().chain(&rule.subscribe).all(TopicPattern::names_tenant));
        }
        assert_eq!(rules.permissions, ["mqtt:publish", "mqtt:subscribe"]);
        let of_audience = |name: &String| name.split_once(':').is_some_and(|(before, _)| before == BROKER_AUDIENCE);
        assert!(rules.permissions.iter().all(of_audience));
    }
}
