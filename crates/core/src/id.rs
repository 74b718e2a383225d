//! A type per identifier, made only by parsing, so that later code cannot hold a bad one.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a text is not an identifier. `Display` is fit for a caller: it names the rule, not the value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what} {rule}")]
pub struct IdError {
    /// Which identifier, e.g. `tenant id`.
    pub what: &'static str,
    /// The rule that was broken, as the end of a sentence.
    pub rule: &'static str,
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                $check(text).map_err(|rule| IdError { what: $what, rule })?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// A tenant: one lower-case DNS label (RFC 1035 section 2.3.1, up to 63 bytes), since it becomes part of
    /// the tenant's SPIFFE trust domain.
    TenantId, "tenant id", dns_label
);
text_id!(
    /// A principal, unique in its tenant: 1 to 64 of `A-Z a-z 0-9 . _ -` (SPIFFE-ID section 2.2 path segment;
    /// 64 is the upper bound of an X.520 common name), not `.` or `..`.
    PrincipalId, "principal id", path_segment
);
text_id!(
    /// A role of a principal, e.g. `operator`: 1 to 32 of `a-z 0-9 -`.
    Role, "role", role_name
);
text_id!(
    /// A certificate authority of the environment: `<name>.<generation>`, e.g. `acme.1`, `root.1`.
    CaId, "certificate authority id", ca_name
);
text_id!(
    /// A caller's idempotency key (AIP-155): 1 to 64 of `A-Z a-z 0-9 . _ -`; a UUID is usual.
    RequestId, "request id", path_segment
);
text_id!(
    /// The public name of an enrollment token; tells nothing about its secret.
    TokenId, "token id", path_segment
);
text_id!(
    /// The public name of a device's secret; tells nothing about the secret.
    SecretId, "secret id", path_segment
);
text_id!(
    /// An enrollment rule, unique in its tenant: 1 to 64 of `A-Z a-z 0-9 . _ -`.
    RuleId, "rule id", path_segment
);
text_id!(
    /// Where a key lives, as its key manager understands it: `kms:…` or `soft:…`. Never key material.
    KeyRef, "key reference", key_ref
);

impl TenantId {
    /// The operator's own tenant.
    pub fn system() -> Self {
        Self("system".into())
    }

    /// Whether this is the operator's own tenant.
    pub fn is_system(&self) -> bool {
        &*self.0 == "system"
    }

    /// Whether the environment keeps this name for its own CAs, so that no tenant may take it.
    pub fn is_reserved(&self) -> bool {
        matches!(&*self.0, "root" | "shared" | "server" | "audit")
    }
}

impl CaId {
    /// The CA called `name` (a tenant id, or `root`, `shared`, `server`) in its `generation`, counted from 1.
    pub fn new(name: &str, generation: u32) -> Result<Self, IdError> {
        format!("{name}.{generation}").parse()
    }

    /// The tenant that owns the CA of this name: the system tenant for the environment's own.
    pub fn owner(&self) -> TenantId {
        let name = self.0.rsplit_once('.').map_or(&*self.0, |(name, _)| name);
        let owner = TenantId(name.into());
        if owner.is_reserved() { TenantId::system() } else { owner }
    }
}

fn length(text: &str, max: usize) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("must not be empty");
    }
    if text.len() > max { Err("is too long") } else { Ok(()) }
}

fn dns_label(text: &str) -> Result<(), &'static str> {
    length(text, 63)?;
    let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    if !text.bytes().all(|b| lower(b) || b == b'-') || text.starts_with('-') || text.ends_with('-') {
        return Err("must be a DNS label: a-z, 0-9 and inner hyphens, at most 63");
    }
    Ok(())
}

fn path_segment(text: &str) -> Result<(), &'static str> {
    length(text, 64)?;
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        return Err("may hold only A-Z a-z 0-9 . _ - (at most 64)");
    }
    if text == "." || text == ".." { Err("must not be `.` or `..`") } else { Ok(()) }
}

fn role_name(text: &str) -> Result<(), &'static str> {
    length(text, 32)?;
    if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return Err("may hold only a-z 0-9 - (at most 32)");
    }
    Ok(())
}

