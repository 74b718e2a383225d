//! The gate that every call passes: session, rule, permit. Look-ups only; nothing here waits, except who has used up
//! its share.

use std::{
    convert::Infallible,
    net::IpAddr,
    sync::Arc,
    task::{Context, Poll},
};

use axum::response::IntoResponse;
use http::{
    Version,
    header::{CONTENT_TYPE, HOST},
};
use signet_app::Call;
use signet_core::{
    Actor, Error, PrincipalType, TenantId, Time,
    authorization::{Denial, Permit, Rule},
    trust::Refusal,
};
use signet_enroll_http::Origin;
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use crate::{
    answer::{Answer, Holds, Observation},
    arriving::arriving,
    authorization::{Access, Kind, Lane, Route},
    errors,
    node::{ConnectInfo, Node, Session},
};

/// What the gate hands to the service behind it, in the request's extensions.
#[derive(Clone)]
pub(crate) struct Passed {
    pub(crate) route: Arc<Route>,
    pub(crate) now: Time,
    pub(crate) source: IpAddr,
    pub(crate) session: Option<Arc<Session>>,
    pub(crate) permit: Option<Permit>,
    /// For callers without a certificate, who are told little else; the others find their calls by who they are.
    pub(crate) correlation_id: Option<String>,
}

/// What the media type of a gRPC request begins with.
const GRPC: &[u8] = b"application/grpc";

/// Puts a [`Gate`] before the services.
#[derive(Clone)]
pub(crate) struct GateLayer(pub(crate) Arc<Node>);

impl<S> Layer<S> for GateLayer {
    type Service = Gate<S>;
    fn layer(&self, inner: S) -> Gate<S> {
        Gate { node: Arc::clone(&self.0), inner }
    }
}

/// See the module's words.
#[derive(Clone)]
pub(crate) struct Gate<S> {
    node: Arc<Node>,
    inner: S,
}

impl<S> Service<http::Request<Body>> for Gate<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
{
    type Response = http::Response<crate::answer::Observed>;
    type Error = Infallible;
    type Future = Answer<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let route = self.node.table.route(request.uri().path());
        let headers = request.headers();
        let is_grpc = || headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(GRPC));
        if request.version() != Version::HTTP_2 && route.map_or_else(is_grpc, |route| !route.http) {
            return Answer::nowhere(errors::no_http2().into_response(), request.into_body());
        }
        // RFC 9112 section 3.2.
        if request.version() == Version::HTTP_11 && headers.get_all(HOST).iter().count() != 1 {
            return Answer::nowhere(errors::no_host().into_response(), request.into_body());
        }
        let Some(peer) = request.extensions().get::<Arc<ConnectInfo>>().map(Arc::clone) else {
            return Answer::refused(Status::internal("the connection has no peer"), None);
        };
        let account = self.node.account(&peer);
        let Some(route) = route else {
            // Nowhere is no way past the limits.
            if let Err(busy) = self.node.place(self.node.table.nowhere(), Lane::Ordinary, &peer, &account) {
                return match is_grpc() {
                    true => Answer::refused(busy, None),
                    false => Answer::nowhere(errors::to_http(&busy).map(axum::body::Body::new), request.into_body()),
                };
            }
            return match is_grpc() {
                true => Answer::refused(errors::no_such_method(), None),
                false => Answer::nowhere(signet_enroll_http::no_such_path().into_response(), request.into_body()),
            };
        };
        let observation = Observation::start(&self.node, route, &peer, &account, request.headers());
        let now = self.node.now();
        let decided = decide(&self.node, route, &peer, now);
        // Who may not suspend or revoke does not get the room for it either.
        let lane = if decided.is_ok() { route.lane } else { Lane::Ordinary };
        let place = match self.node.place(route, lane, &peer, &account) {
            Ok(place) => place,
            Err(busy) => {
                let wait = self.node.wait_of_refusal(lane, &peer, &account);
                return Answer::of_call(busy, observation, request.into_body()).late(wait);
            }
        };
        let permit = match decided {
            Ok(permit) => permit,
            Err(error) => {
                record(&self.node, route.operation, &peer, now, &error);
                return Answer::of_call(errors::to_status(&error), observation, request.into_body());
            }
        };
        let stream = match self.node.stream_place(route, &account) {
            Ok(stream) => stream,
            Err(busy) => return Answer::of_call(busy, observation, request.into_body()),
        };
        if route.kind != Kind::Talks {
            request = request.map(arriving);
        }
        let session = peer.session.clone();
        let source = peer.remote.ip();
        let correlation_id = (session.is_none() || route.http).then(|| self.node.correlation_id(now));
        if let Some(correlation_id) = correlation_id.clone().filter(|_| route.http) {
            request.extensions_mut().insert(Origin { source, correlation_id });
        }
        let passed = Passed { route: Arc::clone(route), now, source, session, permit, correlation_id };
        request.extensions_mut().insert(passed);
        let holds = Holds { place: Some(place), stream, unread: Arc::clone(&peer.unread) };
        Answer::passed(self.inner.call(request), holds, observation)
    }
}

