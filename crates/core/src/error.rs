//! Errors by who must act.

use thiserror::Error;

use crate::{
    KeyError, Lifetime, StoreError, authorization::denial::Denial, id::IdError, tenants::quota::OverQuota,
    trust::Refusal,
};

/// Why an operation failed. Mapped to gRPC, HTTP and exit codes in one exhaustive match each.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub enum Error {
    /// The caller sent something that cannot be: mend the field.
    #[error("{field}: {message}")]
    Invalid {
        /// The request's field, as the .proto names it.
        field: &'static str,
        /// UPPER_SNAKE_CASE, for programs.
        reason: &'static str,
        /// The rule, for people.
        message: String,
    },
    /// No such resource in the caller's reach.
    #[error("{resource} {id} does not exist")]
    NotFound {
        /// E.g. `principal`.
        resource: &'static str,
        /// As the caller named it.
        id: String,
    },
    /// There is one already.
    #[error("{resource} {id} already exists")]
    AlreadyExists {
        /// E.g. `principal`.
        resource: &'static str,
        /// As the caller named it.
        id: String,
    },
    /// The resource's state forbids it.
    #[error("{message}")]
    Precondition {
        /// UPPER_SNAKE_CASE, for programs.
        reason: &'static str,
        /// What is in the way and what to do.
        message: String,
    },
    /// A limit was reached.
    #[error("{message}")]
    Exhausted {
        /// UPPER_SNAKE_CASE, for programs.
        reason: &'static str,
        /// Which limit, and what to do.
        message: String,
        /// When trying again may help, if time alone does.
        retry_after: Option<Lifetime>,
    },
    /// The tenant has as much of something as it may.
    #[error(transparent)]
    OverQuota(#[from] OverQuota),
    /// The caller may not.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// The caller's certificate does not count.
    #[error(transparent)]
    Unauthenticated(#[from] Refusal),
    /// An enrollment proof did not hold. The caller learns no more than this.
    #[error("enrollment refused")]
    ProofRefused {
        /// Which check failed; for the audit log, never for the caller.
        reason: &'static str,
    },
    /// Somebody else changed the same thing: read it again and retry.
    #[error("{0} was changed concurrently; read it again and retry")]
    Conflict(&'static str),
    /// The store or a key cannot be reached: try again.
    #[error("{what} is not available")]
    Unavailable {
        what: &'static str,
        /// The cause, for logs.
        cause: String,
    },
    /// The store is being restored, or a restore was cut off: nobody else writes until its operator has ended that.
    #[error("the environment's store is being restored; until its operator has ended that, nothing is changed")]
    Restoring {
        /// What is restored and what to do, for logs.
        cause: String,
    },
    /// A key, table or right of the environment is not as it must be. Trying again changes nothing until its operator
    /// has mended it.
    #[error("{what} is misconfigured; the environment's operator must fix it")]
    Misconfigured {
        what: &'static str,
        /// What is wrong and what to do, for logs.
        cause: String,
    },
    /// A record that is needed is damaged. Unlike a refusal it leaves open what was done before: the same request, sent
    /// again once the record is repaired, completes it.
    #[error("the record {key} cannot be read; see the runbook UnreadableRecords{also}")]
    Unreadable {
        /// Where the record is in the store.
        key: String,
        /// What was done all the same, starting with "; "; or nothing.
        also: &'static str,
    },
    /// Our own fault.
    #[error("internal error")]
    Internal {
        /// The cause, for logs.
        cause: String,
    },
}

impl Error {
    /// A bad field.
    pub fn invalid(field: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid { field, reason, message: message.into() }
    }

    /// A missing resource.
    pub fn not_found(resource: &'static str, id: impl ToString) -> Self {
        Self::NotFound { resource, id: id.to_string() }
    }

    /// A state that forbids it.
    pub fn precondition(reason: &'static str, message: impl Into<String>) -> Self {
        Self::Precondition { reason, message: message.into() }
    }

    /// Our own fault.
    pub fn internal(cause: impl ToString) -> Self {
        Self::Internal { cause: cause.to_string() }
    }

    /// A bad identifier in `field`.
    pub fn id(field: &'static str) -> impl Fn(IdError) -> Self {
        move |error| Self::invalid(field, "INVALID_ID", error.to_string())
    }

    /// UPPER_SNAKE_CASE, for `google.rpc.ErrorInfo`, audit events and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Invalid { reason, .. } | Self::Precondition { reason, .. } | Self::Exhausted { reason, .. } => reason,
            Self::OverQuota(over) => over.quota.reason(),
            Self::NotFound { .. } => "NOT_FOUND",
            Self::AlreadyExists { .. } => "ALREADY_EXISTS",
            Self::Denied(denial) => denial.reason(),
            Self::Unauthenticated(refusal) => refusal.reason(),
            Self::ProofRefused { .. } => "ENROLLMENT_REFUSED",
            Self::Conflict(_) => "CONCURRENT_CHANGE",
            Self::Unavailable { .. } => "UNAVAILABLE",
            Self::Restoring { .. } => "STORE_RESTORING",
            Self::Misconfigured { .. } => "MISCONFIGURED",
            Self::Unreadable { .. } => "RECORD_UNREADABLE",
            Self::Internal { .. } => "INTERNAL",
        }
    }
}

