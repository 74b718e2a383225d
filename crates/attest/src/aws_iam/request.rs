//! The checks of a presigned request before it is sent (SigV4: "Authenticating requests: using query parameters").

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::{civil::DateTime, tz::TimeZone};
use signet_core::{
    Lifetime, Time,
    enrollment::attestation::{AttestationError, Challenge},
};
use subtle::ConstantTimeEq as _;
use url::Url;

use super::region::{self, Partition};
use crate::{refused, shown};

/// Oldest request that is sent.
const PAST: Lifetime = Lifetime::minutes(5);
/// How far a caller's clock may be ahead.
const AHEAD: Lifetime = Lifetime::minutes(1);
/// STS itself accepts up to 15 minutes.
const MAX_EXPIRES_SECONDS: u32 = 900;
/// Session tokens take 1 to 2 KiB, in odd cases more.
const MAX_URL_BYTES: usize = 8 * 1024;

const SERVER_ID: &str = "x-signet-server-id";
const TENANT: &str = "x-signet-tenant";
const KEY_SHA256: &str = "x-signet-key-sha256";
/// As `X-Amz-SignedHeaders` lists them: sorted.
const SIGNED_HEADERS: &str = "host;x-signet-key-sha256;x-signet-server-id;x-signet-tenant";

/// All parameters that there may be. The token is absent for long-lived credentials.
const REQUIRED: [&str; 8] = [
    "Action",
    "Version",
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
];
const OPTIONAL: &str = "X-Amz-Security-Token";

/// A request that may be sent, made anew.
#[derive(Debug)]
pub(super) struct Presigned {
    pub(super) url: Url,
    /// The signed ones and no others.
    pub(super) headers: HeaderMap,
    pub(super) partition: Partition,
}

/// Everything that can be checked without asking STS.
pub(super) fn check(
    text: &str,
    headers: &BTreeMap<String, String>,
    challenge: &Challenge<'_>,
    allowed: &[String],
) -> Result<Presigned, AttestationError> {
    let (region, query) = split(text)?;
    let partition = region::partition(region)
        .filter(|_| region::is_allowed(region, allowed))
        .ok_or_else(|| refused("AWS_HOST_NOT_ALLOWED", format!("no STS may be asked in region {}", shown(region))))?;
    let host = region::sts_host(region, partition);
    let parameters = parameters(query)?;
    check_host(text, &host)?;
    check_values(&parameters)?;
    let date = check_date(&parameters, challenge.now)?;
    check_scope(get(&parameters, "X-Amz-Credential"), date, region)?;
    let headers = check_headers(headers, &host, challenge)?;
    let url = rebuilt(&host, &parameters)?;
    Ok(Presigned { url, headers, partition })
}

/// `https://sts.<region>.<anything>/?<query>`: the region and the query. The host is compared as a whole later.
fn split(text: &str) -> Result<(&str, &str), AttestationError> {
    let malformed = |what: &str| refused("AWS_URL_MALFORMED", what);
    if text.len() > MAX_URL_BYTES {
        return Err(malformed("the URL is too long"));
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(malformed("the URL holds spaces, control characters or other than ASCII"));
    }
    let rest = text.strip_prefix("https://").ok_or_else(|| malformed("the scheme is not https"))?;
    let (host, query) = rest.split_once("/?").ok_or_else(|| malformed("the path is not /, or there is no query"))?;
    if host.contains(['/', '@', ':', '\\', '?', '#']) || query.contains('#') {
        return Err(malformed("there is a port, a user, a path or a fragment"));
    }
    let region = host.strip_prefix("sts.").and_then(|rest| rest.split('.').next());
    let region = region.ok_or_else(|| {
        refused("AWS_HOST_NOT_ALLOWED", format!("the host {} is not a regional endpoint of STS", shown(host)))
    })?;
    Ok((region, query))
}

