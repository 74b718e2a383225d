//! One request's head: request line and header fields (RFC 9112 sections 3 to 6).

/// How a request's body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes.
    Sized(u64),
    Chunked,
}

/// What is wrong with a request.
pub(crate) type WireFault = &'static str;

/// Reads a head up to and including its empty line.
pub(super) fn read(head: &[u8]) -> Result<Framing, WireFault> {
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r"));
    let request_line = lines.next().flatten().ok_or("a line does not end with CRLF")?;
    check_request_line(request_line)?;
    let mut fields = Fields::default();
    for line in lines {
        let line = line.ok_or("a line does not end with CRLF")?;
        if line.is_empty() {
            break;
        }
        fields.take(line)?;
    }
    fields.framing()
}

fn check_request_line(line: &[u8]) -> Result<(), WireFault> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("the request line is not METHOD TARGET VERSION with one space between");
    };
    if method.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
        return Err("the method is not a token");
    }
    if version != b"HTTP/1.1" {
        return Err("the version is not HTTP/1.1");
    }
    if target.is_empty() || !target.iter().all(|byte| byte.is_ascii_graphic()) {
        return Err("the request target has characters that must be encoded");
    }
    if target.contains(&b'#') {
        return Err("the request target has a fragment");
    }
    Ok(())
}

#[derive(Default)]
struct Fields {
    hosts: u32,
    length: Option<u64>,
    chunked: bool,
}

impl Fields {
    fn take(&mut self, line: &[u8]) -> Result<(), WireFault> {
        if line.first().is_some_and(|byte| matches!(byte, b' ' | b'\t')) {
            return Err("a header field is folded over lines");
        }
        let colon = line.iter().position(|byte| *byte == b':').ok_or("a header field has no colon")?;
        let (name, value) = line.split_at(colon);
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            return Err("the name of a header field is not a token");
        }
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        // RFC 9110 section 5.5; a bare CR among them.
        if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return Err("a header field has a control character");
        }
        let folded: Vec<u8> =
            name.iter().map(|byte| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() }).collect();
        let exact = !name.contains(&b'_');
        match &*folded {
            b"host" | b"content-length" | b"transfer-encoding" if !exact => {
                Err("a header looks like Host, Content-Length or Transfer-Encoding to some servers")
            }
            b"host" => self.host(value),
            b"content-length" => self.content_length(value),
            b"transfer-encoding" => self.transfer_encoding(value),
            _ => Ok(()),
        }
    }

    fn host(&mut self, value: &[u8]) -> Result<(), WireFault> {
        self.hosts = self.hosts.saturating_add(1);
        if self.hosts > 1 {
            Err("there are two Host fields")
        } else if value.is_empty() {
            Err("Host is empty")
        } else {
            Ok(())
        }
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), WireFault> {
        if self.length.is_some() {
            return Err("there are two Content-Length fields");
        }
        let digits = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
        let length = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse().ok());
        self.length = Some(length.ok_or("Content-Length is not a number")?);
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), WireFault> {
        if self.chunked {
            return Err("there are two Transfer-Encoding fields");
        }
        self.chunked = value.eq_ignore_ascii_case(b"chunked");
        if self.chunked { Ok(()) } else { Err("Transfer-Encoding is not chunked") }
    }

    fn framing(self) -> Result<Framing, WireFault> {
        match (self.hosts, self.length, self.chunked) {
            (0, _, _) => Err("there is no Host field"),
            (_, Some(_), true) => Err("there are both Content-Length and Transfer-Encoding"),
            (_, None, true) => Ok(Framing::Chunked),
            (_, length, false) => Ok(Framing::Sized(length.unwrap_or(0))),
        }
    }
}

/// RFC 9110 section 5.6.2.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_framing_is_what_the_head_says() {
        let with = |fields: &str| read(format!("POST /a HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes());
        assert_eq!(with(""), Ok(Framing::Sized(0)));
        assert_eq!(with("content-length:  42 \r\n"), Ok(Framing::Sized(42)));
        assert_eq!(with("TRANSFER-ENCODING: Chunked\r\n"), Ok(Framing::Chunked));
    }

    #[test]
    fn every_ambiguity_is_refused() {
        for fields in [
            "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
            "Content-Length: 3\r\nContent-Length: 3\r\n",
            "Content-Length: 3, 3\r\n",
            "Content-Length: +3\r\n",
            "Content-Length: 0x3\r\n",
            "Content-Length:\r\n",
            "Content-Length: 9999999999999999999999\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding: \"chunked\"\r\n",
            "Transfer-Encoding : chunked\r\n",
            "Transfer-Encoding\t: chunked\r\n",
            " Transfer-Encoding: chunked\r\n",
            "X: a\r\n folded\r\n",
            "X: a\r\n\tfolded\r\n",
            "Transfer_Encoding: chunked\r\n",
            "content_length: 3\r\n",
            "Host: b\r\n",
            "X: a\rb\r\n",
            "X: a\0b\r\n",
            "X\0: a\r\n",
            ": a\r\n",
            "X\r\n",
            "X: a\nContent-Length: 3\r\n",
        ] {
            let head = format!("POST /a HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
            assert!(read(head.as_bytes()).is_err(), "{fields:?}");
        }
    }

    #[test]
    fn request_lines_are_of_one_form() {
        for line in [
            "GET  /a HTTP/1.1",
            "GET /a",
            "GET /a HTTP/1.0",
            "GET /a HTTP/1.1 ",
            " GET /a HTTP/1.1",
            "GET /a b HTTP/1.1",
            "GET /a#b HTTP/1.1",
            "G(T /a HTTP/1.1",
            "GET /\u{e9} HTTP/1.1",
            "GET\t/a HTTP/1.1",
            "GET /a http/1.1",
            "",
        ] {
            assert!(read(format!("{line}\r\nHost: a\r\n\r\n").as_bytes()).is_err(), "{line:?}");
        }
    }
}
