//! All that a device needs to join, as one line: what a QR code holds, or a link.
//!
//! `signet-join:v1?server=…&ca_url=…&ca_sha256=…&tenant=…&token=…`, and `&name=…` where the name in the server's
//! certificate is not the server's host. The values are percent-encoded (RFC 3986 section 2.1), each key stands once,
//! in any order. `ca_sha256` is what makes the rest safe: the server anchor is fetched in clear and believed by it
//! alone. **The line is a secret**, for as long as its token is good.

use std::fmt;

use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use signet_core::TenantId;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{connector::port_of, enrollment::JoinToken};

/// Scheme and version: a later form gets another number.
const START: &str = "signet-join:v1?";
/// What a query may hold as it is, but for what stands between its parts (RFC 3986 section 3.4).
const ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':').remove(b'/');
/// More than any of ours, and than a QR code that a terminal can show.
const MAX_BYTES: usize = 2048;

/// See the module's words. The token is not printed.
pub struct JoinUri {
    /// The control plane, `https://host:port`.
    pub server: String,
    /// The name in the server's certificate, if it is not the server's host.
    pub server_name: Option<String>,
    /// The public listener that has the server anchor, `http://host:port`.
    pub ca_url: String,
    /// SHA-256 of the server anchor, 64 hexadecimal digits.
    pub ca_sha256: String,
    /// The tenant that the token is of.
    pub tenant: TenantId,
    /// What speaks for the device.
    pub token: JoinToken,
}

