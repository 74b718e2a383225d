//! An attestor that answers what a test wants, and remembers what it was asked.

use std::sync::Mutex;

use async_trait::async_trait;
use signet_core::enrollment::{
    attestation::{AttestationError, Attestor, Challenge, Evidence, Facts, ProofKind},
    rule::Source,
};

type Answer = Result<Facts, AttestationError>;

#[derive(Debug, Default)]
pub(crate) struct ScriptedAttestor {
    answer: Mutex<Option<Answer>>,
    asked: Mutex<Vec<Asked>>,
}

/// What evidence had to be bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) server_id: String,
    pub(crate) tenant: String,
    pub(crate) key_sha256: String,
    pub(crate) sources: Vec<Source>,
}

impl ScriptedAttestor {
    /// From now on.
    pub(crate) fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = Some(answer);
    }

    pub(crate) fn proves(&self, facts: Facts) {
        self.answers(Ok(facts));
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl Attestor for ScriptedAttestor {
    async fn attest(&self, _: &Evidence, challenge: &Challenge<'_>) -> Answer {
        self.asked.lock().unwrap().push(Asked {
            server_id: challenge.server_id.to_owned(),
            tenant: challenge.tenant.to_string(),
            key_sha256: challenge.key_sha256.to_owned(),
            sources: challenge.sources.to_vec(),
        });
        self.answer.lock().unwrap().clone().expect("the test has said what the attestor answers")
    }
}

pub(crate) fn facts(proof: ProofKind, values: &[(&str, &str)]) -> Facts {
    let values = values.iter().map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()]));
    Facts { proof, values: values.collect() }
}

/// Of the session `session` of the role `worker` of Acme's account.
pub(crate) fn aws(session: &str) -> Facts {
    facts(ProofKind::AwsIam, &[("account", "123456789012"), ("role", "worker"), ("session", session)])
}

/// Of a caller whom Acme's issuer calls `sub`, by a token that expires an hour after the tests' now.
pub(crate) fn oidc(sub: &str) -> Facts {
    let expiry = signet_testkit::fixtures::later(3600).unix_seconds().to_string();
    facts(ProofKind::Oidc, &[("iss", ISSUER), ("aud", "signet"), ("sub", sub), ("exp", &expiry)])
}

pub(crate) const ISSUER: &str = "https://login.example.com";

pub(crate) fn token(text: &str) -> Evidence {
    Evidence::Oidc { token: text.to_owned() }
}

pub(crate) fn presigned() -> Evidence {
    Evidence::AwsIam { url: "https://sts.eu-central-1.amazonaws.com/?…".into(), headers: Default::default() }
}
