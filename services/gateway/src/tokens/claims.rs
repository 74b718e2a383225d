//! What an access token says.

use serde::{Deserialize, Serialize};
use signet_core::{Lifetime, Time};

use crate::subject::Subject;

/// RFC 9068 section 2.2, and whom Signet knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AccessClaims {
    pub(crate) iss: String,
    pub(crate) aud: String,
    /// The principal's SPIFFE id.
    pub(crate) sub: String,
    /// The same: a principal is its own client.
    pub(crate) client_id: String,
    pub(crate) iat: i64,
    pub(crate) exp: i64,
    pub(crate) jti: String,
    pub(crate) tenant: String,
    pub(crate) principal_type: String,
    pub(crate) roles: Vec<String>,
    pub(crate) cnf: Confirmation,
}

/// RFC 8705 section 3.1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Confirmation {
    #[serde(rename = "x5t#S256")]
    pub(crate) x5t: String,
}

impl AccessClaims {
    /// Of a new token, which ends with the certificate at the latest. `id` is what no other token has.
    pub(crate) fn of(
        subject: &Subject,
        (issuer, audience): (&str, &str),
        (now, lifetime): (Time, Lifetime),
        id: &[u8],
    ) -> Self {
        Self {
            iss: issuer.to_owned(),
            aud: audience.to_owned(),
            sub: subject.spiffe_id.to_string(),
            client_id: subject.spiffe_id.to_string(),
            iat: now.unix_seconds(),
            exp: now.plus(lifetime).min(subject.until).unix_seconds(),
            jti: hex::encode(id),
            tenant: subject.tenant.to_string(),
            principal_type: subject.kind.to_owned(),
            roles: subject.roles.to_vec(),
            cnf: Confirmation { x5t: subject.x5t.to_string() },
        }
    }

    /// End of validity.
    pub(crate) const fn until(&self) -> Time {
        Time::from_unix_seconds(self.exp)
    }
}
