//! A whole environment in memory: a root, a server CA, tenants with their CAs and holders of certificates.

use signet_core::{
    CaId, Lifetime, PrincipalType, Role, Serial, TenantId, Time,
    authorities::{Ca, CaKind, CaState},
    spiffe::SpiffeId,
};
use signet_x509::{CaProfile, Csr, Environment, IssuerCert, KeyPair, LeafProfile, Prepared, ServerProfile, csr, issue};

use crate::fixtures;

/// A CA with its key.
#[derive(Debug)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct Authority {
    /// Its record, active.
    pub ca: Ca,
    pub key: KeyPair,
    cert: IssuerCert,
}

/// A key with the certificate chain for it.
#[derive(Debug)]
pub struct Holder {
    /// The leaf, then its issuer; DER.
    pub chain_der: Vec<Vec<u8>>,
    /// The leaf's key.
    pub key: KeyPair,
    /// The leaf's serial number.
    pub serial: Serial,
    /// End of the leaf's validity.
    pub not_after: Time,
}

/// See the module's words.
#[derive(Debug)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct Pki {
    /// The environment.
    pub environment: Environment,
    pub root: Authority,
    /// Signs server certificates.
    pub server: Authority,
    now: Time,
}

impl Pki {
    /// The environment `test.example.com`, founded at `now`.
    pub fn new(now: Time) -> Self {
        let environment = Environment::with_default_arc("test.example.com".parse().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let profile = CaProfile::new(&environment, CaKind::Root, &TenantId::system(), 1);
        let prepared = issue::prepare_root(&profile, key.public_key(), serial(now), now).unwrap();
        let der = sign(&key, prepared);
        let root = Authority::new(CaKind::Root, &TenantId::system(), 1, key, der);
        let server = issuing(&environment, &root, CaKind::Server, &TenantId::system(), 1, now);
        Self { environment, root, server, now }
    }

    /// The same environment some time later. Its root and server CA sign on; tenants' CAs are with their owner.
    pub fn later(&self, millis: i64) -> Self {
        let again = |authority: &Authority| {
            let key = KeyPair::from_pkcs8_der(authority.key.pkcs8_der()).unwrap();
            Authority { ca: authority.ca.clone(), key, cert: authority.cert.clone() }
        };
        let now = Time::from_unix_millis(self.now.unix_millis() + millis);
        Self { environment: self.environment.clone(), root: again(&self.root), server: again(&self.server), now }
    }

    /// A CA of `tenant`.
    pub fn tenant_ca(&self, tenant: &str, generation: u32) -> Authority {
        issuing(&self.environment, &self.root, CaKind::Tenant, &tenant.parse().unwrap(), generation, self.now)
    }

    /// A certificate of one day for a worker `id` of the tenant that owns `ca`.
    pub fn worker(&self, ca: &Authority, id: &str) -> Holder {
        self.holder(ca, PrincipalType::Worker, id, &[])
    }

    /// A certificate of one day for a principal of the tenant that owns `ca`.
    pub fn holder(&self, ca: &Authority, principal_type: PrincipalType, id: &str, roles: &[&str]) -> Holder {
        self.leaf(ca, &ca.ca.tenant, principal_type, id, roles)
    }

    /// A certificate of one day for a principal of `tenant`, whoever owns `ca`.
    pub fn leaf(
        &self,
        ca: &Authority,
        tenant: &TenantId,
        principal_type: PrincipalType,
        id: &str,
        roles: &[&str],
    ) -> Holder {
        let id = SpiffeId { tenant: tenant.clone(), principal_type, principal: id.parse().unwrap() };
        let (key, request) = request();
        ca.issue(key, self.prepare(ca, id, roles, &request))
    }

    /// The chain for somebody else's key: a worker `id` of the tenant that owns `ca`.
    pub fn certify(&self, ca: &Authority, id: &str, csr_der: &[u8]) -> Vec<Vec<u8>> {
        let (tenant, principal_type) = (ca.ca.tenant.clone(), PrincipalType::Worker);
        let id = SpiffeId { tenant, principal_type, principal: id.parse().unwrap() };
        let prepared = self.prepare(ca, id, &[], &Csr::parse(csr_der).unwrap());
        vec![sign(&ca.key, prepared), ca.ca.certificate_der.clone()]
    }

    fn prepare(&self, ca: &Authority, id: SpiffeId, roles: &[&str], request: &Csr) -> Prepared {
        let roles = roles.iter().map(|role| role.parse().unwrap()).collect::<Vec<Role>>();
        let profile = LeafProfile::new(&self.environment, id, roles).unwrap();
        let (day, serial) = (Lifetime::days(1), serial(self.now));
        issue::prepare_leaf(&profile, request, &ca.cert, serial, day, self.now).unwrap()
    }

    /// A server certificate of seven days for `localhost`, `127.0.0.1` and `signet.test`.
    pub fn server_holder(&self) -> Holder {
        let names = ["localhost", "127.0.0.1", "signet.test"].map(|name| name.parse().unwrap());
        let profile = ServerProfile::new(&self.environment, names.into()).unwrap();
        let (key, request) = request();
        let (week, serial) = (Lifetime::days(7), serial(self.now));
        let prepared = issue::prepare_server(&profile, &request, &self.server.cert, serial, week, self.now);
        self.server.issue(key, prepared.unwrap())
    }
}

impl Authority {
    fn new(kind: CaKind, tenant: &TenantId, generation: u32, key: KeyPair, der: Vec<u8>) -> Self {
        let cert = IssuerCert::from_der(&der).unwrap();
        let name = match kind {
            CaKind::Root => "root",
            CaKind::Shared => "shared",
            CaKind::Server => "server",
            CaKind::Tenant => tenant.as_str(),
        };
        let id = CaId::new(name, generation).unwrap();
        let not_after = cert.not_after();
        let state = CaState::Active;
        let ca = Ca { id, kind, state, certificate_der: der, not_after, ..fixtures::ca(tenant, generation) };
        Self { ca, key, cert }
    }

