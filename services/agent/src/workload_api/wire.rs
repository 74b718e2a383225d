//! The messages and services of the protocols.

/// SPIFFE Workload API.
#[expect(
    missing_docs,
    unused_qualifications,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    reason = "generated; the .proto files carry the documentation"
)]
pub mod spiffe {
    tonic::include_proto!("_");
}

/// Envoy's secret discovery service, version 3.
#[expect(
    missing_docs,
    unused_qualifications,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    reason = "generated; the .proto files carry the documentation"
)]
pub mod sds {
    tonic::include_proto!("envoy.service.secret.v3");
}

/// Envoy's secrets.
#[expect(missing_docs, reason = "generated; the .proto files carry the documentation")]
pub mod tls {
    tonic::include_proto!("envoy.extensions.transport_sockets.tls.v3");
}

/// Envoy's external authorization, version 3.
#[expect(
    missing_docs,
    unused_qualifications,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated; the .proto files carry the documentation"
)]
pub mod ext_authz {
    tonic::include_proto!("envoy.service.auth.v3");
}
