//! Decodes any bytes as each type with a binary form. What is accepted is canonical: it encodes to the very bytes that it
//! came from, and is a state like any other.
#![no_main]

use crdt_core::{
    Dot, Merge, Rows,
    wire::{Reader, Wire, decode_runs, encode_runs},
};
use g_counter::GCounter;
use libfuzzer_sys::fuzz_target;
use lww_register::{LwwRegister, Stamp};
use or_set::{OrSet, OrSetDelta, Slice};
use pn_counter::PnCounter;
use std::fmt::Debug;
use version_vector::VersionVector;

fn value<T: Wire + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let value = T::from_bytes(bytes).ok()?;
    assert_eq!(value.to_bytes(), bytes, "{value:?}");
    assert_eq!(T::from_bytes(bytes).as_ref(), Ok(&value));
    Some(value)
}

fn state<T: Wire + PartialEq + Debug + Clone + Default + Merge>(bytes: &[u8]) {
    if let Some(value) = value::<T>(bytes) {
        let mut same = value.clone();
        assert!(!same.merge(&value), "idempotent");
        let mut from_bottom = T::default();
        from_bottom.merge(&value);
        assert_eq!(from_bottom.to_bytes(), bytes);
    }
}

fn runs(bytes: &[u8]) {
    let mut reader = Reader::new(bytes);
    let mut runs = Vec::new();
    let read = decode_runs(&mut reader, |run| {
        runs.push(run);
        Ok(())
    });
    assert!(runs.len() <= 4 * bytes.len(), "a run takes two bits or more");
    if read.is_ok() {
        let mut again = Vec::new();
        encode_runs(runs, &mut again);
        assert_eq!(again, bytes[..reader.position()]);
    }
}

fuzz_target!(|bytes: &[u8]| {
    runs(bytes);
    // Nearly all other first bytes are refused at once.
    let bytes = &[&[1], bytes].concat();
    value::<Vec<u64>>(bytes);
    value::<Vec<i16>>(bytes);
    value::<Vec<u128>>(bytes);
    value::<Vec<char>>(bytes);
    value::<Vec<Vec<String>>>(bytes);
    value::<Vec<Option<(u8, [u8; 3], bool)>>>(bytes);
    value::<Vec<Dot>>(bytes);
    value::<Stamp>(bytes);
    value::<Slice<u64>>(bytes);
    value::<Slice<String>>(bytes);
    value::<OrSetDelta<u8>>(bytes);
    value::<OrSetDelta<String>>(bytes);
    state::<Rows>(bytes);
    state::<VersionVector>(bytes);
    state::<GCounter>(bytes);
    state::<PnCounter>(bytes);
    state::<LwwRegister<String>>(bytes);
    state::<OrSet<u8>>(bytes);
    state::<OrSet<u64>>(bytes);
    state::<OrSet<String>>(bytes);
    state::<OrSet<()>>(bytes);
});
