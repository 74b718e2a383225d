//! One GET of a plain HTTP listener: status, date and body. HTTP/1.0, so that the body ends with the connection.

use std::{io, time::Duration};

use jiff::{Timestamp, fmt::rfc2822};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

const LIMIT: u64 = 256 * 1024;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// E.g. 200.
    pub(super) status: u16,
    /// The server's clock.
    pub(super) date: Option<Timestamp>,
    /// The body, as text.
    pub(super) body: String,
}

/// Asks `http://host:port` for `path`.
pub(super) async fn get(base: &str, path: &str, limit: Duration) -> io::Result<Answer> {
    let authority = base.strip_prefix("http://").unwrap_or(base).trim_end_matches('/');
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let address = if has_port { authority.to_owned() } else { format!("{authority}:80") };
    let exchange = async {
        let mut stream = TcpStream::connect(&address).await?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: {authority}\r\nAccept: */*\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::new();
        stream.take(LIMIT).read_to_end(&mut bytes).await?;
        parse(&String::from_utf8_lossy(&bytes)).ok_or_else(|| io::Error::other("the answer is not HTTP"))
    };
    timeout(limit, exchange).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

fn parse(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let mut headers = lines.filter_map(|line| line.split_once(':'));
    let date = headers.find(|(name, _)| name.eq_ignore_ascii_case("date")).map(|(_, value)| value.trim());
    // RFC 9110 section 5.6.7 writes dates as RFC 2822 does, with GMT.
    let date = date.and_then(|date| rfc2822::DateTimeParser::new().parse_timestamp(date).ok());
    Some(Answer { status, date, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_gives_status_date_and_body() {
        let answer = parse("HTTP/1.0 503 Service Unavailable\r\nDate: Sun, 22 Nov 2026 03:00:00 GMT\r\n\r\n{}");
        let date = Timestamp::from_second(1_795_316_400).ok();
        assert_eq!(answer, Some(Answer { status: 503, date, body: "{}".into() }));
        assert_eq!(parse("SSH-2.0-x\r\n\r\n"), None);
    }
}
