//! The TLS configuration: version 1.3 only, HTTP/2 before HTTP/1.1, one provider.

use signet_core::Clock;
use std::sync::Arc;

use rustls::{
    ServerConfig,
    crypto::{
        CryptoProvider,
        aws_lc_rs::{
            self,
            kx_group::{SECP256R1MLKEM768, X25519MLKEM768},
        },
    },
    version::TLS13,
};

use crate::{clock::TlsClock, server_cert::ServerCertificate, tickets::Tickets, verify::ClientVerifier};

/// HTTP/2 over TLS (RFC 9113 section 3.2).
pub(crate) const ALPN_H2: &[u8] = b"h2";
/// HTTP/1.1 over TLS (RFC 7301 section 6).
const ALPN_HTTP1: &[u8] = b"http/1.1";

/// The one crypto provider of this process: named, never the process-wide default.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The same, which does no key exchange but the post-quantum hybrids: what is recorded today cannot be read when
/// somebody has a quantum computer.
fn pq_provider() -> Arc<CryptoProvider> {
    let kx_groups = vec![X25519MLKEM768, SECP256R1MLKEM768];
    Arc::new(CryptoProvider { kx_groups, ..aws_lc_rs::default_provider() })
}

/// The server's side. Tickets are stateless, their keys live in this process only; who resumes is authenticated again
/// by [`crate::establish`].
pub(crate) fn server_config(
    verifier: Arc<ClientVerifier>,
    certificate: Arc<ServerCertificate>,
    clock: Clock,
    require_pq_kex: bool,
) -> Result<ServerConfig, rustls::Error> {
    let provider = if require_pq_kex { pq_provider() } else { provider() };
    let mut config = ServerConfig::builder_with_details(provider, Arc::new(TlsClock(Arc::clone(&clock))))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::clone(&verifier) as _)
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()];
    config.ticketer = Arc::new(Tickets { inner: aws_lc_rs::Ticketer::new()?, verifier, clock });
    Ok(config)
}
