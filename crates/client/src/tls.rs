//! The client's side of TLS: version 1.3, HTTP/2, our roots only, one named provider.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    client::{Resumption, WebPkiServerVerifier},
    crypto::aws_lc_rs::{self, sign::any_ecdsa_type},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};

use crate::{credentials::Credentials, error::ConnectError};

pub(crate) fn client_config(
    roots_der: &[Vec<u8>],
    credentials: Option<&Credentials>,
) -> Result<ClientConfig, ConnectError> {
    let unusable = |what: &str, error: &dyn std::fmt::Display| ConnectError::Settings(format!("{what}: {error}"));
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for root in roots_der {
        roots.add(CertificateDer::from(root.as_slice())).map_err(|error| unusable("root certificate", &error))?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| unusable("root certificates", &error))?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| unusable("TLS 1.3", &error))?
        .with_webpki_verifier(verifier);
    let mut config = match credentials {
        None => builder.with_no_client_auth(),
        Some(credentials) => builder.with_client_cert_resolver(Arc::new(resolver(credentials)?)),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// The same, but every handshake is a full one, in which the server says what it thinks of our certificate.
pub(crate) fn without_resumption(config: &ClientConfig) -> ClientConfig {
    let mut config = config.clone();
    config.resumption = Resumption::disabled();
    config
}

fn resolver(credentials: &Credentials) -> Result<SingleCertAndKey, ConnectError> {
    // Borrowed, so that no copy of the key is left behind in memory.
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(credentials.key().pkcs8_der().as_slice()));
    let key = any_ecdsa_type(&key).map_err(|error| ConnectError::Settings(format!("private key: {error}")))?;
    let chain = credentials.chain_der().iter().cloned().map(CertificateDer::from).collect();
    Ok(SingleCertAndKey::from(CertifiedKey::new(chain, key)))
}