    /// With its anchor, as every CA but a root has one.
    fn anchored(mut self, environment: &Environment, serial: Serial) -> Self {
        let profile = CaProfile::new(environment, self.ca.kind, &self.ca.tenant, self.ca.generation);
        self.ca.anchor_der = sign(&self.key, issue::prepare_anchor(&profile, &self.cert, serial).unwrap());
        self
    }

    fn issue(&self, key: KeyPair, prepared: Prepared) -> Holder {
        let (serial, not_after) = (prepared.serial(), prepared.not_after());
        let leaf = sign(&self.key, prepared);
        Holder { chain_der: vec![leaf, self.ca.certificate_der.clone()], key, serial, not_after }
    }
}

fn issuing(
    environment: &Environment,
    root: &Authority,
    kind: CaKind,
    tenant: &TenantId,
    generation: u32,
    now: Time,
) -> Authority {
    let key = KeyPair::generate().unwrap();
    let profile = CaProfile::new(environment, kind, tenant, generation);
    let prepared = issue::prepare_ca(&profile, key.public_key(), &root.cert, serial(now), now).unwrap();
    Authority::new(kind, tenant, generation, key, sign(&root.key, prepared)).anchored(environment, serial(now))
}

fn sign(key: &KeyPair, prepared: Prepared) -> Vec<u8> {
    let signature = key.sign(prepared.tbs_der()).unwrap();
    prepared.finish(&signature).unwrap().certificate_der
}

fn request() -> (KeyPair, Csr) {
    let key = KeyPair::generate().unwrap();
    let request = Csr::parse(&csr::create(&key).unwrap()).unwrap();
    (key, request)
}

fn serial(now: Time) -> Serial {
    let mut random = [0; 10];
    aws_lc_rs::rand::fill(&mut random).unwrap();
    Serial::new(now, random)
}
