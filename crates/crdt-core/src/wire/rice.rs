use super::bits::{BitReader, BitWriter};

/// From this quotient on a number is written by its length instead.
const BOUND: u32 = 16;

/// Bits for a parameter, and for a length less one.
const PARAMETER: u32 = 6;

/// The bit length of a number; 0 for 0.
fn length(value: u64) -> u32 {
    64 - value.leading_zeros()
}

/// Rice codes of one parameter: short for numbers around its power of two, and never longer than 85 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rice(u32);

impl Rice {
    // A call would keep the bits in memory between two codes: that was a third of the time for rows of short gaps.
    #[expect(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn write(self, value: u64, bits: &mut BitWriter<'_>) {
        let Rice(k) = self;
        let quotient = value >> k;
        if quotient < u64::from(BOUND) && k < 64 - BOUND {
            let low = value & ((1 << k) - 1);
            bits.push((low << 1 | 1) << quotient, quotient as u32 + 1 + k);
        } else {
            let [head, tail] = self.in_two(value);
            bits.push(head.0, head.1);
            bits.push(tail.0, tail.1);
        }
    }

    /// The two parts of a code that may not fit into 64 bits, each with its length.
    #[cold]
    fn in_two(self, value: u64) -> [(u64, u32); 2] {
        let Rice(k) = self;
        let quotient = (value >> k) as u32;
        if value >> k < u64::from(BOUND) {
            [(1 << quotient, quotient + 1), (value & ((1 << k) - 1), k)]
        } else {
            let below = length(value) - 1;
            [(u64::from(below) << BOUND, BOUND + PARAMETER), (value ^ (1 << below), below)]
        }
    }

    /// Writes 0 so many times.
    pub(super) fn write_zeros(self, count: u64, bits: &mut BitWriter<'_>) {
        for _ in 0..count {
            bits.push(1, self.0 + 1);
        }
    }

    /// `None` for what is not written so.
    #[inline]
    pub(super) fn read(self, bits: &mut BitReader<'_>) -> Option<u64> {
        if let Some((value, length)) = self.first_of(bits.peek(), BitReader::PEEKED) {
            bits.skip(length);
            return Some(value);
        }
        let value;
        (value, *bits) = self.read_in_two(*bits);
        value
    }

    /// Two numbers, each by its own parameter; mostly at one glance.
    #[inline]
    pub(super) fn read_pair([one, other]: [Self; 2], bits: &mut BitReader<'_>) -> Option<(u64, u64)> {
        let next = bits.peek();
        let half = BitReader::PEEKED / 2;
        if let Some((first, length)) = one.first_of(next, half)
            && let Some((second, more)) = other.first_of(next >> length, half)
        {
            bits.skip(length + more);
            return Some((first, second));
        }
        Some((one.read(bits)?, other.read(bits)?))
    }

    /// The number that begins with the least of these bits, and how many it takes, if that is at most `most` whatever
    /// it is, and it is a short one.
    #[inline]
    fn first_of(self, next: u64, most: u32) -> Option<(u64, u32)> {
        let Rice(k) = self;
        let quotient = next.trailing_zeros();
        let low = next.wrapping_shr(quotient) >> 1 & ((1 << k) - 1);
        (quotient < BOUND && k + BOUND <= most).then_some((u64::from(quotient) << k | low, quotient + 1 + k))
    }

    #[cold]
    fn read_in_two(self, mut bits: BitReader<'_>) -> (Option<u64>, BitReader<'_>) {
        let Rice(k) = self;
        let quotient = bits.peek().trailing_zeros();
        let value = if quotient < BOUND {
            bits.skip(quotient + 1);
            let (high, low) = (u64::from(quotient), bits.read(k));
            (high << k >> k == high).then_some(high << k | low)
        } else {
            bits.skip(BOUND);
            let below = bits.read(PARAMETER) as u32;
            Some(1 << below | bits.read(below)).filter(|value| value >> k >= u64::from(BOUND))
        };
        (value, bits)
    }

    pub(super) fn write_parameter(self, bits: &mut BitWriter<'_>) {
        bits.push(u64::from(self.0), PARAMETER);
    }

    pub(super) fn read_parameter(bits: &mut BitReader<'_>) -> Self {
        Rice(bits.read(PARAMETER) as u32)
    }

    pub(super) const fn parameter(self) -> u32 {
        self.0
    }
}

/// So few numbers are looked at again for each parameter.
const FEW: usize = 4;

/// The least size in bits of at most 256 numbers, and the least parameter that gives it.
pub(super) fn best(numbers: &[u64]) -> (u64, Rice) {
    if numbers.len() > FEW {
        return Census::of(numbers).best();
    }
    let size = |value: u64, k: u32| match value >> k {
        quotient if quotient < u64::from(BOUND) => quotient + u64::from(1 + k),
        _ => u64::from(BOUND + PARAMETER + length(value) - 1),
    };
    // From the longest number's length on there are only more low bits to write.
    let longest = numbers.iter().map(|value| length(*value)).max().unwrap_or(0);
    let sizes = (0..=longest.min(63)).map(|k| (numbers.iter().map(|value| size(*value, k)).sum(), Rice(k)));
    sizes.min_by_key(|best: &(u64, Rice)| best.0).unwrap_or((0, Rice(0)))
}

/// What is to be known of at most 256 numbers to find out how long they are by any parameter, without looking at them
/// again.
///
/// The length of a number depends on its quotient, if that is below 16, and else on its bit length. The quotient is the
/// number's leading bits, at most four of them. So the numbers are counted by bit length, with the sums of their
/// leading bits.
struct Census {
    /// For each bit length four sums of 16 bits: how many, and their leading two, three and four bits.
    by_length: [u64; 65],
}

