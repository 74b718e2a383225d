//! Envoy's external authorization, version 3: whether a request may go on, by the certificate that the client has shown
//! to Envoy. The caller is Envoy; the control plane is asked in the name of an identity that Envoy gets from here.

mod answer;
mod request;
mod rules;

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use signet_client::{PeerCertificate, Question};
use tokio::time::timeout;
use tonic::{Request, Response, Status};

pub use self::rules::{Circumstance, ExtAuthzConfig, Rule};
use self::{
    answer::{Denied, allowed, denied},
    request::{Asked, certificate},
    rules::MAX_TEXT,
};
use super::{
    caller::Facts,
    offers::{Nothing, Offers},
    wire::ext_authz::{AttributeContext, CheckRequest, CheckResponse, Peer, authorization_server::Authorization},
};

/// How long a decision may take. Envoy's own limit must be longer: after that, its `failure_mode_allow` decides.
const PATIENCE: Duration = Duration::from_secs(1);
/// Nobody has decided.
const UNAVAILABLE: &str = "CONTROL_PLANE_UNAVAILABLE";

/// See the module's words.
pub(crate) struct ExtAuthz {
    pub(crate) offers: Offers,
}

#[tonic::async_trait]
impl Authorization for ExtAuthz {
    /// An error would be Envoy's `failure_mode_allow` to decide: who is asked and cannot say, denies.
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let facts = request.extensions().get::<Facts>().cloned();
        let facts = facts.ok_or_else(|| Status::internal("the connection has no caller"))?;
        let attributes = request.into_inner().attributes.unwrap_or_default();
        let answer = self.decide(&facts, &attributes).await.unwrap_or_else(|denied| {
            tracing::debug!(reason = denied.reason(), "a request through Envoy is denied");
            denied.into_response()
        });
        Ok(Response::new(answer))
    }
}

impl ExtAuthz {
    async fn decide(&self, envoy: &Facts, attributes: &AttributeContext) -> Result<CheckResponse, Denied> {
        let (config, authorizer) = self.offers.decider(envoy).map_err(|nothing| match nothing {
            Nothing::Denied => denied("NO_AUTHORIZATION_RULE", 403),
            Nothing::NotReady | Nothing::Refused => {
                denied(UNAVAILABLE, 503).with_detail("the agent's own identity has no good certificate")
            }
        })?;
        let client = attributes.source.as_ref().filter(|client| !client.certificate.is_empty());
        let client = client.ok_or_else(|| denied("CERTIFICATE_REQUIRED", 401))?;
        let certificate_der = certificate(&client.certificate).ok_or_else(|| denied("CERTIFICATE_MALFORMED", 401))?;
        let http = attributes.request.as_ref().and_then(|request| request.http.as_ref());
        let asked = http.ok_or("it is no HTTP request").and_then(Asked::of);
        let asked = asked.map_err(|problem| denied("REQUEST_NOT_NORMAL", 400).with_detail(problem))?;
        let needed = config.needed(&asked, &attributes.context_extensions);
        let needed = needed.ok_or_else(|| denied("NO_AUTHORIZATION_RULE", 403))?;
        let context = context(&config.context, client, &asked)?;
        let certificate = PeerCertificate::from_der(&certificate_der);
        let question = Question::new(certificate, needed.permission).with_context(context);
        let question = match needed.resource {
            Some(resource) => question.about(resource),
            None => question,
        };
        let decision = timeout(PATIENCE, authorizer.decide(&question)).await;
        let decision = decision.map_err(|_| denied(UNAVAILABLE, 503))?;
        if decision.is_unavailable() {
            return Err(denied(UNAVAILABLE, 503));
        }
        if !decision.allowed {
            let status = if decision.is_too_many() { 429 } else { 403 };
            return Err(denied(&decision.reason, status));
        }
        allowed(&decision.spiffe_id).ok_or_else(|| denied(UNAVAILABLE, 503))
    }
}

/// What policies may read of it.
fn context(wanted: &[Circumstance], client: &Peer, asked: &Asked<'_>) -> Result<BTreeMap<String, String>, Denied> {
    let mut context = BTreeMap::new();
    for one in wanted {
        let (name, value) = match one {
            // Absent, if Envoy's listener is no IP socket.
            Circumstance::Source => match source(client) {
                Some(source) => ("source", source),
                None => continue,
            },
            Circumstance::Method => ("method", asked.method.to_owned()),
            Circumstance::Host => ("host", asked.host.clone()),
            Circumstance::Path => ("path", asked.path.clone().into_owned()),
        };
        if value.len() > MAX_TEXT {
            let problem = format!("the {name} has more bytes than policies read: {MAX_TEXT}");
            return Err(denied("REQUEST_NOT_NORMAL", 400).with_detail(&problem));
        }
        context.insert(name.to_owned(), value);
    }
    Ok(context)
}

/// The other end of the connection to Envoy.
fn source(client: &Peer) -> Option<String> {
    let address = &client.address.as_ref()?.socket_address.as_ref()?.address;
    Some(address.parse::<IpAddr>().ok()?.to_canonical().to_string())
}
