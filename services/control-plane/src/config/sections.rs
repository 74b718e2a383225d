//! The sections: a setting is a field here with its check, and a line in `signet.sample.toml`.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use serde::Deserialize;
use signet_app::ServerNames;
use signet_core::{
    Cidr, Lifetime,
    spiffe::TrustDomainSuffix,
    trust::{WhenStale, WhenUnrecorded},
};
use signet_x509::environment::LeafOids;

use super::value;

/// A checked configuration. Every field is explained in `signet.sample.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What all its certificates share.
    pub environment: Environment,
    /// Where state lives.
    pub storage: Storage,
    /// Where CA keys live.
    pub keys: Keys,
    /// Where the server's own certificate and key live.
    pub server_identity: ServerIdentitySource,
    /// How AWS is reached, if anything above is there.
    pub aws: Aws,
    /// Where trust bundles and revocation lists are published, if anywhere.
    pub publication: Option<Publication>,
    /// Where warnings go, if anywhere.
    pub events: Option<Events>,
    /// Where clients reach the environment, if nodes shall try it.
    pub probe: Option<Probe>,
    /// Where to listen.
    pub listen: Listen,
    /// The names in the server's certificate.
    #[serde(with = "Server")]
    pub server: ServerNames,
    /// How long the node answers without the feed.
    pub trust: TrustConfig,
    /// Answers about single certificates.
    pub ocsp: Ocsp,
    /// Limits.
    pub limits: Limits,
    /// When addresses are banned.
    pub bans: Bans,
    /// Tenants.
    pub tenants: Tenants,
    /// The audit log.
    pub audit: AuditConfig,
    /// Logs and traces.
    pub telemetry: Telemetry,
    /// Who may do what.
    pub authorization: Authorization,
    /// Access tokens and SVIDs.
    pub tokens: Tokens,
    /// Whom enrollment proofs are checked with.
    pub enrollment: Enrollment,
}

/// One deployment.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Its short name, e.g. `dev`; in logs and in `check`'s output.
    #[serde(deserialize_with = "value::label")]
    pub name: String,
    /// Below it is every tenant's trust domain.
    #[serde(deserialize_with = "value::suffix")]
    pub trust_domain_suffix: TrustDomainSuffix,
    /// The extensions of its leaves.
    #[serde(deserialize_with = "value::arc")]
    pub oid_arc: LeafOids,
}

/// Where state lives.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Storage {
    /// One file.
    Sqlite {
        /// The database file; made if missing.
        path: PathBuf,
    },
    /// Tables `<prefix>-<name>`.
    Dynamodb {
        /// E.g. `signet-dev`.
        #[serde(deserialize_with = "value::aws_prefix")]
        prefix: String,
    },
}

/// Where CA keys live.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Keys {
    /// Encrypted files.
    Softkey {
        /// The folder; made if missing.
        dir: PathBuf,
        /// A file whose text unlocks them.
        passphrase_file: PathBuf,
    },
    /// KMS keys `alias/<prefix>-<name>`.
    Kms {
        /// E.g. `signet-dev`.
        #[serde(deserialize_with = "value::aws_prefix")]
        prefix: String,
        /// The key policy of dedicated tenants' CA keys, JSON. Without this and the file: KMS's default, which leaves
        /// it to IAM.
        #[serde(default, deserialize_with = "value::key_policy")]
        tenant_key_policy: Option<String>,
        /// A file that holds it.
        tenant_key_policy_file: Option<PathBuf>,
        /// The name of the Lambda that makes dedicated tenants' CA keys and has their policy. Without: this process.
        #[serde(default, deserialize_with = "value::function")]
        maker: Option<String>,
    },
}

/// Where the server's certificate and key live.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum ServerIdentitySource {
    /// A folder of PEM files; this process renews the certificate.
    Files {
        /// The folder; made if missing.
        dir: PathBuf,
    },
    /// The Secrets Manager secret and the SSM parameters below a path; another component renews the certificate.
    Aws {
        /// E.g. `/signet/dev`.
        #[serde(deserialize_with = "value::ssm_path")]
        prefix: String,
    },
}

/// How AWS is reached.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aws {
    /// `None`: as the usual chain says (environment, profile, instance).
    pub region: Option<String>,
    /// For emulators.
    #[serde(default, deserialize_with = "value::url")]
    pub endpoint_url: Option<String>,
}