/// Why a text is no join URI. It never holds a part of the text's token.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JoinUriError {
    /// Something else.
    #[error("it does not begin with `{START}`: scan the code that `principal token create --qr` shows")]
    Scheme,
    /// Longer than any of ours.
    #[error("it is longer than {MAX_BYTES} bytes")]
    Length,
    /// A part is missing, wrong, there twice, or of a release to come.
    #[error("its part `{key}` {reason}")]
    Part {
        /// Which.
        key: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl JoinUri {
    /// Reads one; blanks around it do not count.
    pub fn parse(text: &str) -> Result<Self, JoinUriError> {
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.len() > MAX_BYTES {
            return Err(JoinUriError::Length);
        }
        let mut parts = Parts::of(text.strip_prefix(START).ok_or(JoinUriError::Scheme)?)?;
        let found = Self {
            server: parts.need("server", |text| is_origin(text, "https"), "must be https://HOST:PORT")?,
            server_name: parts.take("name").map(|name| name.as_str().to_owned()),
            ca_url: parts.need("ca_url", |text| is_origin(text, "http"), "must be http://HOST:PORT")?,
            ca_sha256: parts.need("ca_sha256", is_digest, "must be 64 hexadecimal digits")?,
            tenant: parts
                .need("tenant", |text| text.parse::<TenantId>().is_ok(), "must be a tenant's id")?
                .parse()
                .map_err(|_| part("tenant", "must be a tenant's id"))?,
            token: parts
                .take("token")
                .and_then(|token| JoinToken::parse(&token))
                .ok_or_else(|| part("token", "must be sgt_ and 43 letters, digits, - or _"))?,
        };
        match parts.0.pop() {
            Some((key, _)) => Err(part(&key, "is not known: is it of a later release?")),
            None => Ok(found),
        }
    }

    /// The line.
    pub fn to_text(&self) -> SecretString {
        let mut text = Zeroizing::new(String::with_capacity(MAX_BYTES));
        text.push_str(START);
        let mut add = |key: &str, value: &str| {
            if !text.ends_with('?') {
                text.push('&');
            }
            text.push_str(key);
            text.push('=');
            utf8_percent_encode(value, ENCODED).for_each(|piece| text.push_str(piece));
        };
        add("server", &self.server);
        if let Some(name) = &self.server_name {
            add("name", name);
        }
        add("ca_url", &self.ca_url);
        add("ca_sha256", &self.ca_sha256);
        add("tenant", self.tenant.as_str());
        add("token", self.token.0.expose_secret());
        SecretString::from(text.as_str())
    }
}

impl fmt::Debug for JoinUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinUri").field("server", &self.server).field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

/// Key and value, the latter decoded; a value may be the token.
struct Parts(Vec<(String, Zeroizing<String>)>);

impl Parts {
    fn of(query: &str) -> Result<Self, JoinUriError> {
        let mut parts: Vec<(String, Zeroizing<String>)> = Vec::new();
        for one in query.split('&') {
            let (key, value) = one.split_once('=').ok_or_else(|| part("", "must be KEY=VALUE"))?;
            // What is no key of ours may be a token that got into the wrong place.
            let is_key = |key: &str| {
                key.len() <= 16 && key.bytes().all(|b| b.is_ascii_lowercase() || b"_0123456789".contains(&b))
            };
            let key = if is_key(key) { key } else { "" };
            if parts.iter().any(|(there, _)| there == key) {
                return Err(part(key, "is there twice"));
            }
            let value = percent_decode_str(value).decode_utf8().map_err(|_| part(key, "must be text in UTF-8"))?;
            parts.push((key.to_owned(), Zeroizing::new(value.into_owned())));
        }
        Ok(Self(parts))
    }

    fn take(&mut self, key: &str) -> Option<Zeroizing<String>> {
        let at = self.0.iter().position(|(there, _)| there == key)?;
        Some(self.0.swap_remove(at).1)
    }

    fn need(&mut self, key: &str, is_good: fn(&str) -> bool, rule: &'static str) -> Result<String, JoinUriError> {
        let value = self.take(key).filter(|value| is_good(value)).ok_or_else(|| part(key, rule))?;
        Ok(value.as_str().to_owned())
    }
}

fn part(key: &str, reason: &'static str) -> JoinUriError {
    JoinUriError::Part { key: key.to_owned(), reason }
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Scheme, host and port, and nothing after them.
fn is_origin(text: &str, scheme: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let plain = uri.path() == "/" && uri.query().is_none() && !text.contains('@') && !text.ends_with('/');
    let has_host = uri.host().is_some_and(|host| !host.is_empty()) && port_of(&uri, 443).is_ok();
    plain && has_host && uri.scheme_str() == Some(scheme)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> String {
        let token = format!("sgt_{}", "a-_Z9".repeat(9).get(..43).unwrap());
        format!(
            "signet-join:v1?server=https://signet.example.com:8443&ca_url=http://%5B::1%5D:8080&ca_sha256={}\
             &tenant=acme&token={token}",
            "0a".repeat(32)
        )
    }

    #[test]
    fn what_is_written_is_read() {
        let mut uri = JoinUri::parse(&format!("\u{feff} {}\r\n", text())).unwrap();
        assert_eq!((uri.ca_url.as_str(), uri.server_name.as_deref()), ("http://[::1]:8080", None));
        assert_eq!(uri.to_text().expose_secret(), text());
        uri.server_name = Some("a&token=b %é".into());
        let again = JoinUri::parse(uri.to_text().expose_secret()).unwrap();
        assert_eq!(again.server_name, uri.server_name);
        assert_eq!(again.to_text().expose_secret(), uri.to_text().expose_secret());
        assert!(!format!("{uri:?}").contains("sgt_"));
    }

    #[test]
    fn what_is_missing_wrong_twice_or_unknown_is_named_and_the_token_is_not() {
        let good = text();
        let secret = good.rsplit_once('=').unwrap().1.to_owned();
        let part = |key: &str| format!("its part `{key}`");
        for (from, to, told) in [
            ("signet-join:v1", "signet-join:v2", "signet-join:v1".to_owned()),
            ("server=https", "server=http", part("server")),
            ("8443", "8443/path", part("server")),
            ("8443", "99999", part("server")),
            ("server=https://signet.example.com:8443&", "", part("server")),
            ("ca_url=http:", "ca_url=https:", part("ca_url")),
            ("0a0a", "0a0", part("ca_sha256")),
            ("tenant=acme", "tenant=ACME", part("tenant")),
            ("tenant=acme", "tenant=acme&tenant=acme", part("tenant")),
            ("tenant=acme", "tenant=acme&later=1", part("later")),
            ("tenant=acme", "tenant=%ff", part("tenant")),
            ("token=sgt_", "token=sgt", part("token")),
            ("&token=", "&", part("")),
            ("&token=", "=", part("tenant")),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good, "{from}");
            let error = JoinUri::parse(&bad).unwrap_err().to_string();
            assert!(error.contains(&told) && !error.contains(&secret), "{bad}: {error}");
        }
        assert_eq!(JoinUri::parse(&format!("{good}{}", "a".repeat(2048))).unwrap_err(), JoinUriError::Length);
    }
}
