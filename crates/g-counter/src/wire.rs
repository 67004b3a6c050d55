use crate::{GCounter, Rows};
use alloc::vec::Vec;
use crdt_core::wire::{DecodeError, Reader, Wire};

/// As its rows: the number of replicas, a column of ids, a column of totals.
impl Wire for GCounter {
    fn encode(&self, out: &mut Vec<u8>) {
        self.rows().encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Rows::decode(reader).map(GCounter::from)
    }
}
