//! A root, a server and one tenant with holders of certificates, in memory.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    crypto::aws_lc_rs::Ticketer,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
    version::TLS13,
};
use signet_core::{
    CaId, Entropy, Lifetime, PrincipalType, Serial, TenantId, Time,
    authorities::{Ca, CaKind, CaState, signer::random},
    spiffe::SpiffeId,
    tenants::{DEFAULT_MAX_CERTIFICATES, Isolation, Tenant, TenantStatus},
};
use signet_mtls::{ServerIdentity, provider};
use signet_softkey::OsEntropy;
use signet_x509::{
    CaProfile, Csr, Environment, IssuerCert, KeyAndCsr, KeyPair, LeafProfile, Prepared, ServerProfile, issue, pem,
};

use crate::{Result, clock::now};

/// A CA with its key.
pub(crate) struct Authority {
    pub(crate) ca: Ca,
    pub(crate) key: KeyPair,
    pub(crate) certificate: IssuerCert,
}

/// A key with its chain, leaf first.
pub(crate) struct Holder {
    pub(crate) chain_der: Vec<Vec<u8>>,
    pub(crate) key: KeyPair,
}

pub(crate) struct Pki {
    pub(crate) environment: Environment,
    pub(crate) tenant: Tenant,
    pub(crate) issuing: Authority,
    root: Authority,
    server: Holder,
}

impl Pki {
    pub(crate) fn new() -> Result<Self> {
        let environment = Environment::with_default_arc("bench.example.com".parse()?)?;
        let id: TenantId = "acme".parse()?;
        let root_key = KeyPair::generate()?;
        let profile = CaProfile::new(&environment, CaKind::Root, &TenantId::system(), 1);
        let prepared = issue::prepare_root(&profile, root_key.public_key(), serial(), now())?;
        let der = sign(&root_key, prepared)?;
        let root = Authority::new(CaKind::Root, &TenantId::system(), root_key, der)?;
        let servers = root.sub(&environment, CaKind::Server, &TenantId::system())?;
        let issuing = root.sub(&environment, CaKind::Tenant, &id)?;
        let profile = ServerProfile::new(&environment, vec!["localhost".parse()?])?;
        let (key, request) = request()?;
        let week = Lifetime::days(7);
        let prepared = issue::prepare_server(&profile, &request, &servers.certificate, serial(), week, now())?;
        let server = servers.complete(key, prepared)?;
        Ok(Self { environment, tenant: tenant(id), issuing, root, server })
    }

    /// The certificate of a principal of the tenant, for a day.
    pub(crate) fn holder(&self, principal_type: PrincipalType, id: &str) -> Result<Holder> {
        let profile = self.profile(principal_type, id)?;
        let (key, request) = request()?;
        let (issuer, day) = (&self.issuing.certificate, Lifetime::days(1));
        self.issuing.complete(key, issue::prepare_leaf(&profile, &request, issuer, serial(), day, now())?)
    }

    pub(crate) fn profile(&self, principal_type: PrincipalType, id: &str) -> Result<LeafProfile> {
        let id = SpiffeId { tenant: self.tenant.id.clone(), principal_type, principal: id.parse()? };
        Ok(LeafProfile::new(&self.environment, id, Vec::new())?)
    }

    /// A client that makes a full handshake each time.
    pub(crate) fn client(&self, holder: &Holder) -> Result<Arc<ClientConfig>> {
        let mut config = client_config(&self.root_der(), &holder.chain_der, &holder.key)?;
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }

    /// A client that comes back with a ticket.
    pub(crate) fn returning_client(&self, holder: &Holder) -> Result<Arc<ClientConfig>> {
        Ok(Arc::new(client_config(&self.root_der(), &holder.chain_der, &holder.key)?))
    }

    /// The root, DER.
    pub(crate) fn root_der(&self) -> Vec<Vec<u8>> {
        vec![self.root.ca.certificate_der.clone()]
    }

    /// rustls' own server: with its own verifier of the whole chain, or without client authentication.
    pub(crate) fn plain_server(&self, verifies: bool) -> Result<Arc<ServerConfig>> {
        let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13])?;
        let builder = if verifies {
            let roots = Arc::new(roots(&self.root_der())?);
            builder.with_client_cert_verifier(WebPkiClientVerifier::builder_with_provider(roots, provider()).build()?)
        } else {
            builder.with_no_client_auth()
        };
        let mut config = builder.with_single_cert(chain(&self.server.chain_der), private_key(&self.server.key))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.ticketer = Ticketer::new()?;
        Ok(Arc::new(config))
    }

    /// The same certificate for our own server.
    pub(crate) fn server_identity(&self) -> Result<ServerIdentity> {
        identity_of(&self.server.chain_der, &self.server.key)
    }
}

