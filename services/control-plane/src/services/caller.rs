//! Who calls, and what that allows.

use std::sync::Arc;

use signet_app::Call;
use signet_core::{
    Actor, Error, Identity, PrincipalId, TenantId, TenantScope,
    authorization::{Denial, Permit},
    store::scope::EnvironmentScope,
    trust::Trust,
};
use tonic::{Request, Status};

use super::fields;
use crate::{
    authorization::{Access, Route},
    gate::{self, Passed},
    node::{Node, Session},
};

/// A call that passed the gate.
pub(super) struct Caller {
    pub(super) call: Call,
    pub(super) session: Option<Arc<Session>>,
    pub(super) route: Arc<Route>,
    permit: Option<Permit>,
    trust: Arc<Trust>,
}

/// Takes what the gate left in the request.
pub(super) fn take<M>(request: Request<M>) -> Result<(Passed, M), Status> {
    let (_, mut extensions, message) = request.into_parts();
    match extensions.remove::<Passed>() {
        Some(passed) => Ok((passed, message)),
        // Only a service that was mounted without the gate gets here: refuse.
        None => Err(Status::internal("the call did not pass the gate")),
    }
}

impl Caller {
    pub(super) fn new(node: &Node, passed: Passed) -> Self {
        let identity = passed.session.as_ref().map(|session| session.identity());
        let actor = identity.map_or(Actor::Anonymous, |identity| Actor::from(&**identity));
        let (operation, now, source) = (passed.route.operation, passed.now, Some(passed.source));
        let call = Call { operation, now, actor, request_id: None, source, correlation_id: passed.correlation_id };
        let trust = Arc::clone(&node.trust);
        Self { call, session: passed.session, route: passed.route, permit: passed.permit, trust }
    }

    /// Takes the caller's idempotency key, without which nothing is changed. After the tenant was judged, before
    /// anything else is looked at.
    pub(super) fn with_request_id(mut self, text: &str) -> Result<Self, Error> {
        self.call.request_id = Some(signet_app::request_id(text)?);
        Ok(self)
    }

    /// The same caller at another RPC, which it reaches by a path that is not its own.
    pub(super) fn for_operation(&self, node: &Node, rpc: &'static str) -> Result<Self, Error> {
        let route = node.table.route(rpc).ok_or(Error::Denied(Denial::Permission))?;
        let (Access::Rule(rule), Some(session)) = (route.access(), &self.session) else {
            return Err(Error::Denied(Denial::Anonymous));
        };
        let permit = gate::permit(node, rule, session, self.call.now)?;
        let call = Call { operation: route.operation, ..self.call.clone() };
        let (session, trust) = (Some(Arc::clone(session)), Arc::clone(&self.trust));
        Ok(Self { call, session, route: Arc::clone(route), permit: Some(permit), trust })
    }

    pub(super) fn permit(&self) -> Result<&Permit, Error> {
        self.permit.as_ref().ok_or(Error::Denied(Denial::Anonymous))
    }

    pub(super) fn identity(&self) -> Result<&Arc<Identity>, Error> {
        Ok(self.permit()?.identity())
    }

    /// The tenant that a request names; the caller's own if it names none.
    fn tenant(&self, field: &'static str, text: &str) -> Result<TenantId, Error> {
        if text.is_empty() {
            return Ok(self.identity()?.tenant.clone());
        }
        text.parse().map_err(Error::id(field))
    }

    /// The right to act in the tenant that a request names.
    pub(super) fn scope(&self, tenant: &str) -> Result<TenantScope, Error> {
        self.scope_in("tenant_id", tenant)
    }

    /// The same, where the tenant stands in another field. Nothing changes in a deleted tenant.
    pub(super) fn scope_in(&self, field: &'static str, tenant: &str) -> Result<TenantScope, Error> {
        let scope = self.permit()?.tenant(&self.tenant(field, tenant)?, None)?;
        if self.route.mutates && self.trust.is_deleted(scope.tenant()) {
            return Err(signet_app::deleted(scope.tenant()));
        }
        Ok(scope)
    }

    /// The right to act on a principal; the caller itself if the request names none. The tenant is judged first, so
    /// that a foreign one answers the same whatever else the request holds.
    pub(super) fn principal(&self, tenant: &str, principal: &str) -> Result<(TenantScope, PrincipalId), Error> {
        self.scope(tenant)?;
        let id = match principal {
            "" if tenant.is_empty() || tenant == self.identity()?.tenant.as_str() => self.identity()?.principal.clone(),
            text => fields::principal_id("principal_id", text)?,
        };
        let scope = self.permit()?.tenant(&self.tenant("tenant_id", tenant)?, Some(&id))?;
        Ok((scope, id))
    }

    /// The right to act on tenants themselves. Whoever lacks it learns nothing of other tenants.
    pub(super) fn environment(&self, tenant: &TenantId) -> Result<EnvironmentScope, Error> {
        self.permit()?.tenant(tenant, None)?;
        Ok(self.permit()?.environment()?)
    }
}
