//! The extensions of each kind of certificate.

use const_oid::ObjectIdentifier;
use der::asn1::{Null, OctetString, Utf8StringRef};
use signet_core::{PrincipalType, authorities::CaKind};
use x509_cert::ext::{
    Extension,
    pkix::{
        NameConstraints,
        constraints::name::GeneralSubtree,
        name::{GeneralName, GeneralNames},
    },
};

use crate::{
    CaProfile, LeafProfile, ServerName, ServerProfile,
    encode::{ca_constraints, extended_usage, extension, ia5, no_ca, usage_cert_and_crl_sign, usage_digital_signature},
    name::is_server,
    oid,
};

/// X.509-SVID section 4.4 wants both of every SVID. One without a DNS name must not pass for a host, so only what is a
/// server has both.
const fn purposes(principal_type: PrincipalType, has_host: bool) -> &'static [ObjectIdentifier] {
    if is_server(principal_type, has_host) { &[oid::CLIENT_AUTH, oid::SERVER_AUTH] } else { &[oid::CLIENT_AUTH] }
}

/// X.509-SVID section 4 and our own arc; `host` is the DNS name of one that may be a server.
pub(crate) fn leaf(profile: &LeafProfile, host: Option<&str>) -> der::Result<Vec<Extension>> {
    let uri = profile.id.uri(profile.environment.suffix());
    let oids = profile.environment.oids();
    let own = |oid, text| extension(oid, false, &Utf8StringRef::new(text)?);
    let mut names = vec![GeneralName::UniformResourceIdentifier(ia5(&uri)?)];
    if let Some(host) = host {
        names.push(GeneralName::DnsName(ia5(host)?));
    }
    let mut extensions = vec![
        no_ca()?,
        usage_digital_signature()?,
        extended_usage(purposes(profile.id.principal_type, host.is_some()))?,
        alternative_names(names)?,
        own(oids.principal_type, profile.id.principal_type.as_str())?,
        own(oids.principal, profile.id.principal.as_str())?,
        own(oids.tenant, profile.id.tenant.as_str())?,
    ];
    if !profile.roles.is_empty() {
        let roles: Vec<&str> = profile.roles.iter().map(|role| role.as_str()).collect();
        extensions.push(own(oids.roles, &roles.join(","))?);
    }
    Ok(extensions)
}

pub(crate) fn server(profile: &ServerProfile) -> der::Result<Vec<Extension>> {
    let names = profile.names.iter().map(|name| match name {
        ServerName::Dns(name) => Ok(GeneralName::DnsName(ia5(name)?)),
        ServerName::Ip(ip) => Ok(GeneralName::from(*ip)),
    });
    let names = names.collect::<der::Result<_>>()?;
    Ok(vec![usage_digital_signature()?, extended_usage(&[oid::SERVER_AUTH])?, alternative_names(names)?])
}

/// RFC 6960 sections 4.2.2.2 and 4.2.2.2.1.
pub(crate) fn responder() -> der::Result<Vec<Extension>> {
    let no_check = extension(oid::OCSP_NO_CHECK, false, &Null)?;
    Ok(vec![usage_digital_signature()?, extended_usage(&[oid::OCSP_SIGNING])?, no_check])
}

pub(crate) fn ca(profile: &CaProfile) -> der::Result<Vec<Extension>> {
    let path_len = if profile.kind == CaKind::Root { 1 } else { 0 };
    let mut extensions = vec![ca_constraints(path_len)?, usage_cert_and_crl_sign()?];
    match profile.kind {
        CaKind::Root => {}
        CaKind::Server => extensions.push(extended_usage(&[oid::SERVER_AUTH])?),
        CaKind::Shared | CaKind::Tenant => {
            extensions.push(extended_usage(&[oid::CLIENT_AUTH, oid::SERVER_AUTH])?);
            extensions.push(extension(oid::NAME_CONSTRAINTS, true, &name_constraints(profile)?)?);
        }
    }
    Ok(extensions)
}

/// RFC 5280 section 4.2.1.10. Clients trust the root for servers, so a CA that signs principals must not be able to
/// vouch for a server: a tenant's may name hosts in its own trust domain only, the shared one none, and neither an IP
/// address. No constraint on URIs: webpki refuses every chain that has one; the verifier binds tenant and CA.
fn name_constraints(profile: &CaProfile) -> der::Result<NameConstraints> {
    let subtree = |base| GeneralSubtree { base, minimum: 0, maximum: None };
    // Address and mask, all zero: 0.0.0.0/0 and ::/0.
    let everything = |octets| -> der::Result<_> { Ok(subtree(GeneralName::IpAddress(OctetString::new(octets)?))) };
    let mut excluded = vec![everything([0; 8].as_slice())?, everything([0; 32].as_slice())?];
    let mut permitted = None;
    if profile.kind == CaKind::Tenant {
        let domain = profile.environment.suffix().trust_domain(&profile.tenant);
        permitted = Some(vec![subtree(GeneralName::DnsName(ia5(&domain)?))]);
    } else {
        // The empty name stands for all.
        excluded.push(subtree(GeneralName::DnsName(ia5("")?)));
    }
    Ok(NameConstraints { permitted_subtrees: permitted, excluded_subtrees: Some(excluded) })
}

fn alternative_names(names: GeneralNames) -> der::Result<Extension> {
    extension(oid::SUBJECT_ALT_NAME, false, &names)
}
