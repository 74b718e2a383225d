//! What a device is to be, and how what is there differs from that.

use std::collections::BTreeSet;

use signet_core::{PrincipalId, Role};
use signet_proto::v1;

use crate::{exit::Exit, failure::Failure};

/// A device as a command or a line of a file wants it. What is not said stays as it is, and is the default of a new
/// one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) id: PrincipalId,
    pub(super) display_name: Option<String>,
    pub(super) roles: Option<Vec<Role>>,
    /// Groups are spelled as roles are.
    pub(super) groups: Option<Vec<Role>>,
}

impl Device {
    /// Whether it wants a name, roles or groups.
    pub(super) fn says_more_than_its_id(&self) -> bool {
        self.display_name.is_some() || self.roles.is_some() || self.groups.is_some()
    }

    /// As a new principal of `tenant_id`.
    pub(super) fn to_proto(&self, tenant_id: String) -> v1::Principal {
        v1::Principal {
            tenant_id,
            principal_id: self.id.to_string(),
            principal_type: v1::PrincipalType::Device.into(),
            display_name: self.display_name.clone().unwrap_or_default(),
            roles: texts(self.roles.as_deref().unwrap_or_default()),
            groups: texts(self.groups.as_deref().unwrap_or_default()),
            ..Default::default()
        }
    }

    /// An error that says what differs, unless `found` is this device and may act.
    pub(super) fn refuse_other(&self, found: &v1::Principal) -> Result<(), Failure> {
        let id = &self.id;
        let refused = |message: String, hint: String| Err(Failure::new(Exit::Conflict, message).hint(hint));
        if found.principal_type() != v1::PrincipalType::Device {
            let kind = found.principal_type().as_str_name().rsplit('_').next().unwrap_or_default().to_lowercase();
            return refused(format!("{id} is a {kind}, not a device"), "choose another id".into());
        }
        match found.status() {
            v1::PrincipalStatus::Suspended => {
                return refused(
                    format!("device {id} is suspended"),
                    format!("`principal activate {id}` lets it act again"),
                );
            }
            v1::PrincipalStatus::Deleted => {
                return refused(
                    format!("device {id} was deleted"),
                    "choose another id: this one is not free yet".into(),
                );
            }
            _ => {}
        }
        let mut differences = Vec::new();
        if let Some(name) = self.display_name.as_ref().filter(|name| **name != found.display_name) {
            differences.push(format!("its display name is {:?}, not {name:?}", found.display_name));
        }
        let lists = [("roles", &self.roles, &found.roles), ("groups", &self.groups, &found.groups)];
        for (what, wanted, there) in lists {
            let Some(wanted) = wanted.as_deref().map(texts) else { continue };
            if wanted.iter().collect::<BTreeSet<_>>() != there.iter().collect() {
                differences.push(format!("its {what} are {}, not {}", listed(there), listed(&wanted)));
            }
        }
        if differences.is_empty() {
            return Ok(());
        }
        let hint = format!("change it first (`principal update {id}`), or leave out what may stay as it is");
        refused(format!("device {id} exists, and {}", differences.join("; ")), hint)
    }
}

fn texts(names: &[Role]) -> Vec<String> {
    names.iter().map(Role::to_string).collect()
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Option<Vec<Role>> {
        Some(text.split_whitespace().map(|name| name.parse().unwrap()).collect())
    }

    #[test]
    fn what_is_said_must_be_so_and_what_is_not_said_may_be_anything() {
        let plain = Device { id: "s-1".parse().unwrap(), display_name: None, roles: None, groups: None };
        let found = Device { groups: names("b a"), roles: names("viewer"), ..plain.clone() }.to_proto("acme".into());
        let told = |device: &Device, found: &v1::Principal| device.refuse_other(found).unwrap_err().message;
        assert_eq!(plain.refuse_other(&found), Ok(()));
        assert_eq!(Device { groups: names("a b"), ..plain.clone() }.refuse_other(&found), Ok(()));
        let other = Device { groups: names("a"), roles: names(""), display_name: Some("S".into()), ..plain.clone() };
        let all = "device s-1 exists, and its display name is \"\", not \"S\"; its roles are viewer, not none; its groups are \
                   b, a, not a";
        assert_eq!(told(&other, &found), all);
        let suspended = v1::Principal { status: v1::PrincipalStatus::Suspended.into(), ..found.clone() };
        assert_eq!(told(&plain, &suspended), "device s-1 is suspended");
        let worker = v1::Principal { principal_type: v1::PrincipalType::Worker.into(), ..found };
        assert_eq!(told(&plain, &worker), "s-1 is a worker, not a device");
    }
}
