//! Trust bundles: the CAs that verifiers of a trust domain shall know.

use base64::{
    Engine,
    prelude::{BASE64_STANDARD as STANDARD, BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD},
};
use serde::Serialize;
use serde_json::Value;
use signet_core::Lifetime;

use crate::{CertificateView, IssuerError, PublicKey};

/// The CAs' certificates (DER) as PEM, one block after the other.
pub fn to_pem<'a>(certificates_der: impl IntoIterator<Item = &'a [u8]>) -> String {
    certificates_der.into_iter().map(crate::pem::encode_certificate).collect()
}

/// The CAs' certificates (DER) as a SPIFFE bundle: a JWK set (SPIFFE Trust Domain and Bundle section 4). `sequence`
/// rises with every change; `refresh_hint` says how often consumers shall ask again. `token_keys`: JWKs of keys for
/// SVIDs of other kinds.
pub fn to_spiffe_json<'a>(
    certificates_der: impl IntoIterator<Item = &'a [u8]>,
    token_keys: Vec<Value>,
    sequence: u64,
    refresh_hint: Lifetime,
) -> Result<String, IssuerError> {
    let mut keys = certificates_der.into_iter().map(Jwk::new).collect::<Result<Vec<_>, _>>()?;
    keys.extend(token_keys.into_iter().map(Jwk::OfTokens));
    let bundle = Bundle { keys, spiffe_sequence: sequence, spiffe_refresh_hint: refresh_hint.as_seconds() };
    // Texts and numbers only: it cannot fail.
    Ok(serde_json::to_string_pretty(&bundle).unwrap_or_default())
}

#[derive(Serialize)]
struct Bundle {
    keys: Vec<Jwk>,
    spiffe_sequence: u64,
    spiffe_refresh_hint: u32,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Jwk {
    OfCertificates(CaJwk),
    OfTokens(Value),
}

/// RFC 7517; for an elliptic curve RFC 7518 section 6.2.
#[derive(Serialize)]
struct CaJwk {
    r#use: &'static str,
    kty: &'static str,
    crv: &'static str,
    x: String,
    y: String,
    /// Exactly one certificate, base64 with padding (SPIFFE bundle section 4.2.2; RFC 7517 section 4.7).
    x5c: [String; 1],
}

impl Jwk {
    fn new(certificate_der: &[u8]) -> Result<Self, IssuerError> {
        let view = CertificateView::from_der(certificate_der)?;
        let key = PublicKey::from_spki_der(view.spki_der)?;
        let (x, y) = key.coordinates();
        Ok(Self::OfCertificates(CaJwk {
            r#use: "x509-svid",
            kty: "EC",
            crv: "P-256",
            x: URL_SAFE_NO_PAD.encode(x),
            y: URL_SAFE_NO_PAD.encode(y),
            x5c: [STANDARD.encode(certificate_der)],
        }))
    }
}
