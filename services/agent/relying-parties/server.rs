use std::{error::Error, path::Path, sync::Arc};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};

/// For new connections. Make it anew when the files change; if that fails, keep the last one.
pub(crate) fn config(folder: &Path) -> Result<ServerConfig, Box<dyn Error>> {
    let provider = Arc::new(default_provider());
    let mut anchors = RootCertStore::empty();
    for anchor in CertificateDer::pem_file_iter(folder.join("bundle.pem"))? {
        anchors.add(anchor?)?;
    }
    let lists = CertificateRevocationListDer::pem_file_iter(folder.join("crl.pem"))?.collect::<Result<Vec<_>, _>>()?;
    // rustls takes no list for a list that revokes nobody.
    if lists.is_empty() {
        return Err("there is no revocation list".into());
    }
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(anchors), Arc::clone(&provider))
        .with_crls(lists)
        .enforce_revocation_expiration()
        .build()?;
    let chain = CertificateDer::pem_file_iter(folder.join("cert.pem"))?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem"))?;
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_client_cert_verifier(clients).with_single_cert(chain, key)?)
}
