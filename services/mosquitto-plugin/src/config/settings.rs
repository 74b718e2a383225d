//! The configuration, as it was checked.

use std::path::PathBuf;

use signet_client::IdentitySettings;
use signet_core::{Lifetime, PrincipalId, brokers::TopicRules, trust::WhenStale};

use super::file::Tokens;

/// The plugin's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long the last word counts while nothing is heard of the control plane.
    pub staleness_limit: Lifetime,
    /// What happens after that.
    pub when_stale: WhenStale,
    /// Whose clients are let in.
    pub tenants: Vec<TenantConfig>,
    /// The control plane, without storage.
    pub(crate) control_plane: IdentitySettings,
    pub(crate) rules: TopicRules,
    pub(crate) tokens: Option<Tokens>,
}

/// A tenant, and the identity in it that its refusals are followed with.
#[derive(Clone, Debug)]
pub struct TenantConfig {
    /// Where the identity is kept.
    pub state_dir: PathBuf,
    /// Proof for the first enrollment; `None`: the identity is in `state_dir` already.
    pub join_token_file: Option<PathBuf>,
    /// The id to take, where the token leaves it open.
    pub principal: Option<PrincipalId>,
    /// Whether devices that have a secret must sign what they publish.
    pub require_signatures: bool,
}
