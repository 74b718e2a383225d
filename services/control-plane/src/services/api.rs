//! What all services share: how an operation is run and its error told.

use std::sync::Arc;

use signet_core::{Error, trust::Trust};
use tonic::{Request, Response, Status};

use super::caller::{self, Caller};
use crate::{
    errors,
    node::{Node, Session},
};

/// Implements all services.
#[derive(Clone)]
pub(super) struct Api {
    pub(super) node: Arc<Node>,
}

impl Api {
    /// Runs one operation. What it refuses is recorded, what fails on our side is logged with its cause.
    pub(super) async fn unary<M, T, F>(
        &self,
        request: Request<M>,
        operation: impl FnOnce(Caller, M) -> F,
    ) -> Result<Response<T>, Status>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let (passed, message) = caller::take(request)?;
        let caller = Caller::new(&self.node, passed);
        let (call, session) = (caller.call.clone(), caller.session.clone());
        operation(caller, message)
            .await
            .map(Response::new)
            .map_err(|error| self.failed(&call, session.as_deref(), &error))
    }

    /// See [`Node::heard`].
    pub(super) async fn heard(&self, knows: impl Fn(&Trust) -> bool) {
        self.node.heard(knows).await;
    }

    /// The status of an error that an operation ended with.
    pub(super) fn failed(&self, call: &signet_app::Call, session: Option<&Session>, error: &Error) -> Status {
        match error {
            Error::Denied(denial) => {
                if let Some(session) = session {
                    self.node.count_failure(session, (call.operation, *denial), call.source, call.now);
                }
                self.node.refusals.denied(call, *denial);
            }
            Error::Internal { cause } => {
                tracing::error!(target: "signet::rpc", operation = call.operation, cause, "internal error");
            }
            Error::Unavailable { what, cause } => {
                tracing::warn!(target: "signet::rpc", operation = call.operation, what, cause, "not available");
            }
            Error::Restoring { cause } => {
                tracing::warn!(target: "signet::rpc", operation = call.operation, cause, "the store is being restored");
            }
            Error::Unreadable { .. } => {
                tracing::error!(target: "signet::rpc", operation = call.operation, %error, "a record cannot be read");
            }
            other => signet_app::tell_operator(call.operation, other),
        }
        errors::to_correlated_status(error, call.correlation_id.as_deref())
    }
}