/// Whether the caller may use the operation at all. `None`: without a permit, since anybody may.
fn decide(node: &Node, route: &Route, peer: &ConnectInfo, now: Time) -> Result<Option<Permit>, Error> {
    let rule = match route.access() {
        Access::Anyone => return Ok(None),
        Access::AnyoneUnlessStale if node.trust.refuses_all() => return Err(Refusal::Stale.into()),
        Access::AnyoneUnlessStale => return Ok(None),
        // Also while the node is stale: that is what a watcher of its health wants to hear.
        Access::Known if peer.session.is_none() => return Err(Denial::Anonymous.into()),
        Access::Known => return Ok(None),
        Access::Admins => {
            let session = peer.session.as_ref().ok_or(Denial::Anonymous)?;
            session.check(&node.trust, now)?;
            let admin = session.identity().principal_type == PrincipalType::Admin;
            return if admin { Ok(None) } else { Err(Denial::CallerType.into()) };
        }
        Access::Rule(rule) => rule,
    };
    let Some(session) = &peer.session else {
        return match () {
            () if !rule.callers.admits_anonymous() => Err(Denial::Anonymous.into()),
            () if node.trust.refuses_all() => Err(Refusal::Stale.into()),
            () => Ok(None),
        };
    };
    permit(node, rule, session, now).map(Some)
}

/// Whether the session may use what the rule is for, now.
pub(crate) fn permit(node: &Node, rule: &Rule, session: &Session, now: Time) -> Result<Permit, Error> {
    let rights = session.check(&node.trust, now)?;
    let who = (session.identity(), &**rights.roles());
    Ok(node.decisions.permit(who, (&rights.grants, &rights.added), rule, now)?)
}

/// A refusal is an event in the caller's own tenant; what nobody owns is the operator's. That this node is out of touch
/// says nothing about the caller, and could not be written anyway.
fn record(node: &Node, operation: &'static str, peer: &ConnectInfo, now: Time, error: &Error) {
    if matches!(error, Error::Unauthenticated(Refusal::Stale)) {
        return node.metrics.count("signet_refusals_total", "reason", error.reason());
    }
    if let (Some(session), Error::Denied(denial)) = (&peer.session, error) {
        node.count_failure(session, (operation, *denial), Some(peer.remote.ip()), now);
    }
    let identity = peer.session.as_ref().map(|session| session.identity());
    let tenant = identity.map_or_else(TenantId::system, |identity| identity.tenant.clone());
    let actor = identity.map_or(Actor::Anonymous, |identity| Actor::from(&**identity));
    let call = Call { operation, now, actor, request_id: None, source: Some(peer.remote.ip()), correlation_id: None };
    node.refusals.record(call, tenant, error.reason(), Vec::new());
}
