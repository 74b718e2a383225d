//! A small environment: a root, its CAs, and keys in memory.

use std::sync::Arc;

use signet_core::{
    CaId, Lifetime, PrincipalType, Role, Serial, TenantId, Time,
    authorities::CaKind,
    spiffe::SpiffeId,
    tenants::TenantStatus,
    trust::{Anchor, TenantTrust},
};
use signet_x509::{
    CaProfile, Csr, Environment, Issued, IssuerCert, KeyAndCsr, KeyPair, LeafProfile, Prepared, ServerProfile, issue,
};

/// 2027-01-15 08:00:00 UTC and some milliseconds.
pub(crate) const NOW: Time = Time::from_unix_millis(1_800_000_000_123);
pub(crate) const DAY: Lifetime = Lifetime::days(1);

/// A CA with its key.
pub(crate) struct Authority {
    pub(crate) key: KeyPair,
    pub(crate) der: Vec<u8>,
    pub(crate) cert: IssuerCert,
}

impl Authority {
    pub(crate) fn new(key: KeyPair, der: Vec<u8>) -> Self {
        let cert = IssuerCert::from_der(&der).unwrap();
        Self { key, der, cert }
    }

    pub(crate) fn sign(&self, prepared: Prepared) -> Issued {
        let signature = self.key.sign(prepared.tbs_der()).unwrap();
        prepared.finish(&signature).unwrap()
    }

    /// A leaf of one day for a new key.
    pub(crate) fn leaf(&self, profile: &LeafProfile) -> Issued {
        let prepared = issue::prepare_leaf(profile, &request(), &self.cert, serial(), DAY, NOW).unwrap();
        self.sign(prepared)
    }

    /// Its self-signed twin, DER.
    pub(crate) fn twin(&self, profile: &CaProfile) -> Vec<u8> {
        self.sign(issue::prepare_anchor(profile, &self.cert, serial()).unwrap()).certificate_der
    }

    pub(crate) fn anchor(&self, ca: &str) -> Anchor {
        let certificate_der: Arc<[u8]> = self.der.as_slice().into();
        Anchor { ca: id(ca), certificate_der, not_after: self.cert.not_after() }
    }
}

/// One environment with all kinds of CAs.
pub(crate) struct World {
    pub(crate) env: Environment,
    pub(crate) root: Authority,
    pub(crate) tenant: Authority,
    pub(crate) shared: Authority,
    pub(crate) server: Authority,
}

impl World {
    pub(crate) fn new() -> Self {
        let env = environment("prod.example.com");
        let root = root(&env);
        let tenant = issuing(&env, &root, CaKind::Tenant, "acme", 1);
        let shared = issuing(&env, &root, CaKind::Shared, "system", 1);
        let server = issuing(&env, &root, CaKind::Server, "system", 1);
        Self { env, root, tenant, shared, server }
    }

    pub(crate) fn profile(&self, kind: PrincipalType, principal: &str) -> LeafProfile {
        leaf_profile(&self.env, "acme", kind, principal, &[])
    }

    pub(crate) fn ca_profile(&self, kind: CaKind) -> CaProfile {
        let owner = if kind == CaKind::Tenant { id("acme") } else { TenantId::system() };
        CaProfile::new(&self.env, kind, &owner, 1)
    }

    pub(crate) fn server_leaf(&self) -> Issued {
        let names = ["signet.prod.example.com", "localhost", "127.0.0.1", "::1"];
        let profile = ServerProfile::new(&self.env, names.map(|name| name.parse().unwrap()).into()).unwrap();
        let prepared = issue::prepare_server(
            &profile,
            &request(),
            &self.server.cert,
            serial(),
            signet_x509::profile::SERVER_LIFETIME,
            NOW,
        );
        self.server.sign(prepared.unwrap())
    }
}

pub(crate) fn environment(suffix: &str) -> Environment {
    Environment::with_default_arc(suffix.parse().unwrap()).unwrap()
}

pub(crate) fn id<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("bad id {text:?}"))
}

pub(crate) fn root(env: &Environment) -> Authority {
    let key = KeyPair::generate().unwrap();
    let profile = CaProfile::new(env, CaKind::Root, &TenantId::system(), 1);
    let prepared = issue::prepare_root(&profile, key.public_key(), serial(), NOW).unwrap();
    let signature = key.sign(prepared.tbs_der()).unwrap();
    let der = prepared.finish(&signature).unwrap().certificate_der;
    Authority::new(key, der)
}

pub(crate) fn issuing(env: &Environment, root: &Authority, kind: CaKind, tenant: &str, generation: u32) -> Authority {
    let key = KeyPair::generate().unwrap();
    let profile = CaProfile::new(env, kind, &id(tenant), generation);
    let prepared = issue::prepare_ca(&profile, key.public_key(), &root.cert, serial(), NOW).unwrap();
    let der = root.sign(prepared).certificate_der;
    Authority::new(key, der)
}

pub(crate) fn leaf_profile(
    env: &Environment,
    tenant: &str,
    principal_type: PrincipalType,
    principal: &str,
    roles: &[&str],
) -> LeafProfile {
    let spiffe = SpiffeId { tenant: id(tenant), principal_type, principal: id(principal) };
    LeafProfile::new(env, spiffe, roles.iter().map(|role| id::<Role>(role)).collect()).unwrap()
}

pub(crate) fn request() -> Csr {
    Csr::parse(&KeyAndCsr::generate().unwrap().csr_der).unwrap()
}

pub(crate) fn serial() -> Serial {
    let mut random = [0; 10];
    aws_lc_rs::rand::fill(&mut random).unwrap();
    Serial::new(NOW, random)
}

/// What is trusted for one tenant.
pub(crate) fn trust(anchors: &[Anchor]) -> TenantTrust {
    TenantTrust { status: TenantStatus::Active, anchors: anchors.into() }
}

pub(crate) fn ca(text: &str) -> CaId {
    id(text)
}
