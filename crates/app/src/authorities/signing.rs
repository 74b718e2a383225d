//! Which CA signs for whom, and with which key.

use std::sync::Arc;

use futures::future::try_join;
use signet_core::{
    CaId, Error, Signer, TenantId, TenantScope, Time,
    authorities::{Ca, CaKind, CaState, signer},
    tenants::{Isolation, Tenant},
};
use signet_x509::{CertificateView, IssueError, IssuerCert, IssuerError, ProfileError};

use crate::{
    App, Chore, reads,
    tenant_records::{TenantRecords, read_tenant},
};

/// A CA, ready to sign.
#[derive(Debug)]
pub(crate) struct Issuer {
    pub(crate) ca: Ca,
    pub(crate) certificate: IssuerCert,
    pub(crate) signer: Arc<dyn Signer>,
}

/// What an issuance for a tenant needs to know.
#[derive(Debug)]
pub(crate) struct Authorities {
    pub(crate) tenant: Tenant,
    /// The CAs that sign for it, in whatever state: its own, or the shared ones.
    cas: Vec<Ca>,
    now: Time,
    /// [`server_trust`] of now.
    pub(crate) server_trust_der: Vec<Vec<u8>>,
}

impl Authorities {
    /// What the tenant's verifiers trust, DER: as in its trust bundle, CAs that are prepared and do not sign yet too.
    pub(crate) fn trust_anchors(&self) -> Vec<Vec<u8>> {
        let trusted = self.cas.iter().filter(|ca| ca.state.is_trusted());
        trusted.map(|ca| ca.anchor().to_vec()).collect()
    }

    /// The CA that signs now.
    pub(crate) fn active(&self) -> Result<&Ca, Error> {
        signer(&self.cas, self.now).ok_or_else(|| no_active_ca(issuing_kind(&self.tenant)))
    }

    /// The CA that a certificate names as its issuer, in whatever state. No two of ours share a name.
    pub(crate) fn issuer_of(&self, certificate: &CertificateView<'_>) -> Option<&Ca> {
        let is_issuer = |ca: &&Ca| {
            let view = CertificateView::from_der(&ca.certificate_der);
            view.is_ok_and(|view| view.subject_der == certificate.issuer_der)
        };
        self.cas.iter().find(is_issuer)
    }

    /// The CA that a reservation names, unless it was retired meanwhile.
    pub(crate) fn named(&self, id: &CaId) -> Result<&Ca, Error> {
        self.cas.iter().find(|ca| &ca.id == id && ca.state.is_trusted()).ok_or_else(|| {
            let message = format!("the certificate authority {id} was retired meanwhile; use a new request id");
            Error::precondition("ISSUER_RETIRED", message)
        })
    }
}

/// The tenant and who signs for it.
pub(crate) async fn authorities(app: &App, tenant: &TenantId, now: Time) -> Result<Arc<Authorities>, Error> {
    app.reads.read(tenant, || async { Ok(Arc::new(read_authorities(app, tenant, now).await?)) }).await
}

async fn read_authorities(app: &App, tenant: &TenantId, now: Time) -> Result<Authorities, Error> {
    let system = TenantScope::system();
    let (own, environment) = try_join(read_tenant(&*app.store, tenant, now), reads::cas(app, &system, now)).await?;
    let (tenant, own) = match own {
        TenantRecords { tenant: Some(tenant), cas, .. } => (*tenant, cas),
        TenantRecords { is_unreadable: true, .. } => {
            return Err(Error::Unreadable { key: Tenant::key_of(tenant).to_string(), also: "" });
        }
        _ => return Err(Error::not_found("tenant", tenant)),
    };
    forget_retired(app, own.iter().chain(environment.iter().map(|ca| &ca.value))).await;
    let kind = issuing_kind(&tenant);
    let server_trust_der = server_trust(environment.iter().map(|ca| &ca.value), now);
    let environment = environment.into_iter().map(|ca| ca.value).collect();
    let cas: Vec<Ca> = if tenant.isolation == Isolation::Shared { environment } else { own };
    let cas = cas.into_iter().filter(|ca| ca.kind == kind).collect();
    Ok(Authorities { tenant, cas, now, server_trust_der })
}

/// Of the environment's CAs, what clients of the control plane are given to trust, DER: anchors first.
pub(crate) fn server_trust<'a>(cas: impl Iterator<Item = &'a Ca> + Clone, now: Time) -> Vec<Vec<u8>> {
    let of = |kind| cas.clone().filter(move |ca| ca.kind == kind && is_trusted(ca, now));
    of(CaKind::Server).chain(of(CaKind::Root)).map(|ca| ca.anchor().to_vec()).collect()
}

