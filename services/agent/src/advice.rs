//! What somebody could do about an identity that gets no certificate. The control plane does not tell a caller why it
//! is refused; the tenant's audit log does.

use std::{fs, path::Path};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;

use crate::{
    config::{IdentityConfig, ProofConfig},
    report::ProblemReport,
};

const LOG: &str = "The tenant's audit log says why: principal audit list";

/// For people; empty if there is nothing to say. `refused`: only a new enrollment helps.
pub(crate) fn advice(config: &IdentityConfig, refused: bool, problem: Option<&ProblemReport>) -> String {
    if problem.is_some_and(|problem| problem.action == "load" && problem.reason == "BAD_CREDENTIALS") {
        return in_the_way(config);
    }
    let tried = problem.is_some_and(|problem| problem.action == "enroll" && problem.reason == "ENROLLMENT_REFUSED");
    match (&config.enroll.proof, tried) {
        (ProofConfig::JoinToken(path), true) => format!(
            "is the join token in {} used up, expired or revoked? {LOG}. A new one is tried as soon as it is there",
            path.display()
        ),
        (ProofConfig::JoinToken(path), false) if refused => {
            let path = path.display();
            format!(
                "if this machine's clock is right, enroll again: a new join token in {path} is tried as soon as it is there"
            )
        }
        (ProofConfig::Oidc(path), true) => format!(
            "{LOG}. A token works for one key: a container that restarted without its key waits for the next token, which is tried as \
             soon as it is in {}{}",
            path.display(),
            expiry(path).map(|at| format!("; this one expires at {at}")).unwrap_or_default(),
        ),
        (ProofConfig::AwsIam { .. }, true) => format!("does a rule of the tenant admit this AWS role? {LOG}"),
        (ProofConfig::X509 { cert_file, .. }, true) => {
            format!("does a rule of the tenant admit the certificate in {}? {LOG}", cert_file.display())
        }
        _ => String::new(),
    }
}

/// Files that are there and are no identity: they may be somebody's, so that nobody replaces them unasked.
fn in_the_way(config: &IdentityConfig) -> String {
    let files = match (&config.pem, &config.combined) {
        (Some(pem), _) => format!("cert.pem and key.pem of {}", pem.directory.display()),
        (None, Some(combined)) => combined.file.display().to_string(),
        (None, None) => return String::new(),
    };
    format!("fix or move away {files}: if they are missing or empty, the agent enrolls")
}

/// When a JWT says that it ends; for people, so nothing is verified.
fn expiry(path: &Path) -> Option<Timestamp> {
    let text = fs::read_to_string(path).ok()?;
    let claims = BASE64_URL_SAFE_NO_PAD.decode(text.trim().split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    Timestamp::from_second(claims.get("exp")?.as_i64()?).ok()
}
