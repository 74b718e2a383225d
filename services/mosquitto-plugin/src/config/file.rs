//! The file. Strict: what is not known is refused.

use std::path::PathBuf;

use serde::Deserialize;
use signet_core::{PrincipalId, trust::WhenStale};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default = "half_a_minute")]
    pub(super) staleness_limit_seconds: u32,
    #[serde(default = "refuse")]
    pub(super) when_stale: WhenStale,
    pub(super) control_plane: ControlPlane,
    #[serde(default)]
    pub(super) tenants: Vec<Tenant>,
    pub(super) tokens: Option<Tokens>,
    pub(super) topics: Option<Vec<Topics>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ControlPlane {
    pub(super) endpoint: String,
    pub(super) server_name: Option<String>,
    pub(super) ca_file: PathBuf,
    #[serde(default)]
    pub(super) require_pq_kex: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tenant {
    pub(super) state_dir: PathBuf,
    pub(super) join_token_file: Option<PathBuf>,
    pub(super) principal: Option<PrincipalId>,
}

/// Access tokens as passwords.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tokens {
    /// `aud`.
    pub(crate) audience: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Topics {
    #[serde(default)]
    pub(super) types: Vec<String>,
    pub(super) permission: Option<String>,
    #[serde(default)]
    pub(super) publish: Vec<String>,
    #[serde(default)]
    pub(super) subscribe: Vec<String>,
}

const fn half_a_minute() -> u32 {
    30
}

const fn refuse() -> WhenStale {
    WhenStale::Refuse
}

/// A device's own topics; and for services, by the tenant's permissions, the tenant's.
pub(super) fn default_topics() -> Vec<Topics> {
    let device =
        |topics: &[&str]| topics.iter().map(|topic| format!("tenant/{{tenant}}/device/{{id}}/{topic}")).collect();
    let whole = || vec!["tenant/{tenant}/#".to_owned()];
    let by = |permission: &str, publish, subscribe| Topics {
        types: Vec::new(),
        permission: Some(permission.to_owned()),
        publish,
        subscribe,
    };
    vec![
        Topics {
            types: vec!["device".to_owned()],
            permission: None,
            publish: device(&["telemetry/#", "shadow/reported", "commands/ack"]),
            subscribe: device(&["shadow/desired", "commands", "jobs/#"]),
        },
        by("mqtt:publish", whole(), Vec::new()),
        by("mqtt:subscribe", Vec::new(), whole()),
    ]
}
