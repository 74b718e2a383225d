//! Tenants.

mod convert;
mod parse;

use signet_app::{
    CreateTenant, TenantPatch,
    tenants::{self, deletion, quotas},
};
use signet_core::{Lifetime, TenantId};
use signet_proto::v1::{
    ActivateTenantRequest, CreateTenantRequest, DeleteTenantRequest, GetTenantRequest, ListTenantsRequest,
    ListTenantsResponse, SteerRenewalsRequest, SuspendTenantRequest, Tenant, UndeleteTenantRequest,
    UpdateTenantRequest, tenant_service_server::TenantService,
};
use tonic::{Request, Response, Status, async_trait};

use super::{api::Api, choices, fields};

/// What `UpdateTenant` may change.
const FIELDS: &[&str] = &[
    "display_name",
    "lifetimes",
    "subjects",
    "max_certificates",
    "renewal_grace_seconds",
    "quotas.principals",
    "quotas.join_tokens",
    "quotas.enrollment_rules",
    "quotas.certificate_authorities",
    "failure_limit",
];

impl Api {
    /// Waits until this node lets the tenant in: its principals may come at once.
    async fn hear_of(&self, tenant: &TenantId) {
        self.heard(|trust| trust.is_active(tenant)).await;
    }
}

#[async_trait]
impl TenantService for Api {
    async fn create_tenant(&self, request: Request<CreateTenantRequest>) -> Result<Response<Tenant>, Status> {
        self.unary(request, async |caller, message| {
            let scope = caller.permit()?.environment()?;
            let caller = caller.with_request_id(&message.request_id)?;
            let tenant = fields::required("tenant", message.tenant)?;
            let input = CreateTenant {
                id: fields::tenant_id("tenant.tenant_id", &tenant.tenant_id)?,
                display_name: tenant.display_name,
                isolation: choices::isolation(tenant.isolation)?,
                lifetimes: parse::lifetimes(&tenant.lifetimes)?,
                subjects: parse::subjects(tenant.subjects)?,
                max_certificates: tenant.max_certificates,
                renewal_grace: Lifetime::seconds(tenant.renewal_grace_seconds),
                quotas: parse::quotas(tenant.quotas.unwrap_or_default(), |_| true),
                failure_limit: tenant.failure_limit.map(parse::failure_limit),
            };
            let tenant = tenants::create_tenant(&self.node.app, &caller.call, &scope, input).await?;
            self.hear_of(&tenant.id).await;
            Ok(convert::tenant(&self.node, &tenant))
        })
        .await
    }

    async fn get_tenant(&self, request: Request<GetTenantRequest>) -> Result<Response<Tenant>, Status> {
        self.unary(request, async |caller, message| {
            let scope = caller.scope(&message.tenant_id)?;
            let (app, call) = (&self.node.app, &caller.call);
            let (tenant, used) =
                tokio::try_join!(tenants::get_tenant(app, call, &scope), quotas::quota_use(app, call, &scope))?;
            Ok(Tenant { quota_use: Some(convert::quota_use(&used)), ..convert::tenant(&self.node, &tenant) })
        })
        .await
    }

    async fn list_tenants(
        &self,
        request: Request<ListTenantsRequest>,
    ) -> Result<Response<ListTenantsResponse>, Status> {
        self.unary(request, async |caller, message| {
            let scope = caller.permit()?.environment()?;
            let page = fields::page(message.page_size, message.page_token);
            let shown = message.show_deleted;
            let found = tenants::list_tenants(&self.node.app, &caller.call, &scope, shown, &page).await?;
            let tenants = found.items.iter().map(|tenant| convert::tenant(&self.node, tenant)).collect();
            Ok(ListTenantsResponse { tenants, next_page_token: found.next_page_token, unreadable: found.unreadable })
        })
        .await
    }

