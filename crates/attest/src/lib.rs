//! Checks of enrollment proofs: the adapter behind [`signet_core::enrollment::attestation::Attestor`].
//!
//! | proof | checked here | asked |
//! | --- | --- | --- |
//! | `aws_iam` | a presigned STS `GetCallerIdentity` and what its signed headers bind | STS, once |
//! | `oidc` | a JWT of an issuer that a rule names | the issuer's discovery document and keys, kept for an hour |
//! | `x509` | a chain to a registered CA and a signature with the leaf's key | nobody |
//!
//! Nobody is asked before everything that can be checked without asking has been checked, nothing is asked twice, and
//! whoever is asked has [`Options::timeout`]. Two outcomes: **refused** (evidence that will never count; the reason
//! goes to the audit log, never to the caller) and **unavailable** (STS or the issuer is away, too slow, or answers
//! nonsense: nothing is known about the evidence, the caller may try again later).
//!
//! # Reasons
//!
//! What the audit log gives as `reason`, what it means and what helps. The `detail` beside it says what was found.
//!
//! | reason | the evidence | what helps |
//! | --- | --- | --- |
//! | `AWS_NOT_TRUSTED` | is for AWS, and no rule of the tenant accepts AWS | `principal enrollment rule create` |
//! | `AWS_URL_MALFORMED` | has a URL that is none, is too long, or has another scheme, port, path or a user | use Signet's client |
//! | `AWS_HOST_NOT_ALLOWED` | goes to a host that is not `sts.<region>.amazonaws.com` (`.cn`, `.eu` by partition) of an allowed region | presign for a regional endpoint; `[enrollment] aws_regions` |
//! | `AWS_QUERY_NOT_ALLOWED` | lacks a query parameter, has one twice, an unknown one, or one with another value | use Signet's client |
//! | `AWS_SCOPE_MISMATCH` | is signed for another region, service or day than it says | presign for the host's region |
//! | `AWS_REQUEST_EXPIRED` | was signed more than 5 minutes ago, or is past its own expiry | try again; check the caller's clock |
//! | `AWS_REQUEST_FROM_FUTURE` | was signed more than a minute ahead of us | check the caller's clock |
//! | `AWS_HEADERS_NOT_ALLOWED` | does not sign exactly `host` and the three `x-signet-…` headers, or carries others | use Signet's client |
//! | `AWS_OTHER_SERVER` | was made for another environment | was it relayed? Check whom the caller enrolled with |
//! | `AWS_OTHER_TENANT` | was made for another tenant | as above |
//! | `AWS_OTHER_KEY` | was made for another key than the request's | as above |
//! | `AWS_STS_REFUSED` | was refused by STS; the detail has its code (`SignatureDoesNotMatch`, `ExpiredToken`, …). Codes that say nothing about the caller (`AccessDenied` of an endpoint's policy, `RegionDisabledException`) are *unavailable* | the caller's AWS credentials |
//! | `OIDC_TOKEN_MALFORMED` | is no compact JWT of at most 16 KiB, or has critical header fields | – |
//! | `OIDC_ALGORITHM_NOT_ALLOWED` | is signed with something else than RS, PS, ES256, ES384 or EdDSA | the issuer's settings |
//! | `OIDC_ISSUER_NOT_TRUSTED` | comes from an issuer that no rule of the tenant names | compare the rule's issuer with the token's `iss`, to the last slash |
//! | `OIDC_ISSUER_NOT_ALLOWED` | comes from an issuer without `https://` that the operator has not allowed | `[enrollment] private_issuers` (an issuer at a private address is *unavailable* until it is listed there) |
//! | `OIDC_UNKNOWN_KEY` | names a key that the issuer does not publish | has the issuer just rotated? Keys are asked for at most every 10 s |
//! | `OIDC_BAD_SIGNATURE` | does not verify with the issuer's key | forged or cut off |
//! | `OIDC_OTHER_AUDIENCE` | is for somebody else | the audience that the token is asked for, or the rule's |
//! | `OIDC_CLAIM_MISSING` | lacks `exp` or `iat` | the issuer's settings |
//! | `OIDC_TOKEN_EXPIRED` | has expired (60 s leeway) | a fresh token; clocks |
//! | `OIDC_TOKEN_NOT_YET_VALID` | is not valid yet, or issued in the future (60 s leeway) | clocks |
//! | `OIDC_TOKEN_TOO_OLD` | was issued more than 24 hours ago | a fresh token |
//! | `OIDC_CLAIMS_NOT_USABLE` | has claims that are too many, too long, too deep or ambiguous (`{"a.b":…, "a":{"b":…}}`) | the issuer's claim mapping |
//! | `X509_NOT_TRUSTED` | is a certificate, and no rule of the tenant registers a CA | `principal enrollment rule create` |
//! | `X509_CHAIN_SIZE` | has no certificate, more than 5, or one above 16 KiB | send the leaf and what is between it and the registered CA |
//! | `X509_MALFORMED` | holds a certificate that cannot be understood, or with an unknown critical extension | – |
//! | `X509_UNTRUSTED_ISSUER` | does not end in a registered CA | register the CA that signed; send the certificates between |
//! | `X509_BAD_CERTIFICATE_SIGNATURE` | has the registered CA's name, not its signature (or one with SHA-1) | forged, or the CA was made anew with the same name |
//! | `X509_EXPIRED`, `X509_NOT_YET_VALID` | is outside of a validity in the chain | the device's certificate; our clock |
//! | `X509_ANCHOR_NOT_VALID` | ends in a registered CA whose own certificate has expired | register its successor |
//! | `X509_WRONG_KEY_USAGE` | may not authenticate a client by signature | the device maker's profile |
//! | `X509_IS_A_CA` | is a CA's certificate | send the device's |
//! | `X509_PROOF_EXPIRED`, `X509_PROOF_FROM_FUTURE` | was signed more than 5 minutes ago, or a minute ahead | the caller's clock |
//! | `X509_BAD_PROOF` | carries a signature by another key, or over another environment, tenant, key or time | was it relayed? |

