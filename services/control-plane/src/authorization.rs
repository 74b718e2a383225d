//! The authorization table: each RPC's rule, read from the descriptors when the server starts.

use std::{collections::HashMap, num::NonZeroU32, sync::Arc};

use prost_reflect::{DescriptorPool, DynamicMessage, ExtensionDescriptor, MethodDescriptor, Value};
use signet_core::{
    PrincipalType,
    authorization::{CallerTypes, Policy, Rule},
};
use thiserror::Error;

/// Full name of the method option.
const OPTION: &str = "signet.v1.authorization";
/// Our API's package; services outside of it are listed in [`OTHERS`].
const PACKAGE: &str = "signet.v1";
/// The API's services, as health answers name them.
pub(crate) const SERVICES: [&str; 9] = [
    "signet.v1.TenantService",
    "signet.v1.PrincipalService",
    "signet.v1.CertificateService",
    "signet.v1.EnrollmentService",
    "signet.v1.TrustService",
    "signet.v1.AuditService",
    "signet.v1.AuthorizationService",
    "signet.v1.TokenService",
    "signet.v1.MessageService",
];
/// What the server offers beyond its API, each with a decision of its own: health for load balancers and probes, also
/// those without a certificate, who must ask again since nothing of a node may be kept by them; reflection for admins,
/// since it serves people who explore.
const OTHERS: [(&str, &str, Kind, Access<'static>); 5] = [
    ("grpc.health.v1.Health", "Check", Kind::Unary, Access::Anyone),
    ("grpc.health.v1.Health", "List", Kind::Unary, Access::Anyone),
    ("grpc.health.v1.Health", "Watch", Kind::Streams, Access::Known),
    ("grpc.reflection.v1.ServerReflection", "ServerReflectionInfo", Kind::Talks, Access::Admins),
    ("grpc.reflection.v1alpha.ServerReflection", "ServerReflectionInfo", Kind::Talks, Access::Admins),
];
/// Operations that keep a certificate alive: a holder that calls too often must not lose it.
const RENEWALS: [&str; 3] = ["RenewCertificate", "ConfirmCertificate", "GetRenewalInfo"];
/// Operations that need one of these take away what somebody could misuse: there is always room for them.
const URGENT: [&str; 7] = [
    "principals.suspend",
    "principals.delete",
    "tenants.suspend",
    "certificates.revoke",
    "tokens.revoke",
    "message_secrets.rotate",
    "message_secrets.delete",
];
/// A tail reads the store all the time; it takes the room of this many streams that only wait.
const TAIL: NonZeroU32 = NonZeroU32::MIN.saturating_add(15);
/// A page of a listing takes the room of this many other calls.
const LISTING: NonZeroU32 = NonZeroU32::MIN.saturating_add(7);
/// Fifty questions, each with up to two reads; most are asked with a certificate that was met before, and read nothing.
/// Or a hundred security events, each signed, and most with a read.
const BATCH: NonZeroU32 = NonZeroU32::MIN.saturating_add(7);
/// A search reads pages of a listing, and then asks as a batch does.
const SEARCH: NonZeroU32 = NonZeroU32::MIN.saturating_add(31);

/// HTTP paths beside the RPCs, each with its operation: the proof in the request speaks for the caller, with a
/// certificate or without.
const HTTP: [(&str, &str); 2] = [(signet_enroll_http::ENROLL, "Enroll"), (signet_enroll_http::RENEW, "RenewOutOfBand")];

/// Paths of the OpenID AuthZEN Authorization API 1.0 (section 10.1), and of its metadata (section 9.2).
pub(crate) mod authzen {
    pub(crate) const EVALUATION: &str = "/access/v1/evaluation";
    pub(crate) const EVALUATIONS: &str = "/access/v1/evaluations";
    pub(crate) const SEARCH_SUBJECT: &str = "/access/v1/search/subject";
    pub(crate) const SEARCH_RESOURCE: &str = "/access/v1/search/resource";
    pub(crate) const SEARCH_ACTION: &str = "/access/v1/search/action";
    pub(crate) const METADATA: &str = "/.well-known/authzen-configuration";
}

/// Paths of OAuth 2.0. The tenant is that of the caller's certificate.
pub(crate) mod oauth {
    pub(crate) const TOKEN: &str = "/oauth/token";
    pub(crate) const INTROSPECT: &str = "/oauth/introspect";
}

/// The path of security events (RFC 8936), of the tenant of the caller's certificate.
pub(crate) mod security_events {
    pub(crate) const POLL: &str = "/security-events/poll";
}

/// Paths of what a tenant's issuers publish: at `/t/<tenant>` that of access tokens, below it those of SVIDs and of
/// broker tokens. RFC 8414 section 3.1 puts its document before the issuer's path, OpenID Connect Discovery 1.0 section
/// 4 behind it.
pub(crate) mod issuers {
    pub(crate) const KEYS: &str = "/t/{tenant}/jwks.json";
    pub(crate) const OAUTH: &str = "/.well-known/oauth-authorization-server/t/{tenant}";
    pub(crate) const EVENT_KEYS: &str = "/t/{tenant}/security-events/jwks.json";
    pub(crate) const SSF: &str = "/.well-known/ssf-configuration/t/{tenant}";
    pub(crate) const SVID_KEYS: &str = "/t/{tenant}/svid/jwks.json";
    pub(crate) const SVID_OPENID: &str = "/t/{tenant}/svid/.well-known/openid-configuration";
    pub(crate) const BROKER_KEYS: &str = "/t/{tenant}/broker/jwks.json";
    pub(super) const ALL: [(&str, &str); 7] = [
        (KEYS, "GetTokenKeySet"),
        (EVENT_KEYS, "GetTokenKeySet"),
        (BROKER_KEYS, "GetTokenKeySet"),
        (SSF, "GetTokenIssuer"),
        (SVID_KEYS, "GetTokenKeySet"),
        (OAUTH, "GetTokenIssuer"),
        (SVID_OPENID, "GetTokenIssuer"),
    ];

    /// The one of them that leads to a path.
    pub(super) fn pattern_of(path: &str) -> Option<&'static str> {
        let fits = |pattern: &str| {
            let (before, after) = pattern.split_once("{tenant}").unwrap_or((pattern, ""));
            let tenant = path.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
            tenant.is_some_and(|tenant| !tenant.is_empty() && !tenant.contains('/'))
        };
        ALL.iter().map(|(pattern, _)| *pattern).find(|pattern| fits(pattern))
    }
}

