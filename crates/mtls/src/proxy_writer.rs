//! Writes a PROXY protocol version 2 header with what TLS has shown (haproxy's `proxy-protocol.txt`, sections 2.2.1 and
//! 2.2.6), for servers that do not speak TLS themselves, e.g. Mosquitto with `enable_proxy_protocol 2`.

use std::net::{IpAddr, SocketAddr};

use crate::proxy::SIGNATURE;

/// Version 2, command PROXY.
const VERSION_AND_COMMAND: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;
const TYPE_SSL: u8 = 0x20;
const SUBTYPE_VERSION: u8 = 0x21;
const SUBTYPE_CN: u8 = 0x22;
const SUBTYPE_CIPHER: u8 = 0x23;
/// TLS was used; a certificate was shown on this connection, and in this session.
const CLIENT_SSL_CERT: u8 = 0x01 | 0x02 | 0x04;

/// What the upstream is told of TLS. All texts are short: a common name has at most 64 characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct RelayedTls<'a> {
    pub version: &'a str,
    pub cipher: &'a str,
    /// Of the verified client certificate.
    pub common_name: &'a str,
}

/// The header of a connection from `source` to `destination`, whose client has shown a verified certificate.
pub fn relayed_header(source: SocketAddr, destination: SocketAddr, tls: RelayedTls<'_>) -> Vec<u8> {
    let mut body = Vec::with_capacity(160);
    let family = match (source.ip().to_canonical(), destination.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            body.extend(from.octets());
            body.extend(to.octets());
            TCP_OVER_IPV4
        }
        (from, to) => {
            body.extend(as_v6(from));
            body.extend(as_v6(to));
            TCP_OVER_IPV6
        }
    };
    body.extend(source.port().to_be_bytes());
    body.extend(destination.port().to_be_bytes());
    // The certificate was verified: 0.
    let mut ssl = vec![CLIENT_SSL_CERT, 0, 0, 0, 0];
    for (kind, text) in [(SUBTYPE_VERSION, tls.version), (SUBTYPE_CN, tls.common_name), (SUBTYPE_CIPHER, tls.cipher)] {
        if !text.is_empty() {
            tlv(&mut ssl, kind, text.as_bytes());
        }
    }
    tlv(&mut body, TYPE_SSL, &ssl);
    let mut header = SIGNATURE.to_vec();
    header.extend([VERSION_AND_COMMAND, family]);
    header.extend(length(&body));
    header.extend(body);
    header
}

fn as_v6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn tlv(out: &mut Vec<u8>, kind: u8, value: &[u8]) {
    out.push(kind);
    out.extend(length(value));
    out.extend(value);
}

fn length(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::{Header, read};

    const TLS: RelayedTls<'static> =
        RelayedTls { version: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384", common_name: "sensor-1" };

    #[test]
    fn our_reader_finds_the_source_and_stops_where_the_header_ends() {
        for (source, destination) in [
            ("203.0.113.9:40000", "10.0.0.1:8883"),
            ("[2001:db8::9]:40000", "[2001:db8::1]:8883"),
            ("[2001:db8::9]:40000", "10.0.0.1:8883"),
        ] {
            let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
            let mut bytes = relayed_header(source, destination, TLS);
            bytes.extend(b"rest");
            let mut stream = &*bytes;
            let header = futures::executor::block_on(read(&mut stream)).unwrap();
            assert_eq!((header, stream), (Header::Relayed(source), &b"rest"[..]));
        }
    }

    #[test]
    fn the_ssl_part_says_that_a_certificate_was_verified_and_whose() {
        let bytes = relayed_header("203.0.113.9:1".parse().unwrap(), "10.0.0.1:2".parse().unwrap(), TLS);
        let ssl = &bytes[16 + 12..];
        assert_eq!((ssl[0], usize::from(u16::from_be_bytes([ssl[1], ssl[2]]))), (0x20, ssl.len() - 3));
        assert_eq!(ssl[3..8], [7, 0, 0, 0, 0]);
        assert_eq!(ssl[8..18], *b"\x21\x00\x07TLSv1.3");
        assert_eq!(ssl[18..29], *b"\x22\x00\x08sensor-1");
    }
}