/// A retired CA signs no more: nothing is kept ready for it.
async fn forget_retired(app: &App, cas: impl Iterator<Item = &Ca>) {
    for ca in cas.filter(|ca| ca.state == CaState::Retired) {
        if app.issuers.lock().await.remove(&ca.id).is_some() {
            app.signers.lock().await.remove(&ca.key);
        }
    }
}

/// The CA that signs of one of the environment's kinds, ready to sign.
pub(crate) async fn environment_issuer(app: &App, kind: CaKind, now: Time) -> Result<Arc<Issuer>, Error> {
    let cas = reads::cas(app, &TenantScope::system(), now).await?;
    let cas: Vec<Ca> = cas.into_iter().map(|ca| ca.value).filter(|ca| ca.kind == kind).collect();
    issuer(app, signer(&cas, now).ok_or_else(|| no_active_ca(kind))?).await
}

/// Opens a CA's key, which must be the one that its certificate names.
pub(crate) async fn issuer(app: &App, ca: &Ca) -> Result<Arc<Issuer>, Error> {
    if let Some(known) = app.issuers.lock().await.get(&ca.id).filter(|known| known.ca == *ca) {
        return Ok(Arc::clone(known));
    }
    let signer = app.signer(&ca.key).await?;
    let certificate = IssuerCert::from_der(&ca.certificate_der).map_err(|e: IssuerError| Error::internal(e))?;
    if certificate.public_key().spki_der() != signer.spki_der() {
        let cause = format!("the key {} is not the one in the certificate of {}", ca.key, ca.id);
        // A wrong reference, or somebody has put another key in its place.
        return Err(Error::Misconfigured { what: "the signing key", cause });
    }
    let issuer = Arc::new(Issuer { ca: ca.clone(), certificate, signer });
    app.issuers.lock().await.insert(ca.id.clone(), Arc::clone(&issuer));
    Ok(issuer)
}

/// The record of a CA that verifiers trust.
pub(crate) async fn find_trusted(app: &App, chore: &Chore, ca: &CaId) -> Result<Option<Ca>, Error> {
    let owner = ca.owner();
    let found = chore.keeper.tenant(&owner).get::<Ca>(&*app.store, &Ca::key_of(&owner, ca), chore.now).await?;
    Ok(found.map(|found| found.value).filter(|ca| is_trusted(ca, chore.now)))
}

/// Whether verifiers accept what it signed.
pub(crate) fn is_trusted(ca: &Ca, now: Time) -> bool {
    ca.state.is_trusted() && now < ca.not_after
}

/// The name of a CA.
pub(crate) fn ca_id(kind: CaKind, owner: &TenantId, generation: u32) -> Result<CaId, Error> {
    let name = match kind {
        CaKind::Root => "root",
        CaKind::Shared => "shared",
        CaKind::Server => "server",
        CaKind::Tenant => owner.as_str(),
    };
    CaId::new(name, generation).map_err(Error::internal)
}

/// Which kind of CA signs for a tenant.
fn issuing_kind(tenant: &Tenant) -> CaKind {
    match tenant.isolation {
        Isolation::Dedicated => CaKind::Tenant,
        Isolation::Shared => CaKind::Shared,
    }
}

fn no_active_ca(kind: CaKind) -> Error {
    let (reason, message) = match kind {
        CaKind::Root => ("NO_ACTIVE_ROOT", "there is no active root; run bootstrap"),
        CaKind::Shared => ("NO_ACTIVE_SHARED_CA", "there is no active shared certificate authority; run bootstrap"),
        CaKind::Server => ("NO_ACTIVE_SERVER_CA", "there is no active server certificate authority; run bootstrap"),
        CaKind::Tenant => ("NO_ACTIVE_CA", "the tenant has no active certificate authority; rotate it"),
    };
    Error::precondition(reason, message)
}

/// What stands in the way of a certificate.
pub(crate) fn issue_error(error: IssueError) -> Error {
    match error {
        IssueError::OutlivesIssuer { .. } => Error::precondition("OUTLIVES_ISSUER", error.to_string()),
        IssueError::IssuerNotYetValid => Error::precondition("ISSUER_NOT_YET_VALID", error.to_string()),
        IssueError::Lint(_) | IssueError::BadSignature | IssueError::Encoding(_) => Error::internal(error),
    }
}

pub(crate) fn profile_error(error: ProfileError) -> Error {
    match error {
        ProfileError::CommonName(_) => Error::precondition("COMMON_NAME_TOO_LONG", error.to_string()),
        _ => Error::internal(error),
    }
}
