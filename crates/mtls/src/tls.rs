//! The TLS configuration: version 1.3 only, HTTP/2 only, one provider.

use signet_core::Clock;
use std::sync::Arc;

use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    version::TLS13,
};

use crate::{clock::TlsClock, server_cert::ServerCertificate, tickets::Tickets, verify::ClientVerifier};

/// HTTP/2 over TLS (RFC 9113 section 3.2).
pub(crate) const ALPN_H2: &[u8] = b"h2";

/// The one crypto provider of this process: named, never the process-wide default.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The server's side. Tickets are stateless, their keys live in this process only; who resumes is authenticated again
/// by [`crate::establish`].
pub(crate) fn server_config(
    verifier: Arc<ClientVerifier>,
    certificate: Arc<ServerCertificate>,
    clock: Clock,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_details(provider(), Arc::new(TlsClock(Arc::clone(&clock))))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::clone(&verifier) as _)
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config.ticketer = Arc::new(Tickets { inner: aws_lc_rs::Ticketer::new()?, verifier, clock });
    Ok(config)
}
