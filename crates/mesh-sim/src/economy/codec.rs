//! The one encoding of everything that the published protocols send: varints, ids of 8 bytes, bytes with their length.

use crdt_core::ReplicaId;
use std::fmt;

/// What does not decode. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bytes are not an encoding of what was expected")
    }
}

impl std::error::Error for Malformed {}

/// Appends `value`, seven bits a byte, the lowest first.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Appends the length of `bytes`, then the bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends an id, 8 bytes.
pub fn put_id(out: &mut Vec<u8>, id: ReplicaId) {
    out.extend_from_slice(&id.get().to_le_bytes());
}

/// Takes apart what the functions of this module put together.
#[derive(Clone, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// From the first of `bytes` on.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader(bytes)
    }

    /// The next byte.
    ///
    /// # Errors
    ///
    /// [`Malformed`] at the end.
    pub fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.0.split_first().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*first)
    }

    /// The next varint.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if it ends early or exceeds 64 bits.
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(Malformed);
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    /// A varint that counts what follows, each at least a byte long: at most the bytes that are left.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if it counts more than that, so nothing is ever reserved from a claim.
    pub fn count(&mut self) -> Result<usize, Malformed> {
        let count = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
        if count <= self.0.len() { Ok(count) } else { Err(Malformed) }
    }

    /// The next bytes with their length before them.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if they end early.
    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let count = self.count()?;
        let (bytes, rest) = self.0.split_at(count);
        self.0 = rest;
        Ok(bytes)
    }

    /// The next id.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if it ends early or is zero.
    pub fn id(&mut self) -> Result<ReplicaId, Malformed> {
        let (id, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        ReplicaId::try_from(u64::from_le_bytes(*id)).map_err(|_| Malformed)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_read_and_nothing_else() {
        let id = ReplicaId::new(u64::MAX);
        for value in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            put_bytes(&mut bytes, b"abc");
            put_id(&mut bytes, id);
            let read = |bytes: &[u8]| {
                let mut reader = Reader::new(bytes);
                let all = (reader.varint()?, reader.bytes()?.to_vec(), reader.id()?);
                if reader.is_empty() { Ok(all) } else { Err(Malformed) }
            };
            assert_eq!(read(&bytes), Ok((value, b"abc".to_vec(), id)));
            for end in 0..bytes.len() {
                assert_eq!(read(&bytes[..end]), Err(Malformed));
            }
            bytes.push(0);
            assert_eq!(read(&bytes), Err(Malformed));
        }
        assert_eq!(Reader::new(&[0xff; 10]).varint(), Err(Malformed));
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x0f]).bytes(), Err(Malformed));
    }
}
