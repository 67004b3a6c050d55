//! The form of single values, and of columns that do not need more.

use super::{
    DecodeError, Reader, Wire,
    columns::{put_integers, take_integers},
};
use crate::{Dot, InvalidRows, ReplicaId, Rows};
use alloc::vec::Vec;

/// Appends a number in LEB128.
fn put_varint(mut value: u128, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// One byte each, in a column as well.
impl Wire for u8 {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.byte()
    }

    fn encode_column<'a>(slices: impl Iterator<Item = &'a [Self]> + Clone, out: &mut Vec<u8>) {
        for slice in slices {
            out.extend_from_slice(slice);
        }
    }

    fn decode_column(count: usize, reader: &mut Reader<'_>) -> Result<Vec<Self>, DecodeError> {
        reader.take(count).map(Vec::from)
    }
}

macro_rules! unsigned {
    ($($t:ty),*) => {$(
        /// LEB128; in a column the width of the greatest.
        impl Wire for $t {
            fn encode(&self, out: &mut Vec<u8>) {
                put_varint(u128::from(*self), out);
            }

            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                reader.varint_within(u128::from(<$t>::MAX)).map(|value| value as $t)
            }

            fn encode_column<'a>(slices: impl Iterator<Item = &'a [Self]> + Clone, out: &mut Vec<u8>) {
                put_integers::<_, { size_of::<$t>() }>(slices, |value| u64::from(value), out);
            }

            fn decode_column(count: usize, reader: &mut Reader<'_>) -> Result<Vec<Self>, DecodeError> {
                take_integers::<_, { size_of::<$t>() }>(count, reader, |value| value as $t)
            }
        }
    )*};
}

macro_rules! signed {
    ($($t:ty as $unsigned:ty),*) => {$(
        /// Zigzag, and then as the unsigned type of that size.
        impl Wire for $t {
            fn encode(&self, out: &mut Vec<u8>) {
                ((*self << 1) ^ (*self >> (<$t>::BITS - 1))).cast_unsigned().encode(out);
            }

            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                <$unsigned>::decode(reader).map(|zigzag| (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
            }

            fn encode_column<'a>(slices: impl Iterator<Item = &'a [Self]> + Clone, out: &mut Vec<u8>) {
                let zigzag = |value: $t| u64::from(((value << 1) ^ (value >> (<$t>::BITS - 1))).cast_unsigned());
                put_integers::<_, { size_of::<$t>() }>(slices, zigzag, out);
            }

            fn decode_column(count: usize, reader: &mut Reader<'_>) -> Result<Vec<Self>, DecodeError> {
                take_integers::<_, { size_of::<$t>() }>(count, reader, |zigzag| {
                    let zigzag = zigzag as $unsigned;
                    (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed()
                })
            }
        }
    )*};
}

unsigned!(u16, u32, u64);
signed!(i8 as u8, i16 as u16, i32 as u32, i64 as u64);

/// LEB128, also in a column.
impl Wire for u128 {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(*self, out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.varint_within(u128::MAX)
    }
}

/// Zigzag, and then as `u128`.
impl Wire for i128 {
    fn encode(&self, out: &mut Vec<u8>) {
        ((*self << 1) ^ (*self >> 127)).cast_unsigned().encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        u128::decode(reader).map(|zigzag| (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }
}

impl Wire for bool {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(reader.invalid("a choice of two is 0 or 1")),
        }
    }
}

/// One byte, which is 0: a value that took none could be claimed any number of times.
impl Wire for () {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(0);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.byte()? {
            0 => Ok(()),
            _ => Err(reader.invalid("a unit is 0")),
        }
    }
}

impl Wire for char {
    fn encode(&self, out: &mut Vec<u8>) {
        u32::from(*self).encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let number = u32::decode(reader)?;
        char::from_u32(number).ok_or_else(|| reader.invalid("a character has a number that none has"))
    }
}

impl<T: Wire> Wire for Option<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.is_some().encode(out);
        if let Some(value) = self {
            value.encode(out);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        bool::decode(reader)?.then(|| T::decode(reader)).transpose()
    }
}

/// For N above 0, which the compiler checks.
impl<const N: usize> Wire for [u8; N] {
    fn encode(&self, out: &mut Vec<u8>) {
        const { assert!(N > 0, "an empty array takes no bytes") };
        out.extend_from_slice(self);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        const { assert!(N > 0, "an empty array takes no bytes") };
        reader.array()
    }
}

macro_rules! tuples {
    ($($($t:ident . $at:tt),+;)*) => {$(
        impl<$($t: Wire),+> Wire for ($($t,)+) {
            fn encode(&self, out: &mut Vec<u8>) {
                $(self.$at.encode(out);)+
            }

            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(($($t::decode(reader)?,)+))
            }
        }
    )*};
}

tuples! {
    A.0, B.1;
    A.0, B.1, C.2;
    A.0, B.1, C.2, D.3;
}

/// 8 bytes: ids are random, and a varint of one would be longer.
impl Wire for ReplicaId {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.get().to_le_bytes());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let id = u64::from_le_bytes(reader.array()?);
        ReplicaId::try_from(id).map_err(|_| reader.invalid("a replica id is not zero"))
    }
}

impl Wire for Dot {
    fn encode(&self, out: &mut Vec<u8>) {
        self.replica.encode(out);
        self.counter.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (replica, counter) = Wire::decode(reader)?;
        if counter == 0 {
            return Err(reader.invalid("a dot's counter starts at 1"));
        }
        Ok(Dot { replica, counter })
    }
}

/// A column of ids and one of numbers.
impl Wire for Rows {
    fn encode(&self, out: &mut Vec<u8>) {
        (self.len() as u64).encode(out);
        for (id, _) in self.iter() {
            id.encode(out);
        }
        let numbers: Vec<u64> = self.iter().map(|(_, number)| number).collect();
        u64::encode_column(core::iter::once(&numbers[..]), out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = reader.count()?;
        let ids = ReplicaId::decode_column(count, reader)?;
        let numbers = u64::decode_column(count, reader)?;
        Rows::from_sorted(ids.into_iter().zip(numbers)).map_err(|invalid| {
            reader.invalid(match invalid {
                InvalidRows::Zero(_) => "a replica has the number 0, which is not written",
                InvalidRows::Unsorted(_) => "a replica is out of order or written twice",
            })
        })
    }
}
