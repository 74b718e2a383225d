//! Rules for certificates of principals and servers.

use const_oid::ObjectIdentifier;
use signet_core::{PrincipalType, tenants::MAX_LIFETIME};
use x509_cert::ext::pkix::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName, name::GeneralName,
};

use super::Lint;
use crate::{
    Leaf, ServerName,
    issue::BACKDATE,
    leaf, oid,
    profile::{self, RESPONDER_LIFETIME},
};

impl Lint<'_> {
    pub(super) fn leaf(&mut self) {
        self.end_entity();
        let names = self.get::<SubjectAltName>().map(|(_, names)| names.0).unwrap_or_default();
        let read = leaf::spiffe_id(&self.view, self.environment)
            .and_then(|id| Leaf::from_view(&self.view, id, self.environment));
        self.require(read.is_ok(), "the URI and our extensions must name the same principal");
        let host = read.as_ref().ok().and_then(|leaf| profile::host(self.environment, &leaf.id));
        let own = |dns: &str| host.as_deref() == Some(dns);
        let named = match names.as_slice() {
            [GeneralName::UniformResourceIdentifier(_)] => true,
            [GeneralName::UniformResourceIdentifier(_), GeneralName::DnsName(dns)] => own(dns.as_str()),
            _ => false,
        };
        let rule = "the alternative names must be one URI (X.509-SVID section 2) and, of a server, its own DNS name";
        self.require(named, rule);
        let (has_host, both) = (names.len() == 2, [oid::CLIENT_AUTH, oid::SERVER_AUTH]);
        let is_server = has_host || read.is_ok_and(|leaf| leaf.id.principal_type == PrincipalType::Service);
        let has_cn = self.tbs.subject().iter().any(|attribute| attribute.oid == oid::COMMON_NAME);
        let rule = "what may be a server must not have a CN without a DNS name (RFC 6125 section 6.4.4)";
        self.require(!has_cn || !is_server || has_host, rule);
        self.purposes(if is_server { &both } else { &[oid::CLIENT_AUTH] });
        let basic = self.get::<BasicConstraints>().map(|(_, basic)| (basic.ca, basic.path_len_constraint));
        self.require(basic == Some((false, None)), "it must say that it is no CA (X.509-SVID section 4.1)");
    }

    pub(super) fn server(&mut self) {
        self.end_entity();
        self.purposes(&[oid::SERVER_AUTH]);
        let plain = self.view.extension(oid::BASIC_CONSTRAINTS).is_none();
        self.require(plain, "a server's certificate has no basic constraints");
        let names = self.get::<SubjectAltName>().map(|(_, names)| names.0).unwrap_or_default();
        let hosts = names.iter().all(|name| match name {
            GeneralName::DnsName(name) => matches!(name.as_str().parse(), Ok(ServerName::Dns(_))),
            GeneralName::IpAddress(octets) => matches!(octets.as_bytes().len(), 4 | 16),
            _ => false,
        });
        self.require(hosts && !names.is_empty(), "a server's names must be DNS names or IP addresses, at least one");
    }

    pub(super) fn responder(&mut self) {
        self.end_entity();
        self.purposes(&[oid::OCSP_SIGNING]);
        let longest = RESPONDER_LIFETIME.millis().saturating_add(BACKDATE.millis());
        let life = self.view.not_after.millis_since(self.view.not_before);
        self.require(life <= longest, "a responder's certificate must be short-lived, since nobody revokes it");
        let no_check = self.view.extension(oid::OCSP_NO_CHECK).is_some_and(|it| it.value == [5, 0]);
        self.require(no_check, "a responder's certificate must not need a check (RFC 6960 section 4.2.2.2.1)");
        let nameless =
            [oid::SUBJECT_ALT_NAME, oid::BASIC_CONSTRAINTS].iter().all(|oid| self.view.extension(*oid).is_none());
        self.require(nameless, "a responder has no alternative names and no basic constraints");
    }

    fn end_entity(&mut self) {
        let longest = MAX_LIFETIME.millis().saturating_add(BACKDATE.millis());
        let life = self.view.not_after.millis_since(self.view.not_before);
        self.require(life <= longest, "it must not be valid for more than 90 days");
        let usage = self.get::<KeyUsage>().map(|(_, usage)| usage.0);
        let signs = usage.is_some_and(|usage| usage == KeyUsages::DigitalSignature);
        self.require(signs, "the key usage must be digitalSignature and nothing else (RFC 5280 section 4.2.1.3)");
        let plain = self.view.extension(oid::NAME_CONSTRAINTS).is_none();
        self.require(plain, "only a CA's certificate may have name constraints (RFC 5280 section 4.2.1.10)");
    }

    pub(super) fn purposes(&mut self, expected: &[ObjectIdentifier]) {
        let found = self.get::<ExtendedKeyUsage>().is_some_and(|(_, usage)| usage.0 == expected);
        self.require(found, "the extended key usage must be the profile's (RFC 5280 section 4.2.1.12)");
    }
}
