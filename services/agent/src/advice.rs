//! What somebody could do about an identity that gets no certificate. The control plane does not tell a caller why it is
//! refused; the tenant's audit log does.

use std::{fs, path::Path};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;

use crate::{
    config::{EnrollConfig, ProofConfig},
    report::ProblemReport,
};

/// One sentence; empty if there is nothing to say. `refused`: only a new enrollment helps.
pub(crate) fn advice(config: &EnrollConfig, refused: bool, problem: Option<&ProblemReport>) -> String {
    let tried = problem.is_some_and(|problem| problem.action == "enroll" && problem.reason == "ENROLLMENT_REFUSED");
    match (&config.proof, tried) {
        (ProofConfig::JoinToken(path), true) => {
            let path = path.display();
            format!(
                "the join token in {path} is used up, expired or revoked; put another there, and it is tried at once"
            )
        }
        (ProofConfig::JoinToken(path), false) if refused => {
            format!("only a new enrollment helps; put a join token into {}, and it is tried at once", path.display())
        }
        (ProofConfig::Oidc(path), true) => format!(
            "no rule of the tenant takes the token in {}{}, or it was used before, as by a container that restarted without \
             its key: each works once. The next one is tried as soon as it is there",
            path.display(),
            expiry(path).map(|at| format!(" (it expires at {at})")).unwrap_or_default(),
        ),
        (ProofConfig::AwsIam { .. }, true) => "no rule of the tenant takes this AWS role".into(),
        (ProofConfig::X509 { cert_file, .. }, true) => {
            format!("no rule of the tenant takes the certificate in {}", cert_file.display())
        }
        _ => String::new(),
    }
}

/// When a JWT says that it ends; for people, so nothing is verified.
fn expiry(path: &Path) -> Option<Timestamp> {
    let text = fs::read_to_string(path).ok()?;
    let claims = BASE64_URL_SAFE_NO_PAD.decode(text.trim().split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    Timestamp::from_second(claims.get("exp")?.as_i64()?).ok()
}
