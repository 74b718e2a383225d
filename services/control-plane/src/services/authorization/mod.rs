//! Who may do what, in tenants' own services too.

pub(super) mod authzen;
mod check;
mod convert;
mod parse;
mod refusals;
mod replay;
mod watch;

use std::sync::Arc;

use signet_app::{SetModel, authorization};
use signet_core::{
    Error,
    authorization::Reach,
    trust::{KnownModel, Trust},
};
use signet_proto::v1::{
    AuthorizationModel, BatchCheckRequest, BatchCheckResponse, CheckRequest, CheckResponse, DecisionsChange,
    GetAuthorizationModelRequest, ListAuthorizationModelsRequest, ListAuthorizationModelsResponse, RefusalsChange,
    SetAuthorizationModelRequest, TestAuthorizationModelRequest, TestAuthorizationModelResponse, WatchDecisionsRequest,
    WatchRefusalsRequest, authorization_service_server::AuthorizationService,
};
use tonic::{Request, Response, Status, async_trait};

use super::{
    api::Api,
    caller::{self, Caller},
    fields,
    stream::Messages,
    watching,
};

/// Most questions of one call.
const MAX_CHECKS: usize = 50;

#[async_trait]
impl AuthorizationService for Api {
    type WatchDecisionsStream = Messages<DecisionsChange>;
    type WatchRefusalsStream = Messages<RefusalsChange>;

    async fn get_authorization_model(
        &self,
        request: Request<GetAuthorizationModelRequest>,
    ) -> Result<Response<AuthorizationModel>, Status> {
        self.unary(request, async |caller, message| {
            let scope = caller.scope(&message.tenant_id)?;
            let version = Some(message.version).filter(|version| *version > 0);
            let found = authorization::get_model(&self.node.app, &caller.call, &scope, version).await?;
            let inherited = match version {
                // Whoever cannot be shown the environment's still has its own.
                None => match authorization::inherited(&self.node.app, &scope, caller.call.now).await {
                    Err(Error::Unreadable { .. }) => None,
                    found => found?,
                },
                Some(_) => None,
            };
            let model = found.map_or_else(|| convert::none(scope.tenant()), convert::model);
            Ok(AuthorizationModel { inherited: inherited.map(convert::rules), ..model })
        })
        .await
    }

    async fn list_authorization_models(
        &self,
        request: Request<ListAuthorizationModelsRequest>,
    ) -> Result<Response<ListAuthorizationModelsResponse>, Status> {
        self.unary(request, async |caller, message| {
            let scope = caller.scope(&message.tenant_id)?;
            let page = fields::page(message.page_size, message.page_token);
            let found = authorization::list_models(&self.node.app, &caller.call, &scope, &page).await?;
            let models = found.items.into_iter().map(convert::without_rules).collect();
            let (next_page_token, unreadable) = (found.next_page_token, found.unreadable);
            Ok(ListAuthorizationModelsResponse { models, next_page_token, unreadable })
        })
        .await
    }

    async fn set_authorization_model(
        &self,
        request: Request<SetAuthorizationModelRequest>,
    ) -> Result<Response<AuthorizationModel>, Status> {
        self.unary(request, async |caller, message| {
            let scope = caller.scope(&message.tenant_id)?;
            let caller = caller.with_request_id(&message.request_id)?;
            let input = SetModel {
                rules: parse::rules(message.rules)?,
                base_version: message.base_version,
                note: message.note,
                force: message.force,
            };
            let model = authorization::set_model(&self.node.app, &caller.call, &scope, input).await?;
            let is_known = |trust: &Trust| match trust.model(&model.tenant) {
                Some(KnownModel::Read(known)) => known.version >= model.version,
                _ => false,
            };
            self.heard(is_known).await;
            Ok(convert::model(model))
        })
        .await
    }

    async fn test_authorization_model(
        &self,
        request: Request<TestAuthorizationModelRequest>,
    ) -> Result<Response<TestAuthorizationModelResponse>, Status> {
        self.unary(request, async |caller, message| {
            let scope = caller.scope(&message.tenant_id)?;
            let rules = parse::rules(message.rules)?;
            let test = authorization::test_model(&self.node.app, &caller.call, &scope, &rules).await?;
            let replayed = replay::replay(&self.node, &caller, &scope, rules).await?;
            Ok(replayed.into_response(convert::test(test)))
        })
        .await
    }

    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        self.unary(request, async |caller, message| check::check(&self.node, &caller, message).await).await
    }

    async fn watch_decisions(
        &self,
        request: Request<WatchDecisionsRequest>,
    ) -> Result<Response<Self::WatchDecisionsStream>, Status> {
        let (passed, message) = caller::take(request)?;
        let caller = Caller::new(&self.node, passed);
        let of = check::scope(&caller, &message.tenant_id).and_then(|scope| {
            let named = caller.permit()?.reach() != Reach::Itself;
            check::require_tenant(&self.node, scope.tenant()).map(|()| (scope.tenant().clone(), named))
        });
        let (tenant, named) = of.map_err(|error| self.failed(&caller.call, caller.session.as_deref(), &error))?;
        let (node, watched) = (Arc::clone(&self.node), tenant.clone());
        Ok(Response::new(self.stream(&caller, &tenant, move |sink| {
            watching::watch(node, watched, sink, move |affected| watch::told(affected, named))
        })?))
    }

    async fn watch_refusals(
        &self,
        request: Request<WatchRefusalsRequest>,
    ) -> Result<Response<Self::WatchRefusalsStream>, Status> {
        let (passed, WatchRefusalsRequest { tenant_id, permissions }) = caller::take(request)?;
        let caller = Caller::new(&self.node, passed);
        let of = check::scope(&caller, &tenant_id).and_then(|scope| {
            check::require_tenant(&self.node, scope.tenant())?;
            check::bounded_permissions(&permissions, MAX_CHECKS)?;
            Ok(scope.tenant().clone())
        });
        let tenant = of.map_err(|error| self.failed(&caller.call, caller.session.as_deref(), &error))?;
        let (node, watched) = (Arc::clone(&self.node), refusals::Watched { tenant: tenant.clone(), permissions });
        Ok(Response::new(self.stream(&caller, &tenant, move |sink| refusals::watch(node, watched, sink))?))
    }

    async fn batch_check(&self, request: Request<BatchCheckRequest>) -> Result<Response<BatchCheckResponse>, Status> {
        self.unary(request, async |caller, message| {
            if message.checks.is_empty() || message.checks.len() > MAX_CHECKS {
                return Err(Error::invalid("checks", "OUT_OF_RANGE", format!("must be 1 to {MAX_CHECKS}")));
            }
            let mut answers = Vec::with_capacity(message.checks.len());
            for one in message.checks {
                answers.push(check::check(&self.node, &caller, one).await?);
                // Others' calls go on between two questions.
                tokio::task::yield_now().await;
            }
            Ok(BatchCheckResponse { answers })
        })
        .await
    }
}
