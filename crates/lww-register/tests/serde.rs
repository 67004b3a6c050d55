//! The bytes of a register: pinned, canonical, and validated when they come back.
#![cfg(feature = "serde")]

use lww_register::{Dot, HybridTime, LwwRegister, ReplicaId, Stamp};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;

fn stamp(time: u64, replica: u64, counter: u64) -> Stamp {
    Stamp::new(HybridTime::from_bits(time), Dot::new(ReplicaId::new(replica), counter))
}

fn written<T: Ord>(value: T) -> LwwRegister<T> {
    let mut register = LwwRegister::new();
    register.set_at(stamp(65_538, 0xab, 300), value);
    register
}

#[track_caller]
fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let json = serde_json::to_string(value).unwrap();
    assert_eq!(serde_json::from_str::<T>(&json).unwrap(), *value, "{json}");
    let bytes = postcard::to_allocvec(value).unwrap();
    assert_eq!(postcard::from_bytes::<T>(&bytes).unwrap(), *value, "{bytes:?}");
}

#[test]
fn json_is_an_object() {
    let json = serde_json::to_string(&written("hello")).unwrap();
    assert_eq!(
        json,
        r#"{"stamp":{"time":65538,"replica":"00000000000000ab","counter":300},"value":"hello"}"#
    );
    assert_eq!(serde_json::from_str::<LwwRegister<&str>>(&json).unwrap(), written("hello"));
    assert_eq!(serde_json::to_string(&LwwRegister::<u8>::new()).unwrap(), "{}");
}

#[test]
fn postcard_bytes_are_pinned() {
    for (value, golden) in [
        (LwwRegister::new(), &[0][..]),
        (written("hi"), &[1, 0x82, 0x80, 4, 0xab, 1, 0xac, 2, 2, b'h', b'i']),
    ] {
        assert_eq!(postcard::to_allocvec(&value).unwrap(), golden);
        assert_eq!(postcard::from_bytes::<LwwRegister<&str>>(golden).unwrap(), value);
    }
}

/// A value that is itself empty, or optional, is not mistaken for no value.
#[test]
fn every_kind_of_nothing_comes_back() {
    round_trip(&LwwRegister::<Option<u8>>::new());
    round_trip(&written(None::<u8>));
    round_trip(&written(Some(3)));
    round_trip(&written(()));
    round_trip(&written(String::new()));
    round_trip(&None::<LwwRegister<u8>>);
    round_trip(&Some(LwwRegister::<u8>::new()));
    round_trip(&written(written(None::<u8>)));
}

#[test]
fn times_and_stamps_come_back() {
    round_trip(&HybridTime::MAX);
    round_trip(&stamp(u64::MAX, u64::MAX, u64::MAX));
    round_trip(&Stamp::NEVER);
    assert_eq!(serde_json::to_string(&HybridTime::from_millis(1)).unwrap(), "65536");
}

#[test]
fn malformed_input_is_refused() {
    for json in [
        r#"{"stamp":{"time":1,"replica":"1","counter":1}}"#,
        r#"{"value":1}"#,
        r#"{"stamp":null,"value":null}"#,
        r#"{"stamp":null}"#,
        r#"{"stamp":{"time":1,"replica":"1","counter":1},"value":null}"#,
        r#"{"stamp":{"time":1,"replica":"1","counter":0},"value":1}"#,
        r#"{"stamp":{"time":0,"replica":"1","counter":0},"value":1}"#,
        r#"{"stamp":{"time":1,"replica":"0","counter":1},"value":1}"#,
        r#"{"stamp":{"time":-1,"replica":"1","counter":1},"value":1}"#,
        r#"{"stamp":{"time":18446744073709551616,"replica":"1","counter":1},"value":1}"#,
        r#"{"stamp":{"time":1,"replica":"1"},"value":1}"#,
        r#"{"stamp":{"time":1,"replica":"1","counter":1,"more":1},"value":1}"#,
        r#"{"stamp":{"time":1,"replica":"1","counter":1},"value":1,"value":2}"#,
        r#"{"stamp":{"time":1,"replica":"1","counter":1},"value":1,"more":1}"#,
        "null",
        "7",
    ] {
        assert!(serde_json::from_str::<LwwRegister<u8>>(json).is_err(), "{json}");
    }
    let bytes: [&[u8]; 6] = [&[], &[2], &[1, 1, 1, 1], &[1, 1, 1, 0, 9], &[1, 1, 0, 1, 9], &[1, 1]];
    for bytes in bytes {
        assert!(postcard::from_bytes::<LwwRegister<u8>>(bytes).is_err(), "{bytes:?}");
    }
}
