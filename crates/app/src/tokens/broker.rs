//! What broker tokens say. Several brokers read several forms of it: all are of one list of topic filters.

use serde::{Deserialize, Serialize};
use signet_core::{Role, brokers::BrokerTopics};

/// `typ` of broker tokens: of ours, since no standard has one.
pub const BROKER_TOKEN: &str = "mqtt+jwt";

/// A broker token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerToken {
    /// The tenant's issuer of these.
    pub iss: String,
    /// Whose: a SPIFFE ID.
    pub sub: String,
    /// [`signet_core::brokers::BROKER_AUDIENCE`].
    pub aud: String,
    /// The client id that it is for; `None`: any of its holder's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Issued at, Unix seconds.
    pub iat: i64,
    /// Its end, Unix seconds.
    pub exp: i64,
    /// Unlike all others.
    pub jti: String,
    /// Roles that the holder has in its tenant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<Role>,
    /// The certificate that it was asked for with: its issuer and, behind a slash, its serial number in hexadecimal.
    pub certificate: String,
    /// Topic filters that it may publish to, as mosquitto-jwt-auth reads them.
    pub publ: Vec<String>,
    /// The same of those that it may subscribe to.
    pub subs: Vec<String>,
    /// The same as EMQX reads them.
    pub acl: Vec<AclEntry>,
}

/// A rule of EMQX; the first that matches decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclEntry {
    /// `allow` or `deny`.
    pub permission: String,
    /// `publish`, `subscribe` or `all`.
    pub action: String,
    /// A topic filter.
    pub topic: String,
}

/// As EMQX reads it (5.5 and later): what no rule matches is left to what it asks next, so the last one matches all.
pub fn acl(topics: &BrokerTopics) -> Vec<AclEntry> {
    let entry = |permission: &str, action: &str, topic: &str| AclEntry {
        permission: permission.into(),
        action: action.into(),
        topic: topic.into(),
    };
    let publish = topics.publish.iter().map(|topic| entry("allow", "publish", topic));
    let subscribe = topics.subscribe.iter().map(|topic| entry("allow", "subscribe", topic));
    publish.chain(subscribe).chain([entry("deny", "all", "#")]).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use signet_core::{
        PrincipalType,
        brokers::{TopicUse, default_rules},
    };

    use super::*;

    /// MQTT 5 section 4.7.1, written anew.
    fn matches(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["+" | "#", ..], [first, ..]) if first.starts_with('$') => false,
            (["#"], _) => true,
            (["+", filter @ ..], [_, topic @ ..]) => matches(filter, topic),
            ([name, filter @ ..], [level, topic @ ..]) => name == level && matches(filter, topic),
            ([], []) => true,
            _ => false,
        }
    }

    fn is_match(filter: &str, topic: &str) -> bool {
        matches(&filter.split('/').collect::<Vec<_>>(), &topic.split('/').collect::<Vec<_>>())
    }

    /// As mosquitto-jwt-auth decides.
    fn by_lists(claims: &serde_json::Value, how: TopicUse, topic: &str) -> bool {
        let list = if how == TopicUse::Publish { "publ" } else { "subs" };
        claims[list].as_array().unwrap().iter().any(|filter| is_match(filter.as_str().unwrap(), topic))
    }

    /// As EMQX decides; `None`: it asks something else.
    fn by_acl(claims: &serde_json::Value, how: TopicUse, topic: &str) -> Option<bool> {
        let action = if how == TopicUse::Publish { "publish" } else { "subscribe" };
        let is_about = |entry: &&serde_json::Value| {
            (entry["action"] == action || entry["action"] == "all") && is_match(entry["topic"].as_str().unwrap(), topic)
        };
        claims["acl"].as_array().unwrap().iter().find(is_about).map(|entry| entry["permission"] == "allow")
    }

    fn token(topics: &BrokerTopics) -> serde_json::Value {
        let token = BrokerToken {
            iss: String::new(),
            sub: String::new(),
            aud: String::new(),
            client_id: None,
            iat: 0,
            exp: 0,
            jti: String::new(),
            roles: Vec::new(),
            certificate: String::new(),
            acl: acl(topics),
            publ: topics.publish.clone(),
            subs: topics.subscribe.clone(),
        };
        serde_json::to_value(token).unwrap()
    }

    fn filters() -> impl Strategy<Value = Vec<String>> {
        proptest::collection::vec("tenant/(acme|globex)(/(a|b|\\+|device/d1|device/d1/telemetry)){0,2}(/#)?", 0..4)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        /// And none of them says more than the rules do.
        #[test]
        fn all_forms_of_a_token_say_the_same_as_the_table(
            (publish, subscribe) in (filters(), filters()),
            granted in proptest::array::uniform2(proptest::bool::ANY),
            is_device in proptest::bool::ANY,
            topic in "(\\$SYS/)?tenant/(acme|globex)(/(a|b|x|device/d1|device/d1/telemetry|device/d2/telemetry)){0,3}",
        ) {
            let of = if is_device { PrincipalType::Device } else { PrincipalType::Service };
            let rules = default_rules();
            let rights = rules.rights(of, &granted);
            let may = |how| rules.allow(rights, how, topic.as_bytes(), b"acme", b"d1");
            let both = [TopicUse::Publish, TopicUse::Subscribe];
            // All that it has.
            let whole = token(&rules.narrowed(rights, ("acme", "d1"), &BrokerTopics::default()).unwrap());
            for how in both {
                prop_assert_eq!(by_lists(&whole, how, &topic), may(how));
                prop_assert_eq!(by_acl(&whole, how, &topic).unwrap_or(false), may(how));
            }
            // Some of it.
            let wanted = BrokerTopics { publish, subscribe };
            if let Ok(narrowed) = rules.narrowed(rights, ("acme", "d1"), &wanted) {
                let claims = token(&narrowed);
                for how in both {
                    let lists = by_lists(&claims, how, &topic);
                    prop_assert_eq!(by_acl(&claims, how, &topic).unwrap_or(false), lists);
                    prop_assert!(topic.starts_with('$') || by_acl(&claims, how, &topic).is_some(), "left to others");
                    prop_assert!(may(how) || !lists, "{} {:?}", topic, narrowed);
                }
            }
        }
    }
}
