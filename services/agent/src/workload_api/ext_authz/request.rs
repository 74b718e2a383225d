//! What Envoy says of a request, each in one form. What could be read in two ways is refused: what is decided on has to
//! be what the service behind Envoy sees.

use std::borrow::Cow;

use signet_x509::pem;

use super::super::wire::ext_authz::HttpRequest;

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Asked<'a> {
    /// In upper case.
    pub(crate) method: &'a str,
    /// In lower case, without the port.
    pub(crate) host: String,
    /// Decoded, without the query.
    pub(crate) path: Cow<'a, str>,
}

impl<'a> Asked<'a> {
    /// The error says what is wrong.
    pub(crate) fn of(http: &'a HttpRequest) -> Result<Self, &'static str> {
        Ok(Self { method: method(&http.method)?, host: host(&http.host)?, path: path(&http.path)? })
    }
}

/// RFC 9110 section 9.1: `delete` is another one than `DELETE`. Some frameworks take it for the same.
fn method(method: &str) -> Result<&str, &'static str> {
    if is_method(method) { Ok(method) } else { Err("the method is not in upper case") }
}

pub(crate) fn is_method(method: &str) -> bool {
    (1..=32).contains(&method.len()) && method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-')
}

/// RFC 3986 section 3.3. Some resolve segments that are `.` or `..`, or empty before the last; some drop parameters
/// after `;`; some decode what is encoded without need, or twice.
fn path(target: &str) -> Result<Cow<'_, str>, &'static str> {
    if target.contains('#') {
        return Err("the request target has a fragment");
    }
    let raw = target.split_once('?').map_or(target, |(path, _)| path);
    let path = decode(raw)?;
    let segments = path.strip_prefix('/').ok_or("the path must begin with a slash")?;
    if segments.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err("the path has a segment . or ..");
    }
    if path.contains("//") {
        return Err("the path has an empty segment");
    }
    Ok(path)
}

fn decode(raw: &str) -> Result<Cow<'_, str>, &'static str> {
    if raw.contains(';') {
        return Err("the path has parameters after ;");
    }
    if !raw.bytes().all(|byte| matches!(byte, b'/' | b'%') || is_pchar(byte)) {
        return Err("the path has a character that must be encoded");
    }
    if !raw.contains('%') {
        return Ok(raw.into());
    }
    let mut parts = raw.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (byte, rest) = escaped(part).ok_or("the path has a % without two hexadecimal digits")?;
        if is_unreserved(byte) {
            return Err("the path has an encoded character that needs no encoding");
        }
        if b"/\\%?#;".contains(&byte) {
            return Err("the path has an encoded / \\ % ? # or ;");
        }
        bytes.push(byte);
        bytes.extend_from_slice(rest.as_bytes());
    }
    let path = String::from_utf8(bytes).map_err(|_| "the path is not UTF-8")?;
    if path.chars().any(char::is_control) { Err("the path has a control character") } else { Ok(path.into()) }
}

/// What follows a `%`: the byte, and the rest.
fn escaped(part: &str) -> Option<(u8, &str)> {
    let (digits, rest) = part.split_at_checked(2)?;
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hex.then_some((u8::from_str_radix(digits, 16).ok()?, rest))
}

/// RFC 3986 section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// RFC 3986 section 3.3, without escapes.
fn is_pchar(byte: u8) -> bool {
    is_unreserved(byte) || b"!$&'()*+,=:@;".contains(&byte)
}

/// RFC 3986 section 3.2.2. The port only says where the client has connected.
fn host(authority: &str) -> Result<String, &'static str> {
    let is_port = |port: &str| (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
    let name = authority.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(authority, |(name, _)| name);
    if is_host(name) { Ok(name.to_ascii_lowercase()) } else { Err("the host is not a name or an address") }
}

/// A DNS name without a dot at its end, an IPv4 address, or an IPv6 address in brackets.
pub(crate) fn is_host(name: &str) -> bool {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_address = |byte: u8| byte.is_ascii_hexdigit() || b":.".contains(&byte);
    match name.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|address| address.bytes().all(is_address)),
        None => (1..=255).contains(&name.len()) && name.bytes().all(is_name) && !name.ends_with('.'),
    }
}

/// The client's certificate, DER. Envoy's form is PEM, percent-encoded.
pub(crate) fn certificate(encoded: &str) -> Option<Vec<u8>> {
    let mut parts = encoded.split('%');
    let mut text = parts.next()?.to_owned();
    for part in parts {
        let (byte, rest) = escaped(part).filter(|(byte, _)| byte.is_ascii())?;
        text.push(char::from(byte));
        text.push_str(rest);
    }
    pem::decode_certificates(&text)?.into_iter().next()
}

#[cfg(test)]
mod tests {
    use signet_x509::{KeyPair, pem};
    use url::Url;

    use super::{certificate, host, method, path};

