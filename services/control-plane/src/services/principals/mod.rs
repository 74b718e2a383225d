//! Principals.

mod convert;

use signet_app::{
    CreatePrincipal, PrincipalPatch,
    principals::{self, deletion},
};
use signet_proto::v1::{
    ActivatePrincipalRequest, CreatePrincipalRequest, DeletePrincipalRequest, GetPrincipalRequest,
    ListPrincipalsRequest, ListPrincipalsResponse, Principal, SuspendPrincipalRequest, UpdatePrincipalRequest,
    WhoAmIRequest, WhoAmIResponse, principal_service_server::PrincipalService,
};
use tonic::{Request, Response, Status, async_trait};

use super::{api::Api, caller::Caller, choices, fields, wire};

#[async_trait]
impl PrincipalService for Api {
    async fn create_principal(&self, request: Request<CreatePrincipalRequest>) -> Result<Response<Principal>, Status> {
        self.unary(request, async |caller, message| {
            let principal = fields::required("principal", message.principal)?;
            let scope = caller.scope_in("principal.tenant_id", &principal.tenant_id)?;
            let caller = caller.with_request_id(&message.request_id)?;
            let input = CreatePrincipal {
                id: fields::principal_id("principal.principal_id", &principal.principal_id)?,
                principal_type: choices::principal_type("principal.principal_type", principal.principal_type)?,
                roles: fields::names("principal.roles", &principal.roles)?,
                groups: fields::names("principal.groups", &principal.groups)?,
                display_name: principal.display_name,
            };
            let principal = principals::create_principal(&self.node.app, &caller.call, &scope, input).await?;
            Ok(convert::principal(&self.node, &principal, caller.call.now))
        })
        .await
    }

    async fn get_principal(&self, request: Request<GetPrincipalRequest>) -> Result<Response<Principal>, Status> {
        self.unary(request, async |caller, message| {
            let (scope, id) = caller.principal(&message.tenant_id, &message.principal_id)?;
            let principal = principals::get_principal(&self.node.app, &caller.call, &scope, &id).await?;
            Ok(convert::principal(&self.node, &principal, caller.call.now))
        })
        .await
    }

    async fn list_principals(
        &self,
        request: Request<ListPrincipalsRequest>,
    ) -> Result<Response<ListPrincipalsResponse>, Status> {
        self.unary(request, async |caller, message| {
            let scope = caller.scope(&message.tenant_id)?;
            let page = fields::page(message.page_size, message.page_token);
            let found = principals::list_principals(&self.node.app, &caller.call, &scope, &page).await?;
            let shown = found.items.iter().map(|each| convert::principal(&self.node, each, caller.call.now));
            Ok(ListPrincipalsResponse {
                principals: shown.collect(),
                next_page_token: found.next_page_token,
                unreadable: found.unreadable,
            })
        })
        .await
    }

    async fn update_principal(&self, request: Request<UpdatePrincipalRequest>) -> Result<Response<Principal>, Status> {
        self.unary(request, async |caller, message| {
            let principal = fields::required("principal", message.principal)?;
            let scope = caller.scope_in("principal.tenant_id", &principal.tenant_id)?;
            let caller = caller.with_request_id(&message.request_id)?;
            let id = fields::principal_id("principal.principal_id", &principal.principal_id)?;
            let named = fields::mask(message.update_mask, &["display_name", "roles", "groups"])?;
            let roles = named("roles").then(|| fields::names("principal.roles", &principal.roles)).transpose()?;
            let groups = named("groups").then(|| fields::names("principal.groups", &principal.groups)).transpose()?;
            let display_name = named("display_name").then_some(principal.display_name);
            let patch = PrincipalPatch { display_name, roles, groups };
            let principal = principals::update_principal(&self.node.app, &caller.call, &scope, &id, patch).await?;
            Ok(convert::principal(&self.node, &principal, caller.call.now))
        })
        .await
    }

    async fn suspend_principal(
        &self,
        request: Request<SuspendPrincipalRequest>,
    ) -> Result<Response<Principal>, Status> {
        self.unary(request, async |caller, message| {
            let scope = caller.scope(&message.tenant_id)?;
            let caller = caller.with_request_id(&message.request_id)?;
            let id = fields::principal_id("principal_id", &message.principal_id)?;
            let principal =
                principals::suspend_principal(&self.node.app, &caller.call, caller.permit()?, &scope, &id).await?;
            Ok(convert::principal(&self.node, &principal, caller.call.now))
        })
        .await
    }

    async fn activate_principal(
        &self,
        request: Request<ActivatePrincipalRequest>,
    ) -> Result<Response<Principal>, Status> {
        self.unary(request, async |caller, message| {
            let scope = caller.scope(&message.tenant_id)?;
            let caller = caller.with_request_id(&message.request_id)?;
            let id = fields::principal_id("principal_id", &message.principal_id)?;
            let principal =
                principals::activate_principal(&self.node.app, &caller.call, caller.permit()?, &scope, &id).await?;
            Ok(convert::principal(&self.node, &principal, caller.call.now))
        })
        .await
    }

    async fn delete_principal(&self, request: Request<DeletePrincipalRequest>) -> Result<Response<Principal>, Status> {
        self.unary(request, async |caller, message| {
            let scope = caller.scope(&message.tenant_id)?;
            let caller = caller.with_request_id(&message.request_id)?;
            let id = fields::principal_id("principal_id", &message.principal_id)?;
            let principal =
                deletion::delete_principal(&self.node.app, &caller.call, caller.permit()?, &scope, &id).await?;
            Ok(convert::principal(&self.node, &principal, caller.call.now))
        })
        .await
    }

    async fn who_am_i(&self, request: Request<WhoAmIRequest>) -> Result<Response<WhoAmIResponse>, Status> {
        self.unary(request, async |caller, _| self.who_am_i_now(&caller)).await
    }
}

impl Api {
    /// Out of memory only: the certificate, and the roles and rights in force.
    fn who_am_i_now(&self, caller: &Caller) -> Result<WhoAmIResponse, signet_core::Error> {
        let session = caller.session.as_ref().ok_or(signet_core::authorization::Denial::Anonymous)?;
        let admitted = session.check(&self.node.trust, caller.call.now)?;
        let identity = session.identity();
        let grants = self.node.decisions.grants(identity, admitted.roles(), &admitted.grants().grants, caller.call.now);
        let reaches = self.node.policy.names().filter_map(|name| {
            let reach = grants.reach(self.node.policy.permission(name)?)?;
            Some((name.to_owned(), convert::reach(reach).to_owned()))
        });
        Ok(WhoAmIResponse {
            tenant_id: identity.tenant.to_string(),
            principal_id: identity.principal.to_string(),
            principal_type: wire::principal_type(identity.principal_type),
            roles: admitted.roles().iter().map(ToString::to_string).collect(),
            spiffe_id: wire::spiffe_id(&self.node, &identity.tenant, identity.principal_type, &identity.principal),
            issuer_id: identity.issuer.to_string(),
            serial_number: identity.serial.to_string(),
            not_after: Some(wire::time(identity.not_after)),
            permissions: reaches.collect(),
        })
    }
}