    async fn update_tenant(&self, request: Request<UpdateTenantRequest>) -> Result<Response<Tenant>, Status> {
        self.unary(request, async |caller, message| {
            let tenant = fields::required("tenant", message.tenant)?;
            let id = fields::tenant_id("tenant.tenant_id", &tenant.tenant_id)?;
            let scope = caller.environment(&id)?;
            let caller = caller.with_request_id(&message.request_id)?;
            let named = fields::mask(message.update_mask, FIELDS)?;
            let lifetimes = named("lifetimes").then(|| parse::lifetimes(&tenant.lifetimes)).transpose()?;
            let subjects = named("subjects").then(|| parse::subjects(tenant.subjects)).transpose()?;
            let patch = TenantPatch {
                display_name: named("display_name").then_some(tenant.display_name),
                lifetimes,
                subjects,
                max_certificates: named("max_certificates").then_some(tenant.max_certificates),
                renewal_grace: named("renewal_grace_seconds")
                    .then_some(Lifetime::seconds(tenant.renewal_grace_seconds)),
                quotas: parse::quotas(tenant.quotas.unwrap_or_default(), |quota| {
                    named(&format!("quotas.{}", quota.name()))
                }),
                failure_limit: named("failure_limit").then_some(tenant.failure_limit.map(parse::failure_limit)),
            };
            let tenant = tenants::update_tenant(&self.node.app, &caller.call, &scope, &id, patch).await?;
            Ok(convert::tenant(&self.node, &tenant))
        })
        .await
    }

    async fn suspend_tenant(&self, request: Request<SuspendTenantRequest>) -> Result<Response<Tenant>, Status> {
        self.unary(request, async |caller, message| {
            let id = fields::tenant_id("tenant_id", &message.tenant_id)?;
            let scope = caller.environment(&id)?;
            let caller = caller.with_request_id(&message.request_id)?;
            let tenant = tenants::suspend_tenant(&self.node.app, &caller.call, &scope, &id).await?;
            Ok(convert::tenant(&self.node, &tenant))
        })
        .await
    }

    async fn activate_tenant(&self, request: Request<ActivateTenantRequest>) -> Result<Response<Tenant>, Status> {
        self.unary(request, async |caller, message| {
            let id = fields::tenant_id("tenant_id", &message.tenant_id)?;
            let scope = caller.environment(&id)?;
            let caller = caller.with_request_id(&message.request_id)?;
            let tenant = tenants::activate_tenant(&self.node.app, &caller.call, &scope, &id).await?;
            self.hear_of(&tenant.id).await;
            Ok(convert::tenant(&self.node, &tenant))
        })
        .await
    }

    async fn delete_tenant(&self, request: Request<DeleteTenantRequest>) -> Result<Response<Tenant>, Status> {
        self.unary(request, async |caller, message| {
            let id = fields::tenant_id("tenant_id", &message.tenant_id)?;
            let scope = caller.environment(&id)?;
            let caller = caller.with_request_id(&message.request_id)?;
            let tenant = deletion::delete_tenant(&self.node.app, &caller.call, &scope, &id).await?;
            Ok(convert::tenant(&self.node, &tenant))
        })
        .await
    }

    async fn undelete_tenant(&self, request: Request<UndeleteTenantRequest>) -> Result<Response<Tenant>, Status> {
        self.unary(request, async |caller, message| {
            let id = fields::tenant_id("tenant_id", &message.tenant_id)?;
            let scope = caller.environment(&id)?;
            let caller = caller.with_request_id(&message.request_id)?;
            let tenant = deletion::undelete_tenant(&self.node.app, &caller.call, &scope, &id).await?;
            Ok(convert::tenant(&self.node, &tenant))
        })
        .await
    }

    async fn steer_renewals(&self, request: Request<SteerRenewalsRequest>) -> Result<Response<Tenant>, Status> {
        self.unary(request, async |caller, message| {
            let scope = caller.scope(&message.tenant_id)?;
            let caller = caller.with_request_id(&message.request_id)?;
            let steering = message.steering.map(parse::steering).transpose()?;
            let tenant = tenants::steer_renewals(&self.node.app, &caller.call, &scope, steering).await?;
            Ok(convert::tenant(&self.node, &tenant))
        })
        .await
    }
}
