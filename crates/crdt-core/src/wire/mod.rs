//! A compact, canonical binary form: what travels between replicas and lies on disk.
//!
//! [`Wire`] is for bytes that are to be small and fast: columns of numbers are copied in bulk, and the counters that
//! live are [coded](encode_runs) near their entropy. For JSON and all other formats there is the feature `serde`.
//!
//! # Laws
//!
//! - **canonical**: a value has one form, so equal values have equal bytes; whatever else would mean the same is
//!   refused;
//! - **validated**: what decodes keeps every invariant of its type;
//! - **bounded**: decoding takes time and memory linear in the bytes that are really there, whatever they claim.
//!
//! ```
//! use crdt_core::{Rows, wire::{DecodeError, Wire}};
//!
//! let rows: Rows = [(1, 4), (2, 700)].into_iter().collect();
//! let bytes = rows.to_bytes();
//! assert_eq!(Rows::from_bytes(&bytes)?, rows);
//! assert!(Rows::from_bytes(&bytes[1..]).is_err());
//! # Ok::<(), DecodeError>(())
//! ```
//!
//! # The form
//!
//! The bytes of [`Wire::to_bytes`] are one byte, the [format](Wire::FORMAT) of the type, and then the value. What is
//! nested in a value has no format byte of its own.
//!
//! | value | bytes |
//! |---|---|
//! | `u8` | itself |
//! | `u16` to `u128` | LEB128: seven bits a byte from the least on, the high bit set on all but the last; never longer than need be |
//! | `i8` to `i128` | zigzag (0, −1, 1, −2, … are 0, 1, 2, 3, …), then as the unsigned type of that size |
//! | `bool`, `()` | 0 or 1; 0 |
//! | `char` | its number as a `u32` |
//! | `Option<T>` | 0; or 1 and the value |
//! | `(A, B, …)` | one after the other |
//! | `[u8; N]` | the bytes; N is not 0 |
//! | `String` | its length in bytes as a `u64`, then UTF-8 |
//! | `Vec<T>` | its length as a `u64`, then a column of T |
//! | [`ReplicaId`](crate::ReplicaId) | 8 bytes, little-endian |
//! | [`Dot`](crate::Dot) | the id, then the counter as a `u64` |
//! | [`Rows`](crate::Rows) | their number as a `u64`, a column of ids, a column of `u64` |
//!
//! A **column** holds values whose number is known from elsewhere; a column of none has no bytes.
//!
//! | column of | bytes |
//! |---|---|
//! | `u8`, `i8` | the bytes |
//! | 16 to 64-bit integers | one byte, the width: the least of 1, 2, 4 and 8 that holds all; then the numbers (signed ones in zigzag) in that many bytes each, little-endian |
//! | `String` | a column of lengths as `u64`, then all the UTF-8 |
//! | `Vec<T>` | a column of lengths as `u64`, then one column of all the T |
//! | anything else | the values one after the other |
//!
//! # Counters that live
//!
//! Ascending counters are a row of **runs**, written by [`encode_runs`] as bits, filled into bytes from the least bit
//! on. Seen from counter 0, which never lives, they alternate: *skip* counters that do not live, *len* that do, and so
//! on; all skips and lens are at least 1. With s = skip − 1 and l = len − 1, 256 pairs (s, l) make a block:
//!
//! - as long as at least 256 pairs are left: a 1 bit, and a block of 256;
//! - then a 0 bit, eight bits with the number of pairs left, and, if that is not 0, a block of as many;
//! - then 0 bits up to the next byte.
//!
//! A block begins with two bits that say how it is coded, and six bits for each Rice parameter:
//!
//! | bits | form | parameters | for each pair |
//! |---|---|---|---|
//! | 0 | pairs | a, b | s by a; l by b |
//! | 1 | gaps between those that live | a | l times 0 by a; s + 1 by a |
//! | 2 | gaps between those that do not | b | s times 0 by b; l + 1 by b |
//!
//! A number v *by k* is the Rice code with a bound on its length: if q = v >> k is below 16, q times a 0 bit, a 1 bit,
//! and the k low bits of v, least first. Otherwise sixteen 0 bits, six bits with n − 1 where n is the bit length of v,
//! and the n − 1 low bits of v.
//!
//! The writer's choice is part of the form. Let A be the least size, over all parameters 0 to 63, of the block's s,
//! and a the least parameter that gives it; B and b the same for its l; N the number of pairs. Then the sizes
//!
//! - pairs: A + B,
//! - gaps between those that live: A + (a + 1) · Σl + (N >> a),
//! - gaps between those that do not: B + (b + 1) · Σs + (N >> b)
//!
//! are compared (the last terms stand for what s + 1 is longer than s), and the first form with the least one is taken.
//!
//! Pairs are for bursts, and gaps for what lives or died at random: there the Rice code is within 3% of the entropy.
//!
//! Sources: Golomb, "Run-length encodings", IEEE Transactions on Information Theory 12 (1966), for why; Rice, "Some
//! practical universal noiseless coding techniques", JPL Publication 79-22 (1979), for the code with powers of two and
//! for choosing its parameter block by block. The bound is that of JPEG-LS (ITU-T T.87, annex A.5.3).