/// HTTP paths that are another face of an RPC: its rule, its weight, its name. A search asks as many questions as a
/// batch.
const FACES: [(&str, &str); 8] = [
    (authzen::EVALUATION, "/signet.v1.AuthorizationService/Check"),
    (authzen::EVALUATIONS, "/signet.v1.AuthorizationService/BatchCheck"),
    (authzen::SEARCH_SUBJECT, "/signet.v1.AuthorizationService/BatchCheck"),
    (authzen::SEARCH_RESOURCE, "/signet.v1.AuthorizationService/BatchCheck"),
    (authzen::SEARCH_ACTION, "/signet.v1.AuthorizationService/BatchCheck"),
    (oauth::TOKEN, "/signet.v1.TokenService/CreateAccessToken"),
    (oauth::INTROSPECT, "/signet.v1.TokenService/IntrospectAccessToken"),
    (security_events::POLL, "/signet.v1.TokenService/PollSecurityEvents"),
];

/// Why the server does not start: an RPC's rule is missing or wrong. Mend its .proto.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TableError {
    /// The descriptors cannot be read.
    #[error("the API's descriptors cannot be read: {0}")]
    Descriptors(String),
    /// No option.
    #[error("{rpc} has no authorization rule: give it `option (signet.v1.authorization)`")]
    NoRule {
        /// Full name.
        rpc: String,
    },
    /// A permission that is not in `signet_core::authorization::PERMISSIONS`.
    #[error("{rpc} needs the unknown permission {permission:?}")]
    UnknownPermission {
        /// Full name.
        rpc: String,
        /// As written.
        permission: String,
    },
    /// Nobody could call it.
    #[error("{rpc} admits no caller")]
    NoCallers {
        /// Full name.
        rpc: String,
    },
    /// A caller type that this server does not know.
    #[error("{rpc} admits an unknown caller type ({number})")]
    UnknownCaller {
        /// Full name.
        rpc: String,
        /// The enum's number.
        number: i32,
    },
}

