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
//! What each reason means and what helps is in [`signet_core::reasons`], printed in `proto/REASONS.md`. The `detail`
//! beside it in the audit log says what was found.

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