fn ca_name(text: &str) -> Result<(), &'static str> {
    const RULE: &str = "must be <name>.<generation>, e.g. acme.1";
    let (name, generation) = text.rsplit_once('.').ok_or(RULE)?;
    dns_label(name).map_err(|_| RULE)?;
    match generation.parse::<u32>() {
        Ok(n) if n > 0 && !generation.starts_with(['0', '+']) => Ok(()),
        _ => Err(RULE),
    }
}

fn key_ref(text: &str) -> Result<(), &'static str> {
    length(text, 2048)?;
    if !text.bytes().all(|b| b.is_ascii_graphic()) || !text.contains(':') {
        return Err("must be <manager>:<name> in printable ASCII");
    }
    Ok(())
}

/// How far the clocks of two nodes may differ.
const MOST_SKEW: crate::Lifetime = crate::Lifetime::minutes(5);

/// A certificate's serial number: 16 bytes, a UUIDv7, so positive, in time order and with 74 random bits
/// (RFC 5280 section 4.1.2.2 allows 20 bytes; CA/B asks for 64 random bits). Shown as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Serial([u8; 16]);

impl Serial {
    /// Makes the serial for `now` out of ten random bytes.
    pub fn new(now: crate::Time, random: [u8; 10]) -> Self {
        let millis = u64::try_from(now.unix_millis()).unwrap_or(0);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid().into_bytes())
    }

    /// From the value bytes of a DER INTEGER; `None` unless it is one of ours in form: 16 bytes, or fewer
    /// (leading zeros are not in DER).
    pub fn from_der_integer(value: &[u8]) -> Option<Self> {
        let value = match value {
            [0, rest @ ..] => rest,
            all => all,
        };
        let mut bytes = [0u8; 16];
        let start = bytes.len().checked_sub(value.len())?;
        bytes.get_mut(start..)?.copy_from_slice(value);
        Some(Self(bytes))
    }

    /// When it was made: a UUIDv7 begins with the milliseconds (RFC 9562 section 5.7).
    pub fn made_at(&self) -> crate::Time {
        let millis = self.0.iter().take(6).fold(0_i64, |sum, byte| sum << 8 | i64::from(*byte));
        crate::Time::from_unix_millis(millis)
    }

    /// The same, if it is a UUIDv7 at all: others' numbers say nothing.
    pub fn uuid_time(&self) -> Option<crate::Time> {
        (uuid::Uuid::from_bytes(self.0).get_version_num() == 7).then(|| self.made_at())
    }

    /// Whether what has this number was made before `other` was, by more than clocks may differ: its maker's may have
    /// been behind.
    pub fn predates(&self, other: crate::Time) -> bool {
        self.uuid_time().is_some_and(|made_at| made_at.plus(MOST_SKEW) < other)
    }

    /// The 16 bytes, big endian.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

impl FromStr for Serial {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let rule = IdError { what: "serial number", rule: "must be 32 hexadecimal digits" };
        let mut bytes = [0u8; 16];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| rule)?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Serial {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<Serial> for String {
    fn from(serial: Serial) -> Self {
        serial.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_break_a_uri_a_key_or_a_log_are_refused() {
        for bad in ["", "A", "a/b", "a b", "-a", "a-", "ä", "a\n", &"a".repeat(64)] {
            assert!(bad.parse::<TenantId>().is_err(), "{bad:?}");
        }
        for bad in ["", ".", "..", "a/b", "a#b", "a\u{0}", "é", &"a".repeat(65)] {
            assert!(bad.parse::<PrincipalId>().is_err(), "{bad:?}");
        }
        for bad in ["acme", "acme.0", "acme.01", "acme.+1", ".1", "a.b.1"] {
            assert!(bad.parse::<CaId>().is_err(), "{bad:?}");
        }
        assert!("acme".parse::<TenantId>().is_ok() && "Worker_1.a".parse::<PrincipalId>().is_ok());
    }

    #[test]
    fn a_serial_survives_der_and_text() {
        let serial = Serial::new(crate::Time::from_unix_millis(1_700_000_000_000), [0xff; 10]);
        assert_eq!(Some(serial), Serial::from_der_integer(serial.as_bytes()));
        assert_eq!(Ok(serial), serial.to_string().parse());
        assert_eq!(Serial::from_der_integer(&[0xff; 17]), None);
    }
}
