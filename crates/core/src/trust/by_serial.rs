//! A map by serial number that costs one multiplication to look into.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

/// Only serial numbers that this environment drew are put in: 74 bits of each are random, so nobody can choose some
/// that collide. Others are only looked up, and miss.
pub(super) type BySerial<V> = HashMap<[u8; 16], V, BuildHasherDefault<SerialHasher>>;

/// 2^64 through the golden ratio: spreads neighbours (Knuth, The Art of Computer Programming 6.4).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SerialHasher(u64);

impl Hasher for SerialHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Anything but a serial number would only be slow.
        let Ok(serial) = <[u8; 16]>::try_from(bytes) else { return };
        let [high, low] = halves(u128::from_be_bytes(serial));
        // Both the bits that choose the place and those that are compared there depend on all of them.
        let [high, low] = halves(u128::from(high ^ low).wrapping_mul(u128::from(GOLDEN)));
        self.0 = high ^ low;
    }

    /// The length, which is always the same.
    fn write_usize(&mut self, _: usize) {}
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half")]
fn halves(wide: u128) -> [u64; 2] {
    [(wide >> 64) as u64, wide as u64]
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, hash::BuildHasher};

    use super::*;
    use crate::{Serial, Time};

    /// The worst that can be drawn: all in one millisecond, or one a millisecond with hardly a random bit.
    #[test]
    fn serial_numbers_spread_over_places_and_tags() {
        let hash = |serial: Serial| BuildHasherDefault::<SerialHasher>::default().hash_one(serial.as_bytes());
        let drawn = |millis: i64, number: u64| {
            let mut random = [0; 10];
            random[2..].copy_from_slice(&number.to_be_bytes());
            hash(Serial::new(Time::from_unix_millis(1_700_000_000_000 + millis), random))
        };
        for hashes in [(0..4096).map(|n| drawn(0, n)).collect::<Vec<_>>(), (0..4096).map(|n| drawn(n, 1)).collect()] {
            let different = |bits: fn(u64) -> u64| hashes.iter().map(|hash| bits(*hash)).collect::<BTreeSet<_>>().len();
            // 4096 balls in as many places leave 1/e of them empty.
            assert!(different(|hash| hash & 4095) > 2300, "{}", different(|hash| hash & 4095));
            assert_eq!(different(|hash| hash >> 57), 128);
        }
    }
}
