//! Join tokens, and what they are redeemed for.

mod convert;
mod parse;

use secrecy::ExposeSecret;
use signet_app::{
    CreateToken, Enroll,
    enrollment::{self, rules, tokens},
};
use signet_core::{Error, Lifetime, RuleId, TokenId, enrollment::PrincipalTemplate};
use signet_proto::v1::{
    CreateEnrollmentRuleRequest, CreateTokenRequest, CreateTokenResponse, DeleteEnrollmentRuleRequest,
    DeleteEnrollmentRuleResponse, EnrollRequest, EnrollmentRule, IssuedCertificate, ListEnrollmentRulesRequest,
    ListEnrollmentRulesResponse, ListTokensRequest, ListTokensResponse, RevokeTokenRequest, TestEnrollmentRulesRequest,
    TestEnrollmentRulesResponse, Token, enrollment_service_server::EnrollmentService,
};
use tonic::{Request, Response, Status, async_trait};

use super::{api::Api, certificates, choices, fields};

/// Lifetime of a token where the caller does not say.
const DEFAULT_TTL_SECONDS: u32 = 3600;

#[async_trait]
impl EnrollmentService for Api {
    async fn create_token(
        &self,
        request: Request<CreateTokenRequest>,
    ) -> Result<Response<CreateTokenResponse>, Status> {
        self.unary(request, async |caller, message| {
            let scope = caller.scope(&message.tenant_id)?;
            let caller = caller.with_request_id(&message.request_id)?;
            let id = Some(message.principal_id.as_str()).filter(|id| !id.is_empty());
            let template = PrincipalTemplate {
                principal_type: choices::principal_type("principal_type", message.principal_type)?,
                id: id.map(|id| fields::principal_id("principal_id", id)).transpose()?,
                roles: fields::names("roles", &message.roles)?,
            };
            let ttl = if message.ttl_seconds == 0 { DEFAULT_TTL_SECONDS } else { message.ttl_seconds };
            let (ttl, uses) = (Lifetime::seconds(ttl), message.uses.max(1));
            let id_pattern = Some(message.principal_id_pattern).filter(|pattern| !pattern.is_empty());
            let source_networks = parse::networks("source_networks", &message.source_networks)?;
            let input = CreateToken { template, ttl, uses, id_pattern, source_networks };
            let made = tokens::create_token(&self.node.app, &caller.call, caller.permit()?, &scope, input).await?;
            let secret = made.secret.expose_secret().to_owned();
            Ok(CreateTokenResponse { token: Some(convert::token(&made.token)), secret })
        })
        .await
    }

    async fn list_tokens(&self, request: Request<ListTokensRequest>) -> Result<Response<ListTokensResponse>, Status> {
        self.unary(request, async |caller, message| {
            let scope = caller.scope(&message.tenant_id)?;
            let page = fields::page(message.page_size, message.page_token);
            let found = tokens::list_tokens(&self.node.app, &caller.call, &scope, &page).await?;
            let tokens = found.items.iter().map(convert::token).collect();
            Ok(ListTokensResponse { tokens, next_page_token: found.next_page_token, unreadable: found.unreadable })
        })
        .await
    }

    async fn revoke_token(&self, request: Request<RevokeTokenRequest>) -> Result<Response<Token>, Status> {
        self.unary(request, async |caller, message| {
            let scope = caller.scope(&message.tenant_id)?;
            let caller = caller.with_request_id(&message.request_id)?;
            let id: TokenId = message.token_id.parse().map_err(Error::id("token_id"))?;
            let token = tokens::revoke_token(&self.node.app, &caller.call, caller.permit()?, &scope, &id).await?;
            Ok(convert::token(&token))
        })
        .await
    }

    async fn create_enrollment_rule(
        &self,
        request: Request<CreateEnrollmentRuleRequest>,
    ) -> Result<Response<EnrollmentRule>, Status> {
        self.unary(request, async |caller, message| {
            let rule = fields::required("rule", message.rule)?;
            let scope = caller.scope_in("rule.tenant_id", &rule.tenant_id)?;
            let caller = caller.with_request_id(&message.request_id)?;
            let input = parse::rule(rule)?;
            let rule = rules::create_rule(&self.node.app, &caller.call, caller.permit()?, &scope, input).await?;
            Ok(convert::rule(rule))
        })
        .await
    }

    async fn list_enrollment_rules(
        &self,
        request: Request<ListEnrollmentRulesRequest>,
    ) -> Result<Response<ListEnrollmentRulesResponse>, Status> {
        self.unary(request, async |caller, message| {
            let scope = caller.scope(&message.tenant_id)?;
            let page = fields::page(message.page_size, message.page_token);
            let found = rules::list_rules(&self.node.app, &caller.call, &scope, &page).await?;
            let rules = found.items.into_iter().map(convert::rule).collect();
            Ok(ListEnrollmentRulesResponse {
                rules,
                next_page_token: found.next_page_token,
                unreadable: found.unreadable,
            })
        })
        .await
    }

    async fn delete_enrollment_rule(
        &self,
        request: Request<DeleteEnrollmentRuleRequest>,
    ) -> Result<Response<DeleteEnrollmentRuleResponse>, Status> {
        self.unary(request, async |caller, message| {
            let scope = caller.scope(&message.tenant_id)?;
            let caller = caller.with_request_id(&message.request_id)?;
            let id: RuleId = message.rule_id.parse().map_err(Error::id("rule_id"))?;
            rules::delete_rule(&self.node.app, &caller.call, caller.permit()?, &scope, &id).await?;
            Ok(DeleteEnrollmentRuleResponse {})
        })
        .await
    }

    async fn test_enrollment_rules(
        &self,
        request: Request<TestEnrollmentRulesRequest>,
    ) -> Result<Response<TestEnrollmentRulesResponse>, Status> {
        self.unary(request, async |caller, message| {
            let scope = caller.scope(&message.tenant_id)?;
            let facts = parse::facts(message.proof_kind, message.facts)?;
            let tested = rules::test_rules(&self.node.app, &caller.call, &scope, &facts).await?;
            Ok(convert::rule_test(tested))
        })
        .await
    }

    async fn enroll(&self, request: Request<EnrollRequest>) -> Result<Response<IssuedCertificate>, Status> {
        self.unary(request, async |caller, message| {
            let caller = caller.with_request_id(&message.request_id)?;
            let proof = parse::proof(message.proof, &message.tenant_id)?;
            let id = Some(message.principal_id.as_str()).filter(|id| !id.is_empty());
            let principal = id.map(|id| fields::principal_id("principal_id", id)).transpose()?;
            let csr_der = fields::csr(&message.csr_der)?.to_vec();
            let issued = enrollment::enroll(&self.node.app, &caller.call, Enroll { proof, principal, csr_der }).await?;
            Ok(certificates::convert::issued(issued))
        })
        .await
    }
}
