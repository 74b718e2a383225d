//! What a principal's certificate says, without asking who signed it.

use std::sync::Arc;

use signet_core::{Role, Serial, Time, spiffe::SpiffeId};

use crate::{ChainError, Environment};

/// A principal's certificate, read but not verified: for showing it, and for its own holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The identity in its URI.
    pub id: SpiffeId,
    /// The roles it carries.
    pub roles: Arc<[Role]>,
    /// Serial number.
    pub serial: Serial,
    /// Start of validity.
    pub not_before: Time,
    /// End of validity.
    pub not_after: Time,
    /// SHA-256 of the subject public key info.
    pub spki_sha256: [u8; 32],
}

impl Leaf {
    /// Reads a certificate; refuses what is not one of this environment's principals', or contradicts itself.
    pub fn from_der(der: &[u8], environment: &Environment) -> Result<Self, ChainError> {
        todo!()
    }
}
