//! What a failed call means for the schedule.

use std::time::Duration;

use signet_core::{Lifetime, Time, certificates::renewal::Failure};
use tonic::Code;

use crate::error::{Alert, ClientError, ConnectError, RpcError};

/// Reasons in `google.rpc.ErrorInfo` after which this certificate is never renewed.
const FINAL: &[&str] = &[
    "CERTIFICATE_REVOKED",
    "CERTIFICATE_UNKNOWN",
    "CLONE_DETECTED",
    "INSTANCE_LOCKED",
    "ISSUER_RETIRED",
    "PRINCIPAL_DELETED",
    "PRINCIPAL_REPLACED",
    "RENEWAL_GRACE_OVER",
    "SUCCESSOR_REVOKED",
    "SUCCESSOR_UNKNOWN",
    "TENANT_REPLACED",
    "UNKNOWN_TENANT",
];

/// Why a request that names its time is refused, as long as the clock is wrong.
const CLOCK_SKEW: &str = "CLOCK_SKEW";

/// Of these, what no operator takes back.
const FOR_GOOD: &[&str] = &["CERTIFICATE_REVOKED", "CLONE_DETECTED", "INSTANCE_LOCKED"];

/// A damaged record; once it is repaired, the same request completes what it began.
pub(super) const RECORD_UNREADABLE: &str = "RECORD_UNREADABLE";
/// Every node knows a CA that has just begun to sign by then.
const NEW_FOR: Duration = Duration::from_secs(60);

/// What a certificate's age says about a refusal of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    /// A node may not know its tenant or its CA yet.
    New,
    Valid,
    /// Every refusal counts: the out-of-band path says no more than that of a certificate that it does not know, and
    /// nothing but an enrollment is left.
    Expired,
}

impl Age {
    /// At `now`, by the server's clock as far as it is known. `here`: since when this process has it, if it brought it
    /// here: a clock that is fast makes no certificate older than that.
    pub(super) fn at(now: Time, issued_at: Time, not_after: Time, here: Option<Duration>) -> Self {
        let since_issued = u64::try_from(now.millis_since(issued_at)).ok().map(Duration::from_millis);
        let is_new = [here, since_issued].into_iter().flatten().any(|since| since < NEW_FOR);
        match () {
            () if now >= not_after => Self::Expired,
            () if is_new => Self::New,
            () => Self::Valid,
        }
    }
}

/// Whether trying again may help with a certificate of this age. A suspended principal or tenant may be activated
/// again: that passes.
pub(super) fn failure(error: &ClientError, age: Age) -> Failure {
    match error {
        // Our clock is wrong, by which it may not have expired at all.
        ClientError::Rpc(RpcError { reason, .. }) if reason == CLOCK_SKEW => passing(error),
        ClientError::Rpc(error) if age == Age::Expired && !error.is_transient() => Failure::Final,
        ClientError::Connect(ConnectError::CertificateRefused { alert: Alert::UnknownCa }) if age == Age::New => {
            passing(error)
        }
        ClientError::Connect(ConnectError::CertificateRefused {
            alert: Alert::Revoked | Alert::UnknownCa | Alert::Unsupported | Alert::Bad,
        }) => Failure::Final,
        ClientError::Rpc(RpcError { reason, .. }) if FINAL.contains(&reason.as_str()) => Failure::Final,
        other => passing(other),
    }
}

/// Whether nobody can take the refusal back.
pub(super) fn is_for_good(error: &ClientError) -> bool {
    match error {
        ClientError::Connect(ConnectError::CertificateRefused { alert }) => *alert == Alert::Revoked,
        ClientError::Rpc(RpcError { reason, .. }) => FOR_GOOD.contains(&reason.as_str()),
        _ => false,
    }
}

/// A failure after which the same is tried again.
pub(super) fn passing(error: &ClientError) -> Failure {
    let asked = match error {
        ClientError::Rpc(error) => error.retry_after,
        _ => None,
    };
    let seconds = |asked: Duration| u32::try_from(asked.as_secs()).unwrap_or(u32::MAX);
    Failure::Passing { retry_after: asked.map(|asked| Lifetime::seconds(seconds(asked))) }
}

/// A server that is older than this SDK.
pub(super) fn is_unknown_to_server(error: &ClientError) -> bool {
    matches!(error, ClientError::Rpc(RpcError { code: Code::Unimplemented, .. }))
}

/// The control plane certified another identity than ours.
pub(super) fn wrong_certificate() -> ClientError {
    ClientError::Rpc(RpcError {
        code: Code::Internal,
        reason: "WRONG_CERTIFICATE".into(),
        message: "the new certificate is another principal's".into(),
        field: None,
        transport: false,
        retry_after: None,
    })
}

#[cfg(test)]
mod tests {
    use signet_core::reasons::{self, Told};

    use super::*;

    fn rpc(reason: &str) -> ClientError {
        let (code, message) = (Code::InvalidArgument, String::new());
        ClientError::Rpc(RpcError {
            code,
            reason: reason.into(),
            message,
            field: None,
            transport: false,
            retry_after: None,
        })
    }

    #[test]
    fn a_caller_can_be_told_each_final_reason() {
        let told = |name: &str| reasons::all().any(|reason| reason.name == name && reason.told.contains(&Told::Caller));
        let silent: Vec<_> = FINAL.iter().filter(|name| !told(name)).collect();
        assert!(silent.is_empty(), "no server answers with {silent:?}");
        assert!(FOR_GOOD.iter().all(|name| FINAL.contains(name)));
    }

    #[test]
    fn a_wrong_clock_ends_no_certificate_and_a_missing_record_does() {
        assert_eq!(failure(&rpc("CLOCK_SKEW"), Age::Expired), Failure::Passing { retry_after: None });
        // An enrollment does not read the certificate's record.
        assert_eq!(failure(&rpc("RECORD_UNREADABLE"), Age::Expired), Failure::Final);
        assert_eq!(failure(&rpc("RECORD_UNREADABLE"), Age::Valid), Failure::Passing { retry_after: None });
        assert_eq!(failure(&rpc("ENROLLMENT_REFUSED"), Age::Expired), Failure::Final);
        assert_eq!(failure(&rpc("ENROLLMENT_REFUSED"), Age::Valid), Failure::Passing { retry_after: None });
        assert_eq!(failure(&rpc("CERTIFICATE_UNKNOWN"), Age::Valid), Failure::Final);
    }

    #[test]
    fn a_node_that_does_not_know_a_new_ca_yet_ends_no_certificate() {
        let refused = |alert| ClientError::Connect(ConnectError::CertificateRefused { alert });
        let (issued_at, not_after) = (Time::from_unix_seconds(1000), Time::from_unix_seconds(9000));
        let age = |second| Age::at(Time::from_unix_seconds(second), issued_at, not_after, None);
        assert_eq!([990, 1000, 1059, 1060, 9000].map(age), [Age::Valid, Age::New, Age::New, Age::Valid, Age::Expired]);
        let by_a_fast_clock =
            |here| Age::at(Time::from_unix_seconds(2000), issued_at, not_after, Some(Duration::from_secs(here)));
        assert_eq!([59, 60].map(by_a_fast_clock), [Age::New, Age::Valid]);
        let unknown = refused(Alert::UnknownCa);
        assert_eq!(failure(&unknown, Age::New), Failure::Passing { retry_after: None });
        assert_eq!(failure(&unknown, Age::Valid), Failure::Final);
        assert_eq!(failure(&refused(Alert::Revoked), Age::New), Failure::Final);
    }
}
