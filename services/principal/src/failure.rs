//! What a command ends with if it does not succeed: for people, for scripts, and as an exit code.

use std::{fmt, io, path::Path};

use serde_json::{Value, json};
use signet_client::{Alert, ClientError, ConnectError, RootError, RpcError};
use signet_core::id::IdError;
use tonic::{Code, Status};

use crate::exit::Exit;

/// A failure. Texts never hold secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// What went wrong, and where.
    pub message: String,
    /// UPPER_SNAKE_CASE from the server, for programs.
    pub reason: Option<String>,
    /// What to do next.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without hint.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), reason: None, hint: None }
    }

    /// The command line or a file is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Anything without a code of its own.
    pub fn other(message: impl fmt::Display) -> Self {
        Self::new(Exit::Other, message.to_string())
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A file that cannot be read or written. One that is not there, or is something else, was named wrongly.
    pub fn file(path: &Path, error: &io::Error) -> Self {
        use io::ErrorKind::{InvalidData, IsADirectory, NotADirectory, NotFound};
        let is_named_wrongly = matches!(error.kind(), NotFound | IsADirectory | NotADirectory | InvalidData);
        let exit = if is_named_wrongly { Exit::Usage } else { Exit::Other };
        Self::new(exit, format!("{}: {error}", path.display()))
    }

    /// The same, with the caller's tenant and principal in what to do.
    #[must_use]
    pub fn of_caller(mut self, ids: Option<(&str, &str)>) -> Self {
        if let (Some(hint), Some((tenant, principal))) = (&self.hint, ids) {
            self.hint = Some(hint.replace("TENANT", tenant).replace("PRINCIPAL", principal));
        }
        self
    }

    /// For `--output json`.
    pub fn to_json(&self) -> Value {
        json!({ "error": {
            "code": self.exit.name(),
            "exit_code": self.exit.code(),
            "message": self.message,
            "reason": self.reason,
            "hint": self.hint,
        }})
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

/// A reader that closed the pipe has what it wanted.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Exit::Ok, "the output was closed"),
            _ => Self::other(error),
        }
    }
}

impl From<IdError> for Failure {
    fn from(error: IdError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<signet_core::Error> for Failure {
    fn from(error: signet_core::Error) -> Self {
        use signet_core::Error as E;
        let exit = match &error {
            E::Invalid { .. } => Exit::Usage,
            E::NotFound { .. } => Exit::NotFound,
            E::AlreadyExists { .. }
            | E::Precondition { .. }
            | E::Exhausted { .. }
            | E::OverQuota(_)
            | E::Conflict(_) => Exit::Conflict,
            E::Denied(_) | E::Unauthenticated(_) | E::ProofRefused { .. } => Exit::Denied,
            E::Unavailable { .. } | E::Restoring { .. } => Exit::Unavailable,
            E::Misconfigured { .. } | E::Unreadable { .. } | E::Internal { .. } => Exit::Other,
        };
        let message = match &error {
            E::Unavailable { cause, .. } | E::Misconfigured { cause, .. } | E::Internal { cause } => {
                format!("{error}: {cause}")
            }
            E::Restoring { cause } => cause.clone(),
            _ => error.to_string(),
        };
        Self { reason: Some(error.reason().into()), ..Self::new(exit, message) }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        ClientError::from(status).into()
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        ClientError::from(error).into()
    }
}

/// The reason that whoever is not enrolled hears, whatever was wrong with the proof.
const ENROLLMENT_REFUSED: &str = "ENROLLMENT_REFUSED";

/// The reasons of whoever may not act at the moment, though its certificate is good.
const SUSPENDED: [&str; 2] = ["PRINCIPAL_DENIED", "TENANT_SUSPENDED"];
/// What lets it act again.
const ACTIVATE: &str = "a new certificate does not help; an admin lets it act again: `principal activate PRINCIPAL --tenant TENANT`, \
                        or `principal tenant activate TENANT`. A deleted principal needs another id";

/// The reasons of whoever asks a token for more than it may.
const NOT_GRANTED: [&str; 2] = ["SCOPE_NOT_GRANTED", "TOPIC_NOT_GRANTED"];

/// What to do while the store is being restored.
const RESTORING: &str = "retry when the restore has ended; if it was cut off, its operator runs `principal restore` again, or ends it with --give-up";

/// The reason of a failure whose cause is a server that does not know the method.
pub const UNIMPLEMENTED: &str = "UNIMPLEMENTED";

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let (exit, hint) = match &error {
            ClientError::Connect(error) => connecting(error),
            // The connection ended during the call: whether it was carried out, a repetition tells.
            ClientError::Rpc(error) if error.transport => answered(Code::Unavailable),
            // Who enrolls has no certificate that could be wrong.
            ClientError::Rpc(error) if error.reason == ENROLLMENT_REFUSED => (Exit::Denied, None),
            ClientError::Rpc(error) if is_suspended(error) => (Exit::Denied, Some(ACTIVATE)),
            ClientError::Rpc(error) if NOT_GRANTED.contains(&error.reason.as_str()) => answered(Code::PermissionDenied),
            ClientError::Rpc(error) if error.reason == "STORE_RESTORING" => (Exit::Unavailable, Some(RESTORING)),
            ClientError::Rpc(error) => answered(error.code),
            ClientError::Credentials(_) => (Exit::Denied, Some("`principal doctor` explains what is wrong with them")),
            ClientError::Proof(error) if error.transient => (Exit::Unavailable, None),
            ClientError::Proof(_) => (Exit::Usage, None),
        };
        let message = match &error {
            ClientError::Rpc(RpcError { field: Some(field), message, .. }) => {
                let problem = message.strip_prefix(field.as_str()).and_then(|rest| rest.strip_prefix(": "));
                match problem {
                    None if message.contains(field.as_str()) => message.clone(),
                    problem => format!("{}: {}", named(field), problem.unwrap_or(message)),
                }
            }
            _ => error.to_string(),
        };
        let named = Some(error.reason()).filter(|reason| !reason.is_empty());
        // An older server says no more than its code.
        let unimplemented = matches!(&error, ClientError::Rpc(error) if error.code == Code::Unimplemented);
        let reason = named.or(unimplemented.then_some(UNIMPLEMENTED)).map(str::to_owned);
        let hint = enrollment_refused(&error).or(hint.map(str::to_owned));
        Self { exit, message, reason, hint }
    }
}

