//! The configuration as it is written; every field documented where people look for it, in `signet.sample.toml`.

use std::path::PathBuf;

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfig {
    pub(super) environment: RawEnvironment,
    pub(super) storage: RawStorage,
    pub(super) keys: RawKeys,
    pub(super) server_identity: RawServerIdentity,
    #[serde(default)]
    pub(super) aws: RawAws,
    pub(super) publication: Option<RawPublication>,
    pub(super) events: Option<RawEvents>,
    #[serde(default)]
    pub(super) listen: RawListen,
    #[serde(default)]
    pub(super) server: RawServer,
    #[serde(default)]
    pub(super) trust: RawTrust,
    #[serde(default)]
    pub(super) limits: RawLimits,
    #[serde(default)]
    pub(super) audit: RawAudit,
    #[serde(default)]
    pub(super) telemetry: RawTelemetry,
    #[serde(default)]
    pub(super) authorization: RawAuthorization,
    #[serde(default)]
    pub(super) enrollment: RawEnrollment,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEnvironment {
    pub(super) name: String,
    pub(super) trust_domain_suffix: String,
    #[serde(default = "default_arc")]
    pub(super) oid_arc: String,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum RawStorage {
    Sqlite { path: PathBuf },
    Dynamodb { prefix: String },
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum RawKeys {
    Softkey { dir: PathBuf, passphrase_file: PathBuf },
    Kms { prefix: String, tenant_key_policy_file: Option<PathBuf>, tenant_key_policy: Option<String> },
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum RawServerIdentity {
    Files { dir: PathBuf },
    Aws { prefix: String },
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAws {
    pub(super) region: Option<String>,
    pub(super) endpoint_url: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPublication {
    pub(super) bucket: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEvents {
    pub(super) bus: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawListen {
    pub(super) grpc: String,
    pub(super) public: String,
    pub(super) health: Option<String>,
    pub(super) metrics: String,
    pub(super) proxy_protocol_from: Vec<String>,
}

impl Default for RawListen {
    fn default() -> Self {
        Self {
            grpc: "127.0.0.1:8443".into(),
            public: "127.0.0.1:8080".into(),
            health: None,
            metrics: "127.0.0.1:9464".into(),
            proxy_protocol_from: Vec::new(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawServer {
    pub(super) dns_names: Vec<String>,
    pub(super) ip_addresses: Vec<String>,
}

impl Default for RawServer {
    fn default() -> Self {
        Self { dns_names: vec!["localhost".into()], ip_addresses: vec!["127.0.0.1".into()] }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawTrust {
    pub(super) staleness_limit_seconds: u32,
    pub(super) when_stale: RawWhenStale,
}

impl Default for RawTrust {
    fn default() -> Self {
        Self { staleness_limit_seconds: 30, when_stale: RawWhenStale::Refuse }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawWhenStale {
    Refuse,
    Serve,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLimits {
    pub(super) max_connections: u32,
    pub(super) max_handshakes: u32,
    pub(super) handshake_timeout_seconds: u32,
    pub(super) handshakes_per_second_per_address: u32,
    pub(super) max_connection_age_seconds: u32,
    pub(super) max_concurrent_requests: u32,
    pub(super) max_requests_per_connection: u32,
    pub(super) anonymous_calls_per_second_per_address: u32,
    pub(super) calls_per_second_per_principal: u32,
    pub(super) calls_per_second_per_tenant: u32,
    pub(super) max_streams: u32,
    pub(super) request_timeout_seconds: u32,
    pub(super) drain_seconds: u32,
    pub(super) audited_refusals_per_minute: u32,
}

impl Default for RawLimits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_handshakes: 256,
            handshake_timeout_seconds: 10,
            handshakes_per_second_per_address: 50,
            max_connection_age_seconds: 3600,
            max_concurrent_requests: 1024,
            max_requests_per_connection: 64,
            anonymous_calls_per_second_per_address: 10,
            calls_per_second_per_principal: 100,
            calls_per_second_per_tenant: 2000,
            max_streams: 1024,
            request_timeout_seconds: 10,
            drain_seconds: 20,
            audited_refusals_per_minute: 60,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawAudit {
    pub(super) retention_days: u32,
    pub(super) seal_delay_seconds: u32,
}

impl Default for RawAudit {
    fn default() -> Self {
        Self { retention_days: 400, seal_delay_seconds: 10 }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawTelemetry {
    pub(super) log: RawLog,
    pub(super) filter: String,
    pub(super) otlp_endpoint: Option<String>,
}

impl Default for RawTelemetry {
    fn default() -> Self {
        // h2 warns of each odd frame, as many as a peer likes to send.
        Self { log: RawLog::Human, filter: "info,h2=error".into(), otlp_endpoint: None }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawLog {
    Human,
    Json,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawAuthorization {
    pub(super) grants: Vec<RawGrant>,
    pub(super) anonymous_enrollment: bool,
}

impl Default for RawAuthorization {
    fn default() -> Self {
        Self { grants: Vec::new(), anonymous_enrollment: true }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawEnrollment {
    pub(super) aws_regions: Vec<String>,
    pub(super) private_issuers: Vec<String>,
    pub(super) issuer_ca_file: Option<PathBuf>,
    pub(super) sts_endpoint: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawGrant {
    pub(super) principal_type: String,
    pub(super) role: Option<String>,
    pub(super) permission: String,
}

fn default_arc() -> String {
    signet_x509::environment::DEFAULT_OID_ARC.into()
}
