//! Raw values in, checked ones out. An error is the key and what to write there.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use signet_app::ServerIdentity;
use signet_core::{Lifetime, authorization::ExtraGrant, trust::WhenStale};
use signet_x509::{Environment, ServerName};

use super::{
    AuditConfig, Aws, Config, Enrollment, Keys, Limits, Listen, ServerIdentitySource, Storage, Telemetry,
    TenantKeyPolicy, TrustConfig,
    raw::{
        RawAuthorization, RawAws, RawConfig, RawEnrollment, RawEnvironment, RawEvents, RawGrant, RawKeys, RawLimits,
        RawListen, RawLog, RawPublication, RawServer, RawServerIdentity, RawStorage, RawTelemetry, RawTrust,
        RawWhenStale,
    },
};

type Checked<T> = Result<T, (String, String)>;

fn bad(key: &str, problem: impl ToString) -> (String, String) {
    (key.to_owned(), problem.to_string())
}

fn parsed<T: FromStr>(key: &str, text: &str, rule: &str) -> Checked<T> {
    text.parse().map_err(|_| bad(key, format!("{text:?} {rule}")))
}

/// A number within its bounds.
fn within(key: &str, value: u32, least: u32, most: u32) -> Checked<u32> {
    if (least..=most).contains(&value) { Ok(value) } else { Err(bad(key, format!("must be {least} to {most}"))) }
}

pub(super) fn check(raw: RawConfig, base: &Path) -> Checked<Config> {
    let RawAuthorization { grants, anonymous_enrollment } = raw.authorization;
    let config = Config {
        name: name(&raw.environment)?,
        environment: environment(&raw.environment)?,
        storage: storage(raw.storage, base)?,
        keys: keys(raw.keys, base)?,
        server_identity: server_identity(raw.server_identity, base)?,
        aws: aws(raw.aws)?,
        publication_bucket: raw.publication.map(bucket).transpose()?,
        event_bus: raw.events.map(bus).transpose()?,
        listen: listen(&raw.listen)?,
        server: server(raw.server)?,
        trust: trust(&raw.trust)?,
        limits: limits(&raw.limits)?,
        audit: AuditConfig {
            retention: Lifetime::days(within("audit.retention_days", raw.audit.retention_days, 1, 3650)?),
            seal_delay: Lifetime::seconds(within("audit.seal_delay_seconds", raw.audit.seal_delay_seconds, 1, 240)?),
        },
        telemetry: telemetry(raw.telemetry)?,
        grants: grants.iter().enumerate().map(|(index, raw)| grant(index, raw)).collect::<Checked<_>>()?,
        anonymous_enrollment,
        enrollment: enrollment(raw.enrollment, base)?,
    };
    separate_listeners(&config.listen)?;
    Ok(config)
}

fn name(raw: &RawEnvironment) -> Checked<String> {
    let label: signet_core::TenantId =
        parsed("environment.name", &raw.name, "must be a short name of a-z, 0-9 and hyphens, e.g. dev")?;
    Ok(label.to_string())
}

fn environment(raw: &RawEnvironment) -> Checked<Environment> {
    let rule = "must be a lower-case domain name, e.g. dev.example.com";
    let suffix = parsed("environment.trust_domain_suffix", &raw.trust_domain_suffix, rule)?;
    Environment::new(suffix, &raw.oid_arc).map_err(|error| bad("environment.oid_arc", error))
}

fn storage(raw: RawStorage, base: &Path) -> Checked<Storage> {
    Ok(match raw {
        RawStorage::Sqlite { path } => Storage::Sqlite { path: base.join(path) },
        RawStorage::Dynamodb { prefix } => Storage::Dynamodb { prefix: aws_name("storage.prefix", prefix)? },
    })
}

fn keys(raw: RawKeys, base: &Path) -> Checked<Keys> {
    Ok(match raw {
        RawKeys::Softkey { dir, passphrase_file } => {
            Keys::Softkey { dir: base.join(dir), passphrase_file: base.join(passphrase_file) }
        }
        RawKeys::Kms { prefix, tenant_key_policy_file, tenant_key_policy } => Keys::Kms {
            prefix: aws_name("keys.prefix", prefix)?,
            tenant_key_policy: key_policy(tenant_key_policy_file.map(|file| base.join(file)), tenant_key_policy)?,
        },
    })
}

fn key_policy(file: Option<PathBuf>, text: Option<String>) -> Checked<Option<TenantKeyPolicy>> {
    match (file, text) {
        (Some(_), Some(_)) => {
            Err(bad("keys.tenant_key_policy", "must not be set together with tenant_key_policy_file"))
        }
        (Some(file), None) => Ok(Some(TenantKeyPolicy::File(file))),
        (None, Some(text)) if serde_json::from_str::<serde_json::Map<_, _>>(&text).is_ok() => {
            Ok(Some(TenantKeyPolicy::Text(text)))
        }
        (None, Some(_)) => Err(bad("keys.tenant_key_policy", "must be a key policy, a JSON object")),
        (None, None) => Ok(None),
    }
}

