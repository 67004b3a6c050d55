//! The binary form: pinned bytes, and what is refused.
//!
//! `BLESS=1 cargo test -p pn-counter --test wire` writes the bytes of this version into `golden/wire.txt`; a change of what
//! stands there is a change of the format.

use pn_counter::{Merge, PnCounter, Wire};
use std::fmt::Write;

fn values() -> Vec<PnCounter> {
    let counter = |up: &[(u64, u64)], down: &[(u64, u64)]| {
        PnCounter::from_rows(up.iter().copied().collect(), down.iter().copied().collect()).unwrap()
    };
    vec![
        counter(&[], &[]),
        counter(&[(1, 5)], &[]),
        counter(&[], &[(1, 5)]),
        counter(&[(1, 5), (0xab, 300)], &[(1, 2)]),
        counter(&[(u64::MAX, u64::MAX - 1)], &[(u64::MAX, 1)]),
    ]
}

#[test]
fn bytes_are_pinned() {
    let mut text = String::new();
    for value in values() {
        let bytes = value.to_bytes();
        assert_eq!(Wire::from_bytes(&bytes).as_ref(), Ok(&value));
        for shorter in 0..bytes.len() {
            assert!(PnCounter::from_bytes(&bytes[..shorter]).is_err());
        }
        assert!(PnCounter::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
        write!(text, "{value:?} = ").unwrap();
        for byte in bytes {
            write!(text, "{byte:02x}").unwrap();
        }
        text.push('\n');
    }
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/wire.txt"), &text).unwrap();
    } else {
        assert_eq!(text, include_str!("golden/wire.txt"), "the format has changed");
    }
}

#[test]
fn bytes_do_not_depend_on_the_path_taken() {
    let values = values();
    let (mut there, mut back) = (PnCounter::new(), PnCounter::new());
    for (one, other) in values.iter().zip(values.iter().rev()) {
        there.merge(one);
        back.merge(other);
    }
    assert_eq!(there.to_bytes(), back.to_bytes());
}

#[track_caller]
fn refused(bytes: &[u8], why: &str) {
    let error = PnCounter::from_bytes(bytes).expect_err("not the form of any value");
    assert_eq!(error.to_string(), why, "{bytes:x?}");
}

#[test]
fn what_is_no_counter_is_refused() {
    refused(&[2, 0, 0], "the bytes are of format 2, this version reads format 1");
    refused(
        &[1, 0, 1, 7, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        "a replica has the number 0, which is not written, in the bytes before byte 13",
    );
    let id = [7, 0, 0, 0, 0, 0, 0, 0];
    let bytes = [&[1, 1][..], &id, &[8], &[0xff; 8], &[1], &id, &[1, 1]].concat();
    refused(
        &bytes,
        "the increments and decrements of a replica add up to more than 2^64 - 1, in the bytes before byte 30",
    );
}
