//! A signature where there are no headers, e.g. in MQTT 3.1.1: as lines before the body, as HTTP/1.1 has them.

use crate::{ID_HEADER, LONGEST_SIGNATURES, MAX_ID, MessageRefusal, SIGNATURE_HEADER, SignedMessage, TIMESTAMP_HEADER};

/// Longest line: longer ones are no signature.
const LONGEST_LINE: usize = SIGNATURE_HEADER.len() + LONGEST_SIGNATURES + MAX_ID;

impl<'a> SignedMessage<'a> {
    /// Reads `webhook-id: <id>`, `webhook-timestamp: <seconds>` and `webhook-signature: <signatures>`, in this order,
    /// each with a line feed after it, then an empty line, and then the body, whatever it is. There is no other way to
    /// write the same.
    pub fn from_lines(bytes: &'a [u8]) -> Result<Self, MessageRefusal> {
        let (id, rest) = line(bytes, ID_HEADER)?;
        let (timestamp, rest) = line(rest, TIMESTAMP_HEADER)?;
        let (signatures, rest) = line(rest, SIGNATURE_HEADER)?;
        let body = rest.strip_prefix(b"\n").ok_or(MessageRefusal::Malformed)?;
        Ok(Self { id, timestamp, signatures, body })
    }

    /// What [`Self::from_lines`] reads.
    pub fn to_lines(&self) -> Vec<u8> {
        let Self { id, timestamp, signatures, body } = self;
        let head = format!("{ID_HEADER}: {id}\n{TIMESTAMP_HEADER}: {timestamp}\n{SIGNATURE_HEADER}: {signatures}\n\n");
        [head.as_bytes(), body].concat()
    }
}

fn line<'a>(bytes: &'a [u8], name: &str) -> Result<(&'a str, &'a [u8]), MessageRefusal> {
    let read = || {
        let end = bytes.iter().take(LONGEST_LINE).position(|byte| *byte == b'\n')?;
        let (line, rest) = bytes.split_at_checked(end)?;
        let value = line.strip_prefix(name.as_bytes())?.strip_prefix(b": ")?;
        let is_printable = value.iter().all(|byte| matches!(byte, b' '..=b'~'));
        Some((std::str::from_utf8(value).ok().filter(|_| is_printable)?, rest.strip_prefix(b"\n")?))
    };
    read().ok_or(MessageRefusal::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_have_one_form() {
        let good = "webhook-id: a\nwebhook-timestamp: 1\nwebhook-signature: v1,x\n\nbody\n\n";
        let read = SignedMessage::from_lines(good.as_bytes()).unwrap();
        assert_eq!((read.id, read.timestamp, read.signatures, read.body), ("a", "1", "v1,x", &b"body\n\n"[..]));
        for (from, to) in [
            ("\n", "\r\n"),
            ("webhook-id", "Webhook-Id"),
            ("id: ", "id:"),
            ("\n\nbody", "\nbody"),
            ("webhook-timestamp: 1\n", ""),
            ("webhook-timestamp: 1\n", "webhook-timestamp: 1\nwebhook-timestamp: 1\n"),
            ("webhook-id: a\n", "webhook-id: a\nx: y\n"),
            ("webhook-id: a", "\nwebhook-id: a"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_eq!(SignedMessage::from_lines(bad.as_bytes()).unwrap_err(), MessageRefusal::Malformed, "{bad}");
        }
        assert!(SignedMessage::from_lines(b"").is_err());
        assert!(SignedMessage::from_lines(&[b"webhook-id: ".as_slice(), &[b'a'; 70_000]].concat()).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            id in "[!-~]{1,64}", timestamp in "[0-9]{1,12}", signatures in "v1,[!-~]{1,60}", body: Vec<u8>,
        ) {
            let bytes = SignedMessage { id: &id, timestamp: &timestamp, signatures: &signatures, body: &body }.to_lines();
            let read = SignedMessage::from_lines(&bytes).unwrap();
            prop_assert_eq!((read.id, read.timestamp, read.signatures), (&*id, &*timestamp, &*signatures));
            prop_assert_eq!(read.body, body);
        }

        #[test]
        fn whatever_comes_is_read_or_refused(bytes: Vec<u8>) {
            if let Ok(read) = SignedMessage::from_lines(&bytes) {
                prop_assert_eq!(read.to_lines(), bytes);
            }
        }
    }
}
