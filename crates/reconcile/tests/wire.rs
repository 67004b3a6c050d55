//! The binary form: pinned bytes, what is refused, and what an enemy may send.
//!
//! `BLESS=1 cargo test -p reconcile --test wire` writes the bytes of this version into `golden/wire.txt`; a change of
//! what stands there is a change of the format, and of how ids, symbols and estimators come about.
#![allow(clippy::cast_possible_truncation)]

#[path = "../../crdt-core/tests/pinned/mod.rs"]
mod pinned;

use pinned::{comes_back, compare, refused, round_trip};
use reconcile::{
    Answer, AnswerError, MAX_SYMBOLS, Progress, Reconciliation, Request, Seed, Snapshot, Wanted, Wire,
};

#[test]
fn bytes_are_pinned() {
    let seed = Seed::new(0x0123_4567_89ab_cdef);
    let theirs = Snapshot::new(seed, (0..40).map(|n| n * n));
    let mut asks = Reconciliation::new(seed, 0..9, MAX_SYMBOLS);
    let first = asks.request();
    let more = Request::symbols(seed, 300..1_500);
    let answer = theirs.answer(&Request::symbols(seed, 0..90), MAX_SYMBOLS).expect("below the limit");
    let later = theirs.answer(&Request::symbols(seed, 1_000..1_003), MAX_SYMBOLS).expect("below the limit");
    let Ok(Progress::Done(found)) = asks.take(&answer) else { panic!("enough symbols") };
    compare(
        env!("CARGO_MANIFEST_DIR"),
        &format!(
            "first request = {}\nlater request = {}\nanswer = {}\nlater answer = {}\nwanted = {}\nonly local = {:?}\n",
            round_trip(&first),
            round_trip(&more),
            round_trip(&answer),
            round_trip(&later),
            round_trip(&found.wanted()),
            found.only_local,
        ),
    );
}

#[test]
fn what_is_no_message_is_refused() {
    let head = |kind: &[u8]| [&[1], &[7; 8][..], kind].concat();
    let range = "a range of symbols is empty or goes too far, in the bytes before byte";
    refused::<Request>(
        &head(&[2]),
        "a request is for enough symbols or for a range of them, in the bytes before byte 10",
    );
    refused::<Request>(&head(&[0, 0]), "the bytes end within a value, at byte 11");
    refused::<Request>(&head(&[1, 5, 0]), &format!("{range} 12"));
    refused::<Request>(&head(&[1, 1, 0x80, 0x80, 0x40]), &format!("{range} 14"));
    refused::<Request>(&head(&[1, 0xff, 0xff, 0xff, 0xff, 0x0f, 1]), &format!("{range} 16"));
    refused::<Answer>(&head(&[7, 7, 7, 7, 7, 7, 7, 7, 0, 0]), &format!("{range} 19"));
    // Claims more symbols than there are.
    refused::<Answer>(
        &head(&[7, 7, 7, 7, 7, 7, 7, 7, 0, 0x80, 0x80, 0x40]),
        "the bytes end within a value, at byte 21",
    );
    let order = "what is wanted is out of order or wanted twice, in the bytes before byte 10";
    refused::<Wanted>(&[1, 2, 0, 0, 0, 2, 0, 0, 0, 1], order);
    refused::<Wanted>(&[1, 2, 0, 0, 0, 2, 0, 0, 0, 2], order);
    refused::<Wanted>(
        &[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        "the bytes end within a value, at byte 11",
    );
}

#[test]
fn random_bytes_are_read_without_harm() {
    let mut random = 1_u64;
    let mut read = [0; 3];
    for case in 0..60_000 {
        let mut bytes = vec![1];
        for _ in 0..case % 90 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Many small numbers, so that lengths come out right now and then.
            bytes.push((random >> 33) as u8 & if random >> 62 == 0 { 0xff } else { 3 });
        }
        read[0] += usize::from(Request::from_bytes(&bytes).is_ok_and(|value| comes_back(&value) == bytes));
        read[1] += usize::from(Answer::from_bytes(&bytes).is_ok_and(|value| comes_back(&value) == bytes));
        read[2] += usize::from(Wanted::from_bytes(&bytes).is_ok_and(|value| comes_back(&value) == bytes));
    }
    assert!(read.iter().all(|read| *read > 20), "{read:?}");
}

/// The bytes of an answer with these symbols and a digest that no set has.
fn answer(seed: u64, from: u32, words: &[u64]) -> Answer {
    let mut bytes = vec![1];
    bytes.extend(seed.to_le_bytes());
    bytes.extend(u64::MAX.to_le_bytes());
    from.encode(&mut bytes);
    (words.len() as u32).encode(&mut bytes);
    bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    Answer::from_bytes(&bytes).expect("any words are symbols")
}

/// Symbols of no set at all: noise, one word throughout, and one that looks like a single id, in every symbol.
#[test]
fn false_symbols_lead_to_an_end() {
    const SYMBOLS: usize = 3_000;
    let mut random = 1_u64;
    let noise: Vec<u64> = (0..SYMBOLS)
        .map(|_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            random ^ random >> 31
        })
        .collect();
    let single = |item| {
        let seed = Seed::new(7);
        let one = Snapshot::new(seed, [item]).answer(&Request::symbols(seed, 0..1), 1).expect("one symbol");
        let bytes = one.to_bytes();
        u64::from_le_bytes(bytes[bytes.len() - 8..].try_into().expect("the only symbol"))
    };
    let alternating: Vec<u64> = (0..SYMBOLS).map(|at| single(1) ^ ((at as u64 & 1) << 63)).collect();
    let several: Vec<u64> = (0..SYMBOLS).map(|at| single(at as u64 % 40)).collect();
    for words in
        [noise, vec![single(1); SYMBOLS], vec![u64::MAX; SYMBOLS], vec![0; SYMBOLS], alternating, several]
    {
        let mut asks = Reconciliation::new(Seed::new(7), 0..100, SYMBOLS as u32);
        let (mut from, mut end) = (0, 50);
        while end < SYMBOLS {
            let taken = asks.take(&answer(7, from as u32, &words[from..end]));
            assert!(matches!(taken, Ok(Progress::More(_))), "{taken:?}");
            (from, end) = (end, (end + end / 2 + 16).min(SYMBOLS));
        }
        let taken = asks.take(&answer(7, from as u32, &words[from..]));
        assert!(matches!(taken, Err(AnswerError::TooDifferent(_))), "{taken:?}");
    }
}

/// Bits that turn over on the way are noticed, or do not matter.
#[test]
fn a_damaged_answer_is_never_taken_for_another_difference() {
    let seed = Seed::new(11);
    let theirs = Snapshot::new(seed, 0..40);
    let honest =
        theirs.answer(&Request::symbols(seed, 0..120), MAX_SYMBOLS).expect("below the limit").to_bytes();
    let fresh = || Reconciliation::new(seed, 20..60, 120);
    let Ok(Progress::Done(found)) = fresh().take(&Wire::from_bytes(&honest).expect("an answer")) else {
        panic!("enough symbols")
    };
    for bit in 0..honest.len() * 8 {
        let mut bytes = honest.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(answer) = Answer::from_bytes(&bytes)
            && let Ok(Progress::Done(other)) = fresh().take(&answer)
        {
            assert_eq!(other, found, "bit {bit}");
        }
    }
}
