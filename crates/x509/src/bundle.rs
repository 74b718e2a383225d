//! Trust bundles: the CAs that verifiers of a trust domain shall know.

use signet_core::Lifetime;

use crate::IssuerError;

/// The CAs' certificates (DER) as PEM, one block after the other.
pub fn to_pem<'a>(certificates_der: impl IntoIterator<Item = &'a [u8]>) -> String {
    certificates_der.into_iter().map(crate::pem::encode_certificate).collect()
}

/// The CAs' certificates (DER) as a SPIFFE bundle: a JWK set (SPIFFE Trust Domain and Bundle section 4). `sequence`
/// rises with every change; `refresh_hint` says how often consumers shall ask again.
pub fn to_spiffe_json<'a>(
    certificates_der: impl IntoIterator<Item = &'a [u8]>,
    sequence: u64,
    refresh_hint: Lifetime,
) -> Result<String, IssuerError> {
    todo!()
}
