//! The API's services: each method parses its request field by field, calls one operation and converts the answer.

mod audit;
mod authorities;
mod caller;
mod certificates;
mod choices;
mod enrollment;
mod fields;
mod messages;
mod principals;
mod stream;
mod tenants;
mod trust;

use std::sync::Arc;

use caller::Caller;
use signet_core::Error;
use signet_proto::v1::{
    audit_service_server::AuditServiceServer, certificate_service_server::CertificateServiceServer,
    enrollment_service_server::EnrollmentServiceServer, principal_service_server::PrincipalServiceServer,
    tenant_service_server::TenantServiceServer, trust_service_server::TrustServiceServer,
};
use tonic::{Request, Response, Status, service::Routes};

use crate::{errors, node::Node};

/// Largest request; a CSR takes 16 KiB at most.
pub(crate) const MAX_MESSAGE: usize = 64 * 1024;
/// Largest answer: a thousand certificates with their DER.
const MAX_ANSWER: usize = 8 * 1024 * 1024;

/// Implements all services.
#[derive(Clone)]
pub(crate) struct Api {
    node: Arc<Node>,
}

/// All services of the API.
pub(crate) fn routes(node: &Arc<Node>) -> Routes {
    let api = || Api { node: Arc::clone(node) };
    macro_rules! limited {
        ($server:ident) => {
            $server::new(api()).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_ANSWER)
        };
    }
    Routes::new(limited!(TenantServiceServer))
        .add_service(limited!(PrincipalServiceServer))
        .add_service(limited!(CertificateServiceServer))
        .add_service(limited!(EnrollmentServiceServer))
        .add_service(limited!(TrustServiceServer))
        .add_service(limited!(AuditServiceServer))
}

impl Api {
    /// Runs one operation. What it refuses is recorded, what fails on our side is logged with its cause.
    async fn unary<M, T, F>(
        &self,
        request: Request<M>,
        operation: impl FnOnce(Caller, M) -> F,
    ) -> Result<Response<T>, Status>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let (passed, message) = caller::take(request)?;
        let caller = Caller::new(passed);
        let call = caller.call.clone();
        operation(caller, message).await.map(Response::new).map_err(|error| self.failed(&call, &error))
    }

    /// The status of an error that an operation ended with.
    fn failed(&self, call: &signet_app::Call, error: &Error) -> Status {
        match error {
            Error::Denied(denial) => self.node.refusals.denied(call, *denial),
            Error::Internal { cause } => {
                tracing::error!(target: "signet::rpc", operation = call.operation, cause, "internal error");
            }
            Error::Unavailable { what, cause } => {
                tracing::warn!(target: "signet::rpc", operation = call.operation, what, cause, "not available");
            }
            Error::Unreadable { .. } => {
                tracing::error!(target: "signet::rpc", operation = call.operation, %error, "a record cannot be read");
            }
            other => signet_app::tell_operator(call.operation, other),
        }
        errors::to_correlated_status(error, call.correlation_id.as_deref())
    }
}
