//! Whether rules can be.

use std::collections::BTreeMap;

use super::{
    model::{BUILT_IN_ROLES, GRANTABLE, Grant, Grantee, MAX_ENTRIES, MAX_GRANTED, Rules, grantable_to},
    permissions::PERMISSIONS,
};
use crate::{
    Error,
    text::{MAX_DISPLAY_NAME, is_deceptive},
};

impl Rules {
    /// Whether they can be; policies are checked by whoever knows Cedar. `inherited`: the environment's permissions.
    pub fn check(&self, inherited: &BTreeMap<String, String>) -> Result<(), Error> {
        let entries = [
            ("rules.permissions", self.permissions.len()),
            ("rules.roles", self.roles.len()),
            ("rules.groups", self.groups.len()),
            ("rules.grants", self.grants.len()),
        ];
        for (field, count) in entries {
            if count > MAX_ENTRIES {
                return Err(Error::invalid(
                    field,
                    "OUT_OF_RANGE",
                    format!("may have {MAX_ENTRIES} entries, not {count}"),
                ));
            }
        }
        for name in self.permissions.keys() {
            // Also one that the environment has declared since, which is the same.
            check_permission(name)?;
        }
        if let Some(role) = self.roles.keys().find(|role| BUILT_IN_ROLES.contains(&role.as_str())) {
            let message = format!("{role} is built in: its permissions are Signet's");
            return Err(Error::invalid("rules.roles", "RESERVED_ID", message));
        }
        let lines = self.permissions.values().chain(self.roles.values()).chain(self.groups.values());
        if lines.into_iter().any(|line| line.chars().count() > MAX_DISPLAY_NAME || line.chars().any(is_deceptive)) {
            let message =
                "a description may have 128 characters, none that hides, moves the cursor or turns text round";
            return Err(Error::invalid("rules", "INVALID_DISPLAY_NAME", message));
        }
        self.grants.iter().try_for_each(|grant| self.check_grant(grant, inherited))
    }

    fn check_grant(&self, grant: &Grant, inherited: &BTreeMap<String, String>) -> Result<(), Error> {
        let refused = |message: String| Err(Error::invalid("rules.grants", "INVALID_GRANT", message));
        if grant.permissions.is_empty() || grant.permissions.len() > MAX_GRANTED {
            return refused(format!("a grant has 1 to {MAX_GRANTED} permissions, not {}", grant.permissions.len()));
        }
        match &grant.to {
            Grantee::Role(role) if !self.roles.contains_key(role) && !BUILT_IN_ROLES.contains(&role.as_str()) => {
                return refused(format!("there is no role {role}: describe it under `roles`"));
            }
            Grantee::Group(group) if !self.groups.contains_key(group) => {
                return refused(format!("there is no group {group}: describe it under `groups`"));
            }
            _ => {}
        }
        for permission in &grant.permissions {
            let name = permission.as_str();
            if self.permissions.contains_key(name) || inherited.contains_key(name) {
                continue;
            }
            if !PERMISSIONS.contains(&name) {
                return refused(format!("there is no permission {name}: describe it under `permissions`"));
            }
            if !GRANTABLE.contains(&name) {
                return refused(format!("{name} is not granted: it could make an admin of whoever has it"));
            }
            if let Grantee::Type(of) = grant.to
                && !grantable_to(name).contains(&of)
            {
                return refused(format!("{name} is of no use to a {of}: its type may not call what needs it"));
            }
            if matches!(grant.to, Grantee::Group(_)) {
                let rule = "groups are not in certificates; grant it to a role";
                return refused(format!("{name} is Signet's, and is not granted to groups: {rule}"));
            }
        }
        Ok(())
    }
}

/// `<what>:<verb>`, e.g. `jobs:submit`: of a-z 0-9 - _ and at most 64 characters. Signet's own have a dot instead.
fn check_permission(name: &str) -> Result<(), Error> {
    let plain = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
    };
    match name.split_once(':') {
        Some((what, verb)) if plain(what) && plain(verb) && name.len() <= 64 => Ok(()),
        _ => {
            let message = format!("{name:?} is no permission: write WHAT:VERB of a-z 0-9 - _, e.g. jobs:submit");
            Err(Error::invalid("rules.permissions", "INVALID_PERMISSION", message))
        }
    }
}
