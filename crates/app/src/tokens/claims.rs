//! What tokens say.

use serde::{Deserialize, Serialize};
use signet_core::{Entropy, Role, Serial, Time, authorities::signer::random};

pub use super::broker::{AclEntry, BROKER_TOKEN, BrokerToken, acl};

/// `typ` of access tokens (RFC 9068 section 2.1).
pub const ACCESS_TOKEN: &str = "at+jwt";
/// `typ` of JWT-SVIDs (JWT-SVID section 2.3).
pub const JWT_SVID: &str = "JWT";
/// `typ` of WIT-SVIDs.
pub const WIT_SVID: &str = "wit+jwt";
/// `typ` of security event tokens (RFC 8417 section 2.3).
pub const SECURITY_EVENT: &str = "secevent+jwt";

/// An access token (RFC 9068 section 2.2), bound to a certificate (RFC 8705 section 3.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessToken {
    /// The tenant's issuer.
    pub iss: String,
    /// Whose: a SPIFFE ID.
    pub sub: String,
    /// For whom.
    pub aud: String,
    /// The id of who asked for it, whose certificate it is bound to: `sub`'s, but where another's token was exchanged.
    pub client_id: String,
    /// Who acts for `sub` (RFC 8693 section 4.1): where another's token was exchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<ActingParty>,
    /// What it allows: permissions, parted by spaces.
    pub scope: String,
    /// Issued at, Unix seconds.
    pub iat: i64,
    /// Its end, Unix seconds.
    pub exp: i64,
    /// Unlike all others.
    pub jti: String,
    /// The certificate that it is bound to.
    pub cnf: CertificateConfirmation,
    /// Roles that the holder has in its tenant (RFC 9068 section 2.2.3.1).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<Role>,
    /// The same certificate as what is revoked names it: its issuer and, behind a slash, its serial number in
    /// hexadecimal.
    pub certificate: String,
}

/// RFC 8693 section 4.1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActingParty {
    /// A SPIFFE ID.
    pub sub: String,
}

/// RFC 8705 section 3.1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateConfirmation {
    /// Of the certificate, base64url.
    #[serde(rename = "x5t#S256")]
    pub x5t_s256: String,
}

/// A JWT-SVID (JWT-SVID section 3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JwtSvid {
    /// The tenant's issuer of these, for those that know OpenID Connect.
    pub iss: String,
    /// A SPIFFE ID.
    pub sub: String,
    /// For whom.
    pub aud: Vec<String>,
    /// Issued at, Unix seconds.
    pub iat: i64,
    /// Its end, Unix seconds.
    pub exp: i64,
    /// Unlike all others.
    pub jti: String,
}

/// A WIT-SVID: the holder proves with each request that it has the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitSvid {
    /// The tenant's issuer of these.
    pub iss: String,
    /// A SPIFFE ID.
    pub sub: String,
    /// Issued at, Unix seconds.
    pub iat: i64,
    /// Its end, Unix seconds.
    pub exp: i64,
    /// Unlike all others.
    pub jti: String,
    /// The holder's key.
    pub cnf: ConfirmedKey,
}

/// RFC 7800 section 3.2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfirmedKey {
    /// A public key.
    pub jwk: serde_json::Value,
}

/// A security event token (RFC 8417), as OpenID Shared Signals has it: no `sub` and no `exp`, so that nothing takes it
/// for a token that lets somebody in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityEventToken {
    /// The tenant's issuer: that of access tokens.
    pub iss: String,
    /// For whom: the receiver's SPIFFE ID.
    pub aud: String,
    /// Unlike all others, and the same whenever the event is told to this receiver.
    pub jti: String,
    /// Issued at, Unix seconds.
    pub iat: i64,
    /// The underlying event, for all receivers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub txn: Option<String>,
    /// When the event was, Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toe: Option<i64>,
    /// What it is about (RFC 9493).
    pub sub_id: serde_json::Value,
    /// One event, by its type.
    pub events: serde_json::Value,
}

/// 128 random bits behind the time, as serial numbers are.
pub fn token_id(entropy: &dyn Entropy, now: Time) -> String {
    Serial::new(now, random(entropy)).to_string()
}
