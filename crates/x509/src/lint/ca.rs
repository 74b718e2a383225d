//! Rules for certificates of CAs.

use x509_cert::ext::pkix::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, NameConstraints, name::GeneralName,
};

use super::{Kind, Lint};
use crate::{
    issue::BACKDATE,
    oid,
    profile::{ISSUING_CA_LIFETIME, ROOT_LIFETIME},
};

impl Lint<'_> {
    pub(super) fn ca(&mut self) {
        let (path_len, longest) = match self.kind {
            Kind::Root => (1, ROOT_LIFETIME),
            _ => (0, ISSUING_CA_LIFETIME),
        };
        let life = self.view.not_after.millis_since(self.view.not_before);
        self.require(life <= longest.millis().saturating_add(BACKDATE.millis()), "it is valid for too long");
        let basic = self.get::<BasicConstraints>().map(|(_, basic)| basic);
        let is_ca = basic.is_some_and(|basic| basic.ca && basic.path_len_constraint == Some(path_len));
        self.require(is_ca, "it must be a CA with the profile's path length (RFC 5280 section 4.2.1.9)");
        let deeper = self.kind.is_self_signed() || self.issuer.path_len.is_none_or(|above| above > path_len);
        self.require(deeper, "the issuer's path length allows no CA below it (RFC 5280 section 4.2.1.9)");
        let usage = self.get::<KeyUsage>().map(|(_, usage)| usage.0);
        let signs = usage.is_some_and(|usage| usage == KeyUsages::KeyCertSign | KeyUsages::CRLSign);
        self.require(signs, "the key usage must be keyCertSign and cRLSign (RFC 5280 section 4.2.1.3)");
        self.reach();
        if self.kind == Kind::Anchor {
            self.twin();
        }
    }

    /// Name and key are compared by the rules for every certificate.
    fn twin(&mut self) {
        let (from, until) = (self.view.not_before, self.view.not_after);
        let same = from == self.issuer.not_before && until == self.issuer.not_after;
        self.require(same, "an anchor must be valid exactly as long as the CA that it is the twin of");
    }

    /// A CA that may sign for clients must not be able to vouch for a server outside of its tenant's domain.
    fn reach(&mut self) {
        let purposes = self.get::<ExtendedKeyUsage>().map(|(_, usage)| usage.0);
        let constraints = self.get::<NameConstraints>().map(|(_, constraints)| constraints);
        let servers_only = purposes.as_deref() == Some(&[oid::SERVER_AUTH]);
        let bound = match (self.kind, constraints) {
            (Kind::Root, constraints) => constraints.is_none() && purposes.is_none(),
            (_, None) => servers_only,
            (_, Some(constraints)) => !servers_only && purposes.is_some() && excludes_foreign_servers(&constraints),
        };
        self.require(bound, "a CA for clients must be kept from naming servers (RFC 5280 section 4.2.1.10)");
    }
}

fn excludes_foreign_servers(constraints: &NameConstraints) -> bool {
    let excluded = constraints.excluded_subtrees.as_deref().unwrap_or_default();
    let permitted = constraints.permitted_subtrees.as_deref().unwrap_or_default();
    let all_addresses = |octets: usize| {
        excluded.iter().any(|tree| {
            matches!(&tree.base, GeneralName::IpAddress(net) if net.as_bytes().len() == octets
                && net.as_bytes().iter().all(|byte| *byte == 0))
        })
    };
    let no_host = excluded.iter().any(|tree| matches!(&tree.base, GeneralName::DnsName(n) if n.as_str().is_empty()));
    let own_hosts =
        matches!(permitted, [tree] if matches!(&tree.base, GeneralName::DnsName(n) if !n.as_str().is_empty()));
    all_addresses(8) && all_addresses(32) && (no_host || own_hosts)
}
