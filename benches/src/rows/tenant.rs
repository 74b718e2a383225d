//! A tenant whose workers and services may do something.

use signet_proto::v1::{
    AuthorizationGrant, AuthorizationRules, CreatePrincipalRequest, CreateTenantRequest, CreateTokenRequest,
    IssueCertificateRequest, Principal, PrincipalType, SetAuthorizationModelRequest, Tenant, authorization_grant::To,
    authorization_service_client::AuthorizationServiceClient, certificate_service_client::CertificateServiceClient,
    enrollment_service_client::EnrollmentServiceClient, principal_service_client::PrincipalServiceClient,
    tenant_service_client::TenantServiceClient,
};
use signet_x509::KeyAndCsr;
use tonic::transport::Channel;

use crate::{Result, node::Environment};

/// The environment's admin, and the certificate of a worker that may do `permission`, DER; so may services.
pub(super) async fn with_worker(
    environment: &Environment,
    tenant_id: &str,
    permission: &str,
) -> Result<(Channel, Vec<u8>)> {
    let admin = environment.connect().await?;
    let tenant = Tenant { tenant_id: tenant_id.into(), ..Tenant::default() };
    let request = CreateTenantRequest { tenant: Some(tenant), request_id: signet_client::request_id() };
    TenantServiceClient::new(admin.clone()).create_tenant(request).await?;
    let to = |kind: PrincipalType| Some(To::PrincipalType(kind.into()));
    let grant = |kind| AuthorizationGrant { to: to(kind), permissions: vec![permission.into()], expire_time: None };
    let rules = AuthorizationRules {
        permissions: [(permission.to_owned(), String::new())].into(),
        grants: vec![grant(PrincipalType::Worker), grant(PrincipalType::Service)],
        ..AuthorizationRules::default()
    };
    let (rules, request_id) = (Some(rules), signet_client::request_id());
    let request = SetAuthorizationModelRequest { tenant_id: tenant_id.into(), rules, request_id, ..Default::default() };
    AuthorizationServiceClient::new(admin.clone()).set_authorization_model(request).await?;
    let principal = Principal {
        tenant_id: tenant_id.into(),
        principal_id: "w-1".into(),
        principal_type: PrincipalType::Worker.into(),
        ..Principal::default()
    };
    let request = CreatePrincipalRequest { principal: Some(principal), request_id: signet_client::request_id() };
    PrincipalServiceClient::new(admin.clone()).create_principal(request).await?;
    let (csr_der, request_id) = (KeyAndCsr::generate()?.csr_der, signet_client::request_id());
    let request =
        IssueCertificateRequest { tenant_id: tenant_id.into(), principal_id: "w-1".into(), csr_der, request_id };
    let issued = CertificateServiceClient::new(admin.clone()).issue_certificate(request).await?.into_inner();
    let leaf = issued.chain_der.into_iter().next().ok_or("there is no certificate")?;
    Ok((admin, leaf))
}

/// A join token for the tenant's service `gateway`.
pub(super) async fn service_token(admin: &Channel, tenant_id: &str) -> Result<String> {
    join_token(admin, tenant_id, PrincipalType::Service, "gateway").await
}

/// A join token for a principal of the tenant.
pub(super) async fn join_token(admin: &Channel, tenant_id: &str, kind: PrincipalType, id: &str) -> Result<String> {
    let request = CreateTokenRequest {
        tenant_id: tenant_id.into(),
        principal_type: kind.into(),
        principal_id: id.into(),
        request_id: signet_client::request_id(),
        ..CreateTokenRequest::default()
    };
    Ok(EnrollmentServiceClient::new(admin.clone()).create_token(request).await?.into_inner().secret)
}
