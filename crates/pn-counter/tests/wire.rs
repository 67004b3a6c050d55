//! The binary form: pinned bytes, and what is refused.
//!
//! `BLESS=1 cargo test -p pn-counter --test wire` writes the bytes of this version into `golden/wire.txt`; a change of what
//! stands there is a change of the format.

#[path = "../../crdt-core/tests/pinned/mod.rs"]
mod pinned;

use pinned::refused;
use pn_counter::{Merge, PnCounter, Wire};

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
    pinned::pin(env!("CARGO_MANIFEST_DIR"), &values());
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

#[test]
fn what_is_no_counter_is_refused() {
    refused::<PnCounter>(&[2, 0, 0], "the bytes are of format 2, this version reads format 1");
    refused::<PnCounter>(
        &[1, 0, 1, 7, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        "a replica has the number 0, which is not written, in the bytes before byte 13",
    );
    let id = [7, 0, 0, 0, 0, 0, 0, 0];
    let bytes = [&[1, 1][..], &id, &[8], &[0xff; 8], &[1], &id, &[1, 1]].concat();
    refused::<PnCounter>(
        &bytes,
        "the increments and decrements of a replica add up to more than 2^64 - 1, in the bytes before byte 30",
    );
}
