//! The first certificate and the next ones, each a call. Each has a new key, which never leaves this process but to its
//! owner's disk.

use std::sync::Arc;

use futures::future::BoxFuture;
use prost_types::Timestamp;
use secrecy::SecretString;
use signet_core::{
    Lifetime, Time,
    certificates::renewal::{Advice, AdviceReason, Window},
};
use signet_proto::v1::{
    ConfirmCertificateRequest, EnrollRequest, GetRenewalInfoRequest, IssuedCertificate, RenewCertificateRequest,
    RenewalReason, certificate_service_client::CertificateServiceClient, enroll_request::Proof,
    enrollment_service_client::EnrollmentServiceClient,
};
use signet_x509::{KeyAndCsr, KeyPair};
use tonic::transport::Channel;

use crate::{
    credentials::{Credentials, CredentialsError},
    enrollment::{Anew, Enrollment, ProofSource},
    error::ClientError,
    pending::Pending,
    retry::{Retry, request_id},
};

impl<F, Found> ProofSource for Anew<F>
where
    F: Fn() -> Found + Send + Sync,
    Found: Future<Output = Result<Arc<dyn ProofSource>, ClientError>> + Send,
{
    fn proof<'a>(&'a self, key: &'a KeyPair) -> BoxFuture<'a, Result<Proof, ClientError>> {
        Box::pin(async move { (self.0)().await?.proof(key).await })
    }

    fn repeats(&self) -> bool {
        true
    }
}

/// Redeems a join token: a new key, and the certificate for it. `principal_id` is the id to take where the token leaves
/// it open.
pub async fn enroll(
    channel: &Channel,
    token: &SecretString,
    principal_id: Option<&str>,
    retry: Retry,
) -> Result<Credentials, ClientError> {
    let enrollment = Enrollment::join_token(token.clone());
    enroll_with(channel, &Enrollment { principal_id: principal_id.map(str::to_owned), ..enrollment }, retry).await
}

/// A new key, and the first certificate for it. Repeats the same request, so that a lost answer does not use up the
/// proof.
pub async fn enroll_with(channel: &Channel, enrollment: &Enrollment, retry: Retry) -> Result<Credentials, ClientError> {
    let new = Pending::generate()?;
    let proof = enrollment.proof.proof(new.key()).await?;
    let issued = send_enrollment(channel, enrollment, &new, proof, retry).await?;
    Ok(Credentials::new(issued.chain_der, issued.root_der, new.into_key())?)
}

/// Asks for the first certificate for a key that is there already.
pub(crate) async fn send_enrollment(
    channel: &Channel,
    enrollment: &Enrollment,
    pending: &Pending,
    proof: Proof,
    retry: Retry,
) -> Result<IssuedCertificate, ClientError> {
    let request = EnrollRequest {
        proof: Some(proof),
        principal_id: enrollment.principal_id.clone().unwrap_or_default(),
        csr_der: pending.csr_der()?,
        request_id: pending.request_id().to_owned(),
        tenant_id: enrollment.tenant_id.clone().unwrap_or_default(),
    };
    let client = EnrollmentServiceClient::new(channel.clone());
    let call = || {
        let (mut client, request) = (client.clone(), request.clone());
        async move { Ok(client.enroll(request).await?.into_inner()) }
    };
    retry.run(call).await
}

/// The next certificate of the principal that `channel` authenticates as, for a new key.
pub async fn renew(channel: &Channel, retry: Retry) -> Result<Credentials, ClientError> {
    let new = NextKey::generate()?;
    let issued = retry.run(|| new.renew(channel)).await?;
    new.certified(issued)
}

/// The key of a certificate to be, and the request for it: the same in every attempt, so that a lost answer is found
/// again.
pub(crate) struct NextKey {
    key: KeyPair,
    request: RenewCertificateRequest,
}

impl NextKey {
    pub(crate) fn generate() -> Result<Self, ClientError> {
        let new = KeyAndCsr::generate().map_err(CredentialsError::Key)?;
        let request = RenewCertificateRequest { csr_der: new.csr_der, request_id: request_id() };
        Ok(Self { key: new.key, request })
    }

    pub(crate) fn request(&self) -> &RenewCertificateRequest {
        &self.request
    }

    pub(crate) async fn renew(&self, channel: &Channel) -> Result<IssuedCertificate, ClientError> {
        let mut client = CertificateServiceClient::new(channel.clone());
        Ok(client.renew_certificate(self.request.clone()).await?.into_inner())
    }

    pub(crate) fn certified(self, issued: IssuedCertificate) -> Result<Credentials, ClientError> {
        Ok(Credentials::new(issued.chain_der, issued.root_der, self.key)?)
    }
}

/// What the control plane says about the certificate of a channel.
pub(crate) struct Info {
    /// When it should be renewed.
    pub(crate) advice: Advice,
    /// The server's clock.
    pub(crate) server_time: Option<Time>,
    /// What the tenant's verifiers trust, DER; nothing from a server that is older than that.
    pub(crate) anchors_der: Vec<Vec<u8>>,
}

/// Asks about the certificate of `channel`.
pub(crate) async fn renewal_info(channel: &Channel) -> Result<Info, ClientError> {
    let mut client = CertificateServiceClient::new(channel.clone());
    let info = client.get_renewal_info(GetRenewalInfoRequest {}).await?.into_inner();
    let millis = |time: &Timestamp| time.seconds.saturating_mul(1000).saturating_add(i64::from(time.nanos / 1_000_000));
    let time = |time: Option<Timestamp>| time.map(|time| Time::from_unix_millis(millis(&time)));
    let (Some(start), Some(end)) = (time(info.window_start), time(info.window_end)) else {
        return Err(tonic::Status::internal("the renewal window is missing").into());
    };
    let reason = match RenewalReason::try_from(info.reason) {
        Ok(RenewalReason::Steered) => AdviceReason::Steered,
        Ok(RenewalReason::CaRotation) => AdviceReason::CaRotation,
        _ => AdviceReason::Default,
    };
    let (ask_again, grace) = (Lifetime::seconds(info.retry_after_seconds), Lifetime::seconds(info.grace_seconds));
    let advice = Advice { window: Window { start, end }, grace, ask_again, reason };
    Ok(Info { advice, server_time: time(info.server_time), anchors_der: info.trust_anchor_der })
}

/// Tells that the certificate of `channel` is stored; `revoke_previous`: and that nobody uses the one before it any
/// more, so that it is revoked.
pub(crate) async fn confirm(channel: &Channel, revoke_previous: bool) -> Result<(), ClientError> {
    let request = ConfirmCertificateRequest { request_id: request_id(), revoke_previous };
    CertificateServiceClient::new(channel.clone()).confirm_certificate(request).await?;
    Ok(())
}
