//! Small numbers in about as many bits as they are surprising: what surrounds the values in a frame.
//!
//! An adaptive binary arithmetic coder. Each yes or no is coded by the odds that those like it had so far, so what is
//! nearly always the same costs a fiftieth of a bit.
//!
//! Sources: Witten, Neal, Cleary, "Arithmetic coding for data compression", Communications of the ACM 30 (1987); carries
//! as in Schindler, "A fast renormalisation for arithmetic coding" (DCC 1998); numbers in Exp-Golomb codes whose bits are
//! coded by their odds as in Marpe, Schwarz, Wiegand, "Context-based adaptive binary arithmetic coding in the H.264/AVC
//! video compression standard", IEEE Transactions on Circuits and Systems for Video Technology 13 (2003), section III.

/// How likely one kind of question is answered with yes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Odds {
    /// In 2¹⁶ths.
    yes: u16,
    seen: u8,
}

const ALL: u32 = 1 << 16;
/// The latest answers count by so much: 2⁻⁵, sooner by one in how many there were. So odds come no nearer to 0 or 1 than
/// 31 in 2¹⁶: what is left of them rounds to no change.
const RATE: u8 = 32;

impl Default for Odds {
    fn default() -> Self {
        Odds { yes: 1 << 15, seen: 1 }
    }
}

/// What one more answer counts where there were so many, in 2¹⁶ths.
const SHARES: [u32; RATE as usize + 1] = {
    let mut shares = [ALL; RATE as usize + 1];
    let (mut place, mut seen) = (1, 1);
    while place < shares.len() {
        shares[place] = ALL / seen;
        (place, seen) = (place + 1, seen + 1);
    }
    shares
};

impl Odds {
    #[inline]
    fn note(&mut self, yes: bool) {
        self.seen = RATE.min(self.seen + 1);
        let (old, share) = (u32::from(self.yes), SHARES[usize::from(self.seen)]);
        let new = if yes { old + (((ALL - old) * share) >> 16) } else { old - ((old * share) >> 16) };
        let [low, high, ..] = new.to_le_bytes();
        self.yes = u16::from_le_bytes([low, high]);
    }

    /// The part of `range` that stands for yes: neither nothing nor all of it.
    #[inline]
    fn part(self, range: u32) -> u32 {
        (range >> 16) * u32::from(self.yes)
    }
}

/// Numbers with as many digits, or more, share odds.
const DIGITS: usize = 12;

/// The odds of the numbers of one kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    /// Whether a number has more digits than so many.
    more: [Odds; DIGITS],
    /// The second digit of a number with so many.
    second: [Odds; DIGITS],
}

/// The greatest number that can be written.
pub(crate) const MOST: u64 = u64::MAX - 1;

/// A range below this is widened by a byte.
const NARROW: u32 = 1 << 24;

/// So many digits that are about as likely 0 as 1 are written in one step.
const AT_ONCE: u32 = 12;

#[derive(Debug)]
pub(crate) struct Encoder {
    /// Where the range begins; with a carry above 32 bits.
    low: u64,
    range: u32,
    bytes: Vec<u8>,
}

impl Default for Encoder {
    fn default() -> Self {
        // Most frames say no more than that.
        Encoder { low: 0, range: u32::MAX, bytes: Vec::with_capacity(64) }
    }
}

impl Encoder {
    #[inline]
    pub(crate) fn bit(&mut self, odds: &mut Odds, yes: bool) {
        let part = odds.part(self.range);
        if yes {
            self.range = part;
        } else {
            self.low += u64::from(part);
            self.range -= part;
        }
        odds.note(yes);
        self.widen();
    }

    #[inline]
    fn widen(&mut self) {
        while self.range < NARROW {
            self.shift();
            self.range <<= 8;
        }
    }

    fn shift(&mut self) {
        if self.low >> 32 > 0 {
            // Whatever was 255 becomes 0 up to the one before, which becomes one more. There is one: the range began
            // below 1.
            for byte in self.bytes.iter_mut().rev() {
                *byte = byte.wrapping_add(1);
                if *byte > 0 {
                    break;
                }
            }
        }
        self.bytes.push(self.low.to_le_bytes()[3]);
        self.low = (self.low & 0x00ff_ffff) << 8;
    }

    /// At most [`MOST`]. The number n + 1 has so many binary digits after its first, each of which is asked for, and then
    /// which they are.
    pub(crate) fn number(&mut self, odds: &mut Numbers, n: u64) {
        if n == 0 {
            return self.bit(&mut odds.more[0], false);
        }
        let code = n + 1;
        let digits = code.ilog2();
        for at in 0..digits {
            self.bit(&mut odds.more[place(at)], true);
        }
        self.bit(&mut odds.more[place(digits)], false);
        let mut left = digits - 1;
        self.bit(&mut odds.second[place(digits)], code >> left & 1 == 1);
        while left > 0 {
            let digits = left.min(AT_ONCE);
            left -= digits;
            let [low, high, ..] = (code >> left).to_le_bytes();
            let value = u32::from(u16::from_le_bytes([low, high])) & ((1 << digits) - 1);
            self.range >>= digits;
            self.low += u64::from(self.range) * u64::from(value);
            self.widen();
        }
    }

    /// One of `count` numbers from 0 on, at most 2¹⁶, all of which are about as likely.
    pub(crate) fn one_of(&mut self, count: u32, n: u32) {
        let part = self.range / count;
        self.low += u64::from(part) * u64::from(n);
        self.range = part;
        self.widen();
    }

