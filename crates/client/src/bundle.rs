//! What a tenant's verifiers trust.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use signet_core::{
    CaId, TenantId,
    tenants::TenantStatus,
    trust::{Anchor, TenantTrust},
};
use signet_proto::v1;
use signet_x509::{CertificateView, pem};

/// A tenant's trust bundle: the anchors of its issuing CAs. What the control plane is trusted by is not part of it: see
/// [`crate::IdentitySettings::roots_der`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct Bundle {
    pub tenant: TenantId,
    /// The anchors, PEM.
    pub anchors_pem: String,
}

impl Bundle {
    /// The CA that signed this chain: what is known before the control plane was asked.
    pub(crate) fn of_chain(tenant: &TenantId, chain_der: &[Vec<u8>]) -> Self {
        Self { tenant: tenant.clone(), anchors_pem: encode(chain_der.iter().skip(1)) }
    }

    /// As the control plane sends it; `None` if it is not this tenant's or has nothing in it.
    pub(crate) fn of_message(tenant: &TenantId, message: &v1::TrustBundle) -> Option<Self> {
        if message.tenant_id == tenant.as_str() { Self::of_anchors(tenant, &message.anchor_der) } else { None }
    }

    /// As the control plane names them with a certificate; `None` if it names none (it may be older than that) or sends
    /// something else.
    pub(crate) fn of_anchors(tenant: &TenantId, anchors_der: &[Vec<u8>]) -> Option<Self> {
        let good = !anchors_der.is_empty() && anchors_der.iter().all(|der| CertificateView::from_der(der).is_ok());
        good.then(|| Self { tenant: tenant.clone(), anchors_pem: encode(anchors_der.iter()) })
    }

    /// With the CA that signed this chain, too, unless it has its anchor: OpenSSL, given both, may take the one that is
    /// not signed by itself and then look for its issuer.
    pub(crate) fn with_chain(mut self, chain_der: &[Vec<u8>]) -> Self {
        let known: Vec<_> = self.anchors_der().iter().filter_map(|der| name_and_key(der)).collect();
        let is_new = |ca: &&Vec<u8>| name_and_key(ca).is_none_or(|ca| !known.contains(&ca));
        self.anchors_pem += &encode(chain_der.iter().skip(1).filter(is_new));
        self
    }

    /// The CAs' certificates, DER.
    pub fn anchors_der(&self) -> Vec<Vec<u8>> {
        pem::decode_certificates(&self.anchors_pem).unwrap_or_default()
    }

    /// As a verifier takes it. A certificate does not name its CA's id: the number here is made of its bytes, so that
    /// an anchor keeps it while others come and go.
    pub fn trust(&self) -> TenantTrust {
        let anchors = self.anchors_der().into_iter().filter_map(|der| {
            let not_after = CertificateView::from_der(&der).ok()?.not_after;
            let sum = digest(&SHA256, &der);
            let (start, _) = sum.as_ref().split_first_chunk::<4>()?;
            let ca = CaId::new(self.tenant.as_str(), u32::from_be_bytes(*start).max(1)).ok()?;
            Some(Anchor { ca, certificate_der: der.into(), not_after })
        });
        TenantTrust { status: TenantStatus::Active, anchors: anchors.collect::<Arc<[_]>>() }
    }
}

fn name_and_key(der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let view = CertificateView::from_der(der).ok()?;
    Some((view.subject_der.to_vec(), view.spki_der.to_vec()))
}

fn encode<'a>(certificates: impl Iterator<Item = &'a Vec<u8>>) -> String {
    certificates.map(|der| pem::encode_certificate(der)).collect()
}
