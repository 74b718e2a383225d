//! The pending pair in a real TLS connection: a server with it on the loopback interface, a client that knows the roots
//! only.

use std::{sync::Arc, time::Duration};

use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use secrecy::ExposeSecret;
use signet_app::ServerNames;
use signet_control_plane::{ServerCredentials, handshake};
use signet_core::Time;
use signet_x509::CertificateView;
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

/// Time for one handshake.
const TIME_LIMIT: Duration = Duration::from_secs(5);

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn chain(credentials: &ServerCredentials) -> Result<Vec<CertificateDer<'static>>, String> {
    let blocks = CertificateDer::pem_slice_iter(credentials.chain_pem.as_bytes());
    blocks.collect::<Result<_, _>>().map_err(|error| format!("its chain is not PEM: {error}"))
}

/// Refuses a certificate of which less than half of its life is left: a rotation that was interrupted for days.
pub(crate) fn check_age(credentials: &ServerCredentials, now: Time) -> Result<(), String> {
    let chain = chain(credentials)?;
    let leaf = chain.first().ok_or("its chain is empty")?;
    let view = CertificateView::from_der(leaf).map_err(|error| format!("its certificate cannot be read: {error}"))?;
    let (life, left) = (view.not_after.millis_since(view.not_before), view.not_after.millis_since(now));
    if left >= life / 2 {
        return Ok(());
    }
    Err("less than half of its life is left; remove the label AWSPENDING from this version and rotate again".into())
}

/// Serves with the pair and connects once by each name; the error says by which name it failed and how.
pub(crate) async fn present(
    credentials: &ServerCredentials,
    anchors: &[&[u8]],
    names: &ServerNames,
) -> Result<(), String> {
    let key = PrivateKeyDer::from_pem_slice(credentials.key_pem.expose_secret().as_bytes());
    let key = key.map_err(|_| "its key is not PEM")?;
    let server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain(credentials)?, key)
        .map_err(|error| format!("key and certificate cannot be served: {error}"))?;
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| format!("no loopback port: {error}"))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let dns =
        names.dns.iter().map(|name| ServerName::try_from(name.clone()).map_err(|error| format!("{name}: {error}")));
    let names = dns.chain(names.ip.iter().map(|ip| Ok(ServerName::from(*ip))));
    let names = names.collect::<Result<Vec<_>, String>>()?;
    if names.is_empty() {
        return Err("the configuration has no name to try it with: set SIGNET_SERVER__DNS_NAMES".into());
    }
    for name in names {
        let text = name.to_str().into_owned();
        let serve = async {
            let (stream, _) = listener.accept().await.map_err(|error| error.to_string())?;
            acceptor.accept(stream).await.map_err(|error| error.to_string())
        };
        let connect = async {
            let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
            handshake(stream, name, anchors).await
        };
        let both = timeout(TIME_LIMIT, async { tokio::join!(serve, connect) }).await;
        let (_, connected) = both.map_err(|_| format!("{text}: no handshake within {TIME_LIMIT:?}"))?;
        connected.map_err(|error| format!("{text}: {error}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;
    use signet_x509::{KeyAndCsr, pem};

    use super::*;

    #[tokio::test]
    async fn nothing_tried_is_nothing_proven() {
        let key = KeyAndCsr::generate().unwrap().key;
        let chain_pem = pem::encode_certificate(&[0x30, 0]);
        let pair = ServerCredentials { chain_pem, key_pem: SecretString::from(key.to_pkcs8_pem().as_str()) };
        let nobody = ServerNames { dns: Vec::new(), ip: Vec::new() };
        assert!(present(&pair, &[], &nobody).await.is_err());
    }
}