/// Where trust bundles and revocation lists are published.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publication {
    /// An S3 bucket.
    #[serde(deserialize_with = "value::bucket")]
    pub bucket: String,
}

/// What each node tries as its clients do.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// `host:port` of the load balancer, by a name that the server's certificate has.
    #[serde(deserialize_with = "value::endpoint")]
    pub endpoint: String,
}

/// Where warnings go.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Events {
    /// An EventBridge bus.
    #[serde(deserialize_with = "value::bus")]
    pub bus: String,
}

/// Where to listen. Port 0 takes a free one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// gRPC over mTLS.
    #[serde(deserialize_with = "value::address")]
    pub grpc: SocketAddr,
    /// Plain HTTP: health and public material.
    #[serde(deserialize_with = "value::address")]
    pub public: SocketAddr,
    /// Plain HTTP: health alone, for balancers. Keep it private.
    #[serde(default, deserialize_with = "value::optional_address")]
    pub health: Option<SocketAddr>,
    /// Plain HTTP: metrics. Keep it private.
    #[serde(deserialize_with = "value::address")]
    pub metrics: SocketAddr,
    /// Networks whose connections start with a PROXY v2 header.
    pub proxy_protocol_from: Vec<Cidr>,
    /// Whether clients must do a post-quantum key exchange.
    pub require_pq_kex: bool,
}

/// How [`ServerNames`] is written.
#[derive(Deserialize)]
#[serde(remote = "ServerNames", deny_unknown_fields)]
struct Server {
    #[serde(rename = "dns_names", deserialize_with = "value::dns_names")]
    dns: Vec<String>,
    #[serde(rename = "ip_addresses")]
    ip: Vec<IpAddr>,
}

/// What to do without the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustConfig {
    /// How long the feed may be silent.
    #[serde(rename = "staleness_limit_seconds", deserialize_with = "value::lifetime_seconds::<3600, _>")]
    pub staleness_limit: Lifetime,
    /// What happens then.
    pub when_stale: WhenStale,
    /// What happens to certificates without a record.
    pub when_unrecorded: WhenUnrecorded,
}

/// Answers about single certificates.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ocsp {
    /// Whether a nonce is repeated.
    pub nonce: bool,
}

/// Limits; each protects the others' share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Open connections.
    #[serde(deserialize_with = "value::count")]
    pub max_connections: usize,
    /// Handshakes at once.
    #[serde(deserialize_with = "value::count")]
    pub max_handshakes: usize,
    /// Time for PROXY header and handshake.
    #[serde(rename = "handshake_timeout_seconds", deserialize_with = "value::seconds::<60, _>")]
    pub handshake_timeout: Duration,
    /// Handshakes a second of one source address.
    #[serde(deserialize_with = "value::within::<1, 1_000_000, _>")]
    pub handshakes_per_second_per_address: u32,
    /// A connection is asked to go after this, with jitter.
    #[serde(rename = "max_connection_age_seconds", deserialize_with = "value::seconds::<86_400, _>")]
    pub max_connection_age: Duration,
    /// Requests of callers with a certificate at once, all connections together; others have a quarter as many beside.
    #[serde(deserialize_with = "value::count")]
    pub max_concurrent_requests: usize,
    /// Requests at once on one connection.
    #[serde(deserialize_with = "value::count")]
    pub max_requests_per_connection: usize,
    /// Calls without a certificate from one source address in a second; ten times as many after a quiet time.
    #[serde(deserialize_with = "value::within::<1, 100_000, _>")]
    pub anonymous_calls_per_second_per_address: u32,
    /// Calls a second of one principal.
    #[serde(deserialize_with = "value::within::<1, 100_000, _>")]
    pub calls_per_second_per_principal: u32,
    /// Calls a second of all of a tenant's principals.
    #[serde(deserialize_with = "value::within::<1, 1_000_000, _>")]
    pub calls_per_second_per_tenant: u32,
    /// Open streams (watch, tail), all connections together; they are not among the requests.
    #[serde(deserialize_with = "value::count")]
    pub max_streams: usize,
    /// Time for one unary call.
    #[serde(rename = "request_timeout_seconds", deserialize_with = "value::seconds::<120, _>")]
    pub request_timeout: Duration,
    /// Time for calls in flight when the process is asked to end.
    #[serde(rename = "drain_seconds", deserialize_with = "value::seconds::<600, _>")]
    pub drain: Duration,
    /// Refusals for one reason written to one tenant's audit log in a minute; the others are only counted.
    #[serde(deserialize_with = "value::within::<1, 60_000, _>")]
    pub audited_refusals_per_minute: u32,
}

