use alloc::vec::Vec;

/// Appends bits to bytes, from the least bit of each on.
pub(super) struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    /// The bits that do not fill a word yet.
    word: u64,
    /// How many: below 64.
    filled: u32,
}

impl<'a> BitWriter<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        BitWriter { out, word: 0, filled: 0 }
    }

    /// Appends the `count` low bits of `bits`, above which there are none; at most 64.
    #[inline]
    pub(super) fn push(&mut self, bits: u64, count: u32) {
        debug_assert!(count <= 64 && (count == 64 || bits >> count == 0));
        self.word |= bits << self.filled;
        let filled = self.filled + count;
        if filled < 64 {
            self.filled = filled;
            return;
        }
        self.out.extend_from_slice(&self.word.to_le_bytes());
        // The first `64 - self.filled` bits are written; a shift by all 64 leaves none.
        self.word = bits.checked_shr(64 - self.filled).unwrap_or(0);
        self.filled = filled - 64;
    }

    /// Fills the last byte with zeros.
    pub(super) fn finish(self) {
        let bytes = self.filled.div_ceil(8) as usize;
        self.out.extend_from_slice(&self.word.to_le_bytes()[..bytes]);
    }
}

/// Reads what [`BitWriter`] wrote. Behind the end are zeros: whoever reads looks at [`overrun`](BitReader::overrun) in
/// time.
// Copied into loops and back, so that the position is kept in a register.
#[derive(Clone, Copy)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        BitReader { bytes, at: 0 }
    }

    /// How many bits [`peek`](BitReader::peek) gives at least.
    pub(super) const PEEKED: u32 = 57;

    /// The next bits, from the least of the word on.
    #[inline]
    pub(super) fn peek(&self) -> u64 {
        let from = self.at / 8;
        let word = match self.bytes.get(from..from + 8).and_then(<[u8]>::first_chunk) {
            Some(eight) => u64::from_le_bytes(*eight),
            None => last_word(self.bytes, from),
        };
        word >> (self.at % 8)
    }

    #[inline]
    pub(super) fn skip(&mut self, count: u32) {
        self.at += count as usize;
    }

    /// The next `count` bits, at most 63.
    #[inline]
    pub(super) fn read(&mut self, count: u32) -> u64 {
        if count <= Self::PEEKED {
            let bits = self.peek() & ((1 << count) - 1);
            self.skip(count);
            return bits;
        }
        let low = self.read(32);
        low | self.read(count - 32) << 32
    }

    /// Whether more was read than there is.
    pub(super) fn overrun(&self) -> bool {
        self.at > self.bytes.len() * 8
    }

    /// The bytes begun so far, and whether the rest of the last one is zeros.
    pub(super) fn finish(self) -> (usize, bool) {
        let unused = self.at.next_multiple_of(8) - self.at;
        (self.at.div_ceil(8), self.peek() & ((1 << unused) - 1) == 0)
    }
}

/// The bytes from there to the end, and zeros.
#[cold]
fn last_word(bytes: &[u8], from: usize) -> u64 {
    let mut eight = [0; 8];
    if let Some(rest) = bytes.get(from..) {
        eight[..rest.len()].copy_from_slice(rest);
    }
    u64::from_le_bytes(eight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let mut random = 1_u64;
        let mut written = Vec::new();
        let mut pushed = Vec::new();
        let mut bits = BitWriter::new(&mut written);
        for _ in 0..10_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let count = (random >> 58) as u32;
            let value = (random >> 7) & ((1 << count) - 1);
            pushed.push((value, count));
            bits.push(value, count);
        }
        bits.push(u64::MAX, 64);
        bits.finish();
        let mut bits = BitReader::new(&written);
        for (value, count) in pushed {
            assert_eq!(bits.read(count), value);
        }
        assert_eq!((bits.read(32), bits.read(32)), (u64::from(u32::MAX), u64::from(u32::MAX)));
        assert!(!bits.overrun());
        assert_eq!(bits.finish(), (written.len(), true));
    }

    #[test]
    fn the_end_is_noticed() {
        let mut bits = BitReader::new(&[0xff, 1]);
        assert_eq!(bits.read(12), 0x1ff);
        assert!(!bits.overrun());
        assert_eq!(bits.read(63), 0);
        assert!(bits.overrun());
        assert_eq!(bits.peek(), 0);
        let mut bits = BitReader::new(&[0xff, 1]);
        bits.skip(8);
        assert_eq!(bits.finish(), (1, true));
        let mut bits = BitReader::new(&[0xff, 1]);
        bits.skip(4);
        assert_eq!(bits.finish(), (1, false));
    }
}
