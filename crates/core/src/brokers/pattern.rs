//! Topics, filters, and the patterns that say which of them are somebody's.

use std::{borrow::Cow, str::FromStr};

/// Topics of a client: a topic filter (MQTT 5 section 4.7) in which `{tenant}` and `{id}` are its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPattern(Box<[Level]>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    Tenant,
    Id,
    /// `+`
    Any,
    /// `#`, the last one.
    Rest,
    Named(Box<[u8]>),
}

impl FromStr for TopicPattern {
    type Err = &'static str;

    /// Begins with a name or `{tenant}`: what begins with a wildcard would be everybody's, and with `$` the broker's.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let levels: Vec<Level> = text.split('/').map(level).collect::<Result<_, _>>()?;
        match levels.split_last() {
            Some((_, others)) if others.contains(&Level::Rest) => return Err("has # before its end"),
            _ => {}
        }
        match levels.first() {
            Some(Level::Any | Level::Rest) => Err("begins with a wildcard"),
            Some(Level::Named(name)) if name.is_empty() => Err("begins with an empty level"),
            Some(Level::Named(name)) if name.starts_with(b"$") => Err("begins with $"),
            _ => Ok(Self(levels.into())),
        }
    }
}

fn level(text: &str) -> Result<Level, &'static str> {
    match text {
        "{tenant}" => Ok(Level::Tenant),
        "{id}" => Ok(Level::Id),
        "+" => Ok(Level::Any),
        "#" => Ok(Level::Rest),
        _ if text.contains(['+', '#', '{', '}']) => Err("has +, #, {tenant} or {id} as a part of a level"),
        _ if text.contains(char::is_control) => Err("has a control character"),
        _ => Ok(Level::Named(text.as_bytes().into())),
    }
}

impl TopicPattern {
    /// Whether it has `{tenant}`, so that no two tenants have a topic in common.
    pub fn names_tenant(&self) -> bool {
        self.0.contains(&Level::Tenant)
    }

    /// Whether it stands for several topics of a client.
    pub fn has_wildcard(&self) -> bool {
        self.0.iter().any(|level| matches!(level, Level::Any | Level::Rest))
    }

    /// The topic filter that it is for the client `id` of `tenant`.
    pub fn filled(&self, tenant: &str, id: &str) -> String {
        let levels = self.0.iter().map(|level| match level {
            Level::Tenant => tenant.into(),
            Level::Id => id.into(),
            Level::Any => "+".into(),
            Level::Rest => "#".into(),
            Level::Named(name) => String::from_utf8_lossy(name),
        });
        levels.collect::<Vec<Cow<'_, str>>>().join("/")
    }

    /// Whether every topic that `filter` matches is one of these for the client `id` of `tenant`. A topic is a filter
    /// that matches itself.
    pub fn covers(&self, filter: &[u8], tenant: &[u8], id: &[u8]) -> bool {
        let mut asked = filter.split(|byte| *byte == b'/');
        for level in &self.0 {
            if *level == Level::Rest {
                return true;
            }
            // Its # stands for more than one level, or none.
            let Some(part) = asked.next().filter(|part| *part != b"#") else { return false };
            let is_it = match level {
                Level::Tenant => part == tenant,
                Level::Id => part == id,
                Level::Named(name) => part == &**name,
                Level::Any | Level::Rest => true,
            };
            if !is_it {
                return false;
            }
        }
        asked.next().is_none()
    }
}

