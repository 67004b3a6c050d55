use crate::{PnCounter, Rows};
use alloc::vec::Vec;
use crdt_core::wire::{DecodeError, Reader, Wire};

/// The rows of the increments, then those of the decrements. Reading checks that a replica's totals fit together.
impl Wire for PnCounter {
    fn encode(&self, out: &mut Vec<u8>) {
        self.increments().encode(out);
        self.decrements().encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (increments, decrements): (Rows, Rows) = Wire::decode(reader)?;
        PnCounter::from_rows(increments, decrements).map_err(|_| {
            reader.invalid("the increments and decrements of a replica add up to more than 2^64 - 1")
        })
    }
}
