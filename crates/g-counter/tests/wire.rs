//! The binary form: pinned bytes, and what is refused.
//!
//! `BLESS=1 cargo test -p g-counter --test wire` writes the bytes of this version into `golden/wire.txt`; a change of what
//! stands there is a change of the format.

#[path = "../../crdt-core/tests/pinned/mod.rs"]
mod pinned;

use g_counter::{GCounter, Merge, Wire};
use pinned::refused;

fn values() -> Vec<GCounter> {
    let counter = |totals: &[(u64, u64)]| totals.iter().copied().collect();
    vec![
        counter(&[]),
        counter(&[(1, 5)]),
        counter(&[(1, 5), (0xab, 300)]),
        counter(&[(u64::MAX, u64::MAX), (1 << 40, 1 << 16)]),
    ]
}

#[test]
fn bytes_are_pinned() {
    pinned::pin(env!("CARGO_MANIFEST_DIR"), &values());
}

#[test]
fn bytes_do_not_depend_on_the_path_taken() {
    let values = values();
    let (mut there, mut back) = (GCounter::new(), GCounter::new());
    for (one, other) in values.iter().zip(values.iter().rev()) {
        there.merge(one);
        back.merge(other);
    }
    assert_eq!(there.to_bytes(), back.to_bytes());
}

#[test]
fn what_is_no_counter_is_refused() {
    refused::<GCounter>(&[2, 0], "the bytes are of format 2, this version reads format 1");
    refused::<GCounter>(
        &[1, 1, 7, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        "a replica has the number 0, which is not written, in the bytes before byte 12",
    );
    refused::<GCounter>(
        &[1, 2, 7, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1],
        "a replica is out of order or written twice, in the bytes before byte 21",
    );
}
