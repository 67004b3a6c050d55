//! Whole exchanges, through their bytes, against sets.
#![allow(clippy::cast_possible_truncation)]

use reconcile::{
    AnswerError, Difference, Id, MAX_SYMBOLS, Progress, Reconciliation, Request, Seed, Sketch, Snapshot,
    TooDifferent, Wire,
};
use std::collections::BTreeSet;

/// Random numbers, the same in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 ^ self.0 >> 29).wrapping_mul(0x9fb2_1c65_1e98_df25)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// Plays an exchange; says what was found, in how many bytes and round trips.
fn exchange(
    seed: Seed,
    local: &BTreeSet<u64>,
    remote: &BTreeSet<u64>,
) -> (Result<Difference, TooDifferent>, usize, usize) {
    let mut asks = Reconciliation::new(seed, local.iter().copied(), MAX_SYMBOLS);
    let (mut request, mut bytes, mut round_trips) = (asks.request(), 0, 0);
    loop {
        let asked = request.to_bytes();
        let request_read = Request::from_bytes(&asked).expect("a request");
        assert_eq!(request_read, request);
        let snapshot = Snapshot::new(request_read.seed(), remote.iter().rev().copied());
        let answer = match snapshot.answer(&request_read, MAX_SYMBOLS) {
            Ok(answer) => answer.to_bytes(),
            Err(why) => return (Err(why), bytes, round_trips),
        };
        (bytes, round_trips) = (bytes + asked.len() + answer.len(), round_trips + 1);
        match asks.take(&Wire::from_bytes(&answer).expect("an answer")) {
            Ok(Progress::Done(difference)) => return (Ok(difference), bytes, round_trips),
            Ok(Progress::More(more)) => request = more,
            Err(why) => panic!("{why}"),
        }
    }
}

fn ids<'a>(seed: Seed, items: impl Iterator<Item = &'a u64>) -> Vec<Id> {
    let sorted: BTreeSet<Id> = items.map(|item| seed.id(*item)).collect();
    sorted.into_iter().collect()
}

#[test]
fn exactly_the_difference_is_found() {
    let mut random = Random(1);
    let mut later = 0;
    for case in 0..1_500 {
        let most = 1 << random.below(10);
        let [both, here, there] = [3, 1, 1]
            .map(|share| (0..random.below(share * most)).map(|_| random.next()).collect::<BTreeSet<u64>>());
        let (local, remote) = (&both | &here, &both | &there);
        let seed = Seed::new(random.next());
        let (found, _, round_trips) = exchange(seed, &local, &remote);
        let expected = Difference {
            only_remote: ids(seed, remote.difference(&local)),
            only_local: ids(seed, local.difference(&remote)),
        };
        let found = found.expect("few enough");
        assert_eq!(found, expected, "case {case}");
        for item in &local {
            assert_eq!(found.is_only_local(seed.id(*item)), !remote.contains(item));
        }
        let wanted = found.wanted();
        for item in &remote {
            assert_eq!(wanted.contains(seed.id(*item)), !local.contains(item));
        }
        later += usize::from(round_trips > 1);
    }
    assert!(later < 15, "{later} of 1,500 exchanges took more than one round trip");
}

/// Small consecutive numbers, as bad as items can be.
#[test]
fn items_need_not_be_random() {
    let local: BTreeSet<u64> = (0..3_000).collect();
    let remote: BTreeSet<u64> = (0..6_000).step_by(2).collect();
    let seed = Seed::new(0);
    let found = exchange(seed, &local, &remote).0.expect("few enough");
    assert_eq!(found.only_local, ids(seed, local.difference(&remote)));
    assert_eq!(found.only_remote, ids(seed, remote.difference(&local)));
}

/// Of the sizes that are promised; see the example `sizes` for more.
#[test]
fn a_thousand_differences_take_less_than_20_kilobytes() {
    let mut sizes: Vec<usize> = (0..100)
        .map(|seed| {
            let remote = (seed << 20..(seed << 20) + 1_000).collect();
            exchange(Seed::new(seed), &BTreeSet::new(), &remote).1
        })
        .collect();
    sizes.sort_unstable();
    assert!(sizes[50] <= 15_000 && sizes[98] <= 18_000, "{} and {}", sizes[50], sizes[98]);
}

#[test]
fn equal_sets_differ_in_nothing() {
    for set in [BTreeSet::new(), (0..1_000).collect()] {
        let (found, bytes, round_trips) = exchange(Seed::new(3), &set, &set);
        assert_eq!((found, round_trips), (Ok(Difference::default()), 1));
        assert!(bytes < 700, "{bytes}");
    }
}

