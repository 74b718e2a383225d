//! Enrollment proofs that somebody else vouches for, and the port that checks them: evidence in, facts out.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Error, TenantId, Time, audit::sha256_hex, enrollment::rule::Source};

/// Names of facts. A fact has one or more values.
pub mod fact {
    /// AWS: 12 digits.
    pub const ACCOUNT: &str = "account";
    /// AWS: the ARN that STS gives, e.g. `arn:aws:sts::123456789012:assumed-role/worker/i-0abc`.
    pub const ARN: &str = "arn";
    /// AWS: partition, e.g. `aws`.
    pub const PARTITION: &str = "partition";
    /// AWS: name of the assumed role, without its path.
    pub const ROLE: &str = "role";
    /// AWS: name of the role's session: the instance id on EC2, the task id on ECS, and whatever else the caller of
    /// `AssumeRole` chose, unless the role's trust policy pins `sts:RoleSessionName`.
    pub const SESSION: &str = "session";
    /// AWS: unique id of the IAM entity; it survives no deletion.
    pub const USER_ID: &str = "user_id";
    /// OIDC: issuer. The other claims of text, number or boolean, and lists of them, stand under their own names.
    pub const ISSUER: &str = "iss";
    /// OIDC: audience.
    pub const AUDIENCE: &str = "aud";
    /// OIDC: when it stops to count, Unix seconds: its expiry, or a day after it was issued if that is earlier.
    pub const EXPIRES: &str = "exp";
    /// X.509: SHA-256 of the registered CA's certificate that the chain ends in, hexadecimal.
    pub const ANCHOR: &str = "anchor_sha256";
    /// X.509: serial number, hexadecimal.
    pub const SERIAL: &str = "serial";
    /// X.509: the subject's common name. Its other attributes stand under their short names, in lower case (`o`, `ou`).
    pub const COMMON_NAME: &str = "cn";
}

/// What kind of proof speaks for a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProofKind {
    /// A presigned STS `GetCallerIdentity`.
    AwsIam,
    /// A JWT of an OpenID Connect issuer.
    Oidc,
    /// A certificate of a registered CA, e.g. a device maker's.
    X509,
}

impl ProofKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::AwsIam, Self::Oidc, Self::X509];

    /// The kind's name, as commands and audit events have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AwsIam => "aws_iam",
            Self::Oidc => "oidc",
            Self::X509 => "x509",
        }
    }
}

impl fmt::Display for ProofKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a caller presents. Bearer material: it does not print.
#[derive(Clone)]
pub enum Evidence {
    /// A `GetCallerIdentity` request, presigned and not yet sent.
    AwsIam {
        /// The whole URL, with its query.
        url: String,
        /// The headers that were signed, `host` aside; names in lower case.
        headers: BTreeMap<String, String>,
    },
    /// A compact JWT.
    Oidc {
        /// Its text.
        token: String,
    },
    /// A certificate and a signature with its key, see [`Challenge::statement`].
    X509 {
        /// Leaf first, without the registered CA; DER.
        chain_der: Vec<Vec<u8>>,
        /// When it was signed, by the caller's clock.
        signed_at: Time,
        /// Signature over the statement: ECDSA (DER) or RSA PKCS #1 v1.5, with SHA-256.
        signature: Vec<u8>,
    },
}

impl Evidence {
    /// What kind of proof it is.
    pub const fn kind(&self) -> ProofKind {
        match self {
            Self::AwsIam { .. } => ProofKind::AwsIam,
            Self::Oidc { .. } => ProofKind::Oidc,
            Self::X509 { .. } => ProofKind::X509,
        }
    }
}

impl Evidence {
    /// Names a proof that holds for whoever has it, hexadecimal; `None` for one that is bound to a key. It covers what
    /// the issuer signed and not the signature, since an ECDSA signature has a second valid form (RFC 7518 section
    /// 3.4).
    pub fn bearer_sha256(&self) -> Option<String> {
        let Self::Oidc { token } = self else { return None };
        let signed = token.rsplit_once('.').map_or(token.as_str(), |(signed, _)| signed);
        Some(sha256_hex(signed.as_bytes()))
    }

