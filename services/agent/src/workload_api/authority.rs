//! gRPC's C core (Python, C++, Ruby) names a Unix socket in `:authority`, as `run%2Fsignet%2Fworkload.sock`. hyper
//! takes that for no authority (RFC 3986 section 3.2) and refuses the whole call. Nobody reads it here: each `%` in it
//! becomes a `-` while the bytes come in, so that no length changes.

/// RFC 9113 section 3.4.
const PREFACE: usize = 24;
const FRAME_HEADER: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
const NAME: &[u8] = b":authority";

/// The place in an HTTP/2 connection up to which its bytes have come in, however they were cut.
#[derive(Debug)]
pub(crate) struct Authority {
    /// Bytes of the preface, or of a frame, that are none of ours.
    skip: usize,
    header: [u8; FRAME_HEADER],
    header_length: usize,
    /// Bytes of a header block that come in this frame.
    block: usize,
    /// The header block ends with the frame.
    is_last: bool,
    field: Field,
}

impl Default for Authority {
    fn default() -> Self {
        let (header, field) = ([0; FRAME_HEADER], Field::Start);
        Self { skip: PREFACE, header, header_length: 0, block: 0, is_last: true, field }
    }
}

impl Authority {
    pub(crate) fn pass(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let part = if self.skip > 0 {
                let part = self.skip.min(bytes.len());
                self.skip -= part;
                part
            } else if self.block > 0 {
                let part = self.block.min(bytes.len());
                bytes.iter_mut().take(part).for_each(|byte| self.field.take(byte));
                self.block -= part;
                if self.block == 0 && self.is_last {
                    self.field = Field::Start;
                }
                part
            } else {
                self.frame(bytes.first().copied().unwrap_or_default());
                1
            };
            bytes = bytes.get_mut(part..).unwrap_or_default();
        }
    }

    /// RFC 9113 section 4.1: the next byte of a frame's header.
    fn frame(&mut self, byte: u8) {
        if let Some(place) = self.header.get_mut(self.header_length) {
            *place = byte;
        }
        self.header_length += 1;
        if self.header_length < FRAME_HEADER {
            return;
        }
        self.header_length = 0;
        let [high, middle, low, kind, flags, ..] = self.header;
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        // Padding follows the block, and reads as empty fields.
        let ahead = usize::from(flags & PADDED != 0) + if flags & PRIORITY != 0 { 5 } else { 0 };
        self.skip = match kind {
            HEADERS => ahead.min(length),
            CONTINUATION => 0,
            _ => length,
        };
        self.block = length - self.skip;
        self.is_last = flags & END_HEADERS != 0;
    }
}

/// A header field (RFC 7541 section 6), up to the byte that came last.
#[derive(Debug)]
enum Field {
    Start,
    /// The index of a whole field, or a table's size, has more bytes.
    Index,
    /// The index of a name has more bytes: it is above that of `:authority`, 1.
    NameIndex,
    NameLength(Integer),
    Name {
        left: usize,
        at: usize,
        is_ours: bool,
    },
    ValueLength {
        length: Integer,
        is_ours: bool,
    },
    Value {
        left: usize,
        is_ours: bool,
    },
}

impl Field {
    fn take(&mut self, byte: &mut u8) {
        let value = |is_ours| Self::ValueLength { length: Integer::default(), is_ours };
        let body = |left, is_ours| if left == 0 { Self::Start } else { Self::Value { left, is_ours } };
        *self = match self {
            Self::Start => {
                // Sections 6.1 and 6.3, 6.2.1, 6.2.2 and 6.2.3.
                let (is_index, most) = match *byte {
                    0x80.. => (true, 0x7f),
                    0x40..0x80 => (false, 0x3f),
                    0x20..0x40 => (true, 0x1f),
                    _ => (false, 0x0f),
                };
                match *byte & most {
                    index if index == most => {
                        if is_index {
                            Self::Index
                        } else {
                            Self::NameIndex
                        }
                    }
                    _ if is_index => Self::Start,
                    0 => Self::NameLength(Integer::default()),
                    index => value(index == 1),
                }
            }
            Self::Index => {
                if *byte & 0x80 == 0 {
                    Self::Start
                } else {
                    Self::Index
                }
            }
            Self::NameIndex => {
                if *byte & 0x80 == 0 {
                    value(false)
                } else {
                    Self::NameIndex
                }
            }
            Self::NameLength(length) => match length.take(*byte) {
                None => return,
                Some((0, _)) => value(false),
                Some((left, is_plain)) => Self::Name { left, at: 0, is_ours: is_plain && left == NAME.len() },
            },
            Self::Name { left, at, is_ours } => {
                let is_ours = *is_ours && NAME.get(*at) == Some(byte);
                if *left == 1 { value(is_ours) } else { Self::Name { left: *left - 1, at: *at + 1, is_ours } }
            }
            Self::ValueLength { length, is_ours } => match length.take(*byte) {
                None => return,
                Some((left, is_plain)) => body(left, *is_ours && is_plain),
            },
            Self::Value { left, is_ours } => {
                if *is_ours && *byte == b'%' {
                    *byte = b'-';
                }
                body(*left - 1, *is_ours)
            }
        };
    }
}

