//! Certificates.

pub(super) mod convert;

use signet_app::certificates::{self, issuance, renewal};
use signet_proto::v1::{
    Certificate, ConfirmCertificateRequest, GetCertificateRequest, GetRenewalInfoRequest, IssueCertificateRequest,
    IssuedCertificate, ListCertificatesRequest, ListCertificatesResponse, RenewCertificateRequest, RenewalInfo,
    RevokeCertificateRequest, certificate_service_server::CertificateService,
};
use tonic::{Request, Response, Status, async_trait};

use super::{api::Api, choices, fields};

#[async_trait]
impl CertificateService for Api {
    async fn issue_certificate(
        &self,
        request: Request<IssueCertificateRequest>,
    ) -> Result<Response<IssuedCertificate>, Status> {
        self.unary(request, async |caller, message| {
            let scope = caller.scope(&message.tenant_id)?;
            let caller = caller.with_request_id(&message.request_id)?;
            let id = fields::principal_id("principal_id", &message.principal_id)?;
            let csr = fields::csr(&message.csr_der)?;
            let issued = issuance::issue_certificate(&self.node.app, &caller.call, &scope, &id, csr).await?;
            Ok(convert::issued(issued))
        })
        .await
    }

    async fn renew_certificate(
        &self,
        request: Request<RenewCertificateRequest>,
    ) -> Result<Response<IssuedCertificate>, Status> {
        self.unary(request, async |caller, message| {
            let (scope, _) = caller.principal("", "")?;
            let caller = caller.with_request_id(&message.request_id)?;
            let csr = fields::csr(&message.csr_der)?;
            let issued =
                renewal::renew_certificate(&self.node.app, &caller.call, caller.permit()?, &scope, csr).await?;
            Ok(convert::issued(issued))
        })
        .await
    }

    async fn confirm_certificate(
        &self,
        request: Request<ConfirmCertificateRequest>,
    ) -> Result<Response<Certificate>, Status> {
        self.unary(request, async |caller, message| {
            let (scope, _) = caller.principal("", "")?;
            let caller = caller.with_request_id(&message.request_id)?;
            let (app, call, permit) = (&self.node.app, &caller.call, caller.permit()?);
            let certificate = if message.revoke_previous {
                renewal::confirm_and_revoke_previous(app, call, permit, &scope).await?
            } else {
                renewal::confirm_certificate(app, call, permit, &scope).await?
            };
            Ok(convert::certificate(&certificate))
        })
        .await
    }

    async fn get_renewal_info(&self, request: Request<GetRenewalInfoRequest>) -> Result<Response<RenewalInfo>, Status> {
        self.unary(request, async |caller, _| {
            let (scope, _) = caller.principal("", "")?;
            let advice = renewal::renewal_info(&self.node.app, &caller.call, caller.permit()?, &scope).await?;
            // Out of memory: what a holder learns here needs no stream.
            let bundle = self.node.bundles.of(scope.tenant());
            let anchors = bundle.as_ref().map_or(&[][..], |bundle| &bundle.anchors);
            Ok(convert::renewal_info(&advice, caller.call.now, anchors))
        })
        .await
    }

    async fn get_certificate(&self, request: Request<GetCertificateRequest>) -> Result<Response<Certificate>, Status> {
        self.unary(request, async |caller, message| {
            let scope = caller.scope(&message.tenant_id)?;
            let (issuer, serial) = (fields::ca_id(&message.issuer_id)?, fields::serial(&message.serial_number)?);
            let certificate =
                certificates::get_certificate(&self.node.app, &caller.call, &scope, &issuer, &serial).await?;
            Ok(convert::certificate(&certificate))
        })
        .await
    }

    async fn list_certificates(
        &self,
        request: Request<ListCertificatesRequest>,
    ) -> Result<Response<ListCertificatesResponse>, Status> {
        self.unary(request, async |caller, message| {
            let (scope, id) = caller.principal(&message.tenant_id, &message.principal_id)?;
            let page = fields::page(message.page_size, message.page_token);
            let found = certificates::list_certificates(&self.node.app, &caller.call, &scope, &id, &page).await?;
            let certificates = found.items.iter().map(convert::certificate).collect();
            Ok(ListCertificatesResponse {
                certificates,
                next_page_token: found.next_page_token,
                unreadable: found.unreadable,
            })
        })
        .await
    }

    async fn revoke_certificate(
        &self,
        request: Request<RevokeCertificateRequest>,
    ) -> Result<Response<Certificate>, Status> {
        self.unary(request, async |caller, message| {
            let scope = caller.scope(&message.tenant_id)?;
            let caller = caller.with_request_id(&message.request_id)?;
            let (issuer, serial) = (fields::ca_id(&message.issuer_id)?, fields::serial(&message.serial_number)?);
            let reason = choices::revocation_reason(message.reason)?;
            let (app, call, permit) = (&self.node.app, &caller.call, caller.permit()?);
            let revoked = if message.or_unrecorded {
                certificates::revoke_recorded_or_not(app, call, permit, &scope, &issuer, &serial, reason).await?
            } else {
                certificates::revoke_certificate(app, call, permit, &scope, &issuer, &serial, reason).await?
            };
            Ok(convert::certificate(&revoked))
        })
        .await
    }
}