impl Authority {
    fn new(kind: CaKind, owner: &TenantId, key: KeyPair, der: Vec<u8>) -> Result<Self> {
        let certificate = IssuerCert::from_der(&der)?;
        let name = match kind {
            CaKind::Root => "root",
            CaKind::Shared => "shared",
            CaKind::Server => "server",
            CaKind::Tenant => owner.as_str(),
        };
        let id = CaId::new(name, 1)?;
        let ca = Ca {
            key: format!("soft:{id}").parse()?,
            id,
            tenant: owner.clone(),
            kind,
            generation: 1,
            state: CaState::Active,
            certificate_der: der,
            anchor_der: Vec::new(),
            issuer: CaId::new("root", 1)?,
            not_before: now(),
            not_after: certificate.not_after(),
            updated_at: now(),
        };
        Ok(Self { ca, key, certificate })
    }

    fn sub(&self, environment: &Environment, kind: CaKind, owner: &TenantId) -> Result<Self> {
        let key = KeyPair::generate()?;
        let profile = CaProfile::new(environment, kind, owner, 1);
        let prepared = issue::prepare_ca(&profile, key.public_key(), &self.certificate, serial(), now())?;
        let der = sign(&self.key, prepared)?;
        Self::new(kind, owner, key, der)
    }

    fn complete(&self, key: KeyPair, prepared: Prepared) -> Result<Holder> {
        let leaf = sign(&self.key, prepared)?;
        Ok(Holder { chain_der: vec![leaf, self.ca.certificate_der.clone()], key })
    }
}

/// A client's side: TLS 1.3, HTTP/2, these roots only.
pub(crate) fn client_config(roots_der: &[Vec<u8>], chain_der: &[Vec<u8>], key: &KeyPair) -> Result<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots(roots_der)?)
        .with_client_auth_cert(chain(chain_der), private_key(key))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn roots(roots_der: &[Vec<u8>]) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for root in roots_der {
        roots.add(CertificateDer::from(root.clone()))?;
    }
    Ok(roots)
}

fn chain(chain_der: &[Vec<u8>]) -> Vec<CertificateDer<'static>> {
    chain_der.iter().cloned().map(CertificateDer::from).collect()
}

fn private_key(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.pkcs8_der().to_vec()))
}

/// A server's chain and key as our front door takes them.
pub(crate) fn identity_of(chain_der: &[Vec<u8>], key: &KeyPair) -> Result<ServerIdentity> {
    let chain: String = chain_der.iter().map(|der| pem::encode_certificate(der)).collect();
    Ok(ServerIdentity::from_pem(&chain, key.to_pkcs8_pem().as_bytes(), &provider())?)
}

/// A serial number as we draw them.
pub(crate) fn serial() -> Serial {
    let entropy: &dyn Entropy = &OsEntropy;
    Serial::new(now(), random(entropy))
}

fn sign(key: &KeyPair, prepared: Prepared) -> Result<Vec<u8>> {
    let signature = key.sign(prepared.tbs_der())?;
    Ok(prepared.finish(&signature)?.certificate_der)
}

fn request() -> Result<(KeyPair, Csr)> {
    let KeyAndCsr { key, csr_der } = KeyAndCsr::generate()?;
    Ok((key, Csr::parse(&csr_der)?))
}

fn tenant(id: TenantId) -> Tenant {
    Tenant {
        id,
        display_name: String::new(),
        status: TenantStatus::Active,
        isolation: Isolation::Dedicated,
        lifetimes: std::collections::BTreeMap::<PrincipalType, Lifetime>::new(),
        subjects: Default::default(),
        max_certificates: DEFAULT_MAX_CERTIFICATES,
        renewal_grace: Lifetime::seconds(0),
        renewal_steering: None,
        quotas: Default::default(),
        failure_limit: None,
        deletion: None,
        created_at: Time::from_unix_seconds(0),
        updated_at: Time::from_unix_seconds(0),
    }
}