/// A string's length (RFC 7541 sections 5.1 and 5.2).
#[derive(Debug, Default)]
struct Integer {
    value: usize,
    /// 0: nothing has come yet.
    bytes: u32,
    is_plain: bool,
}

impl Integer {
    /// The length, once it is complete, and whether the string is not Huffman-coded.
    fn take(&mut self, byte: u8) -> Option<(usize, bool)> {
        let is_complete = if self.bytes == 0 {
            (self.value, self.is_plain) = (usize::from(byte & 0x7f), byte & 0x80 == 0);
            self.value < 0x7f
        } else {
            // What is too long to be true is refused by whoever reads it.
            let more = usize::from(byte & 0x7f).checked_shl(7 * (self.bytes - 1)).unwrap_or(usize::MAX);
            self.value = self.value.saturating_add(more);
            byte & 0x80 == 0
        };
        self.bytes = self.bytes.saturating_add(1).min(9);
        is_complete.then_some((self.value, self.is_plain))
    }
}

#[cfg(test)]
mod tests {
    use super::Authority;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn connection(frames: &[Vec<u8>]) -> Vec<u8> {
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frames.concat()].concat()
    }

    /// However it is cut.
    fn passed(bytes: &[u8]) -> Vec<u8> {
        let mut whole = bytes.to_vec();
        Authority::default().pass(&mut whole);
        for size in [1, 2, 7, 24, 33] {
            let (mut cut, mut authority) = (bytes.to_vec(), Authority::default());
            cut.chunks_mut(size).for_each(|part| authority.pass(part));
            assert_eq!(cut, whole, "in parts of {size}");
        }
        whole
    }

    #[test]
    fn only_an_authority_is_changed() {
        let (path, own) = (b"\x44\x04/a%b", b"\x41\x06a%2F%b");
        let named = b"\x40\x0a:authority\x03x%y";
        let other = b"\x40\x0a:authoritx\x03x%y\x0f\x2f\x01%\x7f\x05\x01%\x3f\xe1\x1f\x83";
        let block = [&path[..], other, own, &named[..], path].concat();
        let changed = [&path[..], other, b"\x41\x06a-2F-b", b"\x40\x0a:authority\x03x-y", path].concat();
        let data = frame(0, 0, b"\x41\x01%");
        let of = |block: &[u8]| {
            let (one, two) = block.split_at(block.len() / 2);
            let padded = [&[2, 0, 0, 0, 0, 9][..], block, &[0, 0]].concat();
            connection(&[
                frame(4, 0, &[]),
                frame(1, 0x4, block),
                data.clone(),
                frame(1, 0x2c, &padded),
                frame(1, 0, one),
                frame(9, 0x4, two),
                frame(1, 0x4, block),
            ])
        };
        assert_eq!(passed(&of(&block)), of(&changed));
    }

    #[test]
    fn what_is_longer_than_a_byte_tells_or_coded_is_read_too() {
        let long = [&[0x41, 0x7f, 0x81, 0x01][..], &[b'%'; 256]].concat();
        let found = passed(&connection(&[frame(1, 4, &long)]));
        assert_eq!(found.iter().filter(|byte| **byte == b'-').count(), 256);
        let coded = connection(&[frame(1, 4, b"\x41\x83%%%\x41\x01%")]);
        assert!(passed(&coded).ends_with(b"\x41\x83%%%\x41\x01-"));
    }

    #[test]
    fn nonsense_keeps_its_length() {
        let mut state = 1_u64;
        for _ in 0..2000 {
            let byte = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 33).to_le_bytes()[0]
            };
            let block: Vec<u8> = std::iter::repeat_with(byte).take(64).collect();
            let bytes = connection(&[frame(1, 4, &block), frame(1, 4, b"\x41\x01%")]);
            assert!(passed(&bytes).ends_with(b"\x41\x01-"), "{block:02x?}");
        }
    }
}
