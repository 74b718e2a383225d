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
            KeyError::Unusable { key, reason: "it is disabled; enable it with kms:EnableKey".into() }
        }
        "KMSInvalidStateException"
        | "InvalidKeyUsageException"
        | "ValidationException"
        | "InvalidAliasNameException"
        | "TagException"
        | "UnsupportedOperationException" => KeyError::Unusable { key, reason: message.to_owned() },
        // Also when the policy is sound, but the caller could not change it again (CreateKey, "Policy").
        "MalformedPolicyDocumentException" => {
            let advice = "is it the output tenant_key_policy, do its roles exist, does KMS accept its condition keys, \
                          and may the caller kms:PutKeyPolicy?";
            KeyError::NotMade { key, reason: format!("KMS rejected its policy; {advice} {message}") }
        }
        "LimitExceededException" => {
            KeyError::NotMade { key, reason: format!("a KMS quota is exhausted; raise it, or delete keys: {message}") }
        }
        "AccessDeniedException" => {
            KeyError::Denied { key, reason: format!("{action} is refused by its key policy or by IAM: {message}") }
        }
        code @ ("UnrecognizedClientException" | "InvalidSignatureException") => {
            KeyError::Denied { key, reason: format!("AWS does not accept our credentials: {code}: {message}") }
        }
        code => KeyError::Unavailable(format!("{action}: {code}: {message}")),
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use aws_sdk_kms::{error::ErrorMetadata, operation::sign::SignError};

    use super::*;

    fn sign(code: &str) -> KeyError {
        let answer = SignError::generic(ErrorMetadata::builder().code(code).message("because").build());
        of("a-key", "kms:Sign", &SdkError::service_error(answer, ()))
    }

    /// Codes of the KMS API reference (Sign, CreateKey, CreateAlias; common errors).
    #[test]
    fn what_only_the_operator_can_mend_is_told_apart() {
        for code in [
            "DisabledException",
            "KMSInvalidStateException",
            "InvalidKeyUsageException",
            "AccessDeniedException",
            "MalformedPolicyDocumentException",
            "LimitExceededException",
            "UnrecognizedClientException",
            "NotFoundException",
        ] {
            let error = sign(code);
            assert!(!matches!(error, KeyError::Unavailable(_) | KeyError::BadSignature(_)), "{code}: {error}");
        }
        for code in
            ["ThrottlingException", "KMSInternalException", "DependencyTimeoutException", "KeyUnavailableException"]
        {
            assert!(matches!(sign(code), KeyError::Unavailable(_)), "{code}");
        }
    }
}
