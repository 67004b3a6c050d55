use crate::{Rows, VersionVector};
use alloc::vec::Vec;
use crdt_core::wire::{DecodeError, Reader, Wire};

/// As its rows: the number of replicas, a column of ids, a column of counters.
impl Wire for VersionVector {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Rows::decode(reader).map(VersionVector)
    }
}