/// Byte for byte: no case folding, no trailing dot.
fn check_host(text: &str, host: &str) -> Result<(), AttestationError> {
    if text.strip_prefix("https://").and_then(|rest| rest.split_once('/')).is_some_and(|(found, _)| found == host) {
        return Ok(());
    }
    Err(refused("AWS_HOST_NOT_ALLOWED", format!("the host is not {host}")))
}

/// The query, decoded: every known parameter once, the required ones all, nothing else.
fn parameters(query: &str) -> Result<BTreeMap<&str, String>, AttestationError> {
    let bad = |what: String| refused("AWS_QUERY_NOT_ALLOWED", what);
    let mut parameters = BTreeMap::new();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').ok_or_else(|| bad("a parameter has no value".into()))?;
        if !REQUIRED.contains(&name) && name != OPTIONAL {
            return Err(bad(format!("the parameter {} is unknown", shown(name))));
        }
        // SigV4 knows only %20, but a form decoder would take a plus sign for a space.
        let value =
            decoded(value).ok_or_else(|| bad(format!("the value of {name} is not encoded as RFC 3986 has it")))?;
        if parameters.insert(name, value).is_some() {
            return Err(bad(format!("the parameter {name} is there twice")));
        }
    }
    match REQUIRED.iter().find(|name| !parameters.contains_key(*name)) {
        Some(missing) => Err(bad(format!("the parameter {missing} is missing"))),
        None => Ok(parameters),
    }
}

fn decoded(value: &str) -> Option<String> {
    let mut bytes = value.bytes();
    let mut out = Vec::with_capacity(value.len());
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                out.extend(hex::decode(digits).ok()?);
            }
            b'+' => return None,
            plain => out.push(plain),
        }
    }
    String::from_utf8(out).ok()
}

fn get<'a>(parameters: &'a BTreeMap<&str, String>, name: &str) -> &'a str {
    // All required ones are there.
    parameters.get(name).map(String::as_str).unwrap_or_default()
}

fn check_values(parameters: &BTreeMap<&str, String>) -> Result<(), AttestationError> {
    for (name, wanted) in
        [("Action", "GetCallerIdentity"), ("Version", "2011-06-15"), ("X-Amz-Algorithm", "AWS4-HMAC-SHA256")]
    {
        let found = get(parameters, name);
        if found != wanted {
            return Err(refused("AWS_QUERY_NOT_ALLOWED", format!("{name} is {}, not {wanted}", shown(found))));
        }
    }
    let signature = get(parameters, "X-Amz-Signature");
    if signature.len() != 64 || !signature.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(refused("AWS_QUERY_NOT_ALLOWED", "X-Amz-Signature is not 64 hexadecimal digits"));
    }
    let signed = get(parameters, "X-Amz-SignedHeaders");
    if signed != SIGNED_HEADERS {
        let detail = format!("X-Amz-SignedHeaders is {}, not {SIGNED_HEADERS}", shown(signed));
        return Err(refused("AWS_HEADERS_NOT_ALLOWED", detail));
    }
    Ok(())
}

/// The window for replays; within it a replay is for the same key, tenant and environment, so it gains nothing.
fn check_date<'a>(parameters: &'a BTreeMap<&str, String>, now: Time) -> Result<&'a str, AttestationError> {
    let text = get(parameters, "X-Amz-Date");
    let malformed = || refused("AWS_QUERY_NOT_ALLOWED", "X-Amz-Date is not YYYYMMDDTHHMMSSZ");
    let signed_at = instant(text).ok_or_else(malformed)?;
    let expires = get(parameters, "X-Amz-Expires");
    let plain = !expires.is_empty() && expires.len() <= 3 && expires.bytes().all(|b| b.is_ascii_digit());
    let expires: u32 =
        expires.parse().ok().filter(|seconds| plain && (1..=MAX_EXPIRES_SECONDS).contains(seconds)).ok_or_else(
            || refused("AWS_QUERY_NOT_ALLOWED", format!("X-Amz-Expires is not 1 to {MAX_EXPIRES_SECONDS} seconds")),
        )?;
    if signed_at > now.plus(AHEAD) {
        return Err(refused("AWS_REQUEST_FROM_FUTURE", format!("it was signed at {text}")));
    }
    let usable_until = signed_at.plus(PAST).min(signed_at.plus(Lifetime::seconds(expires)));
    if now > usable_until {
        return Err(refused("AWS_REQUEST_EXPIRED", format!("it was signed at {text}, for {expires} s")));
    }
    text.get(..8).ok_or_else(malformed)
}