/// Who may call a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access<'a> {
    /// As the rule says.
    Rule(&'a Rule),
    /// Everybody who can connect.
    Anyone,
    /// Everybody who can connect, while the node knows whom to refuse.
    AnyoneUnlessStale,
    /// Everybody with a certificate.
    Known,
    /// Admins of any tenant.
    Admins,
}

/// How messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One in, one out.
    Unary,
    /// One in, many out.
    Streams,
    /// Many in, many out.
    Talks,
}

/// By which rate a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Its caller's.
    Ordinary,
    /// One of its own, so that a holder which calls too often does not lose its certificate.
    Renewal,
    /// It suspends or revokes: a larger one, and room where others find none.
    Urgent,
}

/// One method of the server.
#[derive(Clone, Debug)]
pub struct Route {
    /// The RPC's name, as in metrics, logs and audit events.
    pub operation: &'static str,
    /// How messages go.
    pub kind: Kind,
    /// How much of a caller's shares it takes; 1 for most.
    pub weight: NonZeroU32,
    /// By which rate it goes.
    pub lane: Lane,
    /// Whether it changes state.
    pub mutates: bool,
    /// Whether it is plain HTTP: errors are problem details.
    pub http: bool,
    rule: Option<Rule>,
    /// Without a rule.
    otherwise: Access<'static>,
}

impl Route {
    const fn plain(operation: &'static str, otherwise: Access<'static>) -> Self {
        let (kind, weight, lane) = (Kind::Unary, NonZeroU32::MIN, Lane::Ordinary);
        Self { operation, kind, weight, lane, mutates: false, http: false, rule: None, otherwise }
    }

    /// Who may call it.
    pub fn access(&self) -> Access<'_> {
        self.rule.as_ref().map_or(self.otherwise, Access::Rule)
    }
}

/// All methods by path (`/signet.v1.TenantService/CreateTenant`). A path that is not in it does not exist.
#[derive(Debug)]
pub struct Table {
    routes: HashMap<Box<str>, Arc<Route>>,
    nowhere: Route,
}

impl Table {
    /// Reads the table from a serialized `FileDescriptorSet`. Fails on the first gap.
    pub fn from_descriptors(descriptors: &[u8], policy: &Policy) -> Result<Self, TableError> {
        let unreadable = |error: String| TableError::Descriptors(error);
        let pool = DescriptorPool::decode(descriptors).map_err(|error| unreadable(error.to_string()))?;
        let option = pool.get_extension_by_name(OPTION).ok_or_else(|| unreadable(format!("{OPTION} is missing")))?;
        let services = pool.services().filter(|service| service.package_name() == PACKAGE);
        let methods: Vec<MethodDescriptor> =
            services.flat_map(|service| service.methods().collect::<Vec<_>>()).collect();
        if methods.is_empty() {
            return Err(unreadable(format!("{PACKAGE} has no services")));
        }
        let mut table: HashMap<Box<str>, Arc<Route>> = HashMap::new();
        for method in methods {
            let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
            table.insert(path.into(), Arc::new(route(&method, &option, policy)?));
        }
        for (service, operation, kind, access) in OTHERS {
            let route = Route { kind, ..Route::plain(operation, access) };
            table.insert(format!("/{service}/{operation}").into(), Arc::new(route));
        }
        for (path, operation) in HTTP {
            let route = Route { mutates: true, http: true, ..Route::plain(operation, Access::AnyoneUnlessStale) };
            table.insert(path.into(), Arc::new(route));
        }
        for (path, rpc) in FACES {
            let route = table.get(rpc).ok_or_else(|| unreadable(format!("{rpc} is missing")))?;
            let weight = if path.contains("/search/") { SEARCH } else { route.weight };
            // Who waits for the next event takes the room of a stream.
            let kind = if path == security_events::POLL { Kind::Streams } else { route.kind };
            let route = Route { http: true, kind, weight, ..Route::clone(route) };
            table.insert(path.into(), Arc::new(route));
        }
        let metadata = [(authzen::METADATA, "GetAuthzenConfiguration")];
        for (path, operation) in metadata.into_iter().chain(issuers::ALL) {
            let route = Route { http: true, ..Route::plain(operation, Access::Anyone) };
            table.insert(path.into(), Arc::new(route));
        }
        Ok(Self { routes: table, nowhere: Route::plain("Nowhere", Access::Anyone) })
    }

