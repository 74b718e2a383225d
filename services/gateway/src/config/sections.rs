//! The sections of the file. `gateway.sample.toml` explains each key.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer};
use signet_client::IdentitySettings;
use signet_core::{Cidr, PrincipalId};

use super::{routes::RouteConfig, upstreams::UpstreamConfig, value};

/// The file. Strict: what is not known is refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) state_dir: PathBuf,
    pub(super) private: Option<SocketAddr>,
    #[serde(default)]
    pub(super) log: Log,
    pub(super) control_plane: ControlPlane,
    #[serde(default)]
    pub(super) identity: IdentitySection,
    pub(super) listen: ListenConfig,
    #[serde(default)]
    pub(super) bans: BansConfig,
    #[serde(default)]
    pub(super) audit: AuditConfig,
    #[serde(default)]
    pub(super) limits: LimitsConfig,
    #[serde(default)]
    pub(super) headers: Headers,
    #[serde(default)]
    pub(super) authorization: Authorization,
    pub(super) token: Option<TokenConfig>,
    #[serde(default)]
    pub(super) upstream: Vec<UpstreamConfig>,
    #[serde(default)]
    pub(super) route: Vec<RouteConfig>,
    #[serde(default)]
    pub(super) l4: Vec<L4Config>,
}

#[derive(Default, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Log {
    #[default]
    Text,
    Json,
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

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IdentitySection {
    pub(super) join_token_file: Option<PathBuf>,
    pub(super) principal: Option<PrincipalId>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Headers {
    #[serde(default, deserialize_with = "value::header")]
    pub(super) remove: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Authorization {
    #[serde(default)]
    pub(super) context: Vec<Circumstance>,
}

/// What of a request policies may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "their names say it")]
pub enum Circumstance {
    Source,
    Method,
    Host,
    Path,
}

/// The gateway's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the gateway's own identity is kept.
    pub state_dir: PathBuf,
    /// Where metrics, health and the key set are served; nowhere unless set.
    pub private: Option<SocketAddr>,
    /// Log lines as JSON.
    pub log_json: bool,
    /// The control plane, without storage and enrollment.
    pub control_plane: IdentitySettings,
    /// Proof for the first enrollment; `None`: the identity is in `state_dir` already.
    pub join_token_file: Option<PathBuf>,
    /// The id to take, where the token leaves it open.
    pub principal: Option<PrincipalId>,
    /// The listener.
    pub listen: ListenConfig,
    /// When sources are banned.
    pub bans: BansConfig,
    /// Where audit events go.
    pub audit: AuditConfig,
    /// How much one principal, and all of them, may ask for.
    pub limits: LimitsConfig,
    /// More headers of clients that are removed, in lower case with `-`.
    pub removed_headers: Vec<String>,
    /// What policies are told of a request.
    pub context: Vec<Circumstance>,
    /// Tokens for certificates; none unless set.
    pub token: Option<TokenConfig>,
    /// Servers behind the gateway, each name once.
    pub upstreams: Vec<UpstreamConfig>,
    /// The first that a request meets counts.
    pub routes: Vec<RouteConfig>,
    /// Listeners that pass on bytes.
    pub l4: Vec<L4Config>,
}

/// The listener.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct ListenConfig {
    pub https: SocketAddr,
    /// Shown instead of the gateway's own certificate.
    pub certificate: Option<CertificateFiles>,
    /// Whether clients may come without a certificate, to show a token.
    #[serde(default)]
    pub certificate_optional: bool,
    /// Balancers that send PROXY version 2 headers.
    #[serde(default)]
    pub proxy_protocol_from: Vec<Cidr>,
    #[serde(default)]
    pub require_pq_kex: bool,
    #[serde(default = "many_connections", deserialize_with = "value::at_least_one")]
    pub max_connections: usize,
    #[serde(default = "handshakes")]
    pub handshakes_per_second_per_address: NonZeroU32,
}

/// A server certificate of somebody else.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    /// The chain, leaf first, PEM.
    pub chain_file: PathBuf,
    /// The key, PEM.
    pub key_file: PathBuf,
}