/// The letters and lengths of S3 (general purpose bucket names) are these; what else it refuses, it says itself.
fn bucket(raw: RawPublication) -> Checked<String> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    if (3..=63).contains(&raw.bucket.len()) && raw.bucket.bytes().all(plain) {
        return Ok(raw.bucket);
    }
    Err(bad("publication.bucket", "must be an S3 bucket's name: 3 to 63 of a-z 0-9 . -"))
}

fn bus(raw: RawEvents) -> Checked<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/');
    if (1..=256).contains(&raw.bus.len()) && raw.bus.bytes().all(plain) {
        return Ok(raw.bus);
    }
    Err(bad("events.bus", "must be an EventBridge bus's name, e.g. default"))
}

/// What both a DynamoDB table name and a KMS alias take, with room for the part after it.
fn aws_name(key: &str, text: String) -> Checked<String> {
    let fits = !text.is_empty() && text.len() <= 64;
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if fits && plain { Ok(text) } else { Err(bad(key, "must be 1 to 64 of A-Z a-z 0-9 - _, e.g. signet-dev")) }
}

fn server_identity(raw: RawServerIdentity, base: &Path) -> Checked<ServerIdentitySource> {
    match raw {
        RawServerIdentity::Files { dir } => Ok(ServerIdentitySource::Files { dir: base.join(dir) }),
        RawServerIdentity::Aws { prefix } => {
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'_' | b'.');
            let shaped = prefix.starts_with('/') && !prefix.ends_with('/') && prefix.len() <= 256;
            if shaped && prefix.bytes().all(plain) {
                return Ok(ServerIdentitySource::Aws { prefix });
            }
            Err(bad("server_identity.prefix", "must be an SSM path without a last slash, e.g. /signet/dev"))
        }
    }
}

fn aws(raw: RawAws) -> Checked<Aws> {
    if let Some(url) = &raw.endpoint_url {
        let uri: http::Uri = parsed("aws.endpoint_url", url, "must be a URL, e.g. http://127.0.0.1:4566")?;
        if uri.scheme().is_none() {
            return Err(bad("aws.endpoint_url", "must start with http:// or https://"));
        }
    }
    Ok(Aws { region: raw.region, endpoint_url: raw.endpoint_url })
}

fn listen(raw: &RawListen) -> Checked<Listen> {
    let rule = "must be an address and port, e.g. 127.0.0.1:8443 or [::]:8443";
    let networks = raw.proxy_protocol_from.iter();
    let network = |text: &String| {
        parsed("listen.proxy_protocol_from", text, "must be a network with no bits after its prefix, e.g. 10.0.0.0/16")
    };
    Ok(Listen {
        grpc: parsed("listen.grpc", &raw.grpc, rule)?,
        public: parsed("listen.public", &raw.public, rule)?,
        health: raw.health.as_ref().map(|text| parsed("listen.health", text, rule)).transpose()?,
        metrics: parsed("listen.metrics", &raw.metrics, rule)?,
        proxy_protocol_from: networks.map(network).collect::<Checked<_>>()?,
    })
}

fn separate_listeners(listen: &Listen) -> Checked<()> {
    let Listen { grpc, public, health, metrics, .. } = listen;
    let same = |a: &std::net::SocketAddr, b: &std::net::SocketAddr| a.port() != 0 && a == b;
    match () {
        () if same(public, grpc) => Err(bad("listen.public", "must differ from listen.grpc")),
        () if same(metrics, grpc) || same(metrics, public) => {
            Err(bad("listen.metrics", "must differ from the other listeners"))
        }
        () if health.is_some_and(|health| [grpc, public, metrics].iter().any(|other| same(&health, other))) => {
            Err(bad("listen.health", "must differ from the other listeners"))
        }
        () => Ok(()),
    }
}

fn server(raw: RawServer) -> Checked<ServerIdentity> {
    if raw.dns_names.is_empty() && raw.ip_addresses.is_empty() {
        return Err(bad("server.dns_names", "must contain at least one name that clients connect to"));
    }
    for name in &raw.dns_names {
        let rule = "must be a lower-case DNS name, e.g. signet.example.com";
        if let ServerName::Ip(_) = parsed("server.dns_names", name, rule)? {
            return Err(bad("server.dns_names", format!("{name:?} is an address; put it into server.ip_addresses")));
        }
    }
    let addresses = raw.ip_addresses.iter();
    let ip: Vec<IpAddr> =
        addresses.map(|text| parsed("server.ip_addresses", text, "must be an IP address")).collect::<Checked<_>>()?;
    Ok(ServerIdentity { dns: raw.dns_names, ip })
}

