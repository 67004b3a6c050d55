//! The bytes of a counter: pinned, canonical, and validated when they come back.
#![cfg(feature = "serde")]

use pn_counter::{Merge, PnCounter};

fn counter<const N: usize, const M: usize>(up: [(u64, u64); N], down: [(u64, u64); M]) -> PnCounter {
    PnCounter::from_rows(up.into_iter().collect(), down.into_iter().collect()).unwrap()
}

#[test]
fn json_has_two_objects_with_hexadecimal_keys() {
    let value = counter([(0xab, 300), (1, 5)], [(2, 7)]);
    let json = serde_json::to_string(&value).unwrap();
    assert_eq!(
        json,
        r#"{"increments":{"0000000000000001":5,"00000000000000ab":300},"decrements":{"0000000000000002":7}}"#
    );
    assert_eq!(serde_json::from_str::<PnCounter>(&json).unwrap(), value);
}

#[test]
fn postcard_bytes_are_pinned() {
    for (value, golden) in [
        (counter([], []), &[0, 0][..]),
        (counter([(1, 5)], []), &[1, 1, 5, 0]),
        (counter([], [(1, 5)]), &[0, 1, 1, 5]),
        (counter([(1, 5), (0xab, 300)], [(1, 2)]), &[2, 1, 5, 0xab, 1, 0xac, 2, 1, 1, 2]),
    ] {
        assert_eq!(postcard::to_allocvec(&value).unwrap(), golden);
        assert_eq!(postcard::from_bytes::<PnCounter>(golden).unwrap(), value);
    }
}

#[test]
fn bytes_do_not_depend_on_the_path_taken() {
    let (left, right) = (counter([(2, 1)], [(1, 7)]), counter([(3, 2)], [(2, 2)]));
    let (mut there, mut back) = (left.clone(), right.clone());
    there.merge(&right);
    back.merge(&left);
    assert_eq!(postcard::to_allocvec(&there).unwrap(), postcard::to_allocvec(&back).unwrap());
}

#[test]
fn malformed_input_is_refused() {
    for json in [
        r#"{"increments":{"1":18446744073709551615},"decrements":{"1":1}}"#,
        r#"{"increments":{"1":0},"decrements":{}}"#,
        r#"{"increments":{},"decrements":{"0":1}}"#,
        r#"{"increments":{},"decrements":{"2":1,"1":1}}"#,
        r#"{"increments":{},"decrements":{"1":1,"1":1}}"#,
        r#"{"increments":{},"decrements":{"1":-1}}"#,
        r#"{"increments":{},"decrements":{},"value":0}"#,
        r#"{"increments":{},"increments":{},"decrements":{}}"#,
        r#"{"increments":{}}"#,
        "{}",
        "null",
        "7",
    ] {
        assert!(serde_json::from_str::<PnCounter>(json).is_err(), "{json}");
    }
    let bytes: [&[u8]; 6] = [
        &[],
        &[0],
        &[1, 1, 0, 0],
        &[0, 2, 2, 1, 1, 1],
        // 2^64 - 1 up and 1 down for one replica.
        &[1, 1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 1, 1, 1],
        // Claims 2^63 rows: refused when the bytes end, nothing is reserved for the claim.
        &[0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1, 1, 5],
    ];
    for bytes in bytes {
        assert!(postcard::from_bytes::<PnCounter>(bytes).is_err(), "{bytes:?}");
    }
}

#[test]
fn the_bound_is_named() {
    let error = serde_json::from_str::<PnCounter>(
        r#"{"increments":{"7":18446744073709551615},"decrements":{"7":1}}"#,
    )
    .unwrap_err();
    assert!(error.to_string().contains("0000000000000007"), "{error}");
}
