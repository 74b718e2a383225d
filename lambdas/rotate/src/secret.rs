//! Secrets Manager's rotation of the server's key and certificate, one function a step.

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use signet_app::{Call, authorities, bootstrap};
use signet_control_plane::ServerCredentials;
use signet_x509::{KeyAndCsr, bundle::to_pem, server_anchors};

use crate::{Function, RotateError, Step, handshake, said};

const CURRENT: &str = "AWSCURRENT";
const PENDING: &str = "AWSPENDING";

/// The secret and the labels of its versions.
#[derive(Clone, Debug)]
pub(crate) struct Secret {
    client: Client,
    name: String,
}

/// Where a rotation stands, by the labels of the versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stages {
    /// The version that is used.
    current: Option<String>,
    /// Whether Secrets Manager rotates this secret.
    rotating: bool,
    /// Whether the version in question is known, and pending.
    pending: bool,
}

impl Stages {
    /// When a rotation is set up, Secrets Manager has its function test the secret (RotateSecret, "RotateImmediately"),
    /// which has no value before bootstrap.
    fn nothing_to_test(&self, step: Step) -> bool {
        step == Step::Test && self.current.is_none()
    }

    /// Refuses a version that Secrets Manager did not hand out: whoever may invoke this function makes none of its own
    /// choice, which would stand in the way of the next rotation.
    fn check(&self, token: &str) -> Result<(), RotateError> {
        match (self.rotating, self.pending) {
            (false, _) => Err(RotateError::Event("rotation is not enabled for this secret".into())),
            (true, false) => Err(not_pending(token)),
            (true, true) => Ok(()),
        }
    }
}

impl Secret {
    pub(crate) fn new(aws: &SdkConfig, prefix: &str) -> Self {
        Self { client: Client::new(aws), name: format!("{prefix}/server") }
    }

    /// The labels, as far as the version `token` is concerned; an error if the event is about another secret.
    async fn stages(&self, secret_id: &str, token: &str) -> Result<Stages, RotateError> {
        let found = self.client.describe_secret().secret_id(secret_id).send().await;
        let found = found.map_err(|error| aws("DescribeSecret", &error))?;
        if found.name() != Some(self.name.as_str()) {
            let text = format!("this function rotates {} and no other secret; it was asked for {secret_id}", self.name);
            return Err(RotateError::Event(text));
        }
        let versions = found.version_ids_to_stages().cloned().unwrap_or_default();
        let has = |stages: &Vec<String>, label: &str| stages.iter().any(|stage| stage == label);
        let current = versions.iter().find(|(_, stages)| has(stages, CURRENT)).map(|(version, _)| version.clone());
        let pending = versions.get(token).is_some_and(|stages| has(stages, PENDING));
        Ok(Stages { current, rotating: found.rotation_enabled() == Some(true), pending })
    }

    async fn pending(&self, token: &str) -> Result<Option<ServerCredentials>, RotateError> {
        let asked = self.client.get_secret_value().secret_id(&self.name).version_id(token).version_stage(PENDING);
        let text = match asked.send().await {
            Ok(found) => found.secret_string.map(SecretString::from),
            // A version that has a label and no value yet answers so too.
            Err(error) if error.as_service_error().is_some_and(|e| e.is_resource_not_found_exception()) => None,
            Err(error) => return Err(aws("GetSecretValue", &error)),
        };
        let read = |text: SecretString| ServerCredentials::from_secret(&text);
        text.map(read).transpose().map_err(|problem| RotateError::BadPending(problem.into()))
    }

    /// Keeps a value as the pending one. Of two runs at once one's is kept.
    async fn put_pending(&self, token: &str, credentials: &ServerCredentials) -> Result<(), RotateError> {
        let text = credentials.to_secret();
        let put = self.client.put_secret_value().secret_id(&self.name).client_request_token(token);
        match put.secret_string(text.expose_secret()).version_stages(PENDING).send().await {
            Ok(_) => Ok(()),
            Err(error) if error.as_service_error().is_some_and(|e| e.is_resource_exists_exception()) => Ok(()),
            Err(error) => Err(aws("PutSecretValue", &error)),
        }
    }

    async fn make_current(&self, token: &str, instead_of: Option<&str>) -> Result<(), RotateError> {
        let moved = self.client.update_secret_version_stage().secret_id(&self.name).version_stage(CURRENT);
        let moved = moved.move_to_version_id(token).set_remove_from_version_id(instead_of.map(str::to_owned));
        moved.send().await.map(|_| ()).map_err(|error| aws("UpdateSecretVersionStage", &error))
    }
}

