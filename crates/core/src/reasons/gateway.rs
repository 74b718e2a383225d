//! What signet-gateway tells its clients.

use super::reason::{Reason, Told, reasons};

reasons! {
    ACCESS_TOKEN_REFUSED [Caller; "HTTP 401"]
        "The token is not one of the gateway's, has expired, or was given for another certificate."
        => "Get another one, and use it on a connection with the same certificate.";
    ACCESS_TOKEN_REQUIRED [Caller Client; "HTTP 401"]
        "The route, or the service, takes access tokens, and the request has none, or two."
        => "Get one at the gateway's token endpoint, or the control plane's for a service, and send it once, as `Authorization: Bearer`.";
    AMBIGUOUS_REQUEST [Caller; "HTTP 400"]
        "Two servers could read the request in two ways, e.g. an encoded slash, two hosts, or two lengths."
        => "Send it in one form; the gateway's audit log says what is wrong.";
    CALLER_GONE [Connection;]
        "The client hung up before it was answered; the server behind may have acted."
        => "Look at the server's log if it matters; the client retries if that is safe.";
    IDENTITY_UNSIGNED [Caller; "HTTP 503"]
        "The gateway's key did not sign."
        => "Retry; the gateway's log says why.";
    ROUTE_NOT_FOUND [Caller; "HTTP 404"]
        "No route of the gateway has this host, method and path."
        => "Check the URL, or add a route to the gateway's configuration.";
    TOKEN_REQUEST_INVALID [AuditLog;]
        "The request for a token asks for something that the gateway does not give."
        => "Send nothing, or `grant_type=client_credentials` and your own `client_id`.";
    UPSTREAM_FAILED [Caller; "HTTP 502"]
        "The server behind the gateway broke off before it answered."
        => "Retry if that is safe; the server's log says why.";
    UPSTREAM_FULL [Caller; "HTTP 503"]
        "The server behind the gateway has as many requests as it may."
        => "Retry after the pause in `Retry-After`; the operator raises `max_requests` or adds servers.";
    UPSTREAM_IDLE [Connection;]
        "Nothing came over the stream, or its client read nothing, for as long as the upstream's `idle_timeout_seconds`."
        => "Open it again; servers send something now and then, and clients read it.";
    UPSTREAM_TIMEOUT [Caller; "HTTP 504"]
        "The server behind the gateway did not begin its answer in time."
        => "Retry if that is safe; the operator looks at the server, or raises `answer_timeout_seconds`.";
    UPSTREAM_UNREACHABLE [Caller; "HTTP 502", "HTTP 503"]
        "The server behind the gateway takes no connection."
        => "Retry; the operator starts the server, or corrects the upstream's `url`.";
}
