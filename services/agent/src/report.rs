//! How the agent is doing, for `status`, its socket and metrics.

use serde::{Deserialize, Serialize};

/// The whole agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct Report {
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// One for each identity, in the order of the configuration.
    pub identities: Vec<IdentityReport>,
}

/// One identity. Times are RFC 3339.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct IdentityReport {
    /// Name of the identity in the configuration.
    pub name: String,
    /// `enrolling`, `fresh`, `due`, `expired` or `refused`.
    pub standing: String,
    /// Empty until it is enrolled; so are the next ones.
    pub spiffe_id: String,
    /// Hexadecimal.
    pub serial_number: String,
    /// End of validity.
    pub not_after: String,
    /// The same in seconds since the Unix epoch; 0 until it is enrolled.
    pub not_after_seconds: i64,
    /// When it is renewed, or the next attempt made.
    pub next_attempt: String,
    /// Failed attempts since the present certificate came, or since the agent started.
    pub failures: u32,
    /// Renewals since the agent started.
    pub renewals: u64,
    /// Whether all files are written.
    pub published: bool,
    /// Whether the control plane knows that: from then on the certificate before cannot be renewed.
    pub confirmed: bool,
    /// When the control plane last named the tenant's CAs (`bundle.pem`); empty: not since the agent started.
    #[serde(default)]
    pub bundle_time: String,
    pub files: Vec<String>,
    /// The tenant's revocation lists; `None` if nobody gets them.
    #[serde(default)]
    pub lists: Option<ListsReport>,
    /// What is wrong with the certificate, if anything.
    pub problem: Option<ProblemReport>,
    /// What somebody could do about it; empty if nothing.
    #[serde(default)]
    pub advice: String,
    /// How the programs that use it were told of the last change; `None` if nobody is to be told.
    pub handover: Option<HandoverReport>,
    /// Whether the program refuses what was revoked on purpose; `None` if nobody is asked.
    #[serde(default)]
    pub canary: Option<CanaryReport>,
}

/// What went wrong last and was not put right since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct ProblemReport {
    pub at: String,
    /// `load`, `enroll`, `renew`, `store`, `confirm`, `connect`.
    pub action: String,
    /// UPPER_SNAKE_CASE.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// The revocation lists of the tenant's CAs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListsReport {
    /// When the first of them ends: then programs refuse everybody. Empty: an anchor has none yet.
    pub until: String,
    /// The same in seconds since the Unix epoch; 0: an anchor has none yet.
    pub until_seconds: i64,
    /// They should have been renewed, or be there, by now.
    pub late: bool,
}

/// The exec command and the signal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandoverReport {
    /// Whether the programs know of the present files.
    pub done: bool,
    /// When it was tried last.
    pub at: String,
    /// Failed attempts since the last success.
    pub failures: u32,
    /// What went wrong; empty if nothing.
    pub message: String,
}

/// The certificate that is revoked on purpose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryReport {
    /// `proved`: the program refuses it; `not_proved`: nothing is known; `accepted`: the program sees no revocations.
    pub state: String,
    /// When it was looked last.
    pub at: String,
    /// Why it is not proved; empty otherwise.
    pub message: String,
}

impl CanaryReport {
    /// The program accepts the revoked.
    pub const ACCEPTED: &str = "accepted";
    /// It refuses them.
    pub const PROVED: &str = "proved";
    /// Nothing is known.
    pub const NOT_PROVED: &str = "not_proved";
}

impl IdentityReport {
    /// Whether a program was seen to accept what is revoked.
    pub(crate) fn accepts_the_revoked(&self) -> bool {
        self.canary.as_ref().is_some_and(|canary| canary.state == CanaryReport::ACCEPTED)
    }

    /// Nothing for anybody to do.
    pub fn is_well(&self) -> bool {
        let told = self.handover.as_ref().is_none_or(|handover| handover.done);
        let listed = self.lists.as_ref().is_none_or(|lists| !lists.late);
        let refused = !self.accepts_the_revoked();
        self.standing == "fresh" && self.published && told && listed && refused && self.problem.is_none()
    }
}
