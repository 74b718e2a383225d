//! The last look before a signature: RFC 5280 and our own profiles, on the final bytes. Written against another
//! decoder than the one that encodes, so that one mistake is not made twice.

mod ca;
mod common;
mod end_entity;

use const_oid::AssociatedOid;
use der::{Decode, Encode};
use thiserror::Error;
use x509_cert::TbsCertificate;

use crate::{CertificateView, Environment, IssuerCert, PublicKey};

/// Which rules apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A principal's certificate.
    Leaf,
    /// A server's certificate.
    Server,
    /// The certificate of an OCSP responder; its issuer is the CA that it answers for.
    Responder,
    /// An issuing CA's certificate.
    IssuingCa,
    /// The self-signed twin of an issuing CA's certificate, which is the issuer here.
    Anchor,
    /// A root's certificate.
    Root,
}

/// All rules that were broken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the certificate would break rules: {}", .0.join("; "))]
pub struct LintError(pub Vec<&'static str>);

impl Kind {
    /// Whether it is signed with its own key.
    fn is_self_signed(self) -> bool {
        matches!(self, Self::Anchor | Self::Root)
    }
}

/// One certificate under examination.
struct Lint<'a> {
    kind: Kind,
    environment: &'a Environment,
    issuer: &'a IssuerCert,
    tbs: TbsCertificate,
    view: CertificateView<'a>,
    key: Option<PublicKey>,
    broken: Vec<&'static str>,
}

/// Checks to-be-signed bytes; returns them read.
pub(crate) fn lint<'a>(
    kind: Kind,
    environment: &'a Environment,
    tbs_der: &'a [u8],
    issuer: &'a IssuerCert,
) -> Result<CertificateView<'a>, LintError> {
    let unreadable = |_| LintError(vec!["it must be a DER TBSCertificate of version 3 (RFC 5280 section 4.1)"]);
    let view = CertificateView::from_tbs_der(tbs_der).map_err(unreadable)?;
    let tbs = TbsCertificate::from_der(tbs_der).map_err(|_| unreadable(crate::view::Malformed))?;
    let key = PublicKey::from_spki_der(view.spki_der).ok();
    let mut lint = Lint { kind, environment, issuer, tbs, view, key, broken: Vec::new() };
    lint.require(lint.tbs.to_der().is_ok_and(|der| der == tbs_der), "it must be canonical DER (X.690 section 10)");
    lint.common();
    match kind {
        Kind::Leaf => lint.leaf(),
        Kind::Server => lint.server(),
        Kind::Responder => lint.responder(),
        Kind::IssuingCa | Kind::Anchor | Kind::Root => lint.ca(),
    }
    if lint.broken.is_empty() { Ok(lint.view) } else { Err(LintError(lint.broken)) }
}

impl Lint<'_> {
    fn require(&mut self, holds: bool, rule: &'static str) {
        if !holds {
            self.broken.push(rule);
        }
    }

    /// The extension `T` with its criticality; a broken one counts as missing.
    fn get<T: for<'d> Decode<'d> + AssociatedOid>(&self) -> Option<(bool, T)> {
        let extension = self.tbs.extensions()?.iter().find(|extension| extension.extn_id == T::OID)?;
        Some((extension.critical, T::from_der(extension.extn_value.as_bytes()).ok()?))
    }
}