    /// The bytes; zeros that would follow are left out.
    pub(crate) fn into_bytes(mut self) -> Vec<u8> {
        // Any number in the range will do: the one with most zeros at its end.
        let last = self.low + u64::from(self.range - 1);
        let zeros = (0..=32).rev().find(|zeros| last >> zeros << zeros >= self.low).unwrap_or(0);
        self.low = last >> zeros << zeros;
        (0..4).for_each(|_| self.shift());
        let len = self.bytes.iter().rposition(|byte| *byte > 0).map_or(0, |at| at + 1);
        self.bytes.truncate(len);
        self.bytes
    }
}

fn place(digits: u32) -> usize {
    (digits as usize).min(DIGITS - 1)
}

/// Reads what [`Encoder`] wrote. Bytes that are anything else are read as some answers, too.
#[derive(Debug)]
pub(crate) struct Decoder<'a> {
    /// How far the number lies behind the beginning of the range.
    ahead: u32,
    range: u32,
    bytes: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        let mut decoder = Decoder { ahead: 0, range: u32::MAX, bytes };
        (0..4).for_each(|_| decoder.shift());
        decoder
    }

    #[inline]
    fn widen(&mut self) {
        while self.range < NARROW {
            self.shift();
            self.range <<= 8;
        }
    }

    fn shift(&mut self) {
        // Zeros at the end are not written.
        let (next, rest) = self.bytes.split_first().unwrap_or((&0, &[]));
        self.bytes = rest;
        self.ahead = self.ahead << 8 | u32::from(*next);
    }

    #[inline]
    pub(crate) fn bit(&mut self, odds: &mut Odds) -> bool {
        let part = odds.part(self.range);
        let yes = self.ahead < part;
        if yes {
            self.range = part;
        } else {
            self.ahead -= part;
            self.range -= part;
        }
        odds.note(yes);
        self.widen();
        yes
    }

    /// `None` if it is none that can be written.
    pub(crate) fn number(&mut self, odds: &mut Numbers) -> Option<u64> {
        let mut digits = 0;
        while self.bit(&mut odds.more[place(digits)]) {
            digits += 1;
            if digits == u64::BITS {
                return None;
            }
        }
        if digits == 0 {
            return Some(0);
        }
        let mut code = 2 | u64::from(self.bit(&mut odds.second[place(digits)]));
        let mut left = digits - 1;
        while left > 0 {
            let digits = left.min(AT_ONCE);
            left -= digits;
            self.range >>= digits;
            // What is behind the last part is nobody's.
            let value = (self.ahead / self.range).min((1 << digits) - 1);
            self.ahead -= value * self.range;
            code = code << digits | u64::from(value);
            self.widen();
        }
        Some(code - 1)
    }

    /// `None` if it is none of so many.
    pub(crate) fn one_of(&mut self, count: u32) -> Option<u32> {
        let part = self.range / count;
        let n = self.ahead / part;
        if n >= count {
            return None;
        }
        self.ahead -= n * part;
        self.range = part;
        self.widen();
        Some(n)
    }

    /// Whether all bytes were read.
    pub(crate) fn is_finished(&self) -> bool {
        self.bytes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    #[test]
    fn what_is_written_is_read_whatever_the_odds() {
        for seed in 0..300 {
            let mut rng = StdRng::seed_from_u64(seed);
            let len = rng.random_range(0..400);
            // Some kinds are nearly always the same, some are not; long rows of either make carries.
            let (often, width) = (rng.random_range(0.0..1.0), rng.random_range(1..64));
            let items: Vec<(bool, u64)> =
                (0..len).map(|_| (rng.random_bool(often), rng.random::<u64>() >> width)).collect();
            let (mut encoder, mut odds, mut numbers) =
                (Encoder::default(), Odds::default(), Numbers::default());
            for (yes, n) in &items {
                encoder.bit(&mut odds, *yes);
                if *yes {
                    encoder.number(&mut numbers, *n);
                }
            }
            let bytes = encoder.into_bytes();
            let (mut decoder, mut odds, mut numbers) =
                (Decoder::new(&bytes), Odds::default(), Numbers::default());
            for (yes, n) in &items {
                assert_eq!(decoder.bit(&mut odds), *yes, "seed {seed}");
                if *yes {
                    assert_eq!(decoder.number(&mut numbers), Some(*n), "seed {seed}");
                }
            }
            assert!(decoder.is_finished(), "seed {seed}");
        }
    }

    #[test]
    fn the_same_again_and_again_costs_nearly_nothing() {
        let (mut encoder, mut odds, mut numbers) = (Encoder::default(), Odds::default(), Numbers::default());
        for _ in 0..1_000 {
            encoder.bit(&mut odds, true);
            encoder.number(&mut numbers, 0);
        }
        let len = encoder.into_bytes().len();
        assert!(len < 12, "{len} bytes");
        assert_eq!(Encoder::default().into_bytes(), []);
    }

    #[test]
    fn the_greatest_numbers_come_back_and_greater_ones_are_refused() {
        let (mut encoder, mut numbers) = (Encoder::default(), Numbers::default());
        let most = [u64::MAX - 1, 0, u64::MAX - 1, 1 << 40];
        for n in most {
            encoder.number(&mut numbers, n);
        }
        let bytes = encoder.into_bytes();
        let (mut decoder, mut numbers) = (Decoder::new(&bytes), Numbers::default());
        for n in most {
            assert_eq!(decoder.number(&mut numbers), Some(n));
        }
        assert_eq!(Decoder::new(&[0; 40]).number(&mut Numbers::default()), None, "it never ends");
    }

    #[test]
    fn bytes_that_nobody_reads_are_noticed() {
        let mut decoder = Decoder::new(&[1, 2, 3, 4, 5]);
        decoder.bit(&mut Odds::default());
        assert!(!decoder.is_finished());
    }
}