/// When sources are banned.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BansConfig {
    /// 0: nobody is banned.
    pub failed_handshakes: u32,
    /// Within which time they count.
    #[serde(rename = "window_seconds", deserialize_with = "value::timeout")]
    pub window: Duration,
    /// How long a ban lasts.
    #[serde(rename = "ban_seconds", deserialize_with = "value::timeout")]
    pub duration: Duration,
    /// Networks that are never banned.
    pub exempt: Vec<Cidr>,
    /// A line for each ban, for fail2ban.
    pub log_file: Option<PathBuf>,
}

impl Default for BansConfig {
    fn default() -> Self {
        let (window, duration) = (Duration::from_secs(60), Duration::from_secs(600));
        Self { failed_handshakes: 30, window, duration, exempt: Vec::new(), log_file: None }
    }
}

/// Where audit events go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditConfig {
    /// Standard output unless set.
    pub file: Option<PathBuf>,
}

/// How much may be asked for; `None`: as much as anybody likes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Requests of one principal.
    #[serde(deserialize_with = "rate")]
    pub principal: Option<RateConfig>,
    /// Requests of the tenant, that is of all together.
    #[serde(deserialize_with = "rate")]
    pub tenant: Option<RateConfig>,
}

impl Default for LimitsConfig {
    /// One principal gets a twentieth of what all get.
    fn default() -> Self {
        let rate = |per_second, burst| Some(RateConfig { per_second, burst });
        Self { principal: rate(number(100), number(400)), tenant: rate(number(2000), number(4000)) }
    }
}

const fn number(of: u32) -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(of.saturating_sub(1))
}

/// A rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct RateConfig {
    pub per_second: NonZeroU32,
    /// At once after a quiet time.
    pub burst: NonZeroU32,
}

/// Tokens for certificates.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// The path of the endpoint.
    #[serde(default = "token_path")]
    pub path: String,
    /// `aud`; the gateway's SPIFFE id unless set.
    pub audience: Option<String>,
    /// How long one is good; never longer than its certificate.
    #[serde(rename = "lifetime_seconds", default = "five_minutes", deserialize_with = "value::token_lifetime")]
    pub lifetime: Duration,
    /// What a principal needs to get one; `none`: a good certificate.
    #[serde(default = "no_permission", deserialize_with = "value::permission")]
    pub permission: String,
}

/// A listener that passes on bytes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct L4Config {
    /// Its name in the audit log.
    #[serde(deserialize_with = "value::name")]
    pub name: String,
    /// Where TLS comes in.
    pub listen: SocketAddr,
    /// `host:port` of a server that takes PROXY version 2 headers.
    pub upstream: String,
    /// What a connection needs.
    #[serde(deserialize_with = "value::permission")]
    pub permission: String,
    /// Connections at once; of one principal an eighth.
    #[serde(default = "thousand", deserialize_with = "value::at_least_one")]
    pub max_connections: usize,
    /// Limit of a connection attempt to the upstream.
    #[serde(rename = "connect_timeout_seconds", default = "five_seconds", deserialize_with = "value::timeout")]
    pub connect_timeout: Duration,
}

/// A rate, or `"none"`.
fn rate<'de, D: Deserializer<'de>>(from: D) -> Result<Option<RateConfig>, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Word {
        None,
    }
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "must be { per_second = 1, burst = 1 } or more, or \"none\"")]
    enum Written {
        Rate(RateConfig),
        Word(Word),
    }
    Ok(match Written::deserialize(from)? {
        Written::Rate(rate) => Some(rate),
        Written::Word(Word::None) => None,
    })
}

fn no_permission() -> String {
    "none".to_owned()
}

fn thousand() -> usize {
    1000
}

fn many_connections() -> usize {
    10_000
}

fn handshakes() -> NonZeroU32 {
    number(50)
}

fn token_path() -> String {
    "/auth/token".into()
}

fn five_minutes() -> Duration {
    Duration::from_secs(300)
}

fn five_seconds() -> Duration {
    Duration::from_secs(5)
}
