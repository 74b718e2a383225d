//! One handshake with a program, and how far it goes.

use std::{fmt, io, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs::default_provider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
};
use serde::Deserialize;
use signet_client::Credentials;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// The program's address: `host:port`, where it is enough that TLS goes on; `https://host:port/path` where a refusal
/// comes as an answer in HTTP, as nginx gives it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct CanaryTarget {
    host: String,
    port: u16,
    /// Of HTTP.
    path: Option<String>,
}

impl TryFrom<String> for CanaryTarget {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, &'static str> {
        let rule = "must be host:port, or https://host:port/path";
        let (place, path) = match text.strip_prefix("https://") {
            None => (text.as_str(), None),
            Some(rest) => {
                let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
                (place, Some(format!("/{path}")))
            }
        };
        let (host, port) = place.rsplit_once(':').ok_or(rule)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let fits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let port = port.parse().map_err(|_| rule)?;
        if !fits(host) || host.contains('/') || !path.as_deref().is_none_or(fits) {
            return Err(rule);
        }
        Ok(Self { host: host.to_owned(), port, path })
    }
}

/// For connection and handshake, and for an answer in HTTP.
const LIMIT: Duration = Duration::from_secs(10);
/// Who waits so long for our first word has accepted us: with TLS 1.3, a refusal follows the handshake.
const SILENCE: Duration = Duration::from_secs(2);

/// What a program does with a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It ends the connection, and what it says.
    Closed(String),
    /// The status of its answer in HTTP.
    Status(u16),
    /// It goes on.
    Open,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(words) => write!(f, "a closed connection ({words})"),
            Self::Status(status) => write!(f, "HTTP status {status}"),
            Self::Open => f.write_str("an open connection"),
        }
    }
}

/// To show these credentials, whoever the server is: it is asked whom it accepts, and told nothing.
pub(crate) fn config(credentials: &Credentials) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(default_provider());
    let chain = credentials.chain_der().iter().cloned().map(CertificateDer::from).collect();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(credentials.key().pkcs8_der().as_slice())).clone_key();
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
        .with_client_auth_cert(chain, key)?;
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// How the program answers; `Err`: nothing is known, and why.
pub(crate) async fn knock(target: &CanaryTarget, config: Arc<ClientConfig>) -> Result<Answer, String> {
    let place = format!("{}:{}", target.host, target.port);
    let late = |_| format!("{place} does not answer within {} s", LIMIT.as_secs());
    let unusable = |error: &dyn fmt::Display| format!("{place}: {error}");
    let name = ServerName::try_from(target.host.clone()).map_err(|error| unusable(&error))?;
    let tcp = timeout(LIMIT, TcpStream::connect((target.host.as_str(), target.port))).await.map_err(late)?;
    let tcp = tcp.map_err(|error| unusable(&error))?;
    let mut tls = match timeout(LIMIT, TlsConnector::from(config).connect(name, tcp)).await.map_err(late)? {
        Ok(tls) => tls,
        // Before TLS 1.3 the refusal is part of the handshake.
        Err(error) if is_refusal(&error) => return Ok(Answer::Closed(error.to_string())),
        Err(error) => return Err(unusable(&error)),
    };
    match &target.path {
        None => Ok(wait(&mut tls).await),
        Some(path) => {
            timeout(LIMIT, get(&mut tls, &place, path)).await.map_err(late)?.map_err(|error| unusable(&error))
        }
    }
}

async fn wait(tls: &mut TlsStream<TcpStream>) -> Answer {
    match timeout(SILENCE, tls.read(&mut [0])).await {
        Err(_) | Ok(Ok(1..)) => Answer::Open,
        Ok(Ok(0)) => Answer::Closed("without a word".into()),
        Ok(Err(error)) => Answer::Closed(error.to_string()),
    }
}

async fn get(tls: &mut TlsStream<TcpStream>, place: &str, path: &str) -> Result<Answer, &'static str> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {place}\r\nconnection: close\r\n\r\n");
    // `HTTP/1.1 200`
    let mut line = [0; 12];
    let asked = async {
        tls.write_all(request.as_bytes()).await?;
        tls.read_exact(&mut line).await
    };
    if let Err(error) = asked.await {
        return Ok(Answer::Closed(error.to_string()));
    }
    let status = std::str::from_utf8(&line).ok().and_then(|line| line.strip_prefix("HTTP/1."));
    let status = status.and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
    status.map(Answer::Status).ok_or("does not speak HTTP")
}

fn is_refusal(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let closed = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
    inner.map_or(closed.contains(&error.kind()), |inner| matches!(inner, rustls::Error::AlertReceived(_)))
}

#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::CanaryTarget;

    #[test]
    fn a_target_is_a_port_or_a_page() {
        let read = |text: &str| CanaryTarget::try_from(text.to_owned());
        let target =
            |host: &str, port, path: Option<&str>| CanaryTarget { host: host.into(), port, path: path.map(Into::into) };
        assert_eq!(read("127.0.0.1:8883"), Ok(target("127.0.0.1", 8883, None)));
        assert_eq!(read("[::1]:8883"), Ok(target("::1", 8883, None)));
        assert_eq!(read("https://web:8443"), Ok(target("web", 8443, Some("/"))));
        assert_eq!(read("https://web:8443/a?b"), Ok(target("web", 8443, Some("/a?b"))));
        for bad in ["web", "web:", "web:https", ":1", "http://web:80/", "https://web/", "https://web:1/a b"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
