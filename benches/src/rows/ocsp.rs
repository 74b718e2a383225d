//! OCSP: an answer out of memory, over HTTP.

use std::{net::SocketAddr, path::Path};

use aws_lc_rs::digest::{SHA256, digest};
use signet_core::Serial;
use signet_x509::{CertificateView, pem};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    Result, Scale,
    clock::now,
    measure::{in_turn, micros_each},
    node::{Environment, Node},
    report::{Budget, Row},
    server::runtime,
};

/// As many as a connection may.
const PER_CONNECTION: usize = 100;

pub(crate) fn rows(signetd: &Path, environment: &Environment, rounds: usize, scale: Scale) -> Result<Vec<Row>> {
    let here = runtime()?;
    let (node, public) = (here.block_on(Node::start(signetd, environment))?, environment.public()?);
    let connections = scale.of(20_000).div_ceil(PER_CONNECTION);
    let bundle = here.block_on(exchange(public, b"GET /v1/tenants/system/bundle.pem HTTP/1.1\r\nhost: x\r\n\r\n"))?;
    let bundle = String::from_utf8_lossy(&bundle).into_owned();
    let anchor = bundle.split_once("\r\n\r\n").and_then(|(_, body)| pem::decode_certificates(body)?.into_iter().next());
    let question = question(&anchor.ok_or("there is no anchor")?)?;
    let head = format!("POST /v1/ocsp/system.1 HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", question.len());
    let question = [head.as_bytes(), &question].concat();
    let spent = |request: &[u8]| -> Result<f64> {
        let before = node.cpu()?;
        for _ in 0..connections {
            here.block_on(ask(public, request, PER_CONNECTION))?;
        }
        Ok(micros_each(node.cpu()? - before, connections * PER_CONNECTION))
    };
    let health = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let pair = in_turn(rounds, || spent(health), || spent(&question))?;
    Ok(vec![
        Row::pair("OCSP: an answer out of memory, over HTTP", "us", &pair)
            .budget(Budget::AtMost(20.0))
            .note("CPU of signetd; floor: /healthz on the same listener"),
    ])
}

/// A request by RFC 6960 section 4.1.1, with SHA-256.
fn question(anchor_der: &[u8]) -> Result<Vec<u8>> {
    let view = CertificateView::from_der(anchor_der)?;
    let (_, point) = view.spki_der.split_last_chunk::<65>().ok_or("the key is not on P-256")?;
    let hash = |of: &[u8]| value(4, digest(&SHA256, of).as_ref());
    let sha256 = value(6, &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1]);
    let serial = value(2, Serial::new(now(), [7; 10]).as_bytes());
    let id = [value(0x30, &sha256), hash(view.subject_der), hash(point), serial].concat();
    Ok((0..5).fold(id, |content, _| value(0x30, &content)))
}

/// DER, of less than 128 bytes.
fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    [&[tag, u8::try_from(content.len()).unwrap_or(u8::MAX)], content].concat()
}

async fn exchange(public: SocketAddr, request: &[u8]) -> Result<Vec<u8>> {
    ask(public, request, 1).await
}

/// Asks again and again on one connection; returns the last answer.
async fn ask(public: SocketAddr, request: &[u8], times: usize) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(public).await?;
    let mut answer = Vec::new();
    for _ in 0..times {
        stream.write_all(request).await?;
        answer.clear();
        while !is_whole(&answer) {
            if stream.read_buf(&mut answer).await? == 0 {
                return Err("the node closed the connection".into());
            }
        }
        if !answer.starts_with(b"HTTP/1.1 200") {
            return Err(String::from_utf8_lossy(&answer).into());
        }
    }
    Ok(answer)
}

fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(answer.get(..end).unwrap_or_default()).to_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse::<usize>().ok());
    length.is_some_and(|length| answer.len() >= end + 4 + length)
}
