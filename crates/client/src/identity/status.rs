//! How an identity is doing.

use signet_core::Time;

use crate::{credentials::CertificateFacts, error::ClientError};

/// What is to be said about an identity in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenewalState {
    /// Valid, and not due.
    Fresh,
    /// Valid, due, and not renewed yet: [`Status::problem`] says why, if an attempt has failed.
    Due,
    /// Expired. The out-of-band path may still renew it.
    Expired,
    /// Only a new enrollment helps: revoked, locked, expired for too long.
    Refused,
}

impl RenewalState {
    /// All, for gauges.
    pub const ALL: [Self; 4] = [Self::Fresh, Self::Due, Self::Expired, Self::Refused];

    /// Its name in status output and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Due => "due",
            Self::Expired => "expired",
            Self::Refused => "refused",
        }
    }
}

/// The last thing that went wrong and was not put right since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastFailure {
    /// When, by our own clock.
    pub at: Time,
    /// What was tried: `renew`, `store`, `confirm`, `enroll`, `connect`.
    pub action: &'static str,
    /// UPPER_SNAKE_CASE, for programs.
    pub reason: String,
    /// For people.
    pub message: String,
}

impl LastFailure {
    pub(crate) fn new(at: Time, action: &'static str, error: &ClientError) -> Self {
        Self { at, action, reason: error.reason().to_owned(), message: error.to_string() }
    }
}

/// See the module's words. Instants are by our own clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// `spiffe://…`
    pub spiffe_id: String,
    /// What the certificate says.
    pub facts: CertificateFacts,
    /// In one word.
    pub standing: RenewalState,
    /// When it is renewed; after a failure, when the next attempt is made.
    pub next_attempt: Time,
    /// Failed attempts since this certificate came.
    pub failures: u32,
    /// Renewals (and enrollments) since the program started.
    pub renewals: u64,
    /// Whether [`crate::Storage`] has it.
    pub stored: bool,
    /// Whether the control plane knows that: from then on its predecessor is refused.
    pub confirmed: bool,
    /// When the control plane last named the tenant's CAs, with a certificate, a renewal window or the bundle's
    /// stream; `None`: not since the program started. Peers with certificates of a newer CA are refused until it
    /// does.
    pub bundle_time: Option<Time>,
    /// What is wrong, if anything.
    pub problem: Option<LastFailure>,
}
