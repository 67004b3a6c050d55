use crate::{
    estimate::Estimator,
    exchange::{Answer, Request, Want, Wanted},
    id::Seed,
    symbol::{MAX_SYMBOLS, Sketch, Symbol},
};
use alloc::vec::Vec;
use core::ops::Range;
use crdt_core::wire::{DecodeError, Reader, Wire};

fn word(reader: &mut Reader<'_>) -> Result<u64, DecodeError> {
    reader.array().map(u64::from_le_bytes)
}

fn put(word: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&word.to_le_bytes());
}

/// Where a range that is not empty begins, and how long it is.
fn range(reader: &mut Reader<'_>) -> Result<Range<u32>, DecodeError> {
    let (from, count) = (u32::decode(reader)?, u32::decode(reader)?);
    match from.checked_add(count) {
        Some(end) if count > 0 && end <= MAX_SYMBOLS => Ok(from..end),
        _ => Err(reader.invalid("a range of symbols is empty or goes too far")),
    }
}

fn put_range(range: &Range<u32>, out: &mut Vec<u8>) {
    range.start.encode(out);
    (range.end - range.start).encode(out);
}

impl Wire for Request {
    fn encode(&self, out: &mut Vec<u8>) {
        put(self.seed.get(), out);
        match &self.want {
            Want::Enough(estimator) => {
                out.push(0);
                out.extend_from_slice(estimator.counts());
            }
            Want::These(range) => {
                out.push(1);
                put_range(range, out);
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let seed = Seed::new(word(reader)?);
        let want = match reader.byte()? {
            0 => Want::Enough(Estimator::from_counts(&reader.array()?)),
            1 => Want::These(range(reader)?),
            _ => return Err(reader.invalid("a request is for enough symbols or for a range of them")),
        };
        Ok(Request { seed, want })
    }
}

impl Wire for Answer {
    fn encode(&self, out: &mut Vec<u8>) {
        put(self.seed.get(), out);
        put(self.digest, out);
        put_range(&self.symbols.range(), out);
        for symbol in self.symbols.symbols() {
            put(symbol.word(), out);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (seed, digest) = (Seed::new(word(reader)?), word(reader)?);
        let range = range(reader)?;
        let (words, _) = reader.take(range.len() * 8)?.as_chunks();
        let symbols = words.iter().map(|word| Symbol::from_word(u64::from_le_bytes(*word))).collect();
        Ok(Answer { seed, digest, symbols: Sketch::from_symbols(range.start, symbols) })
    }
}

impl Wire for Wanted {
    fn encode(&self, out: &mut Vec<u8>) {
        (self.0.len() as u64).encode(out);
        for leading in &self.0 {
            out.extend_from_slice(&leading.to_le_bytes());
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        // A count never exceeds the bytes that are left, so this does not overflow.
        let count = reader.count()?;
        let (numbers, _) = reader.take(count.saturating_mul(4))?.as_chunks();
        let wanted: Vec<u32> = numbers.iter().map(|number| u32::from_le_bytes(*number)).collect();
        if wanted.is_sorted_by(|a, b| a < b) {
            Ok(Wanted(wanted))
        } else {
            Err(reader.invalid("what is wanted is out of order or wanted twice"))
        }
    }
}
