//! What the tests of every crate's binary form have in common: bytes that are pinned in a file, and what is refused.
#![allow(dead_code, reason = "each test binary uses a part")]

use crdt_core::wire::{DecodeError, Wire};
use std::{env, fmt::Debug, fs};

/// Checks that a value comes back from its bytes, and these from it; returns them.
#[track_caller]
pub(crate) fn comes_back<T: Wire + PartialEq + Debug>(value: &T) -> Vec<u8> {
    let bytes = value.to_bytes();
    let read = T::from_bytes(&bytes);
    assert_eq!(read.as_ref(), Ok(value), "{bytes:x?}");
    assert_eq!(read.map(|read| read.to_bytes()), Ok(bytes.clone()), "equal values give equal bytes");
    bytes
}

/// As [`comes_back`], and from no fewer and no more bytes; returns them in hexadecimal. **O(n²)**.
#[track_caller]
pub(crate) fn round_trip<T: Wire + PartialEq + Debug>(value: &T) -> String {
    let bytes = comes_back(value);
    for shorter in 0..bytes.len() {
        assert!(T::from_bytes(&bytes[..shorter]).is_err(), "{bytes:x?} up to {shorter}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(T::from_bytes(&longer), Err(DecodeError::Trailing { at: bytes.len() }));
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// Compares `text` with `tests/golden/wire.txt` of the crate in the folder `krate`; with `BLESS` set, writes it there.
#[track_caller]
pub(crate) fn compare(krate: &str, text: &str) {
    let file = format!("{krate}/tests/golden/wire.txt");
    if env::var_os("BLESS").is_some() {
        fs::write(file, text).unwrap();
    } else {
        assert_eq!(text, fs::read_to_string(file).unwrap(), "the format has changed");
    }
}

/// Pins the bytes of some values.
#[track_caller]
pub(crate) fn pin<T: Wire + PartialEq + Debug>(krate: &str, values: &[T]) {
    let lines = values.iter().map(|value| format!("{value:?} = {}\n", round_trip(value)));
    compare(krate, &lines.collect::<String>());
}

#[track_caller]
pub(crate) fn refused<T: Wire + Debug>(bytes: &[u8], why: &str) {
    let error = T::from_bytes(bytes).expect_err("not the form of any value");
    assert_eq!(error.to_string(), why, "{bytes:x?}");
}