/// What callers without a certificate are told of [`Error::Unreadable`].
pub const UNREADABLE_TO_STRANGERS: &str =
    "a record that this needs cannot be read; its operator finds it in the log (runbook UnreadableRecords)";

/// How errors name a key that signs.
const SIGNING_KEY: &str = "the signing key";

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict { .. } => Self::Conflict("the record"),
            StoreError::Unknown(_) | StoreError::Unavailable(_) => {
                Self::Unavailable { what: "the store", cause: error.to_string() }
            }
            StoreError::Restoring(cause) => Self::Restoring { cause },
            StoreError::Misconfigured(cause) => Self::Misconfigured { what: "the store", cause },
            StoreError::Corrupt { key, .. } => Self::Unreadable { key, also: "" },
            StoreError::Refused(_) | StoreError::TooLarge(_) => Self::internal(error),
        }
    }
}

impl From<KeyError> for Error {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::BadSignature(_) => Self::internal(error),
            KeyError::Unavailable(_) => Self::Unavailable { what: SIGNING_KEY, cause: error.to_string() },
            KeyError::NotFound(_) | KeyError::Unusable { .. } | KeyError::Denied { .. } | KeyError::NotMade { .. } => {
                Self::Misconfigured { what: SIGNING_KEY, cause: error.to_string() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who must act: the caller by trying again, or the operator.
    #[test]
    fn what_only_the_operator_can_mend_is_not_told_as_passing() {
        let (key, reason) = ("kms:x".to_owned(), "because".to_owned());
        let permanent = [
            KeyError::NotFound(key.clone()),
            KeyError::Unusable { key: key.clone(), reason: reason.clone() },
            KeyError::Denied { key: key.clone(), reason: reason.clone() },
            KeyError::NotMade { key, reason: reason.clone() },
        ];
        for error in permanent.map(Error::from).into_iter().chain([StoreError::Misconfigured(reason).into()]) {
            assert!(matches!(&error, Error::Misconfigured { cause, .. } if !cause.is_empty()), "{error:?}");
            assert_eq!(error.reason(), "MISCONFIGURED");
        }
        for ours in [StoreError::Refused("because".into()), StoreError::TooLarge("because".into())].map(Error::from) {
            assert!(matches!(&ours, Error::Internal { cause } if cause.contains("because")), "{ours:?}");
        }
        let passing = [
            Error::from(KeyError::Unavailable("slow".into())),
            StoreError::Unavailable("slow".into()).into(),
            StoreError::Unknown("slow".into()).into(),
        ];
        assert!(passing.iter().all(|error| matches!(error, Error::Unavailable { .. })), "{passing:?}");
    }
}