    #[test]
    fn a_path_is_decoded_once_and_has_no_query() {
        for (target, expected) in [
            ("/", "/"),
            ("/jobs?id=../a%2f", "/jobs"),
            ("/jobs/", "/jobs/"),
            ("/jobs.v1.Jobs/Submit", "/jobs.v1.Jobs/Submit"),
            ("/users/a%40example.com", "/users/a@example.com"),
            ("/v1/job%3acancel", "/v1/job:cancel"),
            ("/caf%C3%A9/%20", "/café/ "),
            ("/a...b/.well-known/..c", "/a...b/.well-known/..c"),
        ] {
            assert_eq!(path(target).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for (target, words) in [
            ("", "begin with a slash"),
            ("*", "begin with a slash"),
            ("jobs", "begin with a slash"),
            ("http://a/jobs", "begin with a slash"),
            ("//", "empty segment"),
            ("//evil/jobs", "empty segment"),
            ("/jobs//1", "empty segment"),
            ("/jobs/.", ". or .."),
            ("/public/../jobs", ". or .."),
            ("/./jobs?x", ". or .."),
            ("/public/..;/jobs", "parameters"),
            ("/jobs;a=b", "parameters"),
            ("/public/%2e%2e/jobs", "needs no encoding"),
            ("/public/.%2E/jobs", "needs no encoding"),
            ("/%6aobs", "needs no encoding"),
            ("/jobs%2F1", "encoded /"),
            ("/jobs%2f..%2f", "encoded /"),
            ("/jobs%5C1", "encoded /"),
            ("/public/%252e%252e/jobs", "encoded /"),
            ("/jobs%3Fa", "encoded /"),
            ("/jobs%23a", "encoded /"),
            ("/jobs%3b", "encoded /"),
            ("/jobs\\1", "must be encoded"),
            ("/jobs 1", "must be encoded"),
            ("/jobs\t", "must be encoded"),
            ("/jobs\u{0}", "must be encoded"),
            ("/café", "must be encoded"),
            ("/jobs#a", "fragment"),
            ("/jobs?a#b", "fragment"),
            ("/jobs%00", "control"),
            ("/jobs%0d%0a", "control"),
            ("/jobs%7F", "control"),
            ("/jobs%C2%85", "control"),
            ("/jobs%", "two hexadecimal"),
            ("/jobs%4", "two hexadecimal"),
            ("/jobs%zz", "two hexadecimal"),
            ("/jobs%+1", "two hexadecimal"),
            ("/jobs%u002e", "two hexadecimal"),
            ("/jobs%c0%ae", "not UTF-8"),
            ("/jobs%ff", "not UTF-8"),
        ] {
            let found = path(target);
            assert!(found.as_ref().is_err_and(|error| error.contains(words)), "{target}: {found:?}");
        }
    }

    /// Another library, which resolves what there is to resolve, finds nothing in what was accepted.
    #[test]
    fn nothing_is_left_to_resolve_in_an_accepted_path() {
        const PARTS: [&str; 28] = [
            "/", "/", "/", "a", "jobs", "b.c", ".", "..", "%2e", "%2E", "%2f", "%5C", "\\", ";", "?", "#", "%", "%25",
            "%3b", "%41", "%40", "@", ":", "%c3%a9", "%00", " ", "*", "\t",
        ];
        let (mut state, mut accepted) = (1_u64, 0);
        for _ in 0..20_000 {
            let mut next = |below: usize| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                usize::try_from(state >> 33).unwrap() % below
            };
            let target: String = std::iter::once("/").chain((0..next(7)).map(|_| PARTS[next(PARTS.len())])).collect();
            let Ok(path) = path(&target) else { continue };
            accepted += 1;
            assert!(!path.contains(['%', '\\', ';', '?', '#']), "{target}");
            let raw = target.split('?').next().unwrap();
            assert_eq!(Url::parse(&format!("https://a{target}")).unwrap().path(), raw);
        }
        assert!(accepted > 1000, "{accepted}");
    }

    #[test]
    fn a_method_is_in_upper_case() {
        assert_eq!(["GET", "M-SEARCH"].map(method), [Ok("GET"), Ok("M-SEARCH")]);
        let long = "A".repeat(33);
        assert!(["", "get", "Get", "G T", "GET/", long.as_str()].iter().all(|text| method(text).is_err()));
    }

    #[test]
    fn a_host_has_no_case_and_no_port() {
        for (authority, expected) in [
            ("API.Example.com", "api.example.com"),
            ("api.example.com:8443", "api.example.com"),
            ("10.0.0.1:80", "10.0.0.1"),
            ("[2001:DB8::1]:443", "[2001:db8::1]"),
            ("[::1]", "[::1]"),
            ("my_service", "my_service"),
        ] {
            assert_eq!(host(authority).as_deref(), Ok(expected));
        }
        let long = "a".repeat(256);
        for authority in [
            "", ":80", "a:", "a:x", "a:123456", "a.", "a,b", "user@a", "a b", "::1", "[::1", "[::1]x", "a/b", "a%2eb",
            "ä", &long,
        ] {
            assert!(host(authority).is_err(), "{authority}");
        }
    }

    #[test]
    fn a_certificate_comes_percent_encoded() {
        // Any bytes do: what they are, the control plane says.
        let der = KeyPair::generate().unwrap().pkcs8_der().to_vec();
        let text = pem::encode_certificate(&der);
        let encode = |c: char| if c.is_ascii_alphanumeric() { c.to_string() } else { format!("%{:02X}", u32::from(c)) };
        let encoded: String = text.chars().map(encode).collect();
        assert_eq!(certificate(&encoded), Some(der.clone()));
        assert_eq!(certificate(&encoded.to_lowercase()), None, "base64 has both cases");
        for bad in ["", "%", "%2", "%zz", "%FF", "nothing", "-----BEGIN%20CERTIFICATE-----%0A"] {
            assert_eq!(certificate(bad), None, "{bad}");
        }
    }
}