impl Census {
    fn of(numbers: &[u64]) -> Self {
        debug_assert!(numbers.len() <= 256, "256 times 15 does not overflow 16 bits");
        // In two halves, since each addition waits for the one before to the same place.
        let (mut even, mut odd) = ([0; 65], [0; 65]);
        let (pairs, last) = numbers.as_chunks();
        for [one, other] in pairs {
            count(*one, &mut even);
            count(*other, &mut odd);
        }
        for value in last {
            count(*value, &mut even);
        }
        for (sum, odd) in even.iter_mut().zip(odd) {
            *sum += odd;
        }
        Census { by_length: even }
    }

    /// How many are of this bit length.
    fn count(&self, length: usize) -> u64 {
        self.by_length[length] & 0xffff
    }

    /// The sum of the leading `bits` bits, 1 to 4, of those of this bit length.
    fn leading(&self, length: usize, bits: usize) -> u64 {
        self.by_length[length] >> (16 * (bits - 1)) & 0xffff
    }

    /// The least size in bits, and the least parameter that gives it.
    fn best(&self) -> (u64, Rice) {
        let longest = (0..=64).rev().find(|&length| self.count(length) > 0).unwrap_or(0);
        let mut short: u64 = (0..=4).map(|length| self.count(length)).sum();
        let mut long: u64 = (5..=longest).map(|length| self.count(length) * (21 + length as u64)).sum();
        let mut best = (u64::MAX, Rice(0));
        // From the longest number's length on there are only more low bits to write.
        for k in 0..=longest.min(63) {
            let quotients: u64 =
                (1..=4).filter(|bits| k + bits <= longest).map(|bits| self.leading(k + bits, bits)).sum();
            let size = short * (k as u64 + 1) + quotients + long;
            if size < best.0 {
                best = (size, Rice(k as u32));
            }
            if k + 5 <= longest {
                let count = self.count(k + 5);
                short += count;
                long -= count * (21 + k as u64 + 5);
            }
        }
        best
    }
}

#[inline]
fn count(value: u64, by_length: &mut [u64; 65]) {
    let zeros = value.leading_zeros();
    // Of a number of fewer than four bits the leading ones are filled up with zeros, and not asked for.
    let four = value.wrapping_shl(zeros) >> 60;
    by_length[64 - zeros as usize] += 1 | four >> 2 << 16 | four >> 1 << 32 | four << 48;
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn size(value: u64, k: u32) -> u64 {
        let mut out = Vec::new();
        let mut bits = BitWriter::new(&mut out);
        Rice(k).write(value, &mut bits);
        // A full word before and after: the size in bits from the size in bytes.
        let mut size = 0;
        bits.push(1, 1);
        bits.finish();
        for byte in out.iter().rev() {
            if *byte == 0 {
                size += 8;
            } else {
                return out.len() as u64 * 8 - size - u64::from(byte.leading_zeros()) - 1;
            }
        }
        unreachable!("a 1 was written last")
    }

    /// All small numbers, and those around powers of two: each by each parameter, against what the format says.
    #[test]
    fn numbers_are_written_as_the_format_says() {
        let around = (0..64).flat_map(|n| [(1_u64 << n) - 1, 1 << n, (1 << n) + 1]);
        for value in (0..200).chain(around).chain([u64::MAX, u64::MAX - 1]) {
            for k in 0..64 {
                let quotient = value >> k;
                let expected = if quotient < 16 {
                    quotient + 1 + u64::from(k)
                } else {
                    16 + 6 + u64::from(value.ilog2())
                };
                assert_eq!(size(value, k), expected, "{value} by {k}");
                let mut out = Vec::new();
                let mut bits = BitWriter::new(&mut out);
                Rice(k).write(value, &mut bits);
                bits.finish();
                assert_eq!(Rice(k).read(&mut BitReader::new(&out)), Some(value), "{value} by {k}");
            }
        }
    }

    #[test]
    fn the_best_parameter_is_found() {
        let mut random = 7_u64;
        for case in 0..2_000 {
            let count = case % 7 * case % 257;
            let numbers: Vec<u64> = (0..count)
                .map(|_| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (random >> 8) >> (case % 57 + (random >> 61 << 1)).min(63)
                })
                .collect();
            let size = |k| numbers.iter().map(|value| size(*value, k)).sum::<u64>();
            let best = (0..64).map(|k| (size(k), k)).min().expect("64 of them");
            for (found, Rice(k)) in [super::best(&numbers), Census::of(&numbers).best()] {
                assert_eq!((found, k), best, "{numbers:?}");
            }
        }
    }

    #[test]
    fn other_forms_are_refused() {
        let long = |k: u32, below: u64, low: u64| {
            let mut out = Vec::new();
            let mut bits = BitWriter::new(&mut out);
            bits.push(0, 16);
            bits.push(below, 6);
            bits.push(low, 63);
            bits.finish();
            Rice(k).read(&mut BitReader::new(&out))
        };
        assert_eq!(long(0, 4, 3), Some(19));
        assert_eq!(long(0, 3, 7), None, "15 is short");
        assert_eq!(long(60, 63, 0), None, "2^63 by 60 is short");
        assert_eq!(long(59, 63, 0), Some(1 << 63));
        // Seven times 2^62 is no number of 64 bits.
        assert_eq!(Rice(62).read(&mut BitReader::new(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0])), None);
        assert_eq!(Rice(62).read(&mut BitReader::new(&[0x08, 0, 0, 0, 0, 0, 0, 0, 0])), Some(3 << 62));
    }
}
