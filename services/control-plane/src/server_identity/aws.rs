//! SSM parameters for what anybody may know, one Secrets Manager secret for the server's key and chain.

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client as Secrets;
use aws_sdk_ssm::{Client as Parameters, types::ParameterType};
use secrecy::{ExposeSecret, SecretString};

use super::port::{PublicMaterial, ServerCredentials, ServerIdentityError, ServerIdentityStore};

/// What a parameter says before bootstrap: Terraform (`infra/modules/rotate`) cannot make one without a value.
const PENDING: &str = "pending";

/// Parameters `<prefix>/root` and `<prefix>/admin/chain`; the secret `<prefix>/server` with key and chain in one JSON
/// object ([`ServerCredentials::to_secret`]), so that one version has both. Terraform makes the secret; this only puts
/// values.
#[derive(Clone, Debug)]
pub struct AwsServerIdentity {
    parameters: Parameters,
    secrets: Secrets,
    prefix: String,
}

impl AwsServerIdentity {
    /// Asks nothing yet.
    pub fn new(aws: &SdkConfig, prefix: &str) -> Self {
        Self { parameters: Parameters::new(aws), secrets: Secrets::new(aws), prefix: prefix.to_owned() }
    }

    fn secret(&self) -> String {
        format!("{}/server", self.prefix)
    }

    async fn parameter(&self, name: &str) -> Result<Option<String>, ServerIdentityError> {
        let place = format!("{}/{name}", self.prefix);
        match self.parameters.get_parameter().name(&place).send().await {
            Ok(found) => Ok(found.parameter.and_then(|parameter| parameter.value).filter(|value| value != PENDING)),
            Err(error) if error.as_service_error().is_some_and(|e| e.is_parameter_not_found()) => Ok(None),
            Err(error) => Err(unavailable("SSM parameter", place, &error)),
        }
    }

    async fn put_parameter(&self, name: &str, value: &str) -> Result<(), ServerIdentityError> {
        let place = format!("{}/{name}", self.prefix);
        let request = self.parameters.put_parameter().name(&place).value(value);
        let sent = request.r#type(ParameterType::String).overwrite(true).send().await;
        sent.map(|_| ()).map_err(|error| unavailable("SSM parameter", place, &error))
    }
}

fn unavailable<E: std::error::Error + 'static, R: std::fmt::Debug + 'static>(
    kind: &str,
    name: String,
    error: &aws_sdk_ssm::error::SdkError<E, R>,
) -> ServerIdentityError {
    let problem = aws_sdk_ssm::error::DisplayErrorContext(error).to_string();
    ServerIdentityError::Unavailable { place: format!("{kind} {name}"), problem }
}

fn public(what: PublicMaterial) -> &'static str {
    match what {
        PublicMaterial::Root => "root",
        PublicMaterial::AdminChain => "admin/chain",
    }
}

#[async_trait]
impl ServerIdentityStore for AwsServerIdentity {
    async fn get(&self) -> Result<Option<ServerCredentials>, ServerIdentityError> {
        let place = self.secret();
        let found = match self.secrets.get_secret_value().secret_id(&place).send().await {
            Ok(found) => found.secret_string.map(SecretString::from),
            // The secret without a value answers the same.
            Err(error) if error.as_service_error().is_some_and(|e| e.is_resource_not_found_exception()) => None,
            Err(error) => return Err(unavailable("secret", place, &error)),
        };
        let read = |text: SecretString| ServerCredentials::from_secret(&text);
        found.map(read).transpose().map_err(|problem| ServerIdentityError::Damaged {
            place: format!("secret {place}"),
            problem: format!("{problem}; see runbooks/RotationFailed.md"),
        })
    }

    async fn put(&self, credentials: &ServerCredentials) -> Result<(), ServerIdentityError> {
        let place = self.secret();
        let text = credentials.to_secret();
        let put = self.secrets.put_secret_value().secret_id(&place).secret_string(text.expose_secret()).send().await;
        match put {
            Ok(_) => Ok(()),
            Err(error) if error.as_service_error().is_some_and(|e| e.is_resource_not_found_exception()) => {
                let problem = "there is no such secret; Terraform creates it (infra/modules/rotate)".into();
                Err(ServerIdentityError::Unavailable { place: format!("secret {place}"), problem })
            }
            Err(error) => Err(unavailable("secret", place, &error)),
        }
    }

    async fn get_public(&self, what: PublicMaterial) -> Result<Option<String>, ServerIdentityError> {
        self.parameter(public(what)).await
    }

    async fn put_public(&self, what: PublicMaterial, pem: &str) -> Result<(), ServerIdentityError> {
        self.put_parameter(public(what), pem).await
    }

    fn renewed_by_server(&self) -> bool {
        false
    }
}
