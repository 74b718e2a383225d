//! What is said about a reason.

/// Where a reason can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Told {
    /// `google.rpc.ErrorInfo`, the `reason` of HTTP problem details.
    Caller,
    /// The audit log, of a refused proof: the caller is told no more than `ENROLLMENT_REFUSED`.
    AuditLog,
    /// A connection that was refused or cut: GOAWAY, the node's log and metrics, the audit log.
    Connection,
    /// The answer of `Check`: no error.
    Decision,
    /// The answer of `VerifyMessage`: no error.
    Verification,
    /// The answer of `TestEnrollmentRules`.
    RuleTest,
    /// `/readyz`, a node's log, `principal bootstrap`.
    Operator,
    /// The SDK, the agent and the CLI make it themselves.
    Client,
}

/// One reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// UPPER_SNAKE_CASE.
    pub name: &'static str,
    /// Where it can be read.
    pub told: &'static [Told],
    /// The gRPC codes that callers get it with, or `HTTP` and a status where no RPC gives it.
    pub codes: &'static [&'static str],
    /// What it says, in one sentence.
    pub meaning: &'static str,
    /// What whoever reads it does next, in one sentence.
    pub action: &'static str,
}

impl Told {
    /// In a few words.
    pub const fn place(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::AuditLog => "audit log",
            Self::Connection => "connection",
            Self::Decision => "decision",
            Self::Verification => "verification",
            Self::RuleTest => "rule test",
            Self::Operator => "operator",
            Self::Client => "client",
        }
    }
}

/// `NAME [where; codes] meaning => action;` for each: a struct literal takes seven lines.
macro_rules! reasons {
    ($($name:ident [$($told:ident)+; $($code:literal),*] $meaning:literal => $action:literal;)+) => {
        /// Sorted by name.
        pub(super) const REASONS: &[Reason] = &[$(Reason {
            name: stringify!($name),
            told: &[$(Told::$told),+],
            codes: &[$($code),*],
            meaning: $meaning,
            action: $action,
        }),+];
    };
}

pub(super) use reasons;
