//! How much an audit event matters. Nothing of it is stored or sealed: it follows from the operation and its outcome,
//! so that events of earlier releases have one too.

/// From routine to what somebody should look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// An operation that was carried out.
    Info,
    /// A refusal or a failure. Whoever reaches a node can cause some of these.
    Warning,
    /// A right was taken away, or a key is in other hands. Nobody can cause it without a key or a permission.
    High,
}

/// What takes a right away: suspends, revokes, deletes or ends it, or brings back an earlier state.
const ENDINGS: [&str; 10] = [
    "DeleteEnrollmentRule",
    "DeleteMessageSecret",
    "DeletePrincipal",
    "DeleteTenant",
    "RevokeCertificate",
    "RevokeToken",
    "SuspendPrincipal",
    "SuspendTenant",
    "purge-tenants",
    "restore",
];

/// Outcomes that show a copied key, a CA's key that signs past Signet, or a key's holder that tries what it may not.
/// All of them come after the CA's signature was verified.
const COMPROMISES: [&str; 7] = [
    "CERTIFICATE_KEY_UNSUPPORTED",
    "CERTIFICATE_UNKNOWN",
    "CERTIFICATE_VALID_TOO_LONG",
    "CLONE_DETECTED",
    "EXTENSION_DISAGREES_WITH_URI",
    "FAILURE_LIMIT_REACHED",
    "MISSING_EXTENSION",
];

impl Severity {
    /// Of an event with this operation and outcome, as its payload names them.
    pub fn of(operation: &str, outcome: &str) -> Self {
        match outcome {
            "OK" if ENDINGS.contains(&operation) => Self::High,
            "OK" => Self::Info,
            outcome if COMPROMISES.contains(&outcome) => Self::High,
            _ => Self::Warning,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reasons;

    #[test]
    fn routine_is_info_refusals_are_warnings_and_endings_and_copied_keys_are_high() {
        for operation in ["RenewCertificate", "Enroll", "ActivatePrincipal", "sweeper", "OfALaterRelease"] {
            assert_eq!(Severity::of(operation, "OK"), Severity::Info, "{operation}");
            assert_eq!(Severity::of(operation, "TOKEN_EXPIRED"), Severity::Warning, "{operation}");
            assert_eq!(Severity::of(operation, "CLONE_DETECTED"), Severity::High, "{operation}");
        }
        assert_eq!(Severity::of("SuspendPrincipal", "OK"), Severity::High);
        assert_eq!(Severity::of("Connect", "CERTIFICATE_UNKNOWN"), Severity::High);
        assert_eq!(Severity::of("RevokeCertificate", "PERMISSION_MISSING"), Severity::Warning, "nothing was revoked");
        assert_eq!(Severity::of("Connect", "BAD_CERTIFICATE_SIGNATURE"), Severity::Warning, "strangers can cause it");
    }

    #[test]
    fn outcomes_are_reasons_and_the_order_is_of_weight() {
        assert!(COMPROMISES.iter().all(|name| reasons::all().any(|reason| reason.name == *name)));
        assert!(Severity::Info < Severity::Warning && Severity::Warning < Severity::High);
    }
}