mod aws_iam;
mod http;
mod oidc;
mod options;
mod shares;
mod x509;

use async_trait::async_trait;
use signet_core::enrollment::attestation::{AttestationError, Attestor, Challenge, Evidence, Facts};

pub use options::{Options, OptionsError};

use crate::{aws_iam::AwsIam, oidc::Oidc};

/// Checks evidence of every kind.
#[derive(Debug)]
pub struct Attestors {
    aws_iam: AwsIam,
    oidc: Oidc,
}

impl Attestors {
    /// With these options. Nothing is asked yet.
    pub fn new(options: Options) -> Result<Self, OptionsError> {
        let checked = options.check()?;
        Ok(Self { aws_iam: AwsIam::new(&checked), oidc: Oidc::new(&checked) })
    }
}

#[async_trait]
impl Attestor for Attestors {
    async fn attest(&self, evidence: &Evidence, challenge: &Challenge<'_>) -> Result<Facts, AttestationError> {
        match evidence {
            Evidence::AwsIam { url, headers } => self.aws_iam.attest(url, headers, challenge).await,
            Evidence::Oidc { token } => self.oidc.attest(token, challenge).await,
            Evidence::X509 { chain_der, signed_at, signature } => {
                x509::attest(chain_der, *signed_at, signature, challenge)
            }
        }
    }
}

fn refused(reason: &'static str, detail: impl Into<String>) -> AttestationError {
    AttestationError::Refused { reason, detail: detail.into() }
}

/// What a caller wrote, for the audit log: cut short, nothing that moves a cursor.
fn shown(text: &str) -> String {
    const MOST: usize = 120;
    let cut = text.char_indices().nth(MOST).map_or(text, |(at, _)| text.get(..at).unwrap_or_default());
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("\"{}{more}\"", cut.escape_debug())
}
