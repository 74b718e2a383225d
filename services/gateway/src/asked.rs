//! What a request asks for, in the one form that it is decided on and sent on.

use http::{
    Method,
    header::{CONTENT_TYPE, HOST},
    request::Parts,
};

use crate::{headers, path::normalized};

/// See the module's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    /// In lower case, without a port.
    pub(crate) host: String,
    /// With its port, as the client wrote it.
    pub(crate) authority: String,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
}

impl Asked {
    /// Reads a request; an error if two parsers could read it in two ways.
    pub(crate) fn read(parts: &Parts) -> Result<Self, &'static str> {
        if let Some(fault) = headers::fault(&parts.headers) {
            return Err(fault);
        }
        if parts.method == Method::CONNECT {
            return Err("CONNECT is for proxies");
        }
        // Some servers take them for the same.
        if parts.method.as_str().bytes().any(|byte| byte.is_ascii_lowercase()) {
            return Err("the method is not in upper case");
        }
        let host = parts.headers.get(HOST).map(|host| host.to_str().map_err(|_| "Host is not ASCII")).transpose()?;
        let authority = match (parts.uri.authority(), host) {
            (Some(authority), Some(host)) if !authority.as_str().eq_ignore_ascii_case(host) => {
                return Err("Host and the request target name two hosts");
            }
            (Some(authority), _) => authority.as_str(),
            (None, Some(host)) => host,
            (None, None) => return Err("there is no host"),
        };
        let query = parts.uri.query();
        if query.is_some_and(|query| !query.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')) {
            return Err("the query has characters that must be encoded");
        }
        Ok(Self {
            method: parts.method.clone(),
            host: host_of(authority)?,
            authority: authority.to_owned(),
            path: normalized(parts.uri.path())?,
            query: query.map(str::to_owned),
        })
    }

    /// Path and query, as they are sent on.
    pub(crate) fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }
}

/// Whether the caller understands gRPC's way of refusing.
pub(crate) fn is_grpc(parts: &Parts) -> bool {
    parts.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// `uri-host [ ":" port ]` (RFC 9110 section 7.2): a name, an IPv4 address, or an IPv6 address in brackets.
fn host_of(authority: &str) -> Result<String, &'static str> {
    const BAD: &str = "Host is not a name or an address";
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(BAD)?;
            if host.parse::<std::net::Ipv6Addr>().is_err() || !(port.is_empty() || port.starts_with(':')) {
                return Err(BAD);
            }
            (host, port.strip_prefix(':'))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let is_name =
        authority.starts_with('[') || host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    let is_port = port.is_none_or(|port| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok());
    if host.is_empty() || host.ends_with('.') || !is_name || !is_port {
        return Err(BAD);
    }
    Ok(host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn read(uri: &str, host: Option<&str>) -> Result<Asked, &'static str> {
        let mut request = Request::builder().uri(uri);
        if let Some(host) = host {
            request = request.header(HOST, host);
        }
        Asked::read(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn host_and_path_are_in_one_form() {
        let asked = read("/a/%2e/b?c=%2F", Some("Jobs.Example.com:8443")).unwrap();
        assert_eq!((&*asked.host, &*asked.target()), ("jobs.example.com", "/a/b?c=%2F"));
        assert_eq!(read("https://a/b", None).unwrap().host, "a");
        assert_eq!(read("https://A:1/b", Some("a:1")).unwrap().authority, "A:1");
        assert_eq!(read("/", Some("[2001:db8::1]:8443")).unwrap().host, "2001:db8::1");
    }

    #[test]
    fn two_hosts_and_odd_hosts_are_refused() {
        for (uri, host) in [
            ("https://a/b", Some("c")),
            ("https://a:1/b", Some("a")),
            ("https://user@a/b", None),
            ("/b", None),
            ("/b", Some("a b")),
            ("/b", Some("a/c")),
            ("/b", Some("user@a")),
            ("/b", Some("a:b")),
            ("/b", Some("[::1")),
            ("/b", Some("[a]")),
            ("/b", Some("::1")),
            ("/b", Some("")),
            ("*", Some("a")),
        ] {
            assert!(read(uri, host).is_err(), "{uri} {host:?}");
        }
    }
}