/// Whether the caller may not act; not, as with `FAILED_PRECONDITION`, whom it acts on.
fn is_suspended(error: &RpcError) -> bool {
    SUSPENDED.contains(&error.reason.as_str()) && error.code != Code::FailedPrecondition
}

/// A request's field by the option that it comes from, where that has another name.
fn named(field: &str) -> &str {
    match field {
        "lifetime_seconds" => "--valid-for",
        "scopes" => "--scope",
        "client_id_suffix" => "--client-id-suffix",
        other => other,
    }
}

/// What to do for whoever hears no reason.
fn enrollment_refused(error: &ClientError) -> Option<String> {
    let ClientError::Rpc(error) = error else { return None };
    let (_, id) = error.message.split_once("(correlation id ").filter(|_| error.reason == ENROLLMENT_REFUSED)?;
    let id = id.trim_end_matches(')');
    Some(format!(
        "the server does not tell callers why; an admin of the tenant finds it by this id (runbook EnrollmentRefused): \
         `principal audit list --tenant TENANT --correlation-id {id}`; an unknown token's is in the tenant system"
    ))
}

impl From<RootError> for Failure {
    fn from(error: RootError) -> Self {
        let exit = match &error {
            RootError::Address(_) | RootError::Pin => Exit::Usage,
            RootError::Fetch { .. } | RootError::NotCertificates { .. } => Exit::Unavailable,
            RootError::PinMismatch { .. } => Exit::Denied,
        };
        Self::new(exit, error.to_string())
    }
}

type Outcome = (Exit, Option<&'static str>);

fn connecting(error: &ConnectError) -> Outcome {
    match error {
        ConnectError::Endpoint { .. } | ConnectError::Settings(_) => (Exit::Usage, None),
        ConnectError::CertificateRefused { alert: Alert::AccessDenied } => (Exit::Denied, Some(ACTIVATE)),
        ConnectError::CertificateRefused { .. } => (
            Exit::Denied,
            Some(
                "`principal doctor` explains; get a new certificate with a join token (`principal enroll`), or an operator's with `principal bootstrap`",
            ),
        ),
        ConnectError::ServerCertificate { .. } => {
            (Exit::Denied, Some("do not continue until you know whose server this is; `principal doctor` helps"))
        }
        ConnectError::Unreachable { .. }
        | ConnectError::TimedOut { .. }
        | ConnectError::Tls { .. }
        | ConnectError::Closed { .. } => {
            (Exit::Unavailable, Some("`principal doctor` checks the connection to the server"))
        }
    }
}

fn answered(code: Code) -> Outcome {
    match code {
        Code::Ok => (Exit::Ok, None),
        Code::InvalidArgument | Code::OutOfRange => (Exit::Usage, None),
        Code::NotFound => (
            Exit::NotFound,
            Some(
                "ids are looked up in the tenant of the context, or in --tenant; `principal tenant list` shows the tenants",
            ),
        ),
        Code::Unauthenticated => (Exit::Denied, Some("`principal doctor` explains what is wrong with the certificate")),
        Code::PermissionDenied => (Exit::Denied, Some("`principal whoami` shows what this identity may do")),
        Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted | Code::ResourceExhausted => {
            (Exit::Conflict, None)
        }
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => {
            (Exit::Unavailable, Some("`principal doctor` checks the connection to the server; then retry"))
        }
        Code::Unimplemented => {
            (Exit::Other, Some("the server does not support this call: is it older than this program?"))
        }
        Code::Unknown | Code::Internal | Code::DataLoss => (Exit::Other, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_grpc_code_has_its_exit_code() {
        let table: Vec<(i32, u8)> =
            (1..=16).map(|n| (n, Failure::from(Status::new(Code::from(n), "x")).exit.code())).collect();
        let expected = [
            (1, 6),
            (2, 1),
            (3, 2),
            (4, 6),
            (5, 3),
            (6, 5),
            (7, 4),
            (8, 5),
            (9, 5),
            (10, 5),
            (11, 2),
            (12, 1),
            (13, 1),
            (14, 6),
            (15, 1),
            (16, 4),
        ];
        assert_eq!(table, expected);
    }
}
