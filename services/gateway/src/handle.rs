//! A request, from its first look to its answer.

use std::sync::{Arc, atomic::Ordering};

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::{
    asked::{Asked, is_grpc},
    audit::{Event, bounded},
    body::Body,
    caller::{Caller, Refused},
    forward::{Admitted, forward},
    metrics::Counted,
    refusal::Refusal,
    shared::Shared,
    token_endpoint,
};

/// Answers a request, and says so in the audit log.
pub(crate) async fn handle(shared: Arc<Shared>, caller: Arc<Caller>, request: Request<Incoming>) -> Response<Body> {
    let busy = Arc::clone(&caller.busy);
    busy.fetch_add(1, Ordering::Relaxed);
    let (parts, body) = request.into_parts();
    let grpc = is_grpc(&parts);
    let mut event = Event { method: Some(bounded(parts.method.as_str())), ..Event::success("request") };
    event = event.sourced(caller.remote.ip());
    if let Some(subject) = &caller.subject {
        event = event.by(subject);
    }
    let mut record = Record { shared: &shared, event, begun: Instant::now(), is_written: false };
    let answer = match Asked::read(&parts) {
        Ok(asked) => {
            record.event.host = Some(bounded(&asked.host));
            record.event.path = Some(bounded(&asked.path));
            answer(&shared, &caller, (asked, Request::from_parts(parts, body)), &mut record.event).await
        }
        Err(fault) => {
            record.event.path = Some(bounded(parts.uri.path()));
            Err((Refusal::ambiguous(fault), String::new()))
        }
    };
    let response = match answer {
        Ok(response) => {
            // Answers of the token endpoint have a count of their own.
            if record.event.event != "token" {
                shared.metrics.passed(record.begun.elapsed());
            }
            response
        }
        Err((refusal, why)) => {
            record.refused(&refusal, why);
            refusal.response(grpc)
        }
    };
    record.event.status = Some(response.status().as_u16());
    record.write();
    drop(busy);
    response
}

/// What the audit log says of a request, also if its client hangs up before there is an answer.
struct Record<'a> {
    shared: &'a Shared,
    event: Event,
    begun: Instant,
    is_written: bool,
}

impl Record<'_> {
    fn refused(&mut self, refusal: &Refusal, why: String) {
        let label = if self.event.event == "token" { Counted::Tokens } else { Counted::Requests };
        self.shared.metrics.count(label, &refusal.reason);
        (self.event.outcome, self.event.reason) = ("failure", refusal.reason.clone());
        self.event.detail = if why.is_empty() { refusal.title.clone() } else { why };
    }

    fn write(&mut self) {
        self.event.duration_ms = u64::try_from(self.begun.elapsed().as_millis()).ok();
        self.shared.audit.write(&self.event);
        self.is_written = true;
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        if !self.is_written {
            self.shared.metrics.count(Counted::Requests, "CALLER_GONE");
            (self.event.outcome, self.event.reason) = ("failure", "CALLER_GONE".to_owned());
            self.write();
        }
    }
}

async fn answer(
    shared: &Arc<Shared>,
    caller: &Arc<Caller>,
    (asked, mut request): (Asked, Request<Incoming>),
    event: &mut Event,
) -> Result<Response<Body>, Refused> {
    let plain = |refusal: Refusal| (refusal, String::new());
    let live = shared.live.load_full();
    if let Some(token) = live.token.as_ref().filter(|token| token.path == asked.path) {
        event.event = "token";
        return token_endpoint::answer(shared, caller, (&live, token), request, event).await.map_err(plain);
    }
    let route = live.routes.find(&asked).ok_or_else(|| plain(Refusal::no_route()))?;
    event.permission = Some(Arc::clone(&route.permission));
    let authenticated = caller.authenticate(shared, (&live, &route), request.headers_mut())?;
    let subject = &authenticated.subject;
    *event = std::mem::take(event).by(subject);
    live.limits
        .count(&subject.spiffe_id)
        .map_err(|reached| plain(Refusal::too_many(reached.whose, reached.seconds)))?;
    let question = route.question(subject, (&asked, caller.remote.ip()), &live.context).ok_or_else(|| {
        plain(Refusal::ambiguous("the path names no resource, or is too long for the tenant's policies"))
    })?;
    let (_, access) = shared.authorizer.hold(question).await.map_err(|answer| {
        let detail = answer.detail.clone();
        (Refusal::of(&answer), detail)
    })?;
    event.upstream = Some(Arc::clone(&route.upstream.name));
    let admitted = Admitted { live, route, authenticated, asked, access };
    forward(shared, caller, admitted, request, event.clone()).await.map_err(plain)
}
