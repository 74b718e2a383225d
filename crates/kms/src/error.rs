//! SDK errors as the port's.

use std::{error::Error, fmt::Debug, iter::successors};

use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use signet_core::KeyError;

/// What became of `action` (as IAM calls it) on `key`, after all attempts.
pub(crate) fn of<E, R>(key: &str, action: &str, error: &SdkError<E, R>) -> KeyError
where
    E: Error + ProvideErrorMetadata + 'static,
    R: Debug + 'static,
{
    let Some(answer) = error.as_service_error() else {
        return KeyError::Unavailable(format!("{action}: {}", chain(error)));
    };
    let (key, message) = (key.to_owned(), answer.message().unwrap_or("no reason given"));
    let code = answer.code().unwrap_or("unnamed error");
    if code != "NotFoundException" {
        // The alarm KmsThrottled counts these lines.
        tracing::warn!(kms.key = key, action, code, message, "KMS refused");
    }
    match code {
        "NotFoundException" | "InvalidArnException" => KeyError::NotFound(key),
        "DisabledException" => {
            KeyError::Unusable { key, reason: "it is disabled; enable it again with kms:EnableKey".into() }
        }
        "KMSInvalidStateException" | "InvalidKeyUsageException" | "ValidationException" => {
            KeyError::Unusable { key, reason: message.to_owned() }
        }
        "AccessDeniedException" => {
            KeyError::Denied { key, reason: format!("{action} is refused by its key policy or by IAM: {message}") }
        }
        code @ ("ExpiredTokenException" | "UnrecognizedClientException" | "InvalidSignatureException") => {
            KeyError::Denied { key, reason: format!("AWS does not accept our credentials: {code}: {message}") }
        }
        code => KeyError::Unavailable(format!("{action}: {code}: {message}")),
    }
}

/// An error and its causes in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
