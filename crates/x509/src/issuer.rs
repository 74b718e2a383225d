//! A CA's certificate, as the one who signs with its key needs it.

use der::{Decode, asn1::OctetStringRef};
use signet_core::Time;
use thiserror::Error;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, NameConstraints, name::GeneralName};

use crate::{CertificateView, PublicKey, UnusableKey, oid, view::Malformed};

/// Why a certificate cannot be an issuer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IssuerError {
    /// Not a certificate.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Its key is not one that we sign with.
    #[error("the issuer's key cannot be used: {0}")]
    Key(#[from] UnusableKey),
    /// No basicConstraints with cA, or no keyUsage with keyCertSign and cRLSign (RFC 5280 sections 4.2.1.9, 4.2.1.3).
    #[error("the issuer's certificate is not a CA's: it needs cA, keyCertSign and cRLSign")]
    NotACa,
    /// Without a subjectKeyIdentifier (RFC 5280 section 4.2.1.2) nothing can point to it.
    #[error("the issuer's certificate has no subject key identifier")]
    NoKeyId,
}

/// See the module's words. Ours or another's: nothing is taken for granted but the key's algorithm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerCert {
    pub(crate) subject_der: Vec<u8>,
    /// As the certificate has it, which need not be a hash of the key.
    pub(crate) key_id: Vec<u8>,
    pub(crate) key: PublicKey,
    pub(crate) not_before: Time,
    pub(crate) not_after: Time,
    pub(crate) path_len: Option<u8>,
    /// Its name constraints exclude every host (RFC 5280 section 4.2.1.10), as the shared CA's do.
    pub(crate) names_no_hosts: bool,
}

impl IssuerCert {
    /// Reads a CA's certificate.
    pub fn from_der(der: &[u8]) -> Result<Self, IssuerError> {
        let view = CertificateView::from_der(der)?;
        let path_len = ca_path_len(&view)?.ok_or(IssuerError::NotACa)?;
        let key_id = view.extension(oid::SUBJECT_KEY_ID).ok_or(IssuerError::NoKeyId)?;
        let key_id = <&OctetStringRef>::from_der(key_id.value).map_err(Malformed::from)?;
        Ok(Self {
            subject_der: view.subject_der.to_vec(),
            key_id: key_id.as_bytes().to_vec(),
            key: PublicKey::from_spki_der(view.spki_der)?,
            not_before: view.not_before,
            not_after: view.not_after,
            path_len,
            names_no_hosts: names_no_hosts(&view)?,
        })
    }

    /// On P-256; what leaves under this issuer are verified with.
    pub fn public_key(&self) -> &PublicKey {
        &self.key
    }

    /// Its end of validity: nothing it signs may be valid longer.
    pub fn not_after(&self) -> Time {
        self.not_after
    }
}

/// What a client of the control plane trusts of what it was given to trust (DER): server anchors, below which there
/// can be no CA (path length 0), so that no tenant's certificate passes for the control plane. Where there is none, as
/// from a server of release 0.1, all of it: the environment's roots.
pub fn server_anchors<D: AsRef<[u8]>>(given: &[D]) -> Vec<&[u8]> {
    let is_anchor = |der: &&[u8]| IssuerCert::from_der(der).is_ok_and(|ca| ca.path_len == Some(0));
    let anchors: Vec<&[u8]> = given.iter().map(AsRef::as_ref).filter(is_anchor).collect();
    if anchors.is_empty() { given.iter().map(AsRef::as_ref).collect() } else { anchors }
}

fn names_no_hosts(view: &CertificateView<'_>) -> Result<bool, Malformed> {
    let Some(constraints) = view.extension(oid::NAME_CONSTRAINTS) else { return Ok(false) };
    let excluded = NameConstraints::from_der(constraints.value)?.excluded_subtrees.unwrap_or_default();
    // The empty name stands for all.
    Ok(excluded.iter().any(|tree| matches!(&tree.base, GeneralName::DnsName(name) if name.as_str().is_empty())))
}

/// The path length of a CA, `None` inside if it has none; `None` outside if it is not a CA.
fn ca_path_len(view: &CertificateView<'_>) -> Result<Option<Option<u8>>, Malformed> {
    let (Some(basic), Some(usage)) = (view.extension(oid::BASIC_CONSTRAINTS), view.extension(oid::KEY_USAGE)) else {
        return Ok(None);
    };
    let basic = BasicConstraints::from_der(basic.value)?;
    let usage = KeyUsage::from_der(usage.value)?;
    let is_ca = basic.ca && usage.key_cert_sign() && usage.crl_sign();
    Ok(is_ca.then_some(basic.path_len_constraint))
}
