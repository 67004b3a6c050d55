//! The binary form: pinned bytes, and what is refused.
//!
//! `BLESS=1 cargo test -p version-vector --test wire` writes the bytes of this version into `golden/wire.txt`; a change of what
//! stands there is a change of the format.

#[path = "../../crdt-core/tests/pinned/mod.rs"]
mod pinned;

use pinned::refused;
use version_vector::{Merge, VersionVector, Wire};

fn values() -> Vec<VersionVector> {
    let vector = |pairs: &[(u64, u64)]| pairs.iter().copied().collect();
    vec![
        vector(&[]),
        vector(&[(1, 5)]),
        vector(&[(1, 5), (0xab, 300)]),
        vector(&[(u64::MAX, u64::MAX), (1 << 40, 1 << 16)]),
    ]
}

#[test]
fn bytes_are_pinned() {
    pinned::pin(env!("CARGO_MANIFEST_DIR"), &values());
}

#[test]
fn bytes_do_not_depend_on_the_path_taken() {
    let values = values();
    let (mut there, mut back) = (VersionVector::new(), VersionVector::new());
    for (one, other) in values.iter().zip(values.iter().rev()) {
        there.merge(one);
        back.merge(other);
    }
    assert_eq!(there.to_bytes(), back.to_bytes());
}

#[test]
fn what_is_no_vector_is_refused() {
    refused::<VersionVector>(&[2, 0], "the bytes are of format 2, this version reads format 1");
    refused::<VersionVector>(
        &[1, 1, 7, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        "a replica has the number 0, which is not written, in the bytes before byte 12",
    );
    refused::<VersionVector>(
        &[1, 2, 7, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1],
        "a replica is out of order or written twice, in the bytes before byte 21",
    );
}
