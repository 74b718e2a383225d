//! A chunked body (RFC 9112 section 7.1), without extensions, which nobody sends and parsers disagree on.

use super::head::WireFault;

/// Longest trailer section, bytes.
const MAX_TRAILERS: usize = 8192;

/// Where in a chunked body a byte stands.
#[derive(Debug)]
pub(super) enum Chunks {
    /// In the digits of a size.
    Size { size: u64, digits: u8 },
    /// After the CR of a size line.
    SizeEnd { size: u64 },
    /// So many bytes of data are left.
    Data { left: u64 },
    /// After the data: CR, then LF.
    DataEnd { cr: bool },
    /// In the trailer section.
    Trailers { bytes: usize, line: usize, cr: bool },
}

impl Default for Chunks {
    fn default() -> Self {
        Self::Size { size: 0, digits: 0 }
    }
}

impl Chunks {
    /// Takes bytes up to the end of the body; returns how many, and whether that is the end.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(usize, bool), WireFault> {
        let mut taken = 0_usize;
        while let Some(byte) = bytes.get(taken).copied() {
            if let Self::Data { left } = self {
                let here = bytes.len().saturating_sub(taken).min(usize::try_from(*left).unwrap_or(usize::MAX));
                taken = taken.saturating_add(here);
                *left = left.saturating_sub(here as u64);
                if *left == 0 {
                    *self = Self::DataEnd { cr: false };
                }
                continue;
            }
            taken = taken.saturating_add(1);
            if self.step(byte)? {
                return Ok((taken, true));
            }
        }
        Ok((taken, false))
    }

    /// Whether the body ends with this byte.
    fn step(&mut self, byte: u8) -> Result<bool, WireFault> {
        *self = match (&*self, byte) {
            (Self::Size { size, digits }, _) if byte.is_ascii_hexdigit() && *digits < 15 => {
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                Self::Size { size: size << 4 | u64::from(digit), digits: digits.saturating_add(1) }
            }
            (Self::Size { size, digits }, b'\r') if *digits > 0 => Self::SizeEnd { size: *size },
            (Self::SizeEnd { size: 0 }, b'\n') => Self::Trailers { bytes: 0, line: 0, cr: false },
            (Self::SizeEnd { size }, b'\n') => Self::Data { left: *size },
            (Self::DataEnd { cr: false }, b'\r') => Self::DataEnd { cr: true },
            (Self::DataEnd { cr: true }, b'\n') => Self::default(),
            (Self::Trailers { bytes, line, cr: false }, b'\r') => {
                Self::Trailers { bytes: bytes.saturating_add(1), line: *line, cr: true }
            }
            (Self::Trailers { line: 0, cr: true, .. }, b'\n') => return Ok(true),
            (Self::Trailers { bytes, cr: true, .. }, b'\n') => Self::Trailers { bytes: *bytes, line: 0, cr: false },
            (Self::Trailers { bytes, line, cr: false }, _)
                if *bytes < MAX_TRAILERS
                    && !(byte.is_ascii_control() && byte != b'\t')
                    && !(*line == 0 && byte == b' ') =>
            {
                Self::Trailers { bytes: bytes.saturating_add(1), line: line.saturating_add(1), cr: false }
            }
            _ => return Err("the chunked body is malformed"),
        };
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In pieces of one byte, and at once: the same.
    fn end(body: &str) -> Result<Option<usize>, WireFault> {
        let at_once = Chunks::default().take(body.as_bytes()).map(|(taken, over)| over.then_some(taken));
        let mut chunks = Chunks::default();
        let mut piecewise = Ok(None);
        for (at, byte) in body.bytes().enumerate() {
            match chunks.take(&[byte]) {
                Ok((_, false)) => {}
                Ok((_, true)) => {
                    piecewise = Ok(Some(at + 1));
                    break;
                }
                Err(fault) => {
                    piecewise = Err(fault);
                    break;
                }
            }
        }
        assert_eq!(at_once, piecewise, "{body:?}");
        at_once
    }

    #[test]
    fn the_end_is_found() {
        assert_eq!(end("0\r\n\r\nGET"), Ok(Some(5)));
        assert_eq!(end("3\r\nabc\r\n00A\r\n0123456789\r\n0\r\n\r\n"), Ok(Some(30)));
        assert_eq!(end("0\r\nX-T: a\r\n\r\nrest"), Ok(Some(13)));
        assert_eq!(end("5\r\nab"), Ok(None));
    }

    #[test]
    fn what_parsers_disagree_on_is_refused() {
        for body in [
            "\r\n",
            "x\r\n",
            "-1\r\n",
            "+3\r\nabc",
            "0x3\r\nabc",
            " 3\r\nabc",
            "3 \r\nabc",
            "3;ext=1\r\nabc",
            "3\nabc",
            "3\r\nabcd\r\n",
            "3\r\nabc\n",
            "3\r\nabc\r\r",
            "ffffffffffffffff\r\n",
            "0\n",
            "0\r\nX\n\n",
            "0\r\n\n",
        ] {
            assert!(end(body).is_err(), "{body:?}");
        }
    }
}
