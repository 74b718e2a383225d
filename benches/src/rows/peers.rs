//! Other certificate authorities on the same machine: CPU of their process for a certificate.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;
use signet_x509::{KeyAndCsr, pem};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::sleep,
};

use crate::{
    Result, Scale,
    machine::cpu_of,
    measure::{micros_each, repeated},
    pki::Pki,
    report::Row,
    server::runtime,
};

const SIGN: &str = "/api/v1/cfssl/sign";

/// cfssl's sign endpoint: a local P-256 key, no store, no audit log, plain HTTP.
pub(crate) fn cfssl(pki: &Pki, program: &Path, state: &Path, rounds: usize, scale: Scale) -> Result<Vec<Row>> {
    let here = runtime()?;
    let cfssl = here.block_on(Cfssl::start(pki, program, state))?;
    let count = scale.of(1000);
    let bodies = (0..count).map(|_| body()).collect::<Result<Vec<_>>>()?;
    let micros = repeated(rounds, || {
        let before = cpu_of(cfssl.child.id())?;
        here.block_on(cfssl.sign(&bodies))?;
        Ok(micros_each(cpu_of(cfssl.child.id())? - before, count))
    })?;
    Ok(vec![
        Row::alone("peer: cfssl's sign endpoint, a certificate", "us", micros)
            .note("plain HTTP, one connection, no store, no audit; CPU of its process"),
    ])
}

struct Cfssl {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Cfssl {
    async fn start(pki: &Pki, program: &Path, state: &Path) -> Result<Self> {
        let folder = TempDir::new_in(state)?;
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).map(|()| path)
        };
        let usages = ["digital signature", "client auth"];
        let config = json!({ "signing": { "default": { "usages": usages, "expiry": "24h" } } });
        let ca = file("ca.pem", &pem::encode_certificate(&pki.issuing.ca.certificate_der))?;
        let key = file("ca-key.pem", &pki.issuing.key.to_pkcs8_pem())?;
        let config = file("config.json", &config.to_string())?;
        // Free now, and nobody else asks for ports here.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut command = Command::new(program);
        command.args(["serve", "-loglevel", "5", "-address", "127.0.0.1", "-port", &address.port().to_string()]);
        command.arg("-ca").arg(ca).arg("-ca-key").arg(key).arg("-config").arg(config).current_dir(folder.path());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let cfssl = Self { child, address, _folder: folder };
        let started = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            if started.elapsed() > Duration::from_secs(10) {
                return Err("cfssl does not listen".into());
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(cfssl)
    }

    /// One after the other on one connection.
    async fn sign(&self, bodies: &[String]) -> Result<()> {
        let mut stream = BufReader::new(TcpStream::connect(self.address).await?);
        for body in bodies {
            let (length, host) = (body.len(), self.address);
            let request = format!("POST {SIGN} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\n\r\n{body}");
            stream.write_all(request.as_bytes()).await?;
            let answer = answer(&mut stream).await?;
            if !answer.contains("BEGIN CERTIFICATE") {
                return Err(format!("cfssl refused: {answer}").into());
            }
        }
        Ok(())
    }
}

impl Drop for Cfssl {
    fn drop(&mut self) {
        // It keeps nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn body() -> Result<String> {
    let request = pem::encode("CERTIFICATE REQUEST", &KeyAndCsr::generate()?.csr_der);
    let subject = json!({ "CN": "w-1", "names": [{ "O": "acme" }] });
    Ok(json!({ "certificate_request": request, "hosts": ["w-1.acme.example.com"], "subject": subject }).to_string())
}

/// An answer with a length, as Go gives short ones.
async fn answer(stream: &mut BufReader<TcpStream>) -> Result<String> {
    let (mut length, mut line) = (0, String::new());
    while line != "\r\n" {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Err("cfssl hung up".into());
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    let mut text = vec![0; length];
    stream.read_exact(&mut text).await?;
    Ok(String::from_utf8(text)?)
}
