//! The first certificate and the next ones. Each has a new key, which never leaves this process but to its owner's disk.

use secrecy::{ExposeSecret, SecretString};
use signet_proto::v1::{
    EnrollRequest, IssuedCertificate, RenewCertificateRequest, certificate_service_client::CertificateServiceClient,
    enroll_request::Proof, enrollment_service_client::EnrollmentServiceClient,
};
use signet_x509::KeyAndCsr;
use tonic::transport::Channel;

use crate::{
    credentials::{Credentials, CredentialsError},
    error::ClientError,
    retry::{Retry, request_id},
};

/// Redeems a join token: a new key, and the certificate for it. `principal_id` is the id to take where the token leaves
/// it open. Repeats the same request, so that a lost answer does not use up the token.
pub async fn enroll(
    channel: &Channel,
    token: &SecretString,
    principal_id: Option<&str>,
    retry: Retry,
) -> Result<Credentials, ClientError> {
    let new = KeyAndCsr::generate().map_err(CredentialsError::Key)?;
    let request = EnrollRequest {
        proof: Some(Proof::JoinToken(token.expose_secret().to_owned())),
        principal_id: principal_id.unwrap_or_default().to_owned(),
        csr_der: new.csr_der,
        request_id: request_id(),
        tenant_id: String::new(),
    };
    let client = EnrollmentServiceClient::new(channel.clone());
    let call = || {
        let (mut client, request) = (client.clone(), request.clone());
        async move { Ok(client.enroll(request).await?.into_inner()) }
    };
    let issued: IssuedCertificate = retry.run(call).await?;
    Ok(Credentials::new(issued.chain_der, issued.root_der, new.key)?)
}

/// The next certificate of the principal that `channel` authenticates as, for a new key.
pub async fn renew(channel: &Channel, retry: Retry) -> Result<Credentials, ClientError> {
    let new = KeyAndCsr::generate().map_err(CredentialsError::Key)?;
    let request = RenewCertificateRequest { csr_der: new.csr_der, request_id: request_id() };
    let client = CertificateServiceClient::new(channel.clone());
    let call = || {
        let (mut client, request) = (client.clone(), request.clone());
        async move { Ok(client.renew_certificate(request).await?.into_inner()) }
    };
    let issued: IssuedCertificate = retry.run(call).await?;
    Ok(Credentials::new(issued.chain_der, issued.root_der, new.key)?)
}
