//! The bytes of a counter: pinned, canonical, and validated when they come back.
#![cfg(feature = "serde")]

use g_counter::GCounter;

fn counter<const N: usize>(totals: [(u64, u64); N]) -> GCounter {
    totals.into_iter().collect()
}

#[test]
fn json_is_an_object_with_hexadecimal_keys() {
    let value = counter([(0xab, 300), (1, 5)]);
    let json = serde_json::to_string(&value).unwrap();
    assert_eq!(json, r#"{"0000000000000001":5,"00000000000000ab":300}"#);
    assert_eq!(serde_json::from_str::<GCounter>(&json).unwrap(), value);
    assert_eq!(serde_json::to_string(&GCounter::new()).unwrap(), "{}");
}

#[test]
fn postcard_bytes_are_pinned() {
    for (value, golden) in [
        (counter([]), &[0][..]),
        (counter([(1, 5)]), &[1, 1, 5]),
        (counter([(1, 5), (0xab, 300)]), &[2, 1, 5, 0xab, 1, 0xac, 2]),
    ] {
        assert_eq!(postcard::to_allocvec(&value).unwrap(), golden);
        assert_eq!(postcard::from_bytes::<GCounter>(golden).unwrap(), value);
    }
}

#[test]
fn bytes_do_not_depend_on_the_path_taken() {
    let mut there = counter([(2, 1)]);
    let mut back = counter([(1, 7)]);
    g_counter::Merge::merge(&mut there, &counter([(1, 7), (3, 2)]));
    g_counter::Merge::merge(&mut back, &counter([(3, 2), (2, 1)]));
    assert_eq!(postcard::to_allocvec(&there).unwrap(), postcard::to_allocvec(&back).unwrap());
}

#[test]
fn malformed_input_is_refused() {
    for json in [
        r#"{"1":0}"#,
        r#"{"0":1}"#,
        r#"{"1":-1}"#,
        r#"{"1":1.5}"#,
        r#"{"1":18446744073709551616}"#,
        r#"{"2":1,"1":1}"#,
        r#"{"1":1,"1":2}"#,
        r#"{"x":1}"#,
        "[]",
        "null",
        "7",
    ] {
        assert!(serde_json::from_str::<GCounter>(json).is_err(), "{json}");
    }
    let bytes: [&[u8]; 5] = [
        &[],
        &[1, 1],
        &[1, 0, 5],
        &[2, 2, 1, 1, 1],
        // Claims 2^63 rows: refused when the bytes end, nothing is reserved for the claim.
        &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1, 1, 5],
    ];
    for bytes in bytes {
        assert!(postcard::from_bytes::<GCounter>(bytes).is_err(), "{bytes:?}");
    }
}