#[test]
fn sketches_are_linear_and_can_be_continued() {
    let mut random = Random(7);
    let id = |number| Id::new(number >> 12).expect("52 bits");
    let ids: Vec<Id> = (0..500).map(|_| id(random.next())).collect();
    let of = |range, ids: &[Id]| {
        let mut sketch = Sketch::new(range);
        sketch.extend(ids.iter().copied());
        sketch
    };
    let whole = of(0..300, &ids);
    let mut backwards = of(0..300, &[]);
    backwards.extend(ids.iter().rev().copied());
    assert_eq!(backwards, whole);

    let mut rest = whole.clone();
    ids[200..].iter().for_each(|id| rest.remove(*id));
    assert_eq!(rest, of(0..300, &ids[..200]));
    ids[..200].iter().for_each(|id| rest.remove(*id));
    assert_eq!(rest, Sketch::new(0..300));

    // The bytes of the parts are those of the whole.
    let symbols = |range| {
        let items = ids.iter().map(|id| id.get());
        let answer = Snapshot::new(Seed::new(1), items).answer(&Request::symbols(Seed::new(1), range), 300);
        answer.expect("below the limit").to_bytes()
    };
    let (all, first, second) = (symbols(0..300), symbols(0..130), symbols(130..300));
    // Format, seed, digest, where it begins, and a length of one or two bytes: all are of at least 128 symbols.
    let behind = 1 + 8 + 8 + 1 + 2;
    assert_eq!(all[behind..], [&first[behind..], &second[behind + 1..]].concat());
}

#[test]
fn what_does_not_belong_to_the_exchange_changes_nothing() {
    let (seed, other) = (Seed::new(1), Seed::new(2));
    let theirs = Snapshot::new(seed, 0..100);
    let answer = |range| theirs.answer(&Request::symbols(seed, range), MAX_SYMBOLS).expect("below the limit");
    let mut asks = Reconciliation::new(seed, 50..150, MAX_SYMBOLS);
    let before = format!("{asks:?}");
    let foreign = Snapshot::new(other, 0..100).answer(&Request::symbols(other, 0..9), MAX_SYMBOLS);
    assert_eq!(asks.take(&foreign.expect("below the limit")), Err(AnswerError::OtherExchange));
    assert_eq!(asks.take(&answer(1..9)), Err(AnswerError::Unasked));
    assert_eq!(format!("{asks:?}"), before);

    assert!(matches!(asks.take(&answer(0..50)), Ok(Progress::More(_))));
    let before = format!("{asks:?}");
    assert_eq!(asks.take(&answer(0..50)), Err(AnswerError::Unasked));
    assert_eq!(asks.take(&answer(50..60)), Err(AnswerError::Unasked), "of 50..91");
    let changed = Snapshot::new(seed, 0..101).answer(&Request::symbols(seed, 50..91), MAX_SYMBOLS);
    assert_eq!(asks.take(&changed.expect("below the limit")), Err(AnswerError::Changed));
    assert_eq!(format!("{asks:?}"), before);

    let Ok(Progress::More(more)) = asks.take(&answer(50..91)) else { panic!("too few symbols") };
    let Ok(Progress::Done(found)) = asks.take(&theirs.answer(&more, MAX_SYMBOLS).expect("below the limit"))
    else {
        panic!("enough symbols")
    };
    assert_eq!((found.only_local.len(), found.only_remote.len()), (50, 50));
}

#[test]
fn limits_hold_on_both_sides() {
    let seed = Seed::new(1);
    let theirs = Snapshot::new(seed, 0..1_000);
    let mut asks = Reconciliation::new(seed, [], 1_000);
    let too_different = TooDifferent { limit: 1_000 };
    assert_eq!(theirs.answer(&asks.request(), 1_000), Err(too_different));
    assert_eq!(theirs.answer(&Request::symbols(seed, 0..1_001), 1_000), Err(too_different));

    let answer = |range| theirs.answer(&Request::symbols(seed, range), MAX_SYMBOLS).expect("below the limit");
    assert_eq!(asks.take(&answer(0..1_001)), Err(AnswerError::TooDifferent(too_different)));
    let Ok(Progress::More(more)) = asks.take(&answer(0..900)) else { panic!("too few symbols") };
    assert_eq!(more, Request::symbols(seed, 900..1_000), "no more than the limit");
    assert_eq!(asks.take(&answer(900..1_000)), Err(AnswerError::TooDifferent(too_different)));
}
