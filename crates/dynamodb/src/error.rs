//! SDK errors as the port's.

use std::{error::Error, io, iter::successors};

use aws_sdk_dynamodb::{
    error::{BuildError, ProvideErrorMetadata, SdkError},
    operation::transact_write_items::TransactWriteItemsError,
    types::CancellationReason,
};
use signet_core::{StoreError, store::Key};

/// A read that failed, after all attempts.
pub(crate) fn unavailable<E, R>(error: &SdkError<E, R>) -> StoreError
where
    E: Error + ProvideErrorMetadata + 'static,
    R: std::fmt::Debug + 'static,
{
    failed(error)
}

/// A transaction that failed, after all attempts. `in_doubt`: one of them may have been applied.
pub(crate) fn transaction<R: std::fmt::Debug + 'static>(
    error: &SdkError<TransactWriteItemsError, R>,
    in_doubt: bool,
) -> StoreError {
    let reasons = reasons(error);
    if let Some(write) = reasons.iter().position(|reason| reason.code() == Some("ConditionalCheckFailed")) {
        return StoreError::Conflict { write };
    }
    let text = describe(error);
    let timed_out = matches!(error, SdkError::TimeoutError(_));
    if in_doubt || timed_out {
        return StoreError::Unknown(text);
    }
    if too_large(error) {
        return StoreError::TooLarge(text);
    }
    match reasons.iter().find(|reason| reason.code() == Some("ValidationError")) {
        Some(invalid) => StoreError::Refused(format!("{text}: {}", invalid.message().unwrap_or("-"))),
        None => failed(error),
    }
}

/// Why each write was cancelled, if the transaction was.
fn reasons<R>(error: &SdkError<TransactWriteItemsError, R>) -> &[CancellationReason] {
    match error.as_service_error() {
        Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => cancelled.cancellation_reasons(),
        _ => &[],
    }
}

/// A call that did nothing: whether trying again may help, by its code (DynamoDB Developer Guide, "Error handling").
fn failed<E, R>(error: &SdkError<E, R>) -> StoreError
where
    E: Error + ProvideErrorMetadata + 'static,
    R: std::fmt::Debug + 'static,
{
    let text = describe(error);
    let advice = match error.as_service_error().and_then(ProvideErrorMetadata::code) {
        Some("ResourceNotFoundException") => "is the table there, in this region and under this prefix?",
        Some("AccessDeniedException") => "the role's policy refuses it (infra/modules/tables/access.tf)",
        Some("UnrecognizedClientException" | "InvalidSignatureException" | "IncompleteSignatureException") => {
            "AWS does not accept our credentials, or our clock"
        }
        // DynamoDB says so only in words.
        Some("ValidationException") if text.contains("specified index") || text.contains("backfilling") => {
            "is the index there and ACTIVE (infra/modules/tables/schema.tf)?"
        }
        Some("ValidationException" | "IdempotentParameterMismatchException" | "SerializationException") => {
            return StoreError::Refused(text);
        }
        _ => return StoreError::Unavailable(text),
    };
    StoreError::Misconfigured(format!("{text}; {advice}"))
}

/// An item above 400 kB or a transaction above 4 MB; DynamoDB says so only in words.
fn too_large<R>(error: &SdkError<TransactWriteItemsError, R>) -> bool {
    let words =
        |text: Option<&str>| text.is_some_and(|t| t.contains("size") && (t.contains("exceed") || t.contains("large")));
    words(error.message()) || reasons(error).iter().any(|reason| words(reason.message()))
}

/// An item that the SDK's builder refuses: cannot happen with our keys.
pub(crate) fn unbuildable(key: &Key, error: &BuildError) -> StoreError {
    StoreError::Refused(format!("{key}: {error}"))
}

/// Code and message of an answer, or the whole chain of a failure below it.
pub(crate) fn describe<E, R>(error: &SdkError<E, R>) -> String
where
    E: Error + ProvideErrorMetadata + 'static,
    R: std::fmt::Debug + 'static,
{
    match error.as_service_error() {
        Some(answer) => format!("{}: {}", answer.code().unwrap_or("unnamed error"), answer.message().unwrap_or("-")),
        None => chain(error),
    }
}

/// An error and its causes in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Whether nothing ever left this machine.
pub(crate) fn never_connected(error: &(dyn Error + 'static)) -> bool {
    successors(Some(error), |&error| error.source())
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|io| io.kind() == io::ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::{
        error::ErrorMetadata, operation::get_item::GetItemError, types::error::TransactionCanceledException,
    };

    use super::*;

    fn get_item(code: &str) -> StoreError {
        let answer = GetItemError::generic(ErrorMetadata::builder().code(code).message("because").build());
        unavailable(&SdkError::service_error(answer, ()))
    }

    #[test]
    fn what_only_the_operator_can_mend_is_told_apart() {
        for code in ["ResourceNotFoundException", "AccessDeniedException", "UnrecognizedClientException"] {
            let error = get_item(code);
            assert!(matches!(&error, StoreError::Misconfigured(why) if why.contains(code)), "{error}");
        }
        for code in ["ProvisionedThroughputExceededException", "InternalServerError", "ThrottlingException"] {
            assert!(matches!(get_item(code), StoreError::Unavailable(_)), "{code}");
        }
        let index = "The table does not have the specified index: listing";
        let answer = ErrorMetadata::builder().code("ValidationException").message(index).build();
        let error = unavailable(&SdkError::service_error(GetItemError::generic(answer), ()));
        assert!(matches!(&error, StoreError::Misconfigured(why) if why.contains("ACTIVE")), "{error}");
        let refused = TransactWriteItemsError::generic(ErrorMetadata::builder().code("AccessDeniedException").build());
        let refused = SdkError::service_error(refused, ());
        assert!(matches!(transaction(&refused, false), StoreError::Misconfigured(_)));
        assert!(
            matches!(transaction(&refused, true), StoreError::Unknown(_)),
            "an attempt before may have been applied"
        );
    }

    /// Trying again would fail for ever.
    #[test]
    fn what_dynamodb_does_not_take_is_our_own_fault() {
        for code in ["ValidationException", "IdempotentParameterMismatchException", "SerializationException"] {
            assert!(matches!(get_item(code), StoreError::Refused(why) if why.contains("because")), "{code}");
        }
        let reason = |code: &str| CancellationReason::builder().code(code).message("an empty index key").build();
        let cancelled = |codes: &[&str]| {
            let reasons = codes.iter().map(|code| reason(code)).collect();
            let cancelled = TransactionCanceledException::builder().set_cancellation_reasons(Some(reasons)).build();
            let cancelled = TransactWriteItemsError::TransactionCanceledException(cancelled);
            transaction(&SdkError::service_error(cancelled, ()), false)
        };
        let error = cancelled(&["None", "ValidationError"]);
        assert!(matches!(&error, StoreError::Refused(why) if why.contains("an empty index key")), "{error}");
        assert!(matches!(cancelled(&["TransactionConflict"]), StoreError::Unavailable(_)));
        assert_eq!(cancelled(&["ValidationError", "ConditionalCheckFailed"]), StoreError::Conflict { write: 1 });
    }
}
