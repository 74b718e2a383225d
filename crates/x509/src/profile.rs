//! What each kind of certificate holds. A profile is checked when it is made; [`crate::issue`] turns it into bytes.

use std::{fmt, net::IpAddr, str::FromStr};

use signet_core::{
    Lifetime, Role, TenantId, authorities::CaKind, principals::Principal, spiffe::SpiffeId, tenants::SubjectForm,
};

use crate::{
    CertificateView, Environment, name,
    profile_error::{MAX_COMMON_NAME, MAX_ROLES, MAX_SERVER_NAMES, ProfileError},
};

/// Lifetime of a server certificate.
pub const SERVER_LIFETIME: Lifetime = Lifetime::days(7);
/// Lifetime of a root.
pub const ROOT_LIFETIME: Lifetime = Lifetime::days(3652);
/// Lifetime of an issuing CA.
pub const ISSUING_CA_LIFETIME: Lifetime = Lifetime::days(730);

/// Lifetime of an OCSP responder's certificate. Nobody can revoke it: its clients are told not to look.
pub const RESPONDER_LIFETIME: Lifetime = Lifetime::hours(12);

/// A principal's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafProfile {
    pub(crate) environment: Environment,
    pub(crate) id: SpiffeId,
    pub(crate) roles: Vec<Role>,
    pub(crate) subject: SubjectForm,
}

impl LeafProfile {
    /// The certificate of `id` with `roles` in the order they shall be shown.
    pub fn new(environment: &Environment, id: SpiffeId, roles: Vec<Role>) -> Result<Self, ProfileError> {
        if roles.len() > MAX_ROLES {
            return Err(ProfileError::TooManyRoles(roles.len()));
        }
        Ok(Self { environment: environment.clone(), id, roles, subject: SubjectForm::default() })
    }

    /// With its subject in this form.
    pub fn with_subject(self, subject: SubjectForm) -> Result<Self, ProfileError> {
        match name::common_name(&self.id, &subject) {
            Some(long) if long.len() > MAX_COMMON_NAME => Err(ProfileError::CommonName(long)),
            _ => Ok(Self { subject, ..self }),
        }
    }

    /// See [`host`].
    pub(crate) fn host(&self) -> Option<String> {
        host(&self.environment, &self.id)
    }

    /// The certificate of `principal` with its present roles.
    pub fn of(environment: &Environment, principal: &Principal) -> Result<Self, ProfileError> {
        let id = SpiffeId {
            tenant: principal.tenant.clone(),
            principal_type: principal.principal_type,
            principal: principal.id.clone(),
        };
        Self::new(environment, id, principal.roles.clone())
    }
}

/// The DNS name of a workload: `<id>.<type>.<trust domain>`, which nobody else in the environment has. `None` if it is
/// none, or its id does not make a host's name.
pub(crate) fn host(environment: &Environment, id: &SpiffeId) -> Option<String> {
    let domain = environment.suffix().trust_domain(&id.tenant);
    let host = format!("{}.{}.{domain}", id.principal, id.principal_type);
    (id.principal_type.is_workload() && matches!(host.parse(), Ok(ServerName::Dns(_)))).then_some(host)
}

/// A name that a server answers to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServerName {
    /// A lower-case DNS name, e.g. `signet.prod.example.com`, or `localhost`.
    Dns(Box<str>),
    /// An IP address.
    Ip(IpAddr),
}

impl FromStr for ServerName {
    type Err = ProfileError;
    fn from_str(text: &str) -> Result<Self, ProfileError> {
        if let Ok(ip) = text.parse() {
            return Ok(Self::Ip(ip));
        }
        let is_label = |label: &str| label.parse::<TenantId>().is_ok();
        // RFC 1034 section 3.1: 253 characters; labels as in a tenant id.
        if text.len() <= 253 && text.split('.').all(is_label) {
            return Ok(Self::Dns(text.into()));
        }
        Err(ProfileError::ServerName(text.to_owned()))
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

/// A server certificate of the control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerProfile {
    pub(crate) environment: Environment,
    pub(crate) names: Vec<ServerName>,
}

impl ServerProfile {
    /// The certificate of a server that answers to `names`.
    pub fn new(environment: &Environment, names: Vec<ServerName>) -> Result<Self, ProfileError> {
        if names.is_empty() || names.len() > MAX_SERVER_NAMES {
            return Err(ProfileError::ServerNameCount(names.len()));
        }
        Ok(Self { environment: environment.clone(), names })
    }
}

/// A CA's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaProfile {
    pub(crate) environment: Environment,
    pub(crate) kind: CaKind,
    pub(crate) tenant: TenantId,
    pub(crate) generation: u32,
}

impl CaProfile {
    /// Its subject; DER.
    pub(crate) fn name(&self) -> der::Result<Vec<u8>> {
        name::ca(&self.environment, self.kind, &self.tenant, self.generation)
    }

    /// The subject of its OCSP responders; DER.
    pub(crate) fn responder_name(&self) -> der::Result<Vec<u8>> {
        name::responder(&self.environment, self.kind, &self.tenant, self.generation)
    }

    /// The certificate of the CA of `kind` in its `generation`, which is part of its name: two CAs never share one.
    /// `tenant` is its owner; for all but [`CaKind::Tenant`] that is the system tenant.
    pub fn new(environment: &Environment, kind: CaKind, tenant: &TenantId, generation: u32) -> Self {
        Self { environment: environment.clone(), kind, tenant: tenant.clone(), generation }
    }

    /// Whether a certificate (DER) has this CA's name, which names its environment.
    pub fn is_named_in(&self, certificate_der: &[u8]) -> bool {
        let (Ok(own), Ok(view)) = (self.name(), CertificateView::from_der(certificate_der)) else { return false };
        view.subject_der == own
    }

    /// How long it is valid.
    pub fn lifetime(&self) -> Lifetime {
        match self.kind {
            CaKind::Root => ROOT_LIFETIME,
            CaKind::Shared | CaKind::Server | CaKind::Tenant => ISSUING_CA_LIFETIME,
        }
    }
}
