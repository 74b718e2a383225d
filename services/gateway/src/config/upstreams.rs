//! Servers behind the gateway.

use std::time::Duration;

use serde::Deserialize;

use super::value;

/// A server behind the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct UpstreamConfig {
    /// Its name in routes, metrics and as the audience of identity tokens.
    #[serde(deserialize_with = "value::name")]
    pub name: String,
    /// `http://host:port`
    pub url: String,
    /// Whether it speaks HTTP/2 without TLS, as gRPC servers do; else HTTP/1.1.
    #[serde(default)]
    pub http2: bool,
    /// Whether it gets `Client-Cert` (RFC 9440).
    #[serde(default = "yes")]
    pub client_cert: bool,
    /// Whether it gets `X-Forwarded-Client-Cert` in Envoy's form.
    #[serde(default)]
    pub xfcc: bool,
    /// Whether it gets `Signet-Identity`.
    #[serde(default = "yes")]
    pub signet_identity: bool,
    /// Requests at once, open streams among them.
    #[serde(default = "thousand", deserialize_with = "value::at_least_one")]
    pub max_requests: usize,
    /// Requests that wait for one of these to end, at most `connect_timeout`.
    #[serde(default = "hundred")]
    pub max_waiting: usize,
    /// Connection attempts that fail one after the other until it gets no requests for a while.
    #[serde(default = "five")]
    pub failures: u32,
    /// That while; then one request tries.
    #[serde(rename = "rest_seconds", default = "five_seconds", deserialize_with = "value::timeout")]
    pub rest: Duration,
    #[serde(rename = "connect_timeout_seconds", default = "five_seconds", deserialize_with = "value::timeout")]
    pub connect_timeout: Duration,
    /// From the request to the headers of its answer.
    #[serde(rename = "answer_timeout_seconds", default = "minute", deserialize_with = "value::timeout")]
    pub answer_timeout: Duration,
    /// Between two parts of an answer's body, or in a WebSocket in both directions.
    #[serde(rename = "idle_timeout_seconds", default = "five_minutes", deserialize_with = "value::timeout")]
    pub idle_timeout: Duration,
}

fn yes() -> bool {
    true
}

fn thousand() -> usize {
    1000
}

fn hundred() -> usize {
    100
}

fn five() -> u32 {
    5
}

fn five_seconds() -> Duration {
    Duration::from_secs(5)
}

fn minute() -> Duration {
    Duration::from_secs(60)
}

fn five_minutes() -> Duration {
    Duration::from_secs(300)
}
