//! The client's side of TLS: version 1.3, our anchors only, one named provider.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    client::{ResolvesClientCert, Resumption, WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::{
        CryptoProvider,
        aws_lc_rs::{
            self,
            kx_group::{SECP256R1MLKEM768, X25519MLKEM768},
            sign::any_ecdsa_type,
        },
    },
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};

use signet_x509::server_anchors;

use crate::{credentials::Credentials, error::ConnectError};

/// Post-quantum key exchange is preferred, or the only one.
pub(crate) fn provider(require_pq_kex: bool) -> Arc<CryptoProvider> {
    let provider = aws_lc_rs::default_provider();
    Arc::new(if require_pq_kex {
        CryptoProvider { kx_groups: vec![X25519MLKEM768, SECP256R1MLKEM768], ..provider }
    } else {
        provider
    })
}

pub(crate) fn client_config(
    roots_der: &[Vec<u8>],
    credentials: Option<&Credentials>,
    require_pq_kex: bool,
) -> Result<ClientConfig, ConnectError> {
    let unusable = |what: &str, error: &dyn std::fmt::Display| ConnectError::Settings(format!("{what}: {error}"));
    let provider = provider(require_pq_kex);
    let mut roots = RootCertStore::empty();
    for anchor in server_anchors(roots_der) {
        roots.add(CertificateDer::from(anchor)).map_err(|error| unusable("root certificate", &error))?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| unusable("root certificates", &error))?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| unusable("TLS 1.3", &error))?
        .with_webpki_verifier(verifier);
    Ok(match credentials {
        None => builder.with_no_client_auth(),
        Some(credentials) => builder.with_client_cert_resolver(Arc::new(resolver(credentials)?)),
    })
}

/// The same, but every handshake is a full one, in which the server says what it thinks of our certificate.
pub(crate) fn without_resumption(config: &ClientConfig) -> ClientConfig {
    let mut config = config.clone();
    config.resumption = Resumption::disabled();
    config
}

/// A configuration whose server is judged by `verifier`.
pub(crate) fn verified_by(
    verifier: Arc<dyn ServerCertVerifier>,
    resolver: Arc<dyn ResolvesClientCert>,
    require_pq_kex: bool,
) -> Result<ClientConfig, ConnectError> {
    let config = ClientConfig::builder_with_provider(provider(require_pq_kex))
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| ConnectError::Settings(format!("TLS 1.3: {error}")))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(resolver);
    Ok(config)
}

pub(crate) fn resolver(credentials: &Credentials) -> Result<SingleCertAndKey, ConnectError> {
    Ok(SingleCertAndKey::from(certified_key(credentials)?))
}

pub(crate) fn certified_key(credentials: &Credentials) -> Result<CertifiedKey, ConnectError> {
    // Borrowed, so that no copy of the key is left behind in memory.
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(credentials.key().pkcs8_der().as_slice()));
    let key = any_ecdsa_type(&key).map_err(|error| ConnectError::Settings(format!("private key: {error}")))?;
    let chain = credentials.chain_der().iter().cloned().map(CertificateDer::from).collect();
    Ok(CertifiedKey::new(chain, key))
}
