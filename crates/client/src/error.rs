//! What can go wrong, in words for the person at the other end.

use std::{error::Error, time::Duration};

use rustls::{AlertDescription, CertificateError};
use thiserror::Error;
use tonic::{Code, Status, TimeoutExpired};
use tonic_types::StatusExt;

use crate::{credentials::CredentialsError, proofs::ProofError};

/// Why a call did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClientError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server answered with an error, or the connection broke during the call.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// Our own credentials, or those just received.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// No proof for an enrollment.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

impl ClientError {
    /// Whether it is our own certificate that is refused, our principal, our tenant or our right: what we were told
    /// holds no more.
    pub(crate) fn refuses_us(&self) -> bool {
        match self {
            Self::Connect(ConnectError::CertificateRefused { .. }) => true,
            Self::Rpc(rpc) => matches!(rpc.code, Code::Unauthenticated | Code::PermissionDenied),
            _ => false,
        }
    }

    /// Whether nothing more can be asked over the connection that it came of.
    pub(crate) fn ends_connection(&self) -> bool {
        match self {
            Self::Connect(_) => true,
            Self::Rpc(rpc) => rpc.transport,
            _ => false,
        }
    }
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConnectError {
    /// The address cannot be used.
    #[error("{endpoint:?} is not an endpoint: give https://host:port ({reason})")]
    Endpoint {
        /// As given.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A root or our own certificate cannot be used by TLS.
    #[error("the TLS settings cannot be used: {0}")]
    Settings(String),
    /// No TCP connection.
    #[error("cannot reach {address}: {reason}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// What the operating system said.
        reason: String,
    },
    /// It took too long.
    #[error("cannot connect to {address} within {millis} ms")]
    TimedOut {
        /// Host and port.
        address: String,
        /// The limit.
        millis: u128,
    },
    /// We do not trust the server.
    #[error("the server's certificate is not trusted: {reason}")]
    ServerCertificate {
        /// Why, and what to do.
        reason: String,
    },
    /// The server does not accept our certificate.
    #[error("the server refused our certificate: {} (TLS alert {})", alert.meaning(), alert.name())]
    CertificateRefused {
        /// What it said.
        alert: Alert,
    },
    /// TLS failed for another reason.
    #[error("TLS with {address} failed: {reason}")]
    Tls {
        /// Host and port.
        address: String,
        /// What the TLS library said.
        reason: String,
    },
    /// It closed the connection without a word.
    #[error("{address} closed the connection right after the handshake")]
    Closed {
        /// Host and port.
        address: String,
    },
}

/// Why the server refused our certificate (RFC 8446 section 6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alert {
    /// `certificate_expired`; also one that is not valid yet.
    Expired,
    /// `certificate_revoked`.
    Revoked,
    /// `unknown_ca`.
    UnknownCa,
    /// `access_denied`: it is ours, but its holder may not act.
    AccessDenied,
    /// `certificate_required`.
    Required,
    /// `unsupported_certificate`: not for client authentication.
    Unsupported,
    /// `bad_certificate`, `decrypt_error`, `certificate_unknown`.
    Bad,
}

impl Alert {
    fn of(alert: AlertDescription) -> Option<Self> {
        Some(match alert {
            AlertDescription::CertificateExpired => Self::Expired,
            AlertDescription::CertificateRevoked => Self::Revoked,
            AlertDescription::UnknownCA => Self::UnknownCa,
            AlertDescription::AccessDenied => Self::AccessDenied,
            AlertDescription::CertificateRequired => Self::Required,
            AlertDescription::UnsupportedCertificate => Self::Unsupported,
            AlertDescription::BadCertificate
            | AlertDescription::DecryptError
            | AlertDescription::CertificateUnknown => Self::Bad,
            _ => return None,
        })
    }

    /// The alert's name in RFC 8446.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expired => "certificate_expired",
            Self::Revoked => "certificate_revoked",
            Self::UnknownCa => "unknown_ca",
            Self::AccessDenied => "access_denied",
            Self::Required => "certificate_required",
            Self::Unsupported => "unsupported_certificate",
            Self::Bad => "bad_certificate",
        }
    }

    /// What it means and what to do.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Expired => "it has expired or is not valid yet; check the clock, then enroll again",
            Self::Revoked => "it was revoked; enroll again if you are allowed to",
            Self::UnknownCa => "no CA that the server trusts has signed it; is this the right environment?",
            Self::AccessDenied => "the principal or its tenant is suspended or deleted",
            Self::Required => "a client certificate is needed; enroll first",
            Self::Unsupported => "it is not for client authentication",
            Self::Bad => "it is malformed or not one of Signet's",
        }
    }
}

