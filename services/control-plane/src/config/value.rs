//! Checks of single values, where a setting is read.

use std::{net::SocketAddr, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, de::Error};
use signet_core::{Lifetime, TenantId, spiffe::TrustDomainSuffix};
use signet_x509::{ServerName, environment::LeafOids};

const DNS_NAME: &str = "must be a lower-case DNS name, e.g. signet.example.com";

fn text<'de, D: Deserializer<'de>>(from: D, fits: impl FnOnce(&str) -> bool, rule: &str) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    if fits(&text) { Ok(text) } else { Err(D::Error::custom(format!("{text:?} {rule}"))) }
}

fn parsed<'de, D: Deserializer<'de>, T: FromStr>(from: D, rule: &str) -> Result<T, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map_err(|_| D::Error::custom(format!("{text:?} {rule}")))
}

/// A number within its bounds.
pub(super) fn within<'de, const LEAST: u32, const MOST: u32, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let fits = |number: &u32| (LEAST..=MOST).contains(number);
    let problem = || D::Error::custom(format!("must be {LEAST} to {MOST}"));
    Some(u32::deserialize(from)?).filter(fits).ok_or_else(problem)
}

pub(super) fn count<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    within::<1, 1_000_000, D>(from).map(|number| number as usize)
}

pub(super) fn seconds<'de, const MOST: u32, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    within::<1, MOST, D>(from).map(|seconds| Duration::from_secs(seconds.into()))
}

pub(super) fn lifetime_seconds<'de, const MOST: u32, D: Deserializer<'de>>(from: D) -> Result<Lifetime, D::Error> {
    within::<1, MOST, D>(from).map(Lifetime::seconds)
}

pub(super) fn lifetime_days<'de, const MOST: u32, D: Deserializer<'de>>(from: D) -> Result<Lifetime, D::Error> {
    within::<1, MOST, D>(from).map(Lifetime::days)
}

pub(super) fn label<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let rule = "must be a short name of a-z, 0-9 and hyphens, e.g. dev";
    text(from, |text| text.parse::<TenantId>().is_ok(), rule)
}

pub(super) fn suffix<'de, D: Deserializer<'de>>(from: D) -> Result<TrustDomainSuffix, D::Error> {
    parsed(from, "must be a lower-case domain name, e.g. dev.example.com")
}

pub(super) fn arc<'de, D: Deserializer<'de>>(from: D) -> Result<LeafOids, D::Error> {
    String::deserialize(from)?.parse().map_err(D::Error::custom)
}

/// What both a DynamoDB table name and a KMS alias take, with room for the part after it.
pub(super) fn aws_prefix<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let fits = |text: &str| (1..=64).contains(&text.len()) && text.bytes().all(plain);
    text(from, fits, "is no prefix: it must be 1 to 64 of A-Z a-z 0-9 - _, e.g. signet-dev")
}

pub(super) fn ssm_path<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'_' | b'.');
    let shaped = |text: &str| text.starts_with('/') && !text.ends_with('/') && text.len() <= 256;
    let rule = "is no prefix: it must be an SSM path without a last slash, e.g. /signet/dev";
    text(from, |text| shaped(text) && text.bytes().all(plain), rule)
}

pub(super) fn key_policy<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let object = |text: &str| serde_json::from_str::<serde_json::Map<_, _>>(text).is_ok();
    text(from, object, "must be a key policy, a JSON object").map(Some)
}

pub(super) fn function<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let fits = |text: &str| (1..=64).contains(&text.len()) && text.bytes().all(plain);
    text(from, fits, "must be a Lambda's name: 1 to 64 of A-Z a-z 0-9 - _").map(Some)
}

/// The letters and lengths of S3 (general purpose bucket names) are these; what else it refuses, it says itself.
pub(super) fn bucket<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    let fits = |text: &str| (3..=63).contains(&text.len()) && text.bytes().all(plain);
    text(from, fits, "must be an S3 bucket's name: 3 to 63 of a-z 0-9 . -")
}

pub(super) fn bus<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/');
    let fits = |text: &str| (1..=256).contains(&text.len()) && text.bytes().all(plain);
    text(from, fits, "must be an EventBridge bus's name, e.g. default")
}

pub(super) fn url<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let fits = |text: &str| text.parse::<http::Uri>().is_ok_and(|uri| uri.scheme().is_some());
    text(from, fits, "must be a URL that starts with http:// or https://, e.g. http://127.0.0.1:4566").map(Some)
}

/// Metadata of an issuer with a path would be looked for elsewhere than they are (RFC 8414 section 3.1).
pub(super) fn origin<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let fits = |text: &str| {
        text.parse::<http::Uri>()
            .is_ok_and(|uri| uri.scheme().is_some() && uri.path_and_query().is_none_or(|path| path == "/"))
    };
    text(from, fits, "must be a URL without a path, e.g. https://id.example.com").map(Some)
}

pub(super) fn endpoint<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let fits = |text: &str| {
        let Some((host, port)) = text.rsplit_once(':') else { return false };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        host.parse::<ServerName>().is_ok() && port.parse::<u16>().is_ok_and(|port| port != 0)
    };
    text(from, fits, "must be a name and a port, e.g. signet.example.com:443")
}

pub(super) fn address<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
    parsed(from, "must be an address and port, e.g. 127.0.0.1:8443 or [::]:8443")
}

pub(super) fn optional_address<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
    address(from).map(Some)
}

pub(super) fn dns_names<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let names = Vec::<String>::deserialize(from)?;
    for name in &names {
        match name.parse() {
            Ok(ServerName::Dns(_)) => {}
            Ok(ServerName::Ip(_)) => {
                return Err(D::Error::custom(format!("{name:?} is an address; put it into server.ip_addresses")));
            }
            Err(_) => return Err(D::Error::custom(format!("{name:?} {DNS_NAME}"))),
        }
    }
    Ok(names)
}

pub(super) fn optional_dns_name<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    text(from, |text| matches!(text.parse(), Ok(ServerName::Dns(_))), DNS_NAME).map(Some)
}

pub(super) fn filter<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    let filter: Result<tracing_subscriber::EnvFilter, _> = text.parse();
    let wrong = |error| D::Error::custom(format!("{error}; e.g. info or signet=debug,info"));
    filter.map(|_| text).map_err(wrong)
}
