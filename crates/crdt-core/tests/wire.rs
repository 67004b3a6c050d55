//! The binary form: pinned bytes, round trips, and what is refused.
//!
//! `BLESS=1 cargo test -p crdt-core --test wire` writes the bytes of this version into `golden/wire.txt`; a change of
//! what stands there is a change of the format.
// Numbers are cut to each width on purpose.
#![allow(clippy::cast_possible_truncation)]

mod pinned;

use crdt_core::{
    Dot, ReplicaId, Rows,
    wire::{DecodeError, Reader, Wire},
};
use pinned::{refused, round_trip};

fn id(n: u64) -> ReplicaId {
    ReplicaId::new(n)
}

fn rows<const N: usize>(pairs: [(u64, u64); N]) -> Rows {
    pairs.into_iter().collect()
}

#[test]
fn bytes_are_pinned() {
    let mut text = String::new();
    macro_rules! pin {
        ($($value:expr),* $(,)?) => {$({
            text += &format!("{} = {}\n", stringify!($value), round_trip(&$value));
        })*};
    }
    pin![
        0_u8,
        255_u8,
        300_u16,
        u32::MAX,
        u64::MAX,
        u128::MAX,
        -1_i8,
        i16::MIN,
        -300_i32,
        i64::MAX,
        i128::MIN,
        (),
        true,
        'é',
        "grüße".to_owned(),
        None::<u8>,
        Some(7_u64),
        (1_u8, 300_u16),
        (1_u8, true, String::new(), -1_i8),
        [1_u8, 2, 3],
        Vec::<u64>::new(),
        vec![1_u8, 2, 3],
        vec![1_u64, 255],
        vec![1_u64, 256],
        vec![1_u64, 1 << 16],
        vec![1_u64, 1 << 32],
        vec![-1_i64, 127, -128],
        vec![-1_i8, 127, -128],
        vec![u128::MAX, 1],
        vec!["a".to_owned(), String::new(), "bc".to_owned()],
        vec![vec![1_u16, 300], vec![], vec![2]],
        vec![Some('x'), None],
        id(0xfeed),
        vec![id(1), id(2)],
        Dot::new(id(0xab), 300),
        Rows::new(),
        rows([(1, 5), (0xab, 300)]),
    ];
    pinned::compare(env!("CARGO_MANIFEST_DIR"), &text);
}

#[test]
fn every_width_of_a_column_comes_back() {
    for bits in 0..64 {
        for top in [1_u64 << bits, (1 << bits) - 1, !(u64::MAX << bits << 1)] {
            let column = vec![0, top, 1, top / 2, 0];
            round_trip(&column);
            round_trip(&column.iter().map(|value| value.cast_signed()).collect::<Vec<_>>());
            round_trip(&column.iter().map(|value| !value.cast_signed()).collect::<Vec<_>>());
            let width =
                usize::from([1_u8, 2, 4, 8][[8, 16, 32].iter().filter(|fits| top >> **fits > 0).count()]);
            assert_eq!(column.to_bytes().len(), 3 + 5 * width);
            round_trip(&column.iter().map(|value| *value as u32).collect::<Vec<_>>());
            round_trip(&column.iter().map(|value| *value as i32).collect::<Vec<_>>());
            round_trip(&column.iter().map(|value| *value as u16).collect::<Vec<_>>());
            round_trip(&column.iter().map(|value| *value as i16).collect::<Vec<_>>());
            round_trip(&column.iter().map(|value| *value as u8).collect::<Vec<_>>());
            round_trip(&column.iter().map(|value| *value as i8).collect::<Vec<_>>());
            round_trip(&(top, u128::from(top) * u128::from(top), -i128::from(top), top.cast_signed()));
        }
    }
}

#[test]
fn a_column_does_not_depend_on_how_it_is_cut() {
    let values: Vec<String> = (0..100).map(|n| "é".repeat(n % 7)).collect();
    let mut whole = Vec::new();
    String::encode_column([&values[..]].into_iter(), &mut whole);
    for size in [1, 3, 64] {
        let mut cut = Vec::new();
        String::encode_column(values.chunks(size), &mut cut);
        assert_eq!(cut, whole);
    }
    let mut reader = Reader::new(&whole);
    assert_eq!(String::decode_column(100, &mut reader), Ok(values));
    assert_eq!(reader.finish(), Ok(()));
}

#[test]
fn nested_values_come_back() {
    round_trip(&vec![vec![vec!["a".to_owned()], vec![]], vec![], vec![vec![String::new(), "bc".to_owned()]]]);
    round_trip(&vec![(), (), ()]);
    round_trip(&vec![[1_u8, 2], [3, 4]]);
    round_trip(&Some(Some(None::<u8>)));
    round_trip(&vec![Dot::new(id(9), 1), Dot::new(id(u64::MAX), u64::MAX)]);
    round_trip(&vec![rows([]), rows([(1, 1)]), rows([(1, u64::MAX), (u64::MAX, 1)])]);
    round_trip(&vec![true, false]);
    round_trip(&vec!['\0', char::MAX]);
}