    /// Refuses what is larger than any honest proof. Fields are named as in `signet.v1.EnrollRequest`.
    pub fn check_size(&self) -> Result<(), Error> {
        let (field, fits, rule) = match self {
            Self::AwsIam { url, headers } => {
                let fits = |(name, value): (&String, &String)| name.len() <= 64 && value.len() <= 4096;
                let headers_fit = headers.len() <= 16 && headers.iter().all(fits);
                let rule = "must be a URL of at most 8192 bytes and at most 16 headers of at most 4096";
                ("aws_iam", !url.is_empty() && url.len() <= 8192 && headers_fit, rule)
            }
            Self::Oidc { token } => {
                ("oidc_token", !token.is_empty() && token.len() <= 16 * 1024, "must have 1 to 16384 bytes")
            }
            Self::X509 { chain_der, signature, .. } => {
                let chain_fits =
                    (1..=5).contains(&chain_der.len()) && chain_der.iter().all(|der| der.len() <= 16 * 1024);
                let rule = "must be 1 to 5 certificates of at most 16384 bytes and a signature of at most 1024";
                ("x509", chain_fits && signature.len() <= 1024, rule)
            }
        };
        if fits { Ok(()) } else { Err(Error::invalid(field, "OUT_OF_RANGE", rule)) }
    }
}

impl fmt::Debug for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Evidence").field(&self.kind()).finish_non_exhaustive()
    }
}

/// What the evidence must be bound to, so that it serves nobody else and nothing else.
#[derive(Clone, Debug)]
pub struct Challenge<'a> {
    /// The environment's trust domain suffix: evidence made for another environment is refused.
    pub server_id: &'a str,
    /// The tenant to be enrolled in.
    pub tenant: &'a TenantId,
    /// SHA-256 of the subject public key info to be certified, hexadecimal.
    pub key_sha256: &'a str,
    /// Whom the tenant's rules believe.
    pub sources: &'a [Source],
    /// The caller's address: nobody takes all the turns at those who vouch. `None`: this process.
    pub caller: Option<IpAddr>,
    /// Now.
    pub now: Time,
}

impl Challenge<'_> {
    /// What an X.509 proof signs: domain separation, then what it is bound to, a line each.
    pub fn statement(&self, signed_at: Time) -> String {
        let Self { server_id, tenant, key_sha256, .. } = self;
        format!("signet-x509-enrollment-v1\n{server_id}\n{tenant}\n{key_sha256}\n{}\n", signed_at.unix_seconds())
    }
}

/// What has been proven about a caller, see [`fact`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct Facts {
    pub proof: ProofKind,
    /// Fact → values.
    pub values: BTreeMap<String, Vec<String>>,
}

/// Why evidence gave no facts.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AttestationError {
    /// A check failed.
    #[error("{reason}: {detail}")]
    Refused {
        /// UPPER_SNAKE_CASE, for audit events; never for the caller.
        reason: &'static str,
        /// What was found and what was wanted; no secret. For the audit log.
        detail: String,
    },
    /// Whoever can vouch for it did not answer in time.
    #[error("{what} is not available: {cause}")]
    Unavailable {
        /// Who, e.g. `STS`.
        what: &'static str,
        /// The cause, for logs.
        cause: String,
    },
    /// Nobody was asked: too many proofs wait for an answer already.
    #[error("too many proofs are waiting for {what}")]
    Busy {
        /// Who, e.g. `STS`.
        what: &'static str,
    },
}

/// Checks evidence. It asks only those whom the challenge's sources name, within a time limit, and never retries.
#[async_trait]
pub trait Attestor: Send + Sync + fmt::Debug {
    /// The facts that `evidence` proves.
    async fn attest(&self, evidence: &Evidence, challenge: &Challenge<'_>) -> Result<Facts, AttestationError>;
}