impl ConnectError {
    /// What an I/O error in or right after the handshake with `address` means.
    pub(crate) fn of_tls(address: &str, error: &std::io::Error) -> Self {
        let address = || address.to_owned();
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(rustls::Error::AlertReceived(alert)) => match Alert::of(*alert) {
                Some(alert) => Self::CertificateRefused { alert },
                None => Self::Tls { address: address(), reason: format!("it answered with the alert {alert:?}") },
            },
            Some(rustls::Error::InvalidCertificate(reason)) => {
                Self::ServerCertificate { reason: server_certificate(reason) }
            }
            Some(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)) => {
                let reason = "it does not speak TLS; is this the port for mTLS?".into();
                Self::Tls { address: address(), reason }
            }
            Some(other) => Self::Tls { address: address(), reason: other.to_string() },
            None if is_closed(error) => Self::Closed { address: address() },
            None => Self::Tls { address: address(), reason: error.to_string() },
        }
    }

    /// Whether another try may help without anybody doing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Closed { .. })
    }

    /// UPPER_SNAKE_CASE, for programs.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Endpoint { .. } => "BAD_ENDPOINT",
            Self::Settings(_) => "BAD_TLS_SETTINGS",
            Self::Unreachable { .. } => "UNREACHABLE",
            Self::TimedOut { .. } => "CONNECT_TIMEOUT",
            Self::ServerCertificate { .. } => "SERVER_CERTIFICATE_NOT_TRUSTED",
            Self::CertificateRefused { .. } => "CERTIFICATE_REFUSED",
            Self::Tls { .. } => "TLS_FAILED",
            Self::Closed { .. } => "CONNECTION_CLOSED",
        }
    }
}

fn is_closed(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

fn server_certificate(error: &CertificateError) -> String {
    match error {
        // A bad signature is that of a CA with the same name and another key: an environment that was made anew.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "it does not chain to a server anchor that we trust; is this the right environment and ca.pem?".into()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired; check the clock, then the server's certificate rotation".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet; check the clock".into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("{error}; set the server name if you connect by another one")
        }
        other => other.to_string(),
    }
}

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct RpcError {
    /// The gRPC code.
    pub code: Code,
    /// `google.rpc.ErrorInfo.reason`; empty if the server gave none.
    pub reason: String,
    /// For people.
    pub message: String,
    /// The request's field that is wrong, if it is one.
    pub field: Option<String>,
    /// Whether the connection failed rather than the call: the outcome is unknown.
    pub transport: bool,
    /// `google.rpc.RetryInfo`: the server asks for this pause.
    pub retry_after: Option<Duration>,
}

impl RpcError {
    /// Whether the same request, with its request id, may be sent again.
    pub fn is_transient(&self) -> bool {
        let passing = matches!(self.code, Code::Unavailable | Code::DeadlineExceeded | Code::Aborted);
        self.transport || passing || self.retry_after.is_some()
    }
}

impl ClientError {
    /// Whether the same request, with its request id, may be sent again.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect(error) => error.is_transient(),
            Self::Rpc(error) => error.is_transient(),
            Self::Credentials(error) => matches!(error, CredentialsError::Busy { .. }),
            Self::Proof(error) => error.transient,
        }
    }

    /// UPPER_SNAKE_CASE, for programs; empty if the server gave none.
    pub fn reason(&self) -> &str {
        match self {
            Self::Connect(error) => error.reason(),
            Self::Rpc(error) => &error.reason,
            Self::Credentials(CredentialsError::Busy { .. }) => "STORAGE_BUSY",
            Self::Credentials(CredentialsError::Premature { .. }) => "CERTIFICATE_NOT_YET_VALID",
            Self::Credentials(_) => "BAD_CREDENTIALS",
            Self::Proof(_) => "NO_PROOF",
        }
    }
}

impl From<Status> for ClientError {
    fn from(status: Status) -> Self {
        if let Some(error) = find::<ConnectError>(&status) {
            return Self::Connect(error.clone());
        }
        let info = status.get_details_error_info();
        let violation = status.get_details_bad_request().and_then(|bad| bad.field_violations.into_iter().next());
        let text = if status.message().is_empty() { status.code().description() } else { status.message() };
        // What an operator finds the call by.
        let id = status.get_details_request_info().map(|info| info.request_id).filter(|id| !id.is_empty());
        let text = id.map_or_else(|| text.to_owned(), |id| format!("{text} (correlation id {id})"));
        // A status that the server sent has no source.
        let (code, message, transport) = match (find::<TimeoutExpired>(&status), status.source()) {
            (Some(_), _) => (Code::DeadlineExceeded, "no answer in time".to_owned(), true),
            (None, Some(_)) => (status.code(), format!("the connection ended during the call ({text})"), true),
            (None, None) => (status.code(), text, false),
        };
        let reason = info.map(|info| info.reason).unwrap_or_default();
        let retry_after = status.get_details_retry_info().and_then(|info| info.retry_delay);
        let field = violation.map(|violation| violation.field);
        Self::Rpc(RpcError { code, reason, message, field, transport, retry_after })
    }
}

/// The first error of type `E` in the chain of sources.
pub(crate) fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    std::iter::successors(Some(error), |&error| error.source()).find_map(|error| error.downcast_ref())
}