#[test]
fn other_forms_are_refused() {
    refused::<u8>(&[], "the bytes end within a value, at byte 0");
    refused::<u8>(&[2, 7], "the bytes are of format 2, this version reads format 1");
    refused::<u64>(&[1, 0x80, 0], "a number is longer than need be, in the bytes before byte 3");
    refused::<u16>(&[1, 0x80, 0x80, 4], "a number is too large for its type, in the bytes before byte 4");
    refused::<bool>(&[1, 2], "a choice of two is 0 or 1, in the bytes before byte 2");
    refused::<Option<u8>>(&[1, 2, 0], "a choice of two is 0 or 1, in the bytes before byte 2");
    refused::<()>(&[1, 1], "a unit is 0, in the bytes before byte 2");
    refused::<char>(
        &[1, 0x80, 0xb0, 3],
        "a character has a number that none has, in the bytes before byte 4",
    );
    refused::<String>(&[1, 1, 0xff], "a text is not UTF-8, in the bytes before byte 3");
    // Both texts together are UTF-8.
    let halved = [1, 2, 1, 1, 1, 0xc3, 0xa9];
    refused::<Vec<String>>(&halved, "a text ends within a character, in the bytes before byte 7");
    refused::<Vec<u64>>(
        &[1, 1, 2, 1, 0],
        "a column is wider than its greatest number, in the bytes before byte 5",
    );
    for width in [0, 3, 16, 255] {
        let bytes = [&[1, 1, width][..], &[0xff; 255]].concat();
        refused::<Vec<u64>>(
            &bytes,
            "a column has a width that its integers do not have, in the bytes before byte 3",
        );
    }
    refused::<Vec<u16>>(
        &[1, 1, 4, 0, 0, 1, 0],
        "a column has a width that its integers do not have, in the bytes before byte 3",
    );
    refused::<ReplicaId>(
        &[1, 0, 0, 0, 0, 0, 0, 0, 0],
        "a replica id is not zero, in the bytes before byte 9",
    );
    refused::<Dot>(
        &[1, 1, 0, 0, 0, 0, 0, 0, 0, 0],
        "a dot's counter starts at 1, in the bytes before byte 10",
    );
    let two = |first: u8, second: u8, number: u8| {
        [&[1, 2, first, 0, 0, 0, 0, 0, 0, 0, second, 0, 0, 0, 0, 0, 0, 0, 1, 5, number][..]].concat()
    };
    assert_eq!(Rows::from_bytes(&two(1, 2, 7)), Ok(rows([(1, 5), (2, 7)])));
    let zero = "a replica has the number 0, which is not written, in the bytes before byte 21";
    refused::<Rows>(&two(1, 2, 0), zero);
    let unsorted = "a replica is out of order or written twice, in the bytes before byte 21";
    refused::<Rows>(&two(2, 1, 7), unsorted);
    refused::<Rows>(&two(1, 1, 7), unsorted);
}

/// Lengths that no memory holds are refused by the bytes that are there, for types that take none as well.
#[test]
fn claims_are_not_believed() {
    for claim in [3, 1 << 20, 1 << 32, 1 << 63, u64::MAX] {
        let mut bytes = vec![1];
        claim.encode(&mut bytes);
        bytes.extend([0, 0]);
        let ended = DecodeError::Ended { at: bytes.len() };
        assert_eq!(Vec::<()>::from_bytes(&bytes), Err(ended));
        assert_eq!(Vec::<u8>::from_bytes(&bytes), Err(ended));
        assert_eq!(Vec::<u64>::from_bytes(&bytes), Err(ended));
        assert_eq!(String::from_bytes(&bytes), Err(ended));
        assert_eq!(Vec::<String>::from_bytes(&bytes), Err(ended));
        assert_eq!(Vec::<Vec<()>>::from_bytes(&bytes), Err(ended));
        assert_eq!(Rows::from_bytes(&bytes), Err(ended));
        // Two lists, each with that length.
        let mut bytes = vec![1, 2];
        u64::encode_column([&[claim, claim][..]].into_iter(), &mut bytes);
        let ended = DecodeError::Ended { at: bytes.len() };
        assert_eq!(Vec::<String>::from_bytes(&bytes), Err(ended));
        assert_eq!(Vec::<Vec<()>>::from_bytes(&bytes), Err(ended));
    }
    assert_eq!(u64::decode_column(usize::MAX, &mut Reader::new(&[8])), Err(DecodeError::Ended { at: 1 }));
    assert_eq!(u8::decode_column(usize::MAX, &mut Reader::new(&[8])), Err(DecodeError::Ended { at: 1 }));
}
