//! Small numbers as bits: what surrounds the values in a frame.

/// Appends bits, filled into bytes from the least bit on.
#[derive(Debug, Default)]
pub(crate) struct BitWriter {
    bytes: Vec<u8>,
    /// How many bits of the last byte are taken; 0 if all are.
    taken: u32,
}

impl BitWriter {
    pub(crate) fn bit(&mut self, bit: bool) {
        if self.taken == 0 {
            self.bytes.push(0);
        }
        if let Some(last) = self.bytes.last_mut() {
            *last |= u8::from(bit) << self.taken;
        }
        self.taken = (self.taken + 1) % 8;
    }

    /// The number n + 1 in Elias' gamma code: as many zeros as it has bits after the first, then its bits from the first
    /// on. 0 takes one bit, 1 and 2 take three, 3 to 6 five. At most 2⁶⁴ − 2.
    ///
    /// Source: Elias, "Universal codeword sets and representations of the integers", IEEE Transactions on Information
    /// Theory 21 (1975).
    pub(crate) fn number(&mut self, n: u64) {
        let code = n + 1;
        let len = code.ilog2();
        (0..len).for_each(|_| self.bit(false));
        (0..=len).rev().for_each(|at| self.bit(code >> at & 1 == 1));
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Reads what [`BitWriter`] wrote; `None` where the bits end.
#[derive(Debug)]
pub(crate) struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        BitReader { bytes, at: 0 }
    }

    pub(crate) fn bit(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (self.at % 8) & 1 == 1;
        self.at += 1;
        Some(bit)
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
        let mut len = 0;
        while !self.bit()? {
            len += 1;
            if len == u64::BITS {
                return None;
            }
        }
        let mut code = 1_u64;
        for _ in 0..len {
            code = code << 1 | u64::from(self.bit()?);
        }
        Some(code - 1)
    }

    /// Whether nothing but the zeros that fill the last byte is left.
    pub(crate) fn is_finished(&self) -> bool {
        let left = self.bytes.len() * 8 - self.at;
        left < 8 && self.bytes.last().is_none_or(|last| left == 0 || last >> (8 - left) == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_small_ones_are_short() {
        let numbers = [0, 1, 2, 3, 6, 7, 255, 256, 1 << 40, u64::MAX - 1];
        let mut writer = BitWriter::default();
        for n in numbers {
            writer.number(n);
        }
        writer.bit(true);
        let bytes = writer.into_bytes();
        let mut reader = BitReader::new(&bytes);
        assert_eq!(numbers.map(|_| reader.number().unwrap()), numbers);
        assert_eq!(reader.bit(), Some(true));
        assert!(reader.is_finished());

        let mut writer = BitWriter::default();
        (0..8).for_each(|_| writer.number(0));
        assert_eq!(writer.into_bytes(), [0xff]);
    }

    #[test]
    fn bits_that_end_or_never_do_are_refused() {
        assert_eq!(BitReader::new(&[]).number(), None);
        assert_eq!(BitReader::new(&[0; 9]).number(), None, "more than 63 zeros");
        assert_eq!(BitReader::new(&[0b0000_0010]).number(), Some(1));
        let mut reader = BitReader::new(&[0x81]);
        reader.number();
        assert!(!reader.is_finished(), "a bit is left that is not 0");
        assert!(!BitReader::new(&[1, 0]).is_finished());
    }
}