    /// The method at `path`.
    pub fn route(&self, path: &str) -> Option<&Arc<Route>> {
        self.routes.get(path).or_else(|| self.routes.get(issuers::pattern_of(path)?))
    }

    /// For a path that leads to none.
    pub(crate) const fn nowhere(&self) -> &Route {
        &self.nowhere
    }

    /// All methods.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<Route>)> {
        self.routes.iter().map(|(path, route)| (&**path, route))
    }
}

fn route(method: &MethodDescriptor, option: &ExtensionDescriptor, policy: &Policy) -> Result<Route, TableError> {
    let rpc = || method.full_name().to_owned();
    let options = method.options();
    if !options.has_extension(option) {
        return Err(TableError::NoRule { rpc: rpc() });
    }
    let value = options.get_extension(option);
    let rule = value.as_message().ok_or_else(|| TableError::NoRule { rpc: rpc() })?;
    let permission = text(rule, "permission");
    let known = policy.permission(&permission);
    let known = known.ok_or_else(|| TableError::UnknownPermission { rpc: rpc(), permission: permission.clone() })?;
    let callers = callers(rule).map_err(|number| TableError::UnknownCaller { rpc: rpc(), number })?;
    if callers.is_empty() {
        return Err(TableError::NoCallers { rpc: rpc() });
    }
    // Made once per process, and its length is that of the API.
    let operation: &'static str = Box::leak(method.name().to_owned().into_boxed_str());
    let rule_of = Rule { operation: operation.into(), permission: known, callers };
    let mutates = rule.get_field_by_name("mutates").and_then(|value| value.as_bool()).unwrap_or(false);
    let kind = if method.is_server_streaming() { Kind::Streams } else { Kind::Unary };
    let lane = match () {
        () if URGENT.contains(&permission.as_str()) => Lane::Urgent,
        // A service that does not hear of changes refuses everybody.
        () if matches!(operation, "WatchDecisions" | "WatchMessageSecrets" | "WatchRefusals") => Lane::Urgent,
        () if RENEWALS.contains(&operation) => Lane::Renewal,
        () => Lane::Ordinary,
    };
    let weight = weight(operation);
    Ok(Route { kind, weight, lane, mutates, rule: Some(rule_of), ..Route::plain(operation, Access::Admins) })
}

fn weight(operation: &str) -> NonZeroU32 {
    match operation {
        tail if tail.starts_with("Tail") => TAIL,
        "BatchCheck" | "BatchVerifyMessages" | "FetchMessageSecrets" | "PollSecurityEvents" => BATCH,
        list if list.starts_with("List") => LISTING,
        _ => NonZeroU32::MIN,
    }
}

fn text(message: &DynamicMessage, field: &str) -> String {
    message.get_field_by_name(field).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// The caller types, or the number of one that is not known.
fn callers(rule: &DynamicMessage) -> Result<CallerTypes, i32> {
    let listed = rule.get_field_by_name("callers");
    let listed = listed.as_deref().and_then(Value::as_list).unwrap_or_default();
    listed.iter().try_fold(CallerTypes::default(), |callers, value| {
        Ok(match value.as_enum_number().unwrap_or(0) {
            1 => callers.with(PrincipalType::Admin),
            2 => callers.with(PrincipalType::User),
            3 => callers.with(PrincipalType::Worker),
            4 => callers.with(PrincipalType::Service),
            5 => callers.with(PrincipalType::Device),
            6 => callers.with_anonymous(),
            number => return Err(number),
        })
    })
}
