//! Which topics are whose.

use super::pattern::TopicPattern;
use crate::PrincipalType;

/// Most rules: each has a bit in [`TopicRights`].
pub const MOST_RULES: usize = 64;

/// For whom topics are: those of one of the types, if there are some, who have the permission, if there is one.
#[derive(Clone, Debug)]
pub struct TopicRule {
    /// Empty: all.
    pub types: Vec<PrincipalType>,
    /// Its place in [`TopicRules::permissions`].
    pub permission: Option<usize>,
    /// Where they may publish.
    pub publish: Vec<TopicPattern>,
    /// What they may subscribe to.
    pub subscribe: Vec<TopicPattern>,
}

/// All of them, in the order of the configuration.
#[derive(Clone, Debug, Default)]
pub struct TopicRules {
    /// At most [`MOST_RULES`].
    pub rules: Vec<TopicRule>,
    /// Of the tenant's services, e.g. `mqtt:publish`.
    pub permissions: Vec<String>,
}

/// Which rules are for somebody, a bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicRights(u64);

/// What is done with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicUse {
    /// Write to it.
    Publish,
    /// Read it.
    Subscribe,
}

impl TopicRights {
    /// Whether no rule is for them.
    pub fn is_nothing(self) -> bool {
        self.0 == 0
    }

    /// Whether `earlier` had something that this has not.
    pub fn lack_some_of(self, earlier: Self) -> bool {
        earlier.0 & !self.0 != 0
    }
}

impl TopicRules {
    /// Of the holder of a certificate; `granted`: whether it has each of [`Self::permissions`].
    pub fn rights(&self, principal_type: PrincipalType, granted: &[bool]) -> TopicRights {
        let has = |number: usize| granted.get(number).copied().unwrap_or(false);
        self.select(|rule| rule.is_for(principal_type) && rule.permission.is_none_or(has))
    }

    /// Of the holder of a token, which counts for the permissions that it names and for nothing else.
    pub fn token_rights(&self, principal_type: PrincipalType, scope: &str) -> TopicRights {
        let permission = |number: usize| self.permissions.get(number);
        let names = |number| permission(number).is_some_and(|wanted| scope.split(' ').any(|has| has == wanted));
        self.select(|rule| rule.is_for(principal_type) && rule.permission.is_some_and(names))
    }

    /// The permissions of a token's scope that open something.
    pub fn named_by<'a>(&'a self, scope: &'a str) -> impl Iterator<Item = &'a String> {
        self.permissions.iter().filter(move |wanted| scope.split(' ').any(|has| has == *wanted))
    }

    /// The place of a permission in [`Self::permissions`], which has it from then on.
    pub fn number_of(&mut self, permission: &str) -> usize {
        self.permissions.iter().position(|known| known == permission).unwrap_or_else(|| {
            self.permissions.push(permission.to_owned());
            self.permissions.len().saturating_sub(1)
        })
    }

    fn select(&self, is_for: impl Fn(&TopicRule) -> bool) -> TopicRights {
        let bits = self.rules.iter().enumerate().filter(|(_, rule)| is_for(rule));
        TopicRights(bits.fold(0, |bits, (number, _)| bits | bit(number)))
    }

    /// Whether the client `id` of `tenant` may use all topics that `filter` matches.
    pub fn allow(&self, rights: TopicRights, how: TopicUse, filter: &[u8], tenant: &[u8], id: &[u8]) -> bool {
        self.patterns(rights, how).any(|pattern| pattern.covers(filter, tenant, id))
    }

    /// The same for a topic that a rule names without wildcards: one of few.
    pub fn name(&self, rights: TopicRights, how: TopicUse, topic: &[u8], tenant: &[u8], id: &[u8]) -> bool {
        self.patterns(rights, how).any(|pattern| !pattern.has_wildcard() && pattern.covers(topic, tenant, id))
    }

    /// The topics of all rules that are for somebody.
    pub fn patterns(&self, rights: TopicRights, how: TopicUse) -> impl Iterator<Item = &TopicPattern> {
        let own = self.rules.iter().enumerate().filter(move |(number, _)| rights.0 & bit(*number) != 0);
        own.flat_map(move |(_, rule)| rule.patterns(how))
    }

    /// Whether anybody called so may.
    pub fn allow_somebody(&self, how: TopicUse, filter: &[u8], tenant: &[u8], id: &[u8]) -> bool {
        self.allow(TopicRights(u64::MAX), how, filter, tenant, id)
    }
}

impl TopicRule {
    fn is_for(&self, principal_type: PrincipalType) -> bool {
        self.types.is_empty() || self.types.contains(&principal_type)
    }

    /// The topics for this use.
    pub fn patterns(&self, how: TopicUse) -> &[TopicPattern] {
        match how {
            TopicUse::Publish => &self.publish,
            TopicUse::Subscribe => &self.subscribe,
        }
    }
}

fn bit(number: usize) -> u64 {
    u32::try_from(number).ok().and_then(|number| 1_u64.checked_shl(number)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> TopicRules {
        let rule = |types: &[PrincipalType], permission, publish: &str, subscribe: &str| TopicRule {
            types: types.to_vec(),
            permission,
            publish: vec![publish.parse().unwrap()],
            subscribe: vec![subscribe.parse().unwrap()],
        };
        let device = "tenant/{tenant}/device/{id}";
        TopicRules {
            rules: vec![
                rule(&[PrincipalType::Device], None, &format!("{device}/telemetry/#"), &format!("{device}/commands")),
                rule(&[], Some(0), "tenant/{tenant}/#", "tenant/{tenant}/none"),
            ],
            permissions: vec!["mqtt:publish".into()],
        }
    }

    #[test]
    fn types_and_permissions_open_their_topics_in_one_direction() {
        let rules = rules();
        let device = rules.rights(PrincipalType::Device, &[false]);
        let may = |rights, how, topic: &str| rules.allow(rights, how, topic.as_bytes(), b"acme", b"d1");
        assert!(may(device, TopicUse::Publish, "tenant/acme/device/d1/telemetry/a"));
        assert!(!may(device, TopicUse::Subscribe, "tenant/acme/device/d1/telemetry/a"));
        assert!(may(device, TopicUse::Subscribe, "tenant/acme/device/d1/commands"));
        assert!(!may(device, TopicUse::Publish, "tenant/acme/device/d1/commands"));
        assert!(!may(device, TopicUse::Publish, "tenant/acme/x"));
        assert!(may(rules.rights(PrincipalType::Device, &[true]), TopicUse::Publish, "tenant/acme/x"));
        assert!(rules.rights(PrincipalType::Service, &[false]).is_nothing());
        assert!(rules.rights(PrincipalType::Service, &[]).is_nothing());
        let both = rules.rights(PrincipalType::Device, &[true]);
        assert!(device.lack_some_of(both) && !both.lack_some_of(device));
    }

    #[test]
    fn a_token_opens_what_it_names_and_nothing_else() {
        let rules = rules();
        let rights = |scope| rules.token_rights(PrincipalType::Device, scope);
        assert!(rights("").is_nothing() && rights("mqtt:publis mqtt:publish2").is_nothing());
        let named = rights("mqtt:read mqtt:publish");
        assert!(rules.allow(named, TopicUse::Publish, b"tenant/acme/x", b"acme", b"d1"));
        assert!(!rules.allow(named, TopicUse::Subscribe, b"tenant/acme/device/d1/commands", b"acme", b"d1"));
    }
}
