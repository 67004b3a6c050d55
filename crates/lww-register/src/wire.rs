use crate::{HybridTime, LwwRegister, Stamp, stamp::COUNTER};
use alloc::vec::Vec;
use crdt_core::wire::{DecodeError, Reader, Wire};

/// 8 bytes, little-endian: times of this millennium would take 9 in LEB128.
impl Wire for HybridTime {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_bits().to_le_bytes());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.array().map(|bytes| HybridTime::from_bits(u64::from_le_bytes(bytes)))
    }
}

/// The time, then the dot. Reading checks that the counter is 0 in [`Stamp::NEVER`] only.
impl Wire for Stamp {
    fn encode(&self, out: &mut Vec<u8>) {
        self.time.encode(out);
        self.dot().encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (time, replica, counter) = Wire::decode(reader)?;
        let stamp = Stamp { time, replica, counter };
        if stamp.is_valid() { Ok(stamp) } else { Err(reader.invalid(COUNTER)) }
    }
}

/// 0 for a register that was never written; otherwise 1, the stamp, and the value.
impl<T: Wire> Wire for LwwRegister<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        let written = self.stamp().zip(self.get());
        written.is_some().encode(out);
        if let Some((stamp, value)) = written {
            stamp.encode(out);
            value.encode(out);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if !bool::decode(reader)? {
            return Ok(LwwRegister::new());
        }
        let stamp = Stamp::decode(reader)?;
        if stamp == Stamp::NEVER {
            return Err(reader.invalid(COUNTER));
        }
        Ok(LwwRegister::written(stamp, T::decode(reader)?))
    }
}
