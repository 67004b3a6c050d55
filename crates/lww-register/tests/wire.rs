//! The binary form: pinned bytes, and what is refused.
//!
//! `BLESS=1 cargo test -p lww-register --test wire` writes the bytes of this version into `golden/wire.txt`; a change of what
//! stands there is a change of the format.

#[path = "../../crdt-core/tests/pinned/mod.rs"]
mod pinned;

use lww_register::{Dot, HybridTime, LwwRegister, ReplicaId, Stamp, Wire};
use pinned::refused;

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
    pinned::pin(env!("CARGO_MANIFEST_DIR"), &values());
}

#[test]
fn what_is_no_register_is_refused() {
    refused::<LwwRegister<u8>>(&[2, 0], "the bytes are of format 2, this version reads format 1");
    refused::<LwwRegister<u8>>(&[1, 2], "a choice of two is 0 or 1, in the bytes before byte 2");
    let bytes = |replica: u8, counter: u8| {
        [&[1, 1][..], &[0; 8], &[replica, 0, 0, 0, 0, 0, 0, 0], &[counter, 9]].concat()
    };
    assert_eq!(LwwRegister::<u8>::from_bytes(&bytes(1, 1)).unwrap().get(), Some(&9));
    refused::<LwwRegister<u8>>(&bytes(0, 1), "a replica id is not zero, in the bytes before byte 18");
    refused::<LwwRegister<u8>>(
        &bytes(1, 0),
        "the counter of a stamp starts at 1, in the bytes before byte 19",
    );
}

/// No write has it, so no register that holds a value does.
#[test]
fn the_stamp_of_no_write_is_a_version_only() {
    let never = Stamp::NEVER.to_bytes();
    assert_eq!(Stamp::from_bytes(&never), Ok(Stamp::NEVER));
    refused::<LwwRegister<()>>(
        &[&[1, 1][..], &never[1..]].concat(),
        "the counter of a stamp starts at 1, in the bytes before byte 19",
    );
    let later = Stamp { time: HybridTime::from_bits(1), ..Stamp::NEVER };
    refused::<Stamp>(&later.to_bytes(), "the counter of a stamp starts at 1, in the bytes before byte 18");
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
