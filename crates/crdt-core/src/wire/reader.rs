use core::fmt;

/// Bytes being decoded, from front to back.
///
/// Nothing it does takes more time or memory than the bytes that are there.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Why bytes are not a value; positions count from the first byte of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes begin with the number of a format that this version cannot read.
    Format {
        /// The number there.
        found: u8,
        /// The number of the format that can be read.
        known: u8,
    },
    /// The bytes end within a value.
    Ended {
        /// How many there are.
        at: usize,
    },
    /// There are bytes after the value.
    Trailing {
        /// The first of them.
        at: usize,
    },
    /// What is there breaks a rule of the type, or of the canonical form.
    Invalid {
        /// Where the part that breaks it ends.
        at: usize,
        /// The rule, as a clause.
        what: &'static str,
    },
}

impl<'a> Reader<'a> {
    /// Reads these bytes.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, at: 0 }
    }

    /// How many bytes have been read.
    pub const fn position(&self) -> usize {
        self.at
    }

    /// The bytes that are left.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Ended`] if fewer are left.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        self.expect(count)?;
        let taken = &self.rest()[..count];
        self.at += count;
        Ok(taken)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Ended`] if fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, _) = self.rest().split_first_chunk().ok_or_else(|| self.ended())?;
        self.at += N;
        Ok(*taken)
    }

    /// The next byte.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Ended`] if none is left.
    pub fn byte(&mut self) -> Result<u8, DecodeError> {
        self.array().map(|[byte]| byte)
    }

    /// A `u64` in LEB128.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if it does not end, is longer than need be, or exceeds 2⁶⁴ − 1.
    pub fn varint(&mut self) -> Result<u64, DecodeError> {
        self.varint_within(u128::from(u64::MAX)).map(|value| value as u64)
    }

    /// A number of at most `most` in LEB128.
    pub(super) fn varint_within(&mut self, most: u128) -> Result<u128, DecodeError> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(first.into());
        }
        let mut value = u128::from(first & 0x7f);
        let mut shift = 7;
        loop {
            let byte = self.byte()?;
            let bits = u128::from(byte & 0x7f);
            if shift >= u128::BITS || bits << shift >> shift != bits || bits << shift > most - value {
                return Err(self.invalid("a number is too large for its type"));
            }
            value |= bits << shift;
            match byte {
                // A last byte of 0 adds nothing.
                0 => return Err(self.invalid("a number is longer than need be")),
                1..0x80 => return Ok(value),
                _ => shift += 7,
            }
        }
    }

    /// How many values follow, each of at least one byte.
    ///
    /// # Errors
    ///
    /// As [`varint`](Reader::varint), and [`DecodeError::Ended`] if fewer bytes are left than the values that are
    /// claimed: what is counted here may be reserved.
    pub fn count(&mut self) -> Result<usize, DecodeError> {
        let count = usize::try_from(self.varint()?).map_err(|_| self.ended())?;
        self.expect(count)?;
        Ok(count)
    }

    /// Checks that at least `count` bytes are left.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Ended`] if they are not.
    pub fn expect(&self, count: usize) -> Result<(), DecodeError> {
        if count > self.rest().len() { Err(self.ended()) } else { Ok(()) }
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Trailing`] if bytes are.
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.rest().is_empty() { Ok(()) } else { Err(DecodeError::Trailing { at: self.at }) }
    }

    /// The error that what was just read breaks a rule; `what` says which, as a clause without a full stop.
    pub const fn invalid(&self, what: &'static str) -> DecodeError {
        DecodeError::Invalid { at: self.at, what }
    }

    /// The error that more was expected.
    pub(super) const fn ended(&self) -> DecodeError {
        DecodeError::Ended { at: self.bytes.len() }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Format { found, known } => {
                write!(f, "the bytes are of format {found}, this version reads format {known}")
            }
            DecodeError::Ended { at } => write!(f, "the bytes end within a value, at byte {at}"),
            DecodeError::Trailing { at } => write!(f, "the value ends at byte {at}, but not the bytes"),
            DecodeError::Invalid { at, what } => write!(f, "{what}, in the bytes before byte {at}"),
        }
    }
}

impl core::error::Error for DecodeError {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn numbers_have_one_form() {
        for (bytes, value) in [
            (&[0][..], 0),
            (&[0x7f], 127),
            (&[0x80, 1], 128),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], u64::MAX),
        ] {
            assert_eq!(Reader::new(bytes).varint(), Ok(value));
            let ended = DecodeError::Ended { at: bytes.len() - 1 };
            assert_eq!(Reader::new(&bytes[..bytes.len() - 1]).varint(), Err(ended));
        }
        for (bytes, at) in [
            (&[0x80, 0][..], 2),
            (&[0xff, 0x80, 0], 3),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], 10),
            (&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1], 11),
        ] {
            let refused = Reader::new(bytes).varint();
            assert!(
                matches!(refused, Err(DecodeError::Invalid { at: found, .. }) if found == at),
                "{refused:?}"
            );
        }
        let longest = [0x80; 1000];
        assert!(matches!(Reader::new(&longest).varint(), Err(DecodeError::Invalid { .. })));
    }

    #[test]
    fn a_count_is_covered_by_bytes() {
        assert_eq!(Reader::new(&[2, 0, 0]).count(), Ok(2));
        assert_eq!(Reader::new(&[3, 0, 0]).count(), Err(DecodeError::Ended { at: 3 }));
        let claims = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1];
        assert_eq!(Reader::new(&claims).count(), Err(DecodeError::Ended { at: 10 }));
    }

    #[test]
    fn errors_say_what_and_where() {
        let mut reader = Reader::new(&[1, 2]);
        assert_eq!(reader.finish().unwrap_err().to_string(), "the value ends at byte 0, but not the bytes");
        assert_eq!(reader.take(3).unwrap_err().to_string(), "the bytes end within a value, at byte 2");
        assert_eq!(reader.take(2), Ok(&[1, 2][..]));
        assert_eq!(
            reader.invalid("one is not two").to_string(),
            "one is not two, in the bytes before byte 2"
        );
        assert_eq!(reader.finish(), Ok(()));
        let format = DecodeError::Format { found: 9, known: 1 };
        assert_eq!(format.to_string(), "the bytes are of format 9, this version reads format 1");
    }
}
