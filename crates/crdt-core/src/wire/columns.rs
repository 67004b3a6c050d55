//! Columns of integers and of what has a length.

use super::{DecodeError, Reader, Wire};
use alloc::{string::String, vec::Vec};

/// Writes a column of integers of at most `MOST` bytes, each as an unsigned number.
pub(super) fn put_integers<'a, T: Copy + 'a, const MOST: usize>(
    slices: impl Iterator<Item = &'a [T]> + Clone,
    unsigned: impl Fn(T) -> u64 + Copy,
    out: &mut Vec<u8>,
) {
    // All bits of any: as wide as the greatest, and without a comparison.
    let (mut any, mut count) = (0, 0);
    for slice in slices.clone() {
        count += slice.len();
        any = slice.iter().fold(any, |any, value| any | unsigned(*value));
    }
    if count == 0 {
        return;
    }
    let width = width_of(any);
    if MOST > 1 {
        out.push(width);
    }
    out.reserve(count * usize::from(width));
    match width {
        1 => put_wide::<T, 1>(slices, unsigned, out),
        2 => put_wide::<T, 2>(slices, unsigned, out),
        4 => put_wide::<T, 4>(slices, unsigned, out),
        _ => put_wide::<T, 8>(slices, unsigned, out),
    }
}

fn put_wide<'a, T: Copy + 'a, const WIDTH: usize>(
    slices: impl Iterator<Item = &'a [T]>,
    unsigned: impl Fn(T) -> u64,
    out: &mut Vec<u8>,
) {
    for slice in slices {
        let from = out.len();
        out.resize(from + slice.len() * WIDTH, 0);
        for (bytes, value) in out[from..].chunks_exact_mut(WIDTH).zip(slice) {
            bytes.copy_from_slice(&unsigned(*value).to_le_bytes()[..WIDTH]);
        }
    }
}

/// Reads a column of integers of at most `MOST` bytes; `from` is given numbers that fit.
pub(super) fn take_integers<T, const MOST: usize>(
    count: usize,
    reader: &mut Reader<'_>,
    from: impl Fn(u64) -> T,
) -> Result<Vec<T>, DecodeError> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let width = if MOST > 1 { usize::from(reader.byte()?) } else { 1 };
    if width > MOST || !width.is_power_of_two() {
        return Err(reader.invalid("a column has a width that its integers do not have"));
    }
    let bytes = reader.take(count.saturating_mul(width))?;
    let (any, values) = match width {
        1 => take_wide::<T, 1>(bytes, from),
        2 => take_wide::<T, 2>(bytes, from),
        4 => take_wide::<T, 4>(bytes, from),
        _ => take_wide::<T, 8>(bytes, from),
    };
    if usize::from(width_of(any)) < width {
        return Err(reader.invalid("a column is wider than its greatest number"));
    }
    Ok(values)
}

fn take_wide<T, const WIDTH: usize>(bytes: &[u8], from: impl Fn(u64) -> T) -> (u64, Vec<T>) {
    let numbers = bytes.chunks_exact(WIDTH).map(|bytes| {
        let mut eight = [0; 8];
        eight[..WIDTH].copy_from_slice(bytes);
        u64::from_le_bytes(eight)
    });
    (numbers.clone().fold(0, |any, number| any | number), numbers.map(from).collect())
}

fn width_of(any: u64) -> u8 {
    match 64 - any.leading_zeros() {
        0..=8 => 1,
        9..=16 => 2,
        17..=32 => 4,
        _ => 8,
    }
}

/// Writes the lengths of a column's values.
fn put_lengths(lengths: impl Iterator<Item = usize>, out: &mut Vec<u8>) {
    let lengths: Vec<u64> = lengths.map(|length| length as u64).collect();
    u64::encode_column(core::iter::once(&lengths[..]), out);
}

/// The lengths of a column's values, and their sum, which is not beyond the bytes that are left.
fn take_lengths(count: usize, reader: &mut Reader<'_>) -> Result<(Vec<u64>, usize), DecodeError> {
    let lengths = u64::decode_column(count, reader)?;
    let mut total = 0;
    for length in &lengths {
        let length = usize::try_from(*length).map_err(|_| reader.ended())?;
        total = length.checked_add(total).ok_or_else(|| reader.ended())?;
    }
    reader.expect(total)?;
    Ok((lengths, total))
}

impl Wire for String {
    fn encode(&self, out: &mut Vec<u8>) {
        (self.len() as u64).encode(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let length = reader.count()?;
        Ok(String::from(utf8(length, reader)?))
    }

    fn encode_column<'a>(slices: impl Iterator<Item = &'a [Self]> + Clone, out: &mut Vec<u8>) {
        put_lengths(slices.clone().flatten().map(String::len), out);
        for text in slices.flatten() {
            out.extend_from_slice(text.as_bytes());
        }
    }

    fn decode_column(count: usize, reader: &mut Reader<'_>) -> Result<Vec<Self>, DecodeError> {
        let (lengths, total) = take_lengths(count, reader)?;
        let mut rest = utf8(total, reader)?;
        let mut texts = Vec::with_capacity(lengths.len());
        for length in lengths {
            let (text, after) = rest
                .split_at_checked(length as usize)
                .ok_or_else(|| reader.invalid("a text ends within a character"))?;
            texts.push(String::from(text));
            rest = after;
        }
        Ok(texts)
    }
}

fn utf8<'a>(length: usize, reader: &mut Reader<'a>) -> Result<&'a str, DecodeError> {
    let bytes = reader.take(length)?;
    core::str::from_utf8(bytes).map_err(|_| reader.invalid("a text is not UTF-8"))
}

impl<T: Wire> Wire for Vec<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        (self.len() as u64).encode(out);
        T::encode_column(core::iter::once(&self[..]), out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let length = reader.count()?;
        T::decode_column(length, reader)
    }

    fn encode_column<'a>(slices: impl Iterator<Item = &'a [Self]> + Clone, out: &mut Vec<u8>)
    where
        T: 'a,
    {
        put_lengths(slices.clone().flatten().map(Vec::len), out);
        T::encode_column(slices.flatten().map(Vec::as_slice), out);
    }

    fn decode_column(count: usize, reader: &mut Reader<'_>) -> Result<Vec<Self>, DecodeError> {
        let (lengths, total) = take_lengths(count, reader)?;
        let mut items = T::decode_column(total, reader)?.into_iter();
        Ok(lengths.into_iter().map(|length| items.by_ref().take(length as usize).collect()).collect())
    }
}
