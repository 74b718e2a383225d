//! The file. Strict: what is not known is refused.

use std::path::PathBuf;

use serde::Deserialize;
use signet_core::{
    PrincipalId,
    brokers::{DEFAULT_TOPICS, DefaultTopics},
    trust::WhenStale,
};

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
    #[serde(default)]
    pub(super) require_signatures: bool,
}

/// Access tokens and broker tokens as passwords.
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

/// As the control plane has them for broker tokens.
pub(super) fn default_topics() -> Vec<Topics> {
    let texts = |of: &[&str]| of.iter().map(|text| (*text).to_owned()).collect();
    let one = |DefaultTopics { types, permission, publish, subscribe }| Topics {
        types: types.iter().map(ToString::to_string).collect(),
        permission: permission.map(str::to_owned),
        publish: texts(publish),
        subscribe: texts(subscribe),
    };
    DEFAULT_TOPICS.into_iter().map(one).collect()
}
