//! The topic filters of one client: what its broker token says, in each of the forms that brokers read.

use super::rules::{TopicRights, TopicRules, TopicUse};

/// Most filters of a token, of both kinds together.
pub const MOST_FILTERS: usize = 32;
/// Most bytes of them: a token has each twice, and is read if it has at most 16 KiB.
pub const MOST_FILTER_BYTES: usize = 3 * 1024;

/// Topic filters (MQTT 5 section 4.7) that a client may publish and subscribe to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerTopics {
    /// Where it may publish.
    pub publish: Vec<String>,
    /// What it may subscribe to.
    pub subscribe: Vec<String>,
}

/// Why a client does not get the filter that it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterFault {
    /// For which use it was asked for.
    pub how: TopicUse,
    /// The filter, as it was asked for.
    pub filter: String,
    /// What is wrong with it.
    pub problem: FilterProblem,
}

/// What is wrong with a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterProblem {
    /// It is none; the text goes on from it.
    Malformed(&'static str),
    /// It matches topics that are not the client's.
    NotGranted,
    /// With it there are too many, or they are too long.
    TooMany,
}

impl BrokerTopics {
    /// Whether nothing is in it.
    pub const fn is_empty(&self) -> bool {
        self.publish.is_empty() && self.subscribe.is_empty()
    }
}

impl TopicRules {
    /// All filters of the client `id` of `tenant`.
    pub fn topics(&self, rights: TopicRights, tenant: &str, id: &str) -> BrokerTopics {
        let of = |how| unlike(self.patterns(rights, how).map(|pattern| pattern.filled(tenant, id)));
        BrokerTopics { publish: of(TopicUse::Publish), subscribe: of(TopicUse::Subscribe) }
    }

    /// Those that a client asks for, each of which must be covered by what it may; with `{tenant}` and `{id}` for its
    /// own. All that it may if it asks for none.
    pub fn narrowed(
        &self,
        rights: TopicRights,
        (tenant, id): (&str, &str),
        wanted: &BrokerTopics,
    ) -> Result<BrokerTopics, FilterFault> {
        if wanted.is_empty() {
            return Ok(self.topics(rights, tenant, id));
        }
        let (mut count, mut bytes) = (0_usize, 0_usize);
        let mut one = |how, text: &String| {
            let fault = |problem| FilterFault { how, filter: text.clone(), problem };
            let pattern = text.parse::<super::TopicPattern>();
            let filter = pattern.map_err(|why| fault(FilterProblem::Malformed(why)))?.filled(tenant, id);
            if !self.allow(rights, how, filter.as_bytes(), tenant.as_bytes(), id.as_bytes()) {
                return Err(fault(FilterProblem::NotGranted));
            }
            (count, bytes) = (count.saturating_add(1), bytes.saturating_add(filter.len()));
            let fits = count <= MOST_FILTERS && bytes <= MOST_FILTER_BYTES;
            if fits { Ok(filter) } else { Err(fault(FilterProblem::TooMany)) }
        };
        let mut all = |how, texts: &[String]| -> Result<Vec<String>, FilterFault> {
            Ok(unlike(texts.iter().map(|text| one(how, text)).collect::<Result<Vec<_>, _>>()?))
        };
        let publish = all(TopicUse::Publish, &wanted.publish)?;
        Ok(BrokerTopics { publish, subscribe: all(TopicUse::Subscribe, &wanted.subscribe)? })
    }
}

/// Each once, in the order in which they come.
fn unlike(filters: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for filter in filters {
        if !found.contains(&filter) {
            found.push(filter);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PrincipalType, brokers::default_rules};

    const OWN: (&str, &str) = ("acme", "d1");

    fn texts(of: &[&str]) -> Vec<String> {
        of.iter().map(|text| (*text).to_owned()).collect()
    }

    fn narrowed(of: PrincipalType, granted: &[bool], publish: &[&str]) -> Result<BrokerTopics, FilterFault> {
        let rules = default_rules();
        let wanted = BrokerTopics { publish: texts(publish), subscribe: Vec::new() };
        rules.narrowed(rules.rights(of, granted), OWN, &wanted)
    }

    #[test]
    fn who_asks_for_nothing_gets_all_that_it_has() {
        let device = narrowed(PrincipalType::Device, &[], &[]).unwrap();
        assert_eq!(device.publish.len(), 3);
        assert_eq!(device.subscribe[1], "tenant/acme/device/d1/commands");
        let both = narrowed(PrincipalType::Service, &[true, true], &[]).unwrap();
        assert_eq!((both.publish, both.subscribe), (texts(&["tenant/acme/#"]), texts(&["tenant/acme/#"])));
        assert!(narrowed(PrincipalType::Service, &[], &[]).unwrap().is_empty());
    }

    #[test]
    fn who_asks_for_some_gets_those_alone_and_none_that_goes_beyond_its_own() {
        let own = "tenant/{tenant}/device/{id}/telemetry/+";
        let device = narrowed(PrincipalType::Device, &[], &[own, own]).unwrap();
        assert_eq!(device.publish, ["tenant/acme/device/d1/telemetry/+"]);
        assert!(device.subscribe.is_empty(), "what is not asked for");
        for (filter, problem) in [
            ("tenant/acme/device/d1/#", FilterProblem::NotGranted),
            ("tenant/acme/device/d2/telemetry/a", FilterProblem::NotGranted),
            ("tenant/globex/device/d1/telemetry/a", FilterProblem::NotGranted),
            (
                "tenant/acme/device/d1/telemetry/${clientid}",
                FilterProblem::Malformed("has +, #, {tenant} or {id} as a part of a level"),
            ),
            ("#", FilterProblem::Malformed("begins with a wildcard")),
            ("", FilterProblem::Malformed("begins with an empty level")),
            ("$share/g/tenant/acme/device/d1/telemetry", FilterProblem::Malformed("begins with $")),
        ] {
            let fault = narrowed(PrincipalType::Device, &[], &[own, filter]).unwrap_err();
            assert_eq!((&*fault.filter, fault.problem, fault.how), (filter, problem, TopicUse::Publish));
        }
        let may_read = narrowed(PrincipalType::Service, &[false, true], &["tenant/acme/x"]);
        assert_eq!(may_read.unwrap_err().problem, FilterProblem::NotGranted);
    }

    #[test]
    fn a_token_has_room_for_what_is_asked_for() {
        let names: Vec<String> = (0..=MOST_FILTERS).map(|number| format!("tenant/acme/{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let granted = &[true, true];
        assert_eq!(narrowed(PrincipalType::Service, granted, &names[1..]).unwrap().publish.len(), MOST_FILTERS);
        let fault = narrowed(PrincipalType::Service, granted, &names).unwrap_err();
        assert_eq!((fault.filter, fault.problem), (format!("tenant/acme/{MOST_FILTERS}"), FilterProblem::TooMany));
        let long = format!("tenant/acme/{}", "x".repeat(MOST_FILTER_BYTES));
        assert_eq!(narrowed(PrincipalType::Service, granted, &[&long]).unwrap_err().problem, FilterProblem::TooMany);
    }
}
