//! What all certificates of one deployment share.

use std::str::FromStr;

use const_oid::ObjectIdentifier;
use signet_core::spiffe::TrustDomainSuffix;

use crate::profile_error::ProfileError;

/// One deployment, as its certificates name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    suffix: TrustDomainSuffix,
    oids: LeafOids,
}

/// The extensions of a leaf, below the environment's arc; made from the dotted arc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeafOids {
    /// `.1`: principal type.
    pub(crate) principal_type: ObjectIdentifier,
    /// `.2`: principal id.
    pub(crate) principal: ObjectIdentifier,
    /// `.3`: tenant id.
    pub(crate) tenant: ObjectIdentifier,
    /// `.4`: roles, joined by commas; absent when there are none.
    pub(crate) roles: ObjectIdentifier,
}

/// The arc that stands in until an IANA private enterprise number is registered.
pub const DEFAULT_OID_ARC: &str = "1.3.6.1.4.1.99999.1";

impl FromStr for LeafOids {
    type Err = ProfileError;
    fn from_str(oid_arc: &str) -> Result<Self, ProfileError> {
        let bad = |_| ProfileError::OidArc(oid_arc.to_owned());
        let arc = ObjectIdentifier::new(oid_arc).map_err(bad)?;
        let child = |number| arc.push_arc(number).map_err(bad);
        Ok(Self { principal_type: child(1)?, principal: child(2)?, tenant: child(3)?, roles: child(4)? })
    }
}

impl Environment {
    /// An environment with the trust-domain `suffix` whose extensions stand below the dotted `oid_arc`.
    pub fn new(suffix: TrustDomainSuffix, oid_arc: &str) -> Result<Self, ProfileError> {
        Ok(Self::with_oids(suffix, oid_arc.parse()?))
    }

    /// The same with an arc that was read.
    pub const fn with_oids(suffix: TrustDomainSuffix, oids: LeafOids) -> Self {
        Self { suffix, oids }
    }

    /// An environment with [`DEFAULT_OID_ARC`].
    pub fn with_default_arc(suffix: TrustDomainSuffix) -> Result<Self, ProfileError> {
        Self::new(suffix, DEFAULT_OID_ARC)
    }

    /// The trust-domain suffix.
    pub fn suffix(&self) -> &TrustDomainSuffix {
        &self.suffix
    }

    pub(crate) fn oids(&self) -> &LeafOids {
        &self.oids
    }
}
