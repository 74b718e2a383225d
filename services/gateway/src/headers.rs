//! Headers of clients that must not reach upstreams: hop-by-hop ones, and whatever an upstream could take for our word.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
        TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
    },
};

/// RFC 9110 section 7.6.1, and what is meant for one connection in practice.
const HOP_BY_HOP: [HeaderName; 6] =
    [CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE];
const MORE_HOP_BY_HOP: [&str; 3] = ["keep-alive", "proxy-connection", "http2-settings"];
/// Which say who a client is, or whence it comes.
const IDENTITY: [&str; 7] =
    ["client-cert", "client-cert-chain", "forwarded", "remote-user", "x-client-cert", "x-real-ip", "x-remote-user"];
const IDENTITY_BEGINNINGS: [&str; 4] = ["signet-", "x-forwarded-", "x-signet-", "x-ssl-client-"];
/// By which a client would have a server do something else than what was decided on.
const OTHER_REQUEST: [&str; 5] =
    ["x-http-method", "x-http-method-override", "x-method-override", "x-original-url", "x-rewrite-url"];
/// Twice, two parsers may each take another one.
const ONCE: [HeaderName; 4] = [AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST];
/// What CGI, WSGI and PHP take for the framing when it is written with `_` (they map both to one variable).
const FRAMING: [&str; 3] = ["content-length", "transfer-encoding", "host"];

/// A name as it looks to servers that do not tell `_` from `-`, or take all but letters and digits for one.
pub(crate) fn folded(name: &str) -> String {
    name.to_ascii_lowercase().replace(|character: char| !character.is_ascii_alphanumeric(), "-")
}

/// What is wrong with them, if two parsers could read them in two ways.
pub(crate) fn fault(headers: &HeaderMap) -> Option<&'static str> {
    if ONCE.iter().any(|name| headers.get_all(name).iter().nth(1).is_some()) {
        return Some("a header that may stand once stands twice");
    }
    let is_framing =
        |name: &HeaderName| !FRAMING.contains(&name.as_str()) && FRAMING.contains(&&*folded(name.as_str()));
    if headers.keys().any(is_framing) {
        return Some("a header looks like Host, Content-Length or Transfer-Encoding to some servers");
    }
    None
}

/// Whether an upstream could take the header for our word. `more` are folded names of the configuration.
fn is_ours(name: &HeaderName, more: &[String]) -> bool {
    let name = folded(name.as_str());
    IDENTITY.contains(&&*name)
        || OTHER_REQUEST.contains(&&*name)
        || IDENTITY_BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
        || more.contains(&name)
}

/// Removes those that are for one connection: first the ones that `Connection` names, so that what is added later
/// cannot be among them.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    for name in MORE_HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Removes what an upstream could take for our word.
pub(crate) fn remove_identity(headers: &mut HeaderMap, more: &[String]) {
    let found: Vec<HeaderName> = headers.keys().filter(|name| is_ours(name, more)).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

/// A request's headers as the upstream gets them, before ours are added.
pub(crate) fn clean_request(headers: &mut HeaderMap, more: &[String]) {
    // gRPC servers want to see that trailers may be sent (RFC 9110 section 10.1.4).
    let trailers = headers.get_all(TE).iter().any(|value| {
        value.to_str().is_ok_and(|value| value.split(',').any(|one| one.trim().eq_ignore_ascii_case("trailers")))
    });
    remove_hop_by_hop(headers);
    headers.remove(TRAILER);
    remove_identity(headers, more);
    join_cookies(headers);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// HTTP/2 may send crumbs, HTTP/1.1 may not (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn names(map: &HeaderMap) -> Vec<&str> {
        map.keys().map(HeaderName::as_str).collect()
    }

    #[test]
    fn identity_headers_go_in_every_spelling() {
        for name in [
            "Client-Cert",
            "client_cert",
            "CLIENT_CERT",
            "Client-Cert-Chain",
            "client_cert_chain",
            "Signet-Identity",
            "signet_identity",
            "SIGNET-ANYTHING",
            "X-Forwarded-Client-Cert",
            "x_forwarded_client_cert",
            "X-Forwarded-For",
            "X_Forwarded-User",
            "Forwarded",
            "X-Real-IP",
            "x_real_ip",
            "X-User",
            "x_user",
            "X.User",
        ] {
            let mut map = headers(&[(name, "forged"), ("accept", "*/*")]);
            clean_request(&mut map, &[folded("X.User")]);
            assert_eq!(names(&map), ["accept"], "{name}");
        }
    }

    #[test]
    fn what_connection_names_goes_first() {
        let mut map = headers(&[("connection", "close, X-Secret"), ("connection", "keep-alive"), ("x-secret", "a")]);
        clean_request(&mut map, &[]);
        assert!(map.is_empty(), "{map:?}");
    }

    #[test]
    fn trailers_are_announced_to_grpc_servers_and_cookies_are_one() {
        let mut map = headers(&[("te", "trailers"), ("cookie", "a=1"), ("cookie", "b=2")]);
        clean_request(&mut map, &[]);
        assert_eq!((&map["te"], &map["cookie"]), (&"trailers".parse().unwrap(), &"a=1; b=2".parse().unwrap()));
    }

    #[test]
    fn what_stands_twice_or_looks_like_framing_is_a_fault() {
        for pairs in [
            &[("authorization", "a"), ("authorization", "b")][..],
            &[("host", "a"), ("host", "b")],
            &[("content_length", "3")],
            &[("Transfer_Encoding", "chunked")],
        ] {
            assert!(fault(&headers(pairs)).is_some(), "{pairs:?}");
        }
        assert!(fault(&headers(&[("accept", "a"), ("accept", "b"), ("x_y", "c")])).is_none());
    }
}
