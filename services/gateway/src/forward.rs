//! A request that was let through, on its way to its upstream and back.

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
    header::{CONNECTION, HOST, UPGRADE},
    request::Parts,
};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use signet_client::OngoingAccess;
use signet_core::Time;

use crate::{
    asked::{Asked, is_grpc},
    audit::Event,
    body::Body,
    caller::{Authenticated, Caller},
    headers::{clean_request, remove_hop_by_hop},
    metrics::Counted,
    refusal::Refusal,
    request_body::RequestBody,
    routes::Route,
    shared::{Live, Shared},
    stream::{self, Ends, over},
    upgrade,
    upstream::Upstream,
};

const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
const XFCC: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const SIGNET_IDENTITY: HeaderName = HeaderName::from_static("signet-identity");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// A request that was let through.
pub(crate) struct Admitted {
    pub(crate) live: Arc<Live>,
    pub(crate) route: Arc<Route>,
    pub(crate) authenticated: Authenticated,
    pub(crate) asked: Asked,
    /// Until when it is.
    pub(crate) access: OngoingAccess,
}

/// Sends it, and lets the answer through as long as it may. `event` is what the audit log says of it.
pub(crate) async fn forward(
    shared: &Arc<Shared>,
    caller: &Caller,
    admitted: Admitted,
    mut request: Request<Incoming>,
    event: Event,
) -> Result<Response<Body>, Refusal> {
    let upstream = Arc::clone(&admitted.route.upstream);
    let websocket = (!upstream.config.http2 && is_websocket(&request)).then(|| hyper::upgrade::on(&mut request));
    let (mut parts, body) = request.into_parts();
    let grpc = is_grpc(&parts);
    let now = shared.now();
    rewrite(shared, caller, &admitted, &mut parts, now)?;
    if websocket.is_some() {
        parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    parts.extensions.clear();
    let (body, sending) = RequestBody::new(body, Arc::clone(&admitted.live.removed_headers));
    let sent = async {
        let place = upstream.place(&admitted.authenticated.subject.spiffe_id).await?;
        let sent = upstream.send(Request::from_parts(parts, body)).await;
        sent.map(|answer| (answer, place))
    };
    let sent = tokio::select! {
        biased;
        () = admitted.access.ended() => return Err(over(&admitted.access)),
        sent = sent => sent,
    };
    let (answer, place) = sent.inspect_err(|_| shared.metrics.count(Counted::UpstreamFailures, &upstream.name))?;
    let token_left = admitted.authenticated.token_until.map(|until| left(until, now));
    let ends = Ends {
        access: admitted.access,
        token_left,
        idle: upstream.config.idle_timeout,
        grpc,
        _place: place,
        _sending: sending,
        _busy: Arc::clone(&caller.busy),
        shared: Arc::clone(shared),
        event: Event { event: "stream", ..event },
    };
    receive(caller, answer, websocket, ends).await
}

async fn receive(
    caller: &Caller,
    mut answer: Response<Incoming>,
    websocket: Option<OnUpgrade>,
    ends: Ends,
) -> Result<Response<Body>, Refusal> {
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(client) = websocket else {
            let title = "the server behind changed the protocol, which nobody asked for";
            return Err(Refusal::upstream(StatusCode::BAD_GATEWAY, "UPSTREAM_FAILED", title));
        };
        let server = hyper::upgrade::on(&mut answer);
        // Before the client is told, so that what it sends next is not taken for a request.
        if let Some(verdict) = &caller.verdict {
            verdict.upgrade();
        }
        tokio::spawn(upgrade::carry(client, server, ends));
        let mut response = answer.map(|_| Body::default());
        remove_hop_by_hop(response.headers_mut());
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
        return Ok(response);
    }
    remove_hop_by_hop(answer.headers_mut());
    let (mut parts, body) = answer.into_parts();
    parts.version = Version::default();
    Ok(Response::from_parts(parts, stream::body(body, ends).await))
}

/// Makes of a client's request what the upstream gets: what the client may not say goes, what we say comes last.
fn rewrite(shared: &Shared, caller: &Caller, admitted: &Admitted, parts: &mut Parts, now: Time) -> Result<(), Refusal> {
    let Admitted { live, route, asked, .. } = admitted;
    let upstream = &route.upstream;
    clean_request(&mut parts.headers, &live.removed_headers);
    let host = HeaderValue::from_str(&asked.authority).map_err(|_| Refusal::ambiguous("Host is not ASCII"))?;
    if upstream.config.http2 {
        parts.version = Version::HTTP_2;
        parts.headers.remove(HOST);
    } else {
        parts.version = Version::HTTP_11;
        parts.headers.insert(HOST, host.clone());
    }
    parts.uri = target(&upstream.config.url, asked)?;
    forwarded(&mut parts.headers, caller.remote.ip(), host);
    identify(shared, caller, (admitted, upstream), &mut parts.headers, now)
}

fn target(base: &str, asked: &Asked) -> Result<Uri, Refusal> {
    let uri = format!("{}{}", base.trim_end_matches('/'), asked.target());
    uri.parse().map_err(|_| Refusal::ambiguous("the path cannot be sent on"))
}

fn forwarded(headers: &mut HeaderMap, source: IpAddr, host: HeaderValue) {
    if let Ok(source) = HeaderValue::try_from(source.to_canonical().to_string()) {
        headers.insert(FORWARDED_FOR, source);
    }
    headers.insert(FORWARDED_HOST, host);
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("https"));
}

/// The last to be done: nothing after it takes one of these away, or adds another.
fn identify(
    shared: &Shared,
    caller: &Caller,
    (admitted, upstream): (&Admitted, &Upstream),
    headers: &mut HeaderMap,
    now: Time,
) -> Result<(), Refusal> {
    let Authenticated { subject, token_until } = &admitted.authenticated;
    let cannot = || {
        let title = "the gateway cannot sign who you are; try again";
        Refusal::upstream(StatusCode::SERVICE_UNAVAILABLE, "IDENTITY_UNSIGNED", title)
    };
    if let Some(shown) = &subject.shown {
        if let (true, Some(certificate)) = (upstream.config.client_cert, &shown.client_cert) {
            headers.insert(CLIENT_CERT, certificate.clone());
        }
        if upstream.config.xfcc {
            let value = HeaderValue::try_from(format!("By={};{}", shared.own_id, shown.xfcc));
            headers.insert(XFCC, value.map_err(|_| cannot())?);
        }
    }
    if upstream.config.signet_identity {
        let until = token_until.map_or(subject.until, |until| until.min(subject.until));
        let (of, times) = ((&**subject, &upstream.name), (now, until));
        let signed = caller.identity_tokens.of(&shared.keys, &shared.own_id, of, times);
        headers.insert(SIGNET_IDENTITY, signed.ok_or_else(cannot)?);
    }
    Ok(())
}

/// RFC 6455 section 4.1. No other protocol is let through: `h2c` would carry requests that nobody looks at.
fn is_websocket<B>(request: &Request<B>) -> bool {
    let has = |name: &HeaderName, wanted: &str| {
        let values = request.headers().get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(wanted))
    };
    let one = request.headers().get_all(UPGRADE).iter().count() == 1;
    let only = request.headers().get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    request.version() == Version::HTTP_11
        && request.method() == Method::GET
        && one
        && only
        && has(&CONNECTION, "upgrade")
}

/// How long it is until then.
pub(crate) fn left(until: Time, now: Time) -> Duration {
    Duration::from_millis(u64::try_from(until.millis_since(now)).unwrap_or(0))
}
