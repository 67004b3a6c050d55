//! The binary form: pinned bytes, and what is refused.
//!
//! `BLESS=1 cargo test -p lww-register --test wire` writes the bytes of this version into `golden/wire.txt`; a change of what
//! stands there is a change of the format.

use lww_register::{Dot, HybridTime, LwwRegister, ReplicaId, Stamp, Wire};
use std::fmt::Write;

fn written<T: Ord>(value: T) -> LwwRegister<T> {
    let mut register = LwwRegister::new();
    let dot = Dot::new(ReplicaId::new(0xab), 300);
    register.set_at(Stamp::new(HybridTime::from_millis(1_700_000_000_000), dot), value);
    register
}

fn values() -> Vec<LwwRegister<String>> {
    vec![LwwRegister::new(), written(String::new()), written("hi".to_owned())]
}

#[test]
fn bytes_are_pinned() {
    let mut text = String::new();
    for value in values() {
        let bytes = value.to_bytes();
        assert_eq!(Wire::from_bytes(&bytes).as_ref(), Ok(&value));
        for shorter in 0..bytes.len() {
            assert!(LwwRegister::<String>::from_bytes(&bytes[..shorter]).is_err());
        }
        assert!(LwwRegister::<String>::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
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

#[track_caller]
fn refused(bytes: &[u8], why: &str) {
    let error = LwwRegister::<u8>::from_bytes(bytes).expect_err("not the form of any value");
    assert_eq!(error.to_string(), why, "{bytes:x?}");
}

#[test]
fn what_is_no_register_is_refused() {
    refused(&[2, 0], "the bytes are of format 2, this version reads format 1");
    refused(&[1, 2], "a choice of two is 0 or 1, in the bytes before byte 2");
    let bytes = |replica: u8, counter: u8| {
        [&[1, 1][..], &[0; 8], &[replica, 0, 0, 0, 0, 0, 0, 0], &[counter, 9]].concat()
    };
    assert_eq!(LwwRegister::<u8>::from_bytes(&bytes(1, 1)).unwrap().get(), Some(&9));
    refused(&bytes(0, 1), "a replica id is not zero, in the bytes before byte 18");
    refused(&bytes(1, 0), "a dot's counter starts at 1, in the bytes before byte 19");
}

/// A value that is itself empty, or optional, is not mistaken for no value.
#[test]
fn every_kind_of_nothing_comes_back() {
    let empty = LwwRegister::<Option<u8>>::new();
    assert_eq!(Wire::from_bytes(&empty.to_bytes()), Ok(empty));
    let none = written(None::<u8>);
    assert_eq!(Wire::from_bytes(&none.to_bytes()), Ok(none));
    let nested = written(written(()));
    assert_eq!(Wire::from_bytes(&nested.to_bytes()), Ok(nested));
}
