//! The API's services: each method parses its request field by field, calls one operation and converts the answer.

mod api;
mod audit;
mod authorities;
mod authorization;
mod caller;
mod certificates;
mod choices;
mod enrollment;
mod fields;
mod messages;
mod principals;
mod stream;
mod tenants;
pub(crate) mod tokens;
mod trust;
mod watching;
mod wire;

use std::sync::Arc;

use api::Api;
use signet_proto::v1::{
    audit_service_server::AuditServiceServer, authorization_service_server::AuthorizationServiceServer,
    certificate_service_server::CertificateServiceServer, enrollment_service_server::EnrollmentServiceServer,
    message_service_server::MessageServiceServer, principal_service_server::PrincipalServiceServer,
    tenant_service_server::TenantServiceServer, token_service_server::TokenServiceServer,
    trust_service_server::TrustServiceServer,
};
use tonic::service::Routes;

use crate::node::Node;

/// Largest request; a CSR takes 16 KiB at most.
pub(crate) const MAX_MESSAGE: usize = 64 * 1024;
/// Largest answer: a thousand certificates with their DER.
const MAX_ANSWER: usize = 8 * 1024 * 1024;

pub(crate) use authorization::authzen::{public_metadata, router as authzen};

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
        .add_service(limited!(AuthorizationServiceServer))
        .add_service(limited!(TokenServiceServer))
        .add_service(limited!(MessageServiceServer))
}
