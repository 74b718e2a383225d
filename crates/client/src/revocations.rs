//! The revocation lists of a tenant's CAs, checked before they are handed out.

use rustls::pki_types::{CertificateRevocationListDer, pem::PemObject as _};
use signet_core::{Lifetime, Time};
use signet_x509::{
    IssuerCert,
    crl::{ListFacts, verified_facts},
    pem,
};
use thiserror::Error;

use crate::bundle::Bundle;

/// How far the control plane's clock may be ahead of ours.
const SKEW: Lifetime = Lifetime::minutes(5);

/// A CA's revocation list (CRL).
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct VerifiedList {
    /// The anchor of the bundle whose key signed it, DER.
    pub anchor_der: Vec<u8>,
    /// CRLNumber: higher in every later list of the CA.
    pub number: u64,
    pub this_update: Time,
    pub next_update: Time,
    /// The list, DER.
    pub der: Vec<u8>,
}

/// The last lists of a bundle's anchors, at most one each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RevocationLists(Vec<VerifiedList>);

/// Why a list is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RevocationListError {
    /// It is none, or another issuer's.
    #[error("no anchor of the tenant's bundle has signed the revocation list")]
    Foreign,
    /// There was one with a higher number.
    #[error("the revocation list is older than the one before")]
    Older,
    /// It begins later than now.
    #[error("the revocation list is not valid yet: is this machine's clock behind?")]
    NotYetValid,
    /// It has ended.
    #[error("the revocation list is over")]
    Over,
}

impl RevocationLists {
    /// All of them, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &VerifiedList> {
        self.0.iter()
    }

    /// An anchor's list.
    pub fn of(&self, anchor_der: &[u8]) -> Option<&VerifiedList> {
        self.0.iter().find(|list| list.anchor_der == anchor_der)
    }

    /// Whether each anchor of the bundle has a list that is valid at `now`: software that checks lists refuses whom
    /// another CA signed.
    pub fn cover(&self, bundle: &Bundle, now: Time) -> bool {
        let anchors = bundle.anchors_der();
        !anchors.is_empty() && anchors.iter().all(|der| self.of(der).is_some_and(|list| now < list.next_update))
    }

    /// Those of the bundle's anchors: a CA that has left it takes its list along.
    #[must_use]
    pub fn within(&self, bundle: &Bundle) -> Self {
        let anchors = bundle.anchors_der();
        Self(self.0.iter().filter(|list| anchors.contains(&list.anchor_der)).cloned().collect())
    }

    /// All of them, PEM.
    pub fn to_pem(&self) -> String {
        self.0.iter().map(|list| pem::encode(pem::CRL, &list.der)).collect()
    }

    /// What a file has that was written from [`Self::to_pem`], checked as if it came from the control plane.
    pub fn from_pem(bundle: &Bundle, text: &str, now: Time) -> Result<Self, RevocationListError> {
        CertificateRevocationListDer::pem_slice_iter(text.as_bytes()).try_fold(Self::default(), |lists, der| {
            let der = der.map_err(|_| RevocationListError::Foreign)?;
            lists.with(bundle, der.to_vec(), now)
        })
    }

    /// These with the list `der` in place of that of its CA, without those of anchors that the bundle has no more.
    pub fn with(&self, bundle: &Bundle, der: Vec<u8>, now: Time) -> Result<Self, RevocationListError> {
        let anchors = bundle.anchors_der();
        let facts = |anchor: &Vec<u8>| verified_facts(&der, &IssuerCert::from_der(anchor).ok()?).ok();
        let signer = anchors.iter().find_map(|anchor| Some((anchor, facts(anchor)?)));
        let Some((anchor, ListFacts { number, this_update, next_update })) = signer else {
            return Err(RevocationListError::Foreign);
        };
        if self.of(anchor).is_some_and(|before| number < before.number) {
            return Err(RevocationListError::Older);
        }
        if this_update > now.plus(SKEW) {
            return Err(RevocationListError::NotYetValid);
        }
        if next_update <= now {
            return Err(RevocationListError::Over);
        }
        let others = self.within(bundle).0.into_iter().filter(|list| list.anchor_der != *anchor);
        let new = VerifiedList { anchor_der: anchor.clone(), number, this_update, next_update, der };
        Ok(Self(others.chain([new]).collect()))
    }
}
