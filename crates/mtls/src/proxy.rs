//! PROXY protocol version 2 (haproxy's `proxy-protocol.txt`, section 2.2), as AWS NLB sends it in front of a TCP
//! connection. Only the source address is taken; it is trusted because the sender's network is.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The first bytes of a version 2 header.
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Addresses and TLVs may take this many bytes; NLB sends below 200.
pub const MAX_BODY: usize = 2048;

const PREFIX: usize = 16;

/// What the header says of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The balancer's own connection, e.g. a health check: its own address counts.
    Local,
    /// Relayed for this client.
    Relayed(SocketAddr),
}

/// Why a header cannot be used.
#[derive(Debug, Error)]
pub enum ProxyError {
    /// The connection does not start with the signature.
    #[error("no PROXY version 2 header, which is required from this network")]
    Missing,
    /// Another version than 2.
    #[error("PROXY header of version {0}, not 2")]
    Version(u8),
    /// Neither LOCAL nor PROXY.
    #[error("PROXY command {0} is not known")]
    Command(u8),
    /// Neither TCP over IPv4 nor over IPv6.
    #[error("PROXY address family and protocol {0:#04x} are not TCP over IPv4 or IPv6")]
    Family(u8),
    /// More bytes than [`MAX_BODY`].
    #[error("PROXY header of {0} bytes is too long")]
    TooLong(usize),
    /// Fewer bytes than its addresses need.
    #[error("PROXY header is too short for its addresses")]
    TooShort,
    /// The connection broke off.
    #[error("connection ended within the PROXY header")]
    Io(#[from] io::Error),
}

/// Reads a header and not one byte more. The caller limits the time.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Header, ProxyError> {
    let mut prefix = [0; PREFIX];
    stream.read_exact(&mut prefix).await?;
    let length = body_length(&prefix)?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    parse(&prefix, &body)
}

/// The number of bytes that follow the 16 bytes of `prefix`.
pub fn body_length(prefix: &[u8; PREFIX]) -> Result<usize, ProxyError> {
    let [signature @ .., version_command, _, high, low] = prefix;
    if *signature != SIGNATURE {
        return Err(ProxyError::Missing);
    }
    if version_command >> 4 != 2 {
        return Err(ProxyError::Version(version_command >> 4));
    }
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if length <= MAX_BODY { Ok(length) } else { Err(ProxyError::TooLong(length)) }
}

/// Reads a header from its prefix and body. TLVs after the addresses are skipped.
pub fn parse(prefix: &[u8; PREFIX], body: &[u8]) -> Result<Header, ProxyError> {
    body_length(prefix)?;
    let [.., version_command, family, _, _] = *prefix;
    match version_command & 0x0f {
        0 => return Ok(Header::Local),
        1 => {}
        other => return Err(ProxyError::Command(other)),
    }
    let (ip, port): (IpAddr, _) = match family {
        // Source, destination, source port, destination port.
        0x11 => {
            let (source, rest) = body.split_first_chunk::<4>().ok_or(ProxyError::TooShort)?;
            (Ipv4Addr::from(*source).into(), rest.get(4..8))
        }
        0x21 => {
            let (source, rest) = body.split_first_chunk::<16>().ok_or(ProxyError::TooShort)?;
            (Ipv6Addr::from(*source).to_canonical(), rest.get(16..20))
        }
        other => return Err(ProxyError::Family(other)),
    };
    match port {
        Some([high, low, _, _]) => Ok(Header::Relayed(SocketAddr::new(ip, u16::from_be_bytes([*high, *low])))),
        _ => Err(ProxyError::TooShort),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(version_command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([version_command, family]);
        bytes.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        bytes.extend(body);
        bytes
    }

    fn read_all(bytes: &[u8]) -> Result<(Header, Vec<u8>), ProxyError> {
        let mut rest = bytes;
        let header = futures::executor::block_on(read(&mut rest))?;
        Ok((header, rest.to_vec()))
    }

    /// The shape of an NLB with a VPC endpoint service in front of an ip target: IPv4 addresses, TLV 0xEA with
    /// subtype 1 and the endpoint id, a CRC32c TLV, then the client's first TLS bytes.
    #[test]
    fn a_load_balancers_header_gives_the_client_and_leaves_the_tls_bytes() {
        let mut body = vec![203, 0, 113, 9, 10, 0, 1, 20, 0xd4, 0x31, 0x01, 0xbb];
        body.extend([0xea, 0x00, 0x17, 0x01]);
        body.extend(b"vpce-08d2bf15fac5001c9"[..22].iter());
        body.extend([0x03, 0x00, 0x04, 0xfd, 0x16, 0xee, 0x60]);
        let mut bytes = header(0x21, 0x11, &body);
        bytes.extend([0x16, 0x03, 0x01]);
        let (header, rest) = read_all(&bytes).unwrap();
        assert_eq!(header, Header::Relayed("203.0.113.9:54321".parse().unwrap()));
        assert_eq!(rest, [0x16, 0x03, 0x01]);
    }

    #[test]
    fn ipv6_mapped_addresses_and_local_are_understood() {
        let ipv6 = |source: &str| {
            let mut body = source.parse::<Ipv6Addr>().unwrap().octets().to_vec();
            body.extend([0; 16]);
            body.extend([0x1f, 0x90, 0x01, 0xbb]);
            read_all(&header(0x21, 0x21, &body)).unwrap().0
        };
        assert_eq!(ipv6("2001:db8::1"), Header::Relayed("[2001:db8::1]:8080".parse().unwrap()));
        assert_eq!(ipv6("::ffff:192.0.2.1"), Header::Relayed("192.0.2.1:8080".parse().unwrap()));
        assert_eq!(read_all(&header(0x20, 0x00, &[])).unwrap().0, Header::Local);
        assert_eq!(read_all(&header(0x20, 0x11, &[0; 12])).unwrap().0, Header::Local);
    }

    #[test]
    fn everything_else_is_refused_by_name() {
        let error = |bytes: &[u8]| read_all(bytes).unwrap_err();
        assert!(matches!(error(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\0\0\0\0\0"), ProxyError::Missing));
        assert!(matches!(error(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"), ProxyError::Missing));
        assert!(matches!(error(&header(0x11, 0x11, &[0; 12])), ProxyError::Version(1)));
        assert!(matches!(error(&header(0x22, 0x11, &[0; 12])), ProxyError::Command(2)));
        assert!(matches!(error(&header(0x21, 0x00, &[])), ProxyError::Family(0)));
        assert!(matches!(error(&header(0x21, 0x12, &[0; 12])), ProxyError::Family(0x12)));
        assert!(matches!(error(&header(0x21, 0x31, &[0; 216])), ProxyError::Family(0x31)));
        assert!(matches!(error(&header(0x21, 0x11, &[0; 11])), ProxyError::TooShort));
        assert!(matches!(error(&header(0x21, 0x21, &[0; 35])), ProxyError::TooShort));
        assert!(matches!(error(&header(0x21, 0x11, &[0; 2049])), ProxyError::TooLong(2049)));
        assert!(matches!(error(&header(0x21, 0x11, &[0; 12])[..20]), ProxyError::Io(_)));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, version_command: u8, family: u8, body: Vec<u8>) {
            let _ = read_all(&bytes);
            let _ = read_all(&header(version_command, family, &body));
        }
    }
}
