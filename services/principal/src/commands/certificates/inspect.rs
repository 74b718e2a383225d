//! `principal cert inspect`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use jiff::Timestamp;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use serde_json::{Value, json};
use signet_core::{Time, audit::sha256_hex};
use signet_x509::{CertificateSummary, pem};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use crate::{exit::Exit, failure::Failure, run::Run, values};

/// What to look at.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// A file, PEM or DER, - for standard input; or HOST:PORT of a TLS server
    #[arg(value_name = "FILE|HOST:PORT")]
    what: String,
}

/// The leaf's, in this order; then its chain.
const ORDER: [&str; 15] = [
    "subject",
    "issuer",
    "spiffe_id",
    "names",
    "serial_number",
    "state",
    "not_before",
    "not_after",
    "usages",
    "is_ca",
    "key_algorithm",
    "sha256",
    "spki_sha256",
    "tls",
    "chain",
];

pub(super) async fn run(run: &Run, args: InspectArgs) -> Result<Exit, Failure> {
    let path = PathBuf::from(&args.what);
    let address = args.what.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok());
    let (certificates, tls) = match address.filter(|_| !path.exists()) {
        Some((host, port)) => served(run, host, port).await?,
        None => (read(&path)?, None),
    };
    let describe = |der: &Vec<u8>| described(der, run.printer.now);
    let all: Option<Vec<Value>> = certificates.iter().map(describe).collect();
    let all = all.ok_or_else(|| Failure::usage(format!("{}: a certificate cannot be read", args.what)))?;
    let mut all = all.into_iter();
    let mut shown = all.next().unwrap_or_default();
    let fields = shown.as_object_mut();
    if let Some(fields) = fields {
        fields.extend(tls.map(|tls| ("tls".to_owned(), tls.into())));
        fields.extend((all.len() > 0).then(|| ("chain".to_owned(), all.collect())));
    }
    run.printer.record(&shown, &ORDER).map(|()| Exit::Ok)
}

/// The certificates of a file, at least one; the leaf first, as files have it.
fn read(path: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    let bytes = values::read_input(path)?;
    let text = std::str::from_utf8(&bytes).ok();
    let found = match text.filter(|text| text.contains("-----BEGIN")) {
        Some(text) => pem::decode_certificates(text).unwrap_or_default(),
        None => vec![bytes],
    };
    if found.is_empty() {
        return Err(Failure::usage(format!("{} has no certificate", path.display())));
    }
    Ok(found)
}

fn described(der: &[u8], now: Timestamp) -> Option<Value> {
    let facts = CertificateSummary::from_der(der)?;
    let time = |time: Time| Timestamp::from_millisecond(time.unix_millis()).ok();
    let (not_before, not_after) = (time(facts.not_before)?, time(facts.not_after)?);
    let state = match () {
        () if now >= not_after => "expired",
        () if now < not_before => "not yet valid",
        () => "valid",
    };
    let (spiffe, uris): (Vec<_>, Vec<_>) = facts.uris.into_iter().partition(|uri| uri.starts_with("spiffe://"));
    let mut shown = json!({
        "subject": facts.subject,
        "issuer": facts.issuer,
        "serial_number": facts.serial_number,
        "state": state,
        "not_before": not_before.to_string(),
        "not_after": not_after.to_string(),
        "is_ca": facts.is_ca,
        "key_algorithm": facts.key_algorithm,
        "sha256": signet_client::fingerprint(der),
        "spki_sha256": sha256_hex(&facts.spki_der),
    });
    let names: Vec<String> = facts.names.into_iter().chain(uris).collect();
    let fields = shown.as_object_mut()?;
    fields.extend(spiffe.into_iter().next().map(|id| ("spiffe_id".to_owned(), id.into())));
    fields.extend((!names.is_empty()).then(|| ("names".to_owned(), names.into())));
    fields.extend((!facts.usages.is_empty()).then(|| ("usages".to_owned(), facts.usages.into())));
    Some(shown)
}

/// What a server shows whoever connects, and how the connection is encrypted. Nothing is sent over it.
async fn served(run: &Run, host: &str, port: &str) -> Result<(Vec<Vec<u8>>, Option<String>), Failure> {
    let address = format!("{host}:{port}");
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host).map_err(|error| Failure::usage(format!("{address}: {error}")))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let mut config = config
        .map_err(Failure::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Looks(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let handshake = async {
        let tcp = TcpStream::connect(&address).await?;
        TlsConnector::from(Arc::new(config)).connect(name, tcp).await
    };
    let away = |error: &dyn std::fmt::Display| Failure::new(Exit::Unavailable, format!("{address}: {error}"));
    let stream = timeout(run.global.timeout, handshake).await.map_err(|_| away(&"no answer in time"))?;
    let stream = stream.map_err(|error| away(&error).hint("does a TLS server listen there?"))?;
    let (_, connection) = stream.get_ref();
    let certificates = connection.peer_certificates().unwrap_or_default().iter().map(|der| der.to_vec()).collect();
    let how = connection.protocol_version().zip(connection.negotiated_key_exchange_group());
    Ok((certificates, how.map(|(version, group)| format!("{version:?}, {:?}", group.name()))))
}

/// Takes any certificate: it is looked at, and nothing else happens on the connection. That the server has its key is
/// verified.
#[derive(Debug)]
struct Looks(Arc<CryptoProvider>);

impl ServerCertVerifier for Looks {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