/// When addresses are banned from connecting.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bans {
    /// So many failed handshakes of one address; 0: nobody is banned.
    #[serde(deserialize_with = "value::within::<0, 100_000, _>")]
    pub failed_handshakes: u32,
    /// Within this time.
    #[serde(rename = "window_seconds", deserialize_with = "value::seconds::<3600, _>")]
    pub window: Duration,
    /// How long a ban lasts.
    #[serde(rename = "ban_seconds", deserialize_with = "value::seconds::<86_400, _>")]
    pub duration: Duration,
    /// Networks that are never banned.
    pub exempt: Vec<Cidr>,
    /// A file that gets a line for each ban.
    pub log_file: Option<PathBuf>,
}

/// Tenants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tenants {
    /// How long a deleted tenant can be undeleted, before it is purged.
    #[serde(rename = "deletion_grace_days", deserialize_with = "value::lifetime_days::<365, _>")]
    pub deletion_grace: Lifetime,
}

/// The audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditConfig {
    /// How long events and seals are kept.
    #[serde(rename = "retention_days", deserialize_with = "value::lifetime_days::<3650, _>")]
    pub retention: Lifetime,
    /// How long after a minute's end it is sealed.
    #[serde(rename = "seal_delay_seconds", deserialize_with = "value::lifetime_seconds::<240, _>")]
    pub seal_delay: Lifetime,
}

/// Logs and traces.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// What lines look like.
    pub log: Log,
    /// `tracing` filter directives.
    #[serde(deserialize_with = "value::filter")]
    pub filter: String,
    /// Where spans go (OTLP over gRPC), if anywhere.
    #[serde(default, deserialize_with = "value::url")]
    pub otlp_endpoint: Option<String>,
}

/// What a line of the log looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Log {
    /// Text for people.
    Human,
    /// One JSON object.
    Json,
}

/// Who may do what.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authorization {
    /// Whether callers without a certificate may connect, to enroll.
    pub anonymous_enrollment: bool,
    /// A cvc5 program, 1.3.1 or newer, which proves tenants' policies when they are set.
    #[serde(default)]
    pub solver: Option<PathBuf>,
    /// Whether policies must be proved.
    #[serde(default)]
    pub require_proof: bool,
    /// Until 0.1: rights that the environment adds. They are data now, and nothing may stand here.
    #[serde(default)]
    pub grants: Vec<serde::de::IgnoredAny>,
}

/// Access tokens and SVIDs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    /// Where the names of tenants' issuers begin. `None`: at `https://` and `probe.endpoint`.
    #[serde(default, deserialize_with = "value::origin")]
    pub issuer: Option<String>,
    /// How long a token is good whose holder asks for nothing else.
    #[serde(rename = "lifetime_seconds", deserialize_with = "value::lifetime_seconds::<900, _>")]
    pub lifetime: Lifetime,
}

/// Whom enrollment proofs are checked with. See [`signet_attest::Options`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrollment {
    /// Whose STS may be asked.
    pub aws_regions: Vec<String>,
    /// Issuers that may have a private address.
    pub private_issuers: Vec<String>,
    /// Further CAs that OIDC issuers' TLS certificates may come from, PEM.
    pub issuer_ca_file: Option<PathBuf>,
    /// For emulators.
    pub sts_endpoint: Option<String>,
    /// The enrollment API's own host name, where it is not the node's.
    #[serde(default, deserialize_with = "value::optional_dns_name")]
    pub api_domain: Option<String>,
}

impl Environment {
    /// As certificates name it.
    pub fn certificates(&self) -> signet_x509::Environment {
        signet_x509::Environment::with_oids(self.trust_domain_suffix.clone(), self.oid_arc)
    }
}

impl Enrollment {
    /// What is checked with, but for the CAs, which are in a file.
    pub fn options(&self) -> signet_attest::Options {
        let Self { aws_regions, private_issuers, sts_endpoint, issuer_ca_file: _, api_domain: _ } = self.clone();
        signet_attest::Options { aws_regions, private_issuers, sts_endpoint, ..Default::default() }
    }
}
