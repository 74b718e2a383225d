//! Which topics are whose.

use signet_core::PrincipalType;

use crate::topics::Pattern;

/// Most rules: each has a bit in [`Rights`].
pub(crate) const MOST: usize = 64;

/// For whom topics are: those of one of the types, if there are some, who have the permission, if there is one.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) types: Vec<PrincipalType>,
    /// Its place in [`Rules::permissions`].
    pub(crate) permission: Option<usize>,
    pub(crate) publish: Vec<Pattern>,
    pub(crate) subscribe: Vec<Pattern>,
}

/// All of them, in the order of the configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    pub(crate) rules: Vec<Rule>,
    /// Of the tenant's services, e.g. `mqtt:publish`.
    pub(crate) permissions: Vec<String>,
}

/// Which rules are for somebody, a bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rights(u64);

/// What is done with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Publish,
    Subscribe,
}

impl Rights {
    pub(crate) fn is_nothing(self) -> bool {
        self.0 == 0
    }

    /// Whether `earlier` had something that this has not.
    pub(crate) fn lack_some_of(self, earlier: Self) -> bool {
        earlier.0 & !self.0 != 0
    }
}

impl Rules {
    /// Of the holder of a certificate; `granted`: whether it has each of [`Self::permissions`].
    pub(crate) fn rights(&self, principal_type: PrincipalType, granted: &[bool]) -> Rights {
        let has = |number: usize| granted.get(number).copied().unwrap_or(false);
        self.select(|rule| rule.is_for(principal_type) && rule.permission.is_none_or(has))
    }

    /// Of the holder of a token, which counts for the permissions that it names and for nothing else.
    pub(crate) fn token_rights(&self, principal_type: PrincipalType, scope: &str) -> Rights {
        let permission = |number: usize| self.permissions.get(number);
        let names = |number| permission(number).is_some_and(|wanted| scope.split(' ').any(|has| has == wanted));
        self.select(|rule| rule.is_for(principal_type) && rule.permission.is_some_and(names))
    }

    /// The permissions of a token's scope that open something.
    pub(crate) fn named_by<'a>(&'a self, scope: &'a str) -> impl Iterator<Item = &'a String> {
        self.permissions.iter().filter(move |wanted| scope.split(' ').any(|has| has == *wanted))
    }

    fn select(&self, is_for: impl Fn(&Rule) -> bool) -> Rights {
        let bits = self.rules.iter().enumerate().filter(|(_, rule)| is_for(rule));
        Rights(bits.fold(0, |bits, (number, _)| bits | bit(number)))
    }

    /// Whether the client `id` of `tenant` may use all topics that `filter` matches.
    pub(crate) fn allow(&self, rights: Rights, how: Use, filter: &[u8], tenant: &[u8], id: &[u8]) -> bool {
        let mut own = self.rules.iter().enumerate().filter(|(number, _)| rights.0 & bit(*number) != 0);
        own.any(|(_, rule)| rule.patterns(how).iter().any(|pattern| pattern.covers(filter, tenant, id)))
    }

    /// Whether anybody called so may.
    pub(crate) fn allow_somebody(&self, how: Use, filter: &[u8], tenant: &[u8], id: &[u8]) -> bool {
        self.allow(Rights(u64::MAX), how, filter, tenant, id)
    }
}

impl Rule {
    fn is_for(&self, principal_type: PrincipalType) -> bool {
        self.types.is_empty() || self.types.contains(&principal_type)
    }

    pub(crate) fn patterns(&self, how: Use) -> &[Pattern] {
        match how {
            Use::Publish => &self.publish,
            Use::Subscribe => &self.subscribe,
        }
    }
}

fn bit(number: usize) -> u64 {
    u32::try_from(number).ok().and_then(|number| 1_u64.checked_shl(number)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        let rule = |types: &[PrincipalType], permission, publish: &str, subscribe: &str| Rule {
            types: types.to_vec(),
            permission,
            publish: vec![publish.parse().unwrap()],
            subscribe: vec![subscribe.parse().unwrap()],
        };
        let device = "tenant/{tenant}/device/{id}";
        Rules {
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
        assert!(may(device, Use::Publish, "tenant/acme/device/d1/telemetry/a"));
        assert!(!may(device, Use::Subscribe, "tenant/acme/device/d1/telemetry/a"));
        assert!(may(device, Use::Subscribe, "tenant/acme/device/d1/commands"));
        assert!(!may(device, Use::Publish, "tenant/acme/device/d1/commands"));
        assert!(!may(device, Use::Publish, "tenant/acme/x"));
        assert!(may(rules.rights(PrincipalType::Device, &[true]), Use::Publish, "tenant/acme/x"));
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
        assert!(rules.allow(named, Use::Publish, b"tenant/acme/x", b"acme", b"d1"));
        assert!(!rules.allow(named, Use::Subscribe, b"tenant/acme/device/d1/commands", b"acme", b"d1"));
    }
}
