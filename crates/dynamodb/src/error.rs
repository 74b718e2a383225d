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
    StoreError::Unavailable(describe(error))
}

/// A transaction that failed, after all attempts. `in_doubt`: one of them may have been applied.
pub(crate) fn transaction<R: std::fmt::Debug + 'static>(
    error: &SdkError<TransactWriteItemsError, R>,
    in_doubt: bool,
) -> StoreError {
    if let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error() {
        let failed = |reason: &CancellationReason| reason.code() == Some("ConditionalCheckFailed");
        if let Some(write) = cancelled.cancellation_reasons().iter().position(failed) {
            return StoreError::Conflict { write };
        }
    }
    let text = describe(error);
    let timed_out = matches!(error, SdkError::TimeoutError(_));
    if in_doubt || timed_out {
        return StoreError::Unknown(text);
    }
    if too_large(error) { StoreError::TooLarge(text) } else { StoreError::Unavailable(text) }
}

/// An item above 400 kB or a transaction above 4 MB; DynamoDB says so only in words.
fn too_large<R>(error: &SdkError<TransactWriteItemsError, R>) -> bool {
    let reasons = match error.as_service_error() {
        Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => cancelled.cancellation_reasons(),
        _ => &[],
    };
    let words =
        |text: Option<&str>| text.is_some_and(|t| t.contains("size") && (t.contains("exceed") || t.contains("large")));
    words(error.message()) || reasons.iter().any(|reason| words(reason.message()))
}

/// An item that the SDK's builder refuses: cannot happen with our keys.
pub(crate) fn unbuildable(key: &Key, error: &BuildError) -> StoreError {
    StoreError::Corrupt { key: key.to_string(), reason: error.to_string() }
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