fn aws<E, R>(call: &str, error: &SdkError<E, R>) -> RotateError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug + 'static,
{
    RotateError::Aws { what: call.to_owned(), cause: said(error) }
}

impl Function {
    /// One step for the version `token`. A step that was done before changes nothing.
    pub(crate) async fn step(&self, step: Step, secret_id: &str, token: &str) -> Result<Value, RotateError> {
        let stages = self.secret.stages(secret_id, token).await?;
        if stages.current.as_deref() == Some(token) {
            return Ok(
                json!({ "step": format!("{step:?}"), "version": token, "outcome": "it is the current one already" }),
            );
        }
        if stages.nothing_to_test(step) {
            return Ok(
                json!({ "step": format!("{step:?}"), "version": token, "outcome": "nothing to test before bootstrap" }),
            );
        }
        stages.check(token)?;
        let outcome = match step {
            Step::Create => self.create(token).await?,
            // signetd asks for the current value every minute; there is nobody to tell beforehand.
            Step::Set => "nothing to set: nodes poll for the current version",
            Step::Test => {
                self.test(token).await?;
                "a TLS connection with the pending pair succeeded"
            }
            Step::Finish => self.finish(secret_id, token, stages).await?,
        };
        Ok(json!({ "step": format!("{step:?}"), "version": token, "outcome": outcome }))
    }

    async fn create(&self, token: &str) -> Result<&'static str, RotateError> {
        if self.secret.pending(token).await?.is_some() {
            return Ok("the pending version has its value already");
        }
        let KeyAndCsr { key, csr_der } =
            KeyAndCsr::generate().map_err(|error| RotateError::BadPending(format!("cannot create a key: {error}")))?;
        let call = Call::process("server-certificate", self.now());
        let chain = bootstrap::issue_server_certificate(&self.app, &call, &self.names, &csr_der).await;
        let chain = chain.map_err(|error| RotateError::Operation { what: "the server's certificate".into(), error })?;
        let chain_pem = to_pem(chain.iter().map(Vec::as_slice));
        let credentials = ServerCredentials { chain_pem, key_pem: SecretString::from(key.to_pkcs8_pem().as_str()) };
        self.secret.put_pending(token, &credentials).await?;
        Ok("a new key and certificate are pending")
    }

    async fn test(&self, token: &str) -> Result<(), RotateError> {
        let pending = self.secret.pending(token).await?.ok_or_else(|| not_pending(token))?;
        let now = self.now();
        let trusted = authorities::server_trust(&self.app, now).await;
        let trusted = trusted.map_err(|error| RotateError::Operation { what: "the server anchors".into(), error })?;
        let anchors = server_anchors(&trusted);
        handshake::check_age(&pending, now).map_err(RotateError::BadPending)?;
        handshake::present(&pending, &anchors, &self.names).await.map_err(RotateError::BadPending)?;
        Ok(())
    }

    /// Nothing tells whether the test was passed, so it is passed again: what is made current is served within a
    /// minute.
    async fn finish(&self, secret_id: &str, token: &str, stages: Stages) -> Result<&'static str, RotateError> {
        let moved = async {
            self.test(token).await?;
            self.secret.make_current(token, stages.current.as_deref()).await
        };
        if let Err(error) = moved.await {
            // Another run may have been faster.
            let now = self.secret.stages(secret_id, token).await?;
            return if now.current.as_deref() == Some(token) { Ok("another run made it current") } else { Err(error) };
        }
        Ok("it is the current one now; nodes serve it within a minute")
    }
}

fn not_pending(token: &str) -> RotateError {
    RotateError::BadPending(format!(
        "version {token} is not labelled {PENDING}, or has no value; Secrets Manager labels it when it starts a rotation"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_without_a_value_passes_the_test_and_no_other_step() {
        let empty = Stages { current: None, rotating: true, pending: true };
        assert!(empty.nothing_to_test(Step::Test));
        assert!([Step::Create, Step::Set, Step::Finish].iter().all(|step| !empty.nothing_to_test(*step)));
        assert!(!Stages { current: Some("v".into()), ..empty }.nothing_to_test(Step::Test));
    }

    #[test]
    fn only_a_version_that_was_handed_out_is_worked_on() {
        let stages = |rotating, pending| Stages { current: None, rotating, pending };
        assert!(stages(true, true).check("t").is_ok());
        assert!(stages(true, false).check("t").is_err_and(|error| error.to_string().contains("AWSPENDING")));
        for pending in [false, true] {
            assert!(stages(false, pending).check("t").is_err_and(|error| error.to_string().contains("not enabled")));
        }
    }
}