// Numbers are cut to what was checked, or is known, to hold them; a failed check for it could only panic.
#![expect(clippy::cast_possible_truncation)]

mod bits;
mod columns;
mod reader;
mod rice;
mod runs;
mod values;

pub use reader::{DecodeError, Reader};
pub use runs::{decode_runs, encode_runs};

use alloc::vec::Vec;

/// A type with a compact, canonical binary form; see the [module](self) for its laws.
///
/// A type of one's own is written by its parts, at least one byte in all, and checked when it is read:
///
/// ```
/// use crdt_core::wire::{DecodeError, Reader, Wire};
///
/// #[derive(Debug, PartialEq)]
/// struct Percent(u8);
///
/// impl Wire for Percent {
///     fn encode(&self, out: &mut Vec<u8>) {
///         self.0.encode(out);
///     }
///
///     fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
///         match u8::decode(reader)? {
///             percent @ 0..=100 => Ok(Percent(percent)),
///             _ => Err(reader.invalid("a percentage is at most 100")),
///         }
///     }
/// }
///
/// let bytes = vec![Percent(1), Percent(100)].to_bytes();
/// assert_eq!(bytes, [1, 2, 1, 100]);
/// let refused = Vec::<Percent>::from_bytes(&[1, 1, 101]).unwrap_err();
/// assert_eq!(refused.to_string(), "a percentage is at most 100, in the bytes before byte 3");
/// ```
pub trait Wire: Sized {
    /// The number that the bytes of [`to_bytes`](Wire::to_bytes) begin with: raised when the form of the type changes.
    const FORMAT: u8 = 1;

    /// Appends the value to `out`: **at least one byte**, so that a count never exceeds the bytes that follow it.
    /// **O(n)** for the bytes written.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads a value and leaves the reader behind it. **O(n)** for the bytes read.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if there is no value here in the form that [`encode`](Wire::encode) gives it.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// Appends a column of values: those of all slices in order. By default one after the other.
    fn encode_column<'a>(slices: impl Iterator<Item = &'a [Self]> + Clone, out: &mut Vec<u8>)
    where
        Self: 'a,
    {
        for value in slices.flatten() {
            value.encode(out);
        }
    }

    /// Reads a column of `count` values.
    ///
    /// # Errors
    ///
    /// As [`decode`](Wire::decode); at once if `count` is more than the bytes that are left.
    fn decode_column(count: usize, reader: &mut Reader<'_>) -> Result<Vec<Self>, DecodeError> {
        reader.expect(count)?;
        // Grows as values really arrive: they may take far more memory than bytes.
        let mut values = Vec::new();
        for _ in 0..count {
            values.push(Self::decode(reader)?);
        }
        Ok(values)
    }

    /// The bytes of one value that stands alone: its [format](Wire::FORMAT), then the value.
    fn to_bytes(&self) -> Vec<u8> {
        // Small values, of which there are many, move no more.
        let mut out = Vec::with_capacity(64);
        out.push(Self::FORMAT);
        self.encode(&mut out);
        out
    }

    /// The value of which these are the bytes, all of them.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Format`] for a format that this version does not know; otherwise as [`decode`](Wire::decode), and
    /// [`DecodeError::Trailing`] if bytes are left over.
    fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let found = reader.byte()?;
        if found != Self::FORMAT {
            return Err(DecodeError::Format { found, known: Self::FORMAT });
        }
        let value = Self::decode(&mut reader)?;
        reader.finish()?;
        Ok(value)
    }
}