fn trust(raw: &RawTrust) -> Checked<TrustConfig> {
    let limit = within("trust.staleness_limit_seconds", raw.staleness_limit_seconds, 1, 3600)?;
    let when_stale = match raw.when_stale {
        RawWhenStale::Refuse => WhenStale::Refuse,
        RawWhenStale::Serve => WhenStale::Serve,
    };
    Ok(TrustConfig { staleness_limit: Lifetime::seconds(limit), when_stale })
}

fn limits(raw: &RawLimits) -> Checked<Limits> {
    let count = |key: &str, value: u32| within(key, value, 1, 1_000_000).map(|n| n as usize);
    let seconds = |key: &str, value: u32, most: u32| within(key, value, 1, most).map(|n| Duration::from_secs(n.into()));
    Ok(Limits {
        max_connections: count("limits.max_connections", raw.max_connections)?,
        max_handshakes: count("limits.max_handshakes", raw.max_handshakes)?,
        handshake_timeout: seconds("limits.handshake_timeout_seconds", raw.handshake_timeout_seconds, 60)?,
        handshakes_per_second_per_address: within(
            "limits.handshakes_per_second_per_address",
            raw.handshakes_per_second_per_address,
            1,
            1_000_000,
        )?,
        max_connection_age: seconds("limits.max_connection_age_seconds", raw.max_connection_age_seconds, 86_400)?,
        max_concurrent_requests: count("limits.max_concurrent_requests", raw.max_concurrent_requests)?,
        max_requests_per_connection: count("limits.max_requests_per_connection", raw.max_requests_per_connection)?,
        anonymous_calls_per_second_per_address: within(
            "limits.anonymous_calls_per_second_per_address",
            raw.anonymous_calls_per_second_per_address,
            1,
            100_000,
        )?,
        calls_per_second_per_principal: within(
            "limits.calls_per_second_per_principal",
            raw.calls_per_second_per_principal,
            1,
            100_000,
        )?,
        calls_per_second_per_tenant: within(
            "limits.calls_per_second_per_tenant",
            raw.calls_per_second_per_tenant,
            1,
            1_000_000,
        )?,
        max_streams: count("limits.max_streams", raw.max_streams)?,
        request_timeout: seconds("limits.request_timeout_seconds", raw.request_timeout_seconds, 120)?,
        drain: seconds("limits.drain_seconds", raw.drain_seconds, 600)?,
        audited_refusals_per_minute: within(
            "limits.audited_refusals_per_minute",
            raw.audited_refusals_per_minute,
            1,
            60_000,
        )?,
    })
}

fn telemetry(raw: RawTelemetry) -> Checked<Telemetry> {
    let filter: Result<tracing_subscriber::EnvFilter, _> = raw.filter.parse();
    filter.map_err(|error| bad("telemetry.filter", format!("{error}; e.g. info or signet=debug,info")))?;
    if let Some(url) = &raw.otlp_endpoint {
        let uri: http::Uri = parsed("telemetry.otlp_endpoint", url, "must be a URL, e.g. http://127.0.0.1:4317")?;
        if uri.scheme().is_none() {
            return Err(bad("telemetry.otlp_endpoint", "must start with http:// or https://"));
        }
    }
    Ok(Telemetry { json: matches!(raw.log, RawLog::Json), filter: raw.filter, otlp_endpoint: raw.otlp_endpoint })
}

fn enrollment(raw: RawEnrollment, base: &Path) -> Checked<Enrollment> {
    let RawEnrollment { aws_regions, private_issuers, issuer_ca_file, sts_endpoint } = raw;
    let options = signet_attest::Options { aws_regions, private_issuers, sts_endpoint, ..Default::default() };
    options.validate().map_err(|error| bad(&format!("enrollment.{}", error.key), error.problem))?;
    Ok(Enrollment { options, issuer_ca_file: issuer_ca_file.map(|file| base.join(file)) })
}

fn grant(index: usize, raw: &RawGrant) -> Checked<ExtraGrant> {
    let key = |field: &str| format!("authorization.grants[{index}].{field}");
    let role = raw.role.as_ref().map(|role| parsed(&key("role"), role, "must be 1 to 32 of a-z 0-9 -"));
    let permission = &raw.permission;
    let plain = permission.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b':' | b'-' | b'_'));
    if permission.is_empty() || permission.len() > 64 || !plain {
        return Err(bad(&key("permission"), "must be 1 to 64 of A-Z a-z 0-9 . : - _, e.g. jobs:submit"));
    }
    Ok(ExtraGrant {
        principal_type: parsed(
            &key("principal_type"),
            &raw.principal_type,
            "must be admin, user, worker, service or device",
        )?,
        role: role.transpose()?,
        permission: permission.clone(),
    })
}
