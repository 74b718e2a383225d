//! Requests and answers as `proto/openapi/enrollment.yaml` has them. Fields that it does not have are refused.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use signet_app::{App, Enroll, IssuedLeaf, OutOfBandRenewal, Proof, request_id};
use signet_core::{
    Error, PrincipalId, RequestId, TenantId, Time, certificates::Certificate, enrollment::attestation::Evidence,
    spiffe::SpiffeId,
};
use signet_x509::{bundle::to_pem, pem};

/// Longest text that could be a join token.
const MAX_TOKEN: usize = 256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnrollRequest {
    request_id: String,
    proof: WireProof,
    csr_pem: String,
    tenant_id: Option<String>,
    principal_id: Option<String>,
}

/// What speaks for the caller: an object with one member.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireProof {
    JoinToken(SecretString),
    AwsIam(AwsIam),
    OidcToken(SecretString),
    X509(X509),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AwsIam {
    url: SecretString,
    headers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct X509 {
    chain_pem: String,
    sign_time: String,
    signature: String,
}

impl EnrollRequest {
    pub(crate) fn check(self) -> Result<(RequestId, Enroll), Error> {
        let request_id = request_id(&self.request_id)?;
        let tenant: Option<TenantId> =
            self.tenant_id.map(|text| text.parse().map_err(Error::id("tenant_id"))).transpose()?;
        let principal: Option<PrincipalId> =
            self.principal_id.map(|text| text.parse().map_err(Error::id("principal_id"))).transpose()?;
        let csr_der = csr(&self.csr_pem)?;
        let proof = self.proof.check(tenant)?;
        Ok((request_id, Enroll { proof, principal, csr_der }))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RenewRequest {
    request_id: String,
    certificate_pem: String,
    csr_pem: String,
    sign_time: String,
    signature: String,
}

impl RenewRequest {
    pub(crate) fn check(self) -> Result<(RequestId, OutOfBandRenewal), Error> {
        let certificates = certificates("certificate_pem", &self.certificate_pem)?;
        let certificate_der = certificates.into_iter().next().unwrap_or_default();
        let renewal = OutOfBandRenewal {
            certificate_der,
            csr_der: csr(&self.csr_pem)?,
            signed_at: time("sign_time", &self.sign_time)?,
            signature_der: base64("signature", &self.signature)?,
        };
        Ok((request_id(&self.request_id)?, renewal))
    }
}

impl WireProof {
    fn check(self, tenant: Option<TenantId>) -> Result<Proof, Error> {
        let evidence = match self {
            Self::JoinToken(token) if token.expose_secret().len() <= MAX_TOKEN => return Ok(Proof::JoinToken(token)),
            Self::JoinToken(_) => {
                return Err(Error::invalid("proof.join_token", "TOO_LARGE", "is longer than any token"));
            }
            Self::AwsIam(AwsIam { url, headers }) => {
                let headers = headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
                Evidence::AwsIam { url: url.expose_secret().to_owned(), headers }
            }
            Self::OidcToken(token) => Evidence::Oidc { token: token.expose_secret().to_owned() },
            Self::X509(X509 { chain_pem, sign_time, signature }) => Evidence::X509 {
                chain_der: certificates("proof.x509.chain_pem", &chain_pem)?,
                signed_at: time("proof.x509.sign_time", &sign_time)?,
                signature: base64("proof.x509.signature", &signature)?,
            },
        };
        let tenant = tenant
            .ok_or_else(|| Error::invalid("tenant_id", "REQUIRED", "is required with every proof but a join token"))?;
        Ok(Proof::Attested { tenant, evidence })
    }
}

/// One PKCS #10 request.
fn csr(text: &str) -> Result<Vec<u8>, Error> {
    pem::decode_request(text.as_bytes())
        .map_err(|why| Error::invalid("csr_pem", "NOT_PEM", format!("must be one PKCS #10 request, PEM; {why}")))
}

fn certificates(field: &'static str, text: &str) -> Result<Vec<Vec<u8>>, Error> {
    let rule = "must be certificates, PEM, the leaf first";
    pem::decode_certificates(text).ok_or_else(|| Error::invalid(field, "NOT_PEM", rule))
}

fn time(field: &'static str, text: &str) -> Result<Time, Error> {
    let parsed: Result<jiff::Timestamp, _> = text.parse();
    let rule = "must be an RFC 3339 time, e.g. 2026-01-31T12:00:00Z";
    parsed
        .map(|time| Time::from_unix_millis(time.as_millisecond()))
        .map_err(|_| Error::invalid(field, "INVALID_TIME", rule))
}

fn base64(field: &'static str, text: &str) -> Result<Vec<u8>, Error> {
    BASE64_STANDARD.decode(text).map_err(|_| Error::invalid(field, "NOT_BASE64", "must be standard base64"))
}

/// A certificate just released, with what its holder needs to use it.
#[cfg_attr(test, derive(Default))]
#[derive(Serialize)]
pub(crate) struct Issued {
    tenant_id: String,
    principal_id: String,
    principal_type: String,
    spiffe_id: String,
    issuer_id: String,
    serial_number: String,
    not_before: String,
    not_after: String,
    chain_pem: String,
    roots_pem: String,
    trust_anchors_pem: String,
}

impl Issued {
    pub(crate) fn new(app: &App, leaf: &IssuedLeaf) -> Self {
        let Certificate { tenant, principal, principal_type, issuer, serial, not_before, not_after, .. } =
            &leaf.certificate;
        let id = SpiffeId { tenant: tenant.clone(), principal_type: *principal_type, principal: principal.clone() };
        let text = |certificates: &[Vec<u8>]| to_pem(certificates.iter().map(Vec::as_slice));
        Self {
            tenant_id: tenant.to_string(),
            principal_id: principal.to_string(),
            principal_type: principal_type.to_string(),
            spiffe_id: id.uri(app.environment().suffix()),
            issuer_id: issuer.to_string(),
            serial_number: serial.to_string(),
            not_before: rfc3339(*not_before),
            not_after: rfc3339(*not_after),
            chain_pem: text(&leaf.chain_der),
            roots_pem: text(&leaf.root_der),
            trust_anchors_pem: text(&leaf.trust_anchor_der),
        }
    }
}

fn rfc3339(time: Time) -> String {
    jiff::Timestamp::from_second(time.unix_seconds()).map(|time| time.to_string()).unwrap_or_default()
}

/// Reads a request. What is wrong is told without a word of what stands there, which may be secret.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        let text = error.to_string();
        let harmless = ["missing field", "unknown field", "duplicate field", "unknown variant"];
        let message = match error.classify() {
            serde_json::error::Category::Data if harmless.iter().any(|start| text.starts_with(start)) => text,
            serde_json::error::Category::Data => format!("a value has the wrong type at {place}"),
            _ => format!("is not JSON at {place}"),
        };
        Error::invalid("body", "INVALID_JSON", message)
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::PathBuf};

    use serde_json::Value;
    use signet_core::audit::sha256_hex;

    use super::*;

    /// Bodies as releases sent them, in `fixtures/bodies`: a file is never changed, only added, and its name begins
    /// with the digest of what is in it. Each has its requests, and the names of an answer's fields.
    fn fixtures() -> Vec<(String, String, Value)> {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/bodies");
        let read = |path: PathBuf| {
            let text = fs::read_to_string(&path).unwrap();
            let value = serde_json::from_str(&text).unwrap();
            (path.file_name().unwrap().to_str().unwrap().to_owned(), text, value)
        };
        fs::read_dir(folder).unwrap().map(|entry| read(entry.unwrap().path())).collect()
    }

    fn names(list: &Value) -> BTreeSet<String> {
        list.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn no_fixture_was_changed() {
        for (name, text, _) in fixtures() {
            assert_eq!(name, format!("{}.json", &sha256_hex(text.as_bytes())[..12]), "restore it");
        }
    }

    /// A field that is not known any more is refused, so what is read is all of it.
    #[test]
    fn requests_of_every_release_are_read() {
        for (file, _, fixture) in fixtures() {
            for body in fixture["enroll"].as_array().unwrap() {
                let checked = read::<EnrollRequest>(body.to_string().as_bytes()).and_then(EnrollRequest::check);
                assert!(checked.is_ok(), "{file}: {:?}: {body}", checked.err());
            }
            for body in fixture["renew"].as_array().unwrap() {
                let checked = read::<RenewRequest>(body.to_string().as_bytes()).and_then(RenewRequest::check);
                assert!(checked.is_ok(), "{file}: {:?}: {body}", checked.err());
            }
        }
    }

    #[test]
    fn an_answer_has_what_every_release_has_read() {
        let Value::Object(today) = serde_json::to_value(Issued::default()).unwrap() else { panic!("an object") };
        let today: BTreeSet<String> = today.into_iter().map(|(name, _)| name).collect();
        let known: Vec<_> = fixtures().iter().map(|(_, _, fixture)| names(&fixture["issued"])).collect();
        assert!(known.iter().all(|known| known.is_subset(&today)), "a holder reads what is not sent any more");
        assert!(known.contains(&today), "a new field: add a fixture with it");
    }
}
