//! From what the file says to what the plugin does, with the checks of settings that depend on each other.

use std::{fs, path::Path};

use signet_client::IdentitySettings;
use signet_core::{
    Lifetime, PrincipalType,
    brokers::{MOST_RULES, TopicPattern, TopicRule, TopicRules},
};
use signet_x509::pem;

use super::{
    error::{ConfigError, bad},
    file::{ControlPlane, File, Tenant, Topics, default_topics},
    settings::{Config, TenantConfig},
};
type Result<T, E = ConfigError> = std::result::Result<T, E>;

/// What the control plane tells of at most.
const MOST_PERMISSIONS: usize = 50;
/// A day: whoever must go on for longer says `when_stale = "serve"`.
const LONGEST_STALENESS: u32 = 86_400;

pub(super) fn config(file: File, base: &Path) -> Result<Config> {
    let seconds = Some(file.staleness_limit_seconds).filter(|seconds| (1..=LONGEST_STALENESS).contains(seconds));
    let rule = || bad("staleness_limit_seconds", format!("must be 1 to {LONGEST_STALENESS}"));
    let staleness_limit = Lifetime::seconds(seconds.ok_or_else(rule)?);
    if file.tenants.is_empty() {
        return Err(bad("tenants", "add a [[tenants]] section for each tenant whose clients are let in"));
    }
    if let Some(tokens) = &file.tokens
        && tokens.audience.is_empty()
    {
        return Err(bad("tokens.audience", "must not be empty"));
    }
    let tenants: Vec<_> = file.tenants.into_iter().map(|written| tenant(written, base)).collect();
    for (number, one) in tenants.iter().enumerate() {
        if tenants.iter().take(number).any(|earlier| earlier.state_dir == one.state_dir) {
            let key = format!("tenants.{}.state_dir", number.saturating_add(1));
            return Err(bad(key, "is another tenant's: each has an identity of its own"));
        }
    }
    Ok(Config {
        staleness_limit,
        when_stale: file.when_stale,
        rules: rules(file.topics.unwrap_or_else(default_topics), tenants.len())?,
        tenants,
        control_plane: control_plane(file.control_plane, base)?,
        tokens: file.tokens,
    })
}

fn tenant(written: Tenant, base: &Path) -> TenantConfig {
    TenantConfig {
        state_dir: base.join(written.state_dir),
        join_token_file: written.join_token_file.map(|path| base.join(path)),
        principal: written.principal,
        require_signatures: written.require_signatures,
    }
}

fn control_plane(written: ControlPlane, base: &Path) -> Result<IdentitySettings> {
    let path = base.join(&written.ca_file);
    let key = "control_plane.ca_file";
    let text =
        fs::read_to_string(&path).map_err(|error| bad(key, format!("cannot read {}: {error}", path.display())))?;
    let none = || bad(key, format!("{} has no PEM certificate", path.display()));
    let roots = pem::decode_certificates(&text).filter(|roots| !roots.is_empty()).ok_or_else(none)?;
    let mut settings = IdentitySettings::new(written.endpoint, roots);
    settings.server_name = written.server_name;
    settings.require_pq_kex = written.require_pq_kex;
    settings.check().map_err(|error| bad("control_plane", error.to_string()))?;
    Ok(settings)
}

fn rules(topics: Vec<Topics>, tenants: usize) -> Result<TopicRules> {
    if topics.len() > MOST_RULES {
        return Err(bad("topics", format!("may have {MOST_RULES} sections")));
    }
    let mut rules = TopicRules::default();
    for (number, one) in (1..).zip(topics) {
        let key = |name: &str| format!("topics.{number}.{name}");
        if one.types.is_empty() && one.permission.is_none() {
            return Err(bad(key("types"), "say for whom: types, a permission, or both"));
        }
        if one.publish.is_empty() && one.subscribe.is_empty() {
            return Err(bad(key("publish"), "say which topics: publish, subscribe, or both"));
        }
        let types = one.types.iter().map(|name| {
            name.parse().map_err(|_| {
                bad(
                    key("types"),
                    format!("{name:?} is none of {}", PrincipalType::ALL.map(PrincipalType::as_str).join(", ")),
                )
            })
        });
        let patterns = |name: &str, texts: &[String]| -> Result<Vec<TopicPattern>> {
            texts.iter().map(|text| pattern(text, tenants).map_err(|problem| bad(key(name), problem))).collect()
        };
        let (publish, subscribe) = (patterns("publish", &one.publish)?, patterns("subscribe", &one.subscribe)?);
        let permission = match one.permission {
            Some(permission) if !permission.contains(':') || permission.len() > 256 => {
                return Err(bad(key("permission"), "must be a permission of the tenant, e.g. \"mqtt:publish\""));
            }
            Some(permission) => Some(rules.number_of(&permission)),
            None => None,
        };
        rules.rules.push(TopicRule { types: types.collect::<Result<_>>()?, permission, publish, subscribe });
    }
    if rules.permissions.len() > MOST_PERMISSIONS {
        return Err(bad("topics", format!("may name {MOST_PERMISSIONS} permissions")));
    }
    Ok(rules)
}

fn pattern(text: &str, tenants: usize) -> Result<TopicPattern, String> {
    let pattern: TopicPattern = text.parse().map_err(|fault| format!("{text:?} {fault}"))?;
    if tenants > 1 && !pattern.names_tenant() {
        return Err(format!("{text:?} has no {{tenant}}, and this broker serves {tenants}"));
    }
    Ok(pattern)
}