/// `YYYYMMDDTHHMMSSZ`.
fn instant(text: &str) -> Option<Time> {
    let shape = |(at, b): (usize, u8)| match at {
        8 => b == b'T',
        15 => b == b'Z',
        _ => b.is_ascii_digit(),
    };
    if text.len() != 16 || !text.bytes().enumerate().all(shape) {
        return None;
    }
    let civil = DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    let second = civil.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second();
    Some(Time::from_unix_seconds(second))
}

/// `<access key id>/<date>/<region>/sts/aws4_request`.
fn check_scope(credential: &str, date: &str, region: &str) -> Result<(), AttestationError> {
    let parts: Vec<&str> = credential.split('/').collect();
    let key_id =
        |id: &str| (16..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    match parts.as_slice() {
        [id, day, place, "sts", "aws4_request"] if key_id(id) && *day == date && *place == region => Ok(()),
        [_, scope @ ..] => {
            let detail =
                format!("it is signed for {}, not for {date}/{region}/sts/aws4_request", shown(&scope.join("/")));
            Err(refused("AWS_SCOPE_MISMATCH", detail))
        }
        [] => Err(refused("AWS_SCOPE_MISMATCH", "it has no scope")),
    }
}

fn check_headers(
    headers: &BTreeMap<String, String>,
    host: &str,
    challenge: &Challenge<'_>,
) -> Result<HeaderMap, AttestationError> {
    let bound = [
        (SERVER_ID, challenge.server_id, "AWS_OTHER_SERVER"),
        (TENANT, challenge.tenant.as_str(), "AWS_OTHER_TENANT"),
        (KEY_SHA256, challenge.key_sha256, "AWS_OTHER_KEY"),
    ];
    if let Some(other) = headers.keys().find(|name| !bound.iter().any(|(known, ..)| known == name)) {
        return Err(refused("AWS_HEADERS_NOT_ALLOWED", format!("the header {} is not one to be sent", shown(other))));
    }
    let mut sent = HeaderMap::new();
    for (name, wanted, reason) in bound {
        let found = headers.get(name);
        let found = found.ok_or_else(|| refused("AWS_HEADERS_NOT_ALLOWED", format!("the header {name} is missing")))?;
        if !bool::from(found.as_bytes().ct_eq(wanted.as_bytes())) {
            return Err(refused(reason, format!("{name} is {}, not {wanted}", shown(found))));
        }
        sent.insert(HeaderName::from_static(name), header_value(wanted)?);
    }
    sent.insert(header::HOST, header_value(host)?);
    Ok(sent)
}

fn header_value(text: &str) -> Result<HeaderValue, AttestationError> {
    HeaderValue::from_str(text).map_err(|_| refused("AWS_HEADERS_NOT_ALLOWED", "a header's value cannot be sent"))
}

/// The signature is over the decoded values, so encoding them anew does not change what STS checks.
fn rebuilt(host: &str, parameters: &BTreeMap<&str, String>) -> Result<Url, AttestationError> {
    let query: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    let url = Url::parse(&format!("https://{host}/?{}", query.join("&")));
    url.map_err(|_| refused("AWS_URL_MALFORMED", "it cannot be written as a URL"))
}

/// RFC 3986 section 2.3, as SigV4 wants it.
fn encoded(value: &str) -> String {
    let byte = |b: u8| match b {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(b).to_string(),
        other => format!("%{other:02X}"),
    };
    value.bytes().map(byte).collect()
}
