//! Distinguished names (RFC 5280 section 4.1.2.4). Identity is in the URI; these are for people and old tools.

use const_oid::ObjectIdentifier;
use der::{
    Encode, Tag,
    asn1::{Any, SetOfVec},
};
use signet_core::{PrincipalType, TenantId, authorities::CaKind, spiffe::SpiffeId, tenants::SubjectForm};
use x509_cert::attr::AttributeTypeAndValue;

use crate::{Environment, oid};

type Rdn = SetOfVec<AttributeTypeAndValue>;

/// Whether its certificate is a server's too: where it has a DNS name, and a service's always.
pub(crate) const fn is_server(principal_type: PrincipalType, has_host: bool) -> bool {
    has_host || matches!(principal_type, PrincipalType::Service)
}

/// `O=<tenant>, CN=<principal id>`, or the id in UID instead of CN where a TLS client could take it for a host. OpenSSL
/// does so where there is no DNS name, whatever the name constraints say: a service called `localhost` would pass for
/// that host. So what is a server has a CN only beside a DNS name (`has_host`). An id with a dot never has:
/// OpenSSL would hold it against the tenant CA's name constraints. A tenant may choose another `form`; what has a slash
/// is no host's name.
pub(crate) fn leaf(id: &SpiffeId, form: &SubjectForm, has_host: bool) -> der::Result<Vec<u8>> {
    let mut name = vec![utf8(oid::ORGANIZATION, id.tenant.as_str())?];
    if let Some(unit) = &form.organizational_unit {
        name.push(utf8(oid::ORGANIZATIONAL_UNIT, unit)?);
    }
    let principal = id.principal.as_str();
    let is_host = principal.contains('.') || (is_server(id.principal_type, has_host) && !has_host);
    name.push(match common_name(id, form) {
        Some(both) => utf8(oid::COMMON_NAME, &both)?,
        None => utf8(if is_host { oid::USER_ID } else { oid::COMMON_NAME }, principal)?,
    });
    name.to_der()
}

/// `<tenant>/<principal id>`, of whoever is no workload, where `form` wants it.
pub(crate) fn common_name(id: &SpiffeId, form: &SubjectForm) -> Option<String> {
    let wanted = form.tenant_in_common_name && !id.principal_type.is_workload();
    wanted.then(|| format!("{}/{}", id.tenant, id.principal))
}

/// `DC=<suffix>, CN=Control plane`.
pub(crate) fn server(environment: &Environment) -> der::Result<Vec<u8>> {
    let mut name = domain(environment)?;
    name.push(utf8(oid::COMMON_NAME, "Control plane")?);
    name.to_der()
}

/// `DC=<suffix>, O=<tenant>, CN=Issuing CA <generation>`, and alike for the environment's own. No two CAs share a
/// name, so that a verifier finds the one anchor that may have signed.
pub(crate) fn ca(environment: &Environment, kind: CaKind, tenant: &TenantId, generation: u32) -> der::Result<Vec<u8>> {
    with_ca(environment, kind, tenant, generation, "")
}

/// The name of a CA's OCSP responders: the CA's with ` OCSP` behind it, so that nobody takes one for a principal.
pub(crate) fn responder(
    environment: &Environment,
    kind: CaKind,
    tenant: &TenantId,
    generation: u32,
) -> der::Result<Vec<u8>> {
    with_ca(environment, kind, tenant, generation, " OCSP")
}

fn with_ca(
    environment: &Environment,
    kind: CaKind,
    tenant: &TenantId,
    generation: u32,
    role: &str,
) -> der::Result<Vec<u8>> {
    let mut name = domain(environment)?;
    let what = match kind {
        CaKind::Root => "Root CA",
        CaKind::Shared => "Shared issuing CA",
        CaKind::Server => "Server CA",
        CaKind::Tenant => "Issuing CA",
    };
    if kind == CaKind::Tenant {
        name.push(utf8(oid::ORGANIZATION, tenant.as_str())?);
    }
    name.push(utf8(oid::COMMON_NAME, &format!("{what} {generation}{role}"))?);
    name.to_der()
}

/// The suffix as domain components, the last label first (RFC 2247 section 2).
fn domain(environment: &Environment) -> der::Result<Vec<Rdn>> {
    let labels = environment.suffix().as_str().rsplit('.');
    labels.map(|label| rdn(oid::DOMAIN_COMPONENT, Tag::Ia5String, label)).collect()
}

fn utf8(attribute: ObjectIdentifier, text: &str) -> der::Result<Rdn> {
    rdn(attribute, Tag::Utf8String, text)
}

fn rdn(oid: ObjectIdentifier, tag: Tag, text: &str) -> der::Result<Rdn> {
    SetOfVec::try_from(vec![AttributeTypeAndValue { oid, value: Any::new(tag, text.as_bytes())? }])
}