/// What a subscription wants to read: of a shared one (`$share/<group>/<filter>`, MQTT 5 section 4.8.2) the filter;
/// `None`: it has none.
pub fn wanted_filter(subscription: &[u8]) -> Option<&[u8]> {
    let Some(shared) = subscription.strip_prefix(b"$share/") else { return Some(subscription) };
    let end = shared.iter().position(|byte| *byte == b'/')?;
    let (group, filter) = shared.split_at_checked(end)?;
    let is_group = !group.is_empty() && !group.iter().any(|byte| matches!(byte, b'+' | b'#'));
    let filter = filter.get(1..)?;
    (is_group && !filter.is_empty()).then_some(filter)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// MQTT 5 section 4.7.1, written anew.
    fn matches(filter: &str, topic: &str) -> bool {
        let (filter, topic): (Vec<&str>, Vec<&str>) = (filter.split('/').collect(), topic.split('/').collect());
        if topic[0].starts_with('$') && matches!(filter[0], "+" | "#") {
            return false;
        }
        fn walk(filter: &[&str], topic: &[&str]) -> bool {
            match (filter, topic) {
                (["#"], _) => true,
                (["+", filter @ ..], [_, topic @ ..]) => walk(filter, topic),
                ([name, filter @ ..], [level, topic @ ..]) => name == level && walk(filter, topic),
                ([], []) => true,
                _ => false,
            }
        }
        walk(&filter, &topic)
    }

    fn levels(of: &'static str) -> impl Strategy<Value = String> {
        proptest::collection::vec(of, 1..5).prop_map(|levels| levels.join("/"))
    }

    fn filters() -> impl Strategy<Value = String> {
        (levels("[ab+]?"), proptest::bool::ANY).prop_map(|(filter, rest)| if rest { filter + "/#" } else { filter })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// What is let through as a filter brings no topic that is not let through by itself.
        #[test]
        fn a_filter_is_covered_if_and_only_if_its_topics_are(pattern in filters(), filter in filters(), topic in levels("[abc]?")) {
            let pattern = format!("t/{pattern}");
            let (filter, topic) = (format!("t/{filter}"), format!("t/{topic}"));
            let parsed: TopicPattern = pattern.parse().unwrap();
            let covers = |filter: &str| parsed.covers(filter.as_bytes(), b"", b"");
            prop_assert_eq!(covers(&topic), matches(&pattern, &topic));
            if covers(&filter) && matches(&filter, &topic) {
                prop_assert!(covers(&topic));
            }
            // No more is refused than must be: these topics of the filter go beyond the pattern wherever it can be gone
            // beyond.
            if !covers(&filter) {
                let beyond = filter.replace('+', "zz").replace('#', "zz/zz/zz/zz/zz");
                let parent = filter.strip_suffix("/#").map(|parent| parent.replace('+', "zz"));
                prop_assert!(!covers(&beyond) || parent.is_some_and(|parent| !covers(&parent)), "{} {}", pattern, filter);
            }
        }
    }

    #[test]
    fn a_device_has_its_own_topics_and_no_other() {
        let pattern: TopicPattern = "tenant/{tenant}/device/{id}/telemetry/#".parse().unwrap();
        let covers = |filter: &str| pattern.covers(filter.as_bytes(), b"acme", b"d1");
        for own in ["", "/", "/a", "/a/b", "/#", "/+/b", "/+"] {
            assert!(covers(&format!("tenant/acme/device/d1/telemetry{own}")), "{own}");
        }
        for other in [
            "#",
            "+/#",
            "tenant/#",
            "tenant/+/device/d1/telemetry",
            "tenant/acme/#",
            "tenant/acme/device/+/telemetry/a",
            "tenant/acme/device/d1/#",
            "tenant/acme/device/d1/+",
            "tenant/acme/device/d2/telemetry/a",
            "tenant/globex/device/d1/telemetry/a",
            "tenant/acme/device/d1/telemetryx",
            "/tenant/acme/device/d1/telemetry",
            "tenant//device/d1/telemetry",
            "$SYS/#",
            "",
        ] {
            assert!(!covers(other), "{other}");
        }
        let long = format!("tenant/acme/device/d1/telemetry/{}", "a/".repeat(32_000));
        assert!(covers(&long));
    }

    #[test]
    fn a_pattern_is_filled_with_its_clients_own_names() {
        let pattern: TopicPattern = "tenant/{tenant}/+/{id}//#".parse().unwrap();
        assert_eq!(pattern.filled("acme", "d1"), "tenant/acme/+/d1//#");
        assert!(pattern.covers(b"tenant/acme/+/d1//#", b"acme", b"d1"));
    }

    #[test]
    fn a_shared_subscription_wants_its_filter() {
        assert_eq!(wanted_filter(b"$share/g/a/+"), Some(&b"a/+"[..]));
        assert_eq!(wanted_filter(b"a/b"), Some(&b"a/b"[..]));
        for bad in ["$share", "$share/", "$share/g", "$share/g/", "$share//a", "$share/+/a", "$share/#/a"] {
            assert!(wanted_filter(bad.as_bytes()).is_none_or(|filter| filter == bad.as_bytes()), "{bad}");
        }
        // What is left of such a name is the broker's, and in no pattern.
        assert!("$share/g".parse::<TopicPattern>().is_err());
    }

    #[test]
    fn a_pattern_is_of_one_place() {
        for bad in ["#", "+/a", "/a", "$SYS/a", "a/#/b", "a+", "a/b#", "x{id}", "a/{name}", "a\0", "a\n"] {
            assert!(bad.parse::<TopicPattern>().is_err(), "{bad}");
        }
        assert!("{tenant}/a//+/#".parse::<TopicPattern>().unwrap().names_tenant());
    }
}
