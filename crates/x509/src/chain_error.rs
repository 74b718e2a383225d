//! Why a chain is refused.

use thiserror::Error;

/// Why a client's certificate is refused. [`ChainError::MissingExtension`], [`ChainError::ExtensionDisagrees`],
/// [`ChainError::UnsupportedKey`] and [`ChainError::ValidTooLong`] are found after the signature was checked: one of
/// the tenant's CAs really signed it. The others may speak of what anybody wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ChainError {
    /// Not a certificate, or one that cannot be understood.
    #[error("the client's certificate is malformed")]
    Malformed,
    /// No URI name: nobody's (X.509-SVID section 2).
    #[error("the client's certificate has no URI name")]
    NoUriName,
    /// More than one URI name (X.509-SVID section 2).
    #[error("the client's certificate has more than one URI name")]
    MultipleUriNames,
    /// Its URI is not of this environment.
    #[error("the client's certificate belongs to a foreign trust domain")]
    ForeignTrustDomain,
    /// The trust domain is ours, the path is not `/<type>/<principal id>`.
    #[error("the client's SPIFFE ID has no valid path")]
    BadSpiffeId,
    /// There is no such tenant.
    #[error("the client's tenant does not exist")]
    UnknownTenant,
    /// Signed by itself.
    #[error("the client's certificate is self-signed")]
    SelfSigned,
    /// Not signed by a CA of its tenant.
    #[error("the client's certificate was not signed by a CA of its tenant")]
    UntrustedIssuer,
    /// The name is that of the tenant's CA, the signature is not.
    #[error("the client's certificate carries a bad signature")]
    BadSignature,
    /// It is older than its CA's certificate: one of that name was lost, and made anew on its key.
    #[error("the client's certificate is older than the CA that it names")]
    IssuerReplaced,
    /// Its validity has ended.
    #[error("the client's certificate has expired")]
    Expired,
    /// Its validity has not begun.
    #[error("the client's certificate is not valid yet")]
    NotYetValid,
    /// Not for client authentication, or not said to be.
    #[error("the client's certificate is not for client authentication")]
    WrongKeyUsage,
    /// Its key is not on P-256.
    #[error("the client's certificate is for a key that is not on P-256")]
    UnsupportedKey,
    /// It is valid for longer than any tenant may allow.
    #[error("the client's certificate is valid for more than 90 days")]
    ValidTooLong,
    /// It is a CA's certificate.
    #[error("the client's certificate is a CA's")]
    IsACa,
    /// One of our extensions is missing.
    #[error("the client's certificate lacks one of Signet's extensions")]
    MissingExtension,
    /// An extension and the URI contradict each other.
    #[error("the client's certificate contradicts itself: an extension disagrees with its URI")]
    ExtensionDisagrees,
}

impl ChainError {
    /// UPPER_SNAKE_CASE, for audit events, metrics and `google.rpc.ErrorInfo`.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "CERTIFICATE_MALFORMED",
            Self::NoUriName => "CERTIFICATE_WITHOUT_URI",
            Self::MultipleUriNames => "CERTIFICATE_WITH_MULTIPLE_URIS",
            Self::ForeignTrustDomain => "FOREIGN_TRUST_DOMAIN",
            Self::BadSpiffeId => "BAD_SPIFFE_ID",
            Self::UnknownTenant => "UNKNOWN_TENANT",
            Self::SelfSigned => "CERTIFICATE_SELF_SIGNED",
            Self::UntrustedIssuer => "UNTRUSTED_ISSUER",
            Self::BadSignature => "BAD_CERTIFICATE_SIGNATURE",
            Self::IssuerReplaced => "ISSUER_REPLACED",
            Self::Expired => "CERTIFICATE_EXPIRED",
            Self::NotYetValid => "CERTIFICATE_NOT_YET_VALID",
            Self::WrongKeyUsage => "WRONG_EXTENDED_KEY_USAGE",
            Self::UnsupportedKey => "CERTIFICATE_KEY_UNSUPPORTED",
            Self::ValidTooLong => "CERTIFICATE_VALID_TOO_LONG",
            Self::IsACa => "CERTIFICATE_IS_A_CA",
            Self::MissingExtension => "MISSING_EXTENSION",
            Self::ExtensionDisagrees => "EXTENSION_DISAGREES_WITH_URI",
        }
    }
}
