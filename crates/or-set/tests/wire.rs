//! The compact binary form: pinned, canonical, small, and refused when malformed.
//!
//! `BLESS=1 cargo test -p or-set --test wire` writes the bytes of this version into `golden/wire.txt`; a change of what
//! stands there is a change of the format.

mod common;
#[path = "../../crdt-core/tests/pinned/mod.rs"]
mod pinned;

use common::{Rng, id};
use or_set::{Delta, OrSet, OrSetDelta, Replica, Slice, VersionVector, Wire};
use pinned::{comes_back, round_trip};
use std::fmt::Debug;

/// Ann adds a to d and removes c; Bob adds b too, and the two merge.
fn example() -> Replica<OrSet<String>> {
    let mut ann = Replica::new(id(1), OrSet::new());
    let mut bob = Replica::new(id(0xab), OrSet::new());
    ann.update(|set, tick| set.extend(tick, ["a", "b", "c", "d"].map(String::from))).unwrap();
    ann.update(|set, tick| set.remove(tick, "c")).unwrap();
    bob.update(|set, tick| set.add(tick, "b".into())).unwrap();
    ann.merge(&bob);
    ann
}

#[test]
fn bytes_are_pinned() {
    let mut text = String::new();
    let mut pin = |what: &str, hex: String| text.extend([what, " = ", &hex, "\n"]);
    let mut ann = example();
    pin("the empty set", round_trip(&OrSet::<String>::new()));
    pin("abd of 1, b of ab", round_trip(ann.state()));
    let since: VersionVector = [(1, 3)].into_iter().collect();
    pin("its delta since 1:3", round_trip(&ann.delta_since(&since)));
    pin("the slice of that", round_trip(ann.delta_since(&since).slice()));
    pin("its delta since itself", round_trip(&ann.delta_since(&ann.version().clone())));
    let all = ann.version().clone();
    assert_eq!(ann.update(|set, _| set.forget_deaths(&all)), 1);
    pin("its delta since 1:3, with survivors", round_trip(&ann.delta_since(&since)));
    ann.update(OrSet::clear).unwrap();
    pin("cleared", round_trip(ann.state()));
    pin("the delta of that", round_trip(&ann.delta_since(&all)));
    pinned::compare(env!("CARGO_MANIFEST_DIR"), &text);
}

/// Sets, and deltas since every version that anyone had, of histories in which replicas know more and less.
#[test]
fn histories_come_back() {
    let mut rng = Rng(5);
    for _ in 0..300 {
        let mut replicas = [1, 2, u64::MAX].map(|n| Replica::new(id(n), OrSet::<u64>::new()));
        let mut versions = vec![VersionVector::new()];
        for _ in 0..rng.below::<u32>(60) {
            let at = rng.below::<usize>(3);
            let element = rng.below::<u64>(8) << rng.below::<u32>(60);
            match rng.below::<u8>(8) {
                0..4 => _ = replicas[at].update(|set, tick| set.add(tick, element)).unwrap(),
                4 => _ = replicas[at].update(|set, tick| set.remove(tick, &element)).unwrap(),
                5 => _ = replicas[at].update(|set, tick| set.extend(tick, 0..element % 200)).unwrap(),
                6 if rng.below::<u8>(8) == 0 => _ = replicas[at].update(OrSet::clear).unwrap(),
                _ => {
                    let other = replicas[rng.below::<usize>(3)].clone();
                    replicas[at].merge(&other);
                }
            }
            if rng.below::<u8>(8) == 0 {
                let stable = versions[rng.below::<usize>(versions.len() as u64)].clone();
                replicas[at].update(|set, _| set.forget_deaths(&stable));
            }
            versions.push(replicas[at].version().clone());
        }
        for replica in &replicas {
            let bytes = comes_back(replica.state());
            let read = OrSet::<u64>::from_bytes(&bytes).unwrap();
            assert!(read.iter().eq(replica.iter()));
            assert_eq!((read.deaths(), read.floor()), (0, read.version()));
            for since in &versions {
                let delta = replica.delta_since(since);
                comes_back(&delta);
                comes_back(delta.slice());
            }
        }
    }
}

/// Equal states that came about in different ways, with different memories of deaths, are equal bytes.
#[test]
fn equal_states_are_equal_bytes() {
    let ann = example();
    let mut other = OrSet::new();
    other.apply(&ann.delta_since(&VersionVector::new())).unwrap();
    other.forget_deaths(ann.version());
    assert_ne!(other.deaths(), ann.deaths());
    assert_eq!(other.to_bytes(), ann.to_bytes());
}

/// Three replicas that have added `each` numbers of 64 bits, and the one that has it all.
fn numbers(each: u64) -> Replica<OrSet<u64>> {
    let mut all = Replica::new(id(u64::MAX), OrSet::new());
    for n in 1..=3 {
        let mut one = Replica::new(id(n << 60), OrSet::new());
        let elements = (0..each).map(|i| (n * each + i).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        one.update(|set, tick| set.extend(tick, elements)).unwrap();
        all.merge(&one);
    }
    all
}

/// Fresh and dense: the elements, and a few bytes for each replica.
#[test]
fn dense_sets_have_no_overhead() {
    for each in [3_333, 333_333] {
        let set = numbers(each);
        let overhead = set.to_bytes().len() as u64 - 3 * each * 8;
        assert!(overhead <= 60, "{overhead} bytes besides {} elements", 3 * each);
    }
}

/// Thinned out at random: which dots live takes about its entropy.
#[test]
fn thinned_sets_take_about_the_entropy_of_their_gaps() {
    let mut rng = Rng(6);
    // In hundredths of a bit for each that lives.
    for (one_of, entropy) in [(2, 200), (10, 469), (100, 808)] {
        let mut set = numbers(50_000);
        let dead: Vec<u64> = set.iter().copied().filter(|_| rng.below::<u64>(one_of) > 0).collect();
        for element in dead {
            set.update(|set, tick| set.remove(tick, &element)).unwrap();
        }
        comes_back(set.state());
        let bits = 8 * (set.to_bytes().len() - 8 * set.len() - 100);
        let most = set.len() * entropy * 105 / 10_000;
        assert!(bits < most, "{bits} bits for {} gaps of {entropy} / 100 bits", set.len());
    }
}

/// 50 adds and 50 removals at a million elements.
#[test]
fn deltas_are_small() {
    let mut set = numbers(333_333);
    let since = set.version().clone();
    let gone: Vec<u64> = set.iter().copied().step_by(20_000).take(50).collect();
    for (n, element) in gone.iter().enumerate() {
        set.update(|set, tick| set.add(tick, u64::MAX - n as u64)).unwrap();
        set.update(|set, tick| set.remove(tick, element)).unwrap();
    }
    let delta = set.delta_since(&since);
    assert_eq!((delta.slice().births().len(), delta.slice().deaths().len()), (50, 50));
    let bytes = comes_back(&delta).len();
    assert!(bytes <= 850, "{bytes} bytes");
}

#[track_caller]
fn refused<T: Wire + Debug>(bytes: &[u8], why: &str) {
    let error = T::from_bytes(bytes).expect_err("not the form of any value").to_string();
    assert!(error.starts_with(why), "{bytes:x?}: {error}");
}

/// The bytes of a set of one replica, with the version 9: its runs, and the rest.
fn set(runs: &[std::ops::RangeInclusive<u64>], elements: &[u8]) -> Vec<u8> {
    let mut bytes = [&[1, 1][..], &[1, 0, 0, 0, 0, 0, 0, 0], &[1, 9]].concat();
    crdt_core::wire::encode_runs(runs.iter().cloned(), &mut bytes);
    [&bytes, elements].concat()
}

#[test]
fn malformed_sets_are_refused() {
    let runs = [2..=3, 5..=5];
    assert_eq!(OrSet::<u8>::from_bytes(&set(&runs, &[7, 8, 9])).unwrap().len(), 3);
    refused::<OrSet<u8>>(&set(&runs, &[7, 8]), "the bytes end within a value");
    refused::<OrSet<u8>>(&set(&runs, &[7, 8, 9, 10]), "the value ends at byte");
    refused::<OrSet<u8>>(&set(&runs, &[7, 8, 7]), "an element has two live dots of one replica");
    refused::<OrSet<u8>>(&set(&[9..=10], &[7, 8]), "a dot lies outside the version that should cover it");
    let mut other = set(&runs, &[7, 8, 9]);
    other[0] = 2;
    refused::<OrSet<u8>>(&other, "the bytes are of format 2, this version reads format 1");
    // 2^64 - 1 elements in a dozen bytes.
    refused::<OrSet<u8>>(&set(&[1..=u64::MAX], &[0; 9]), "runs and elements differ in number");
    refused::<OrSet<()>>(&set(&[1..=u64::MAX], &[0; 9]), "runs and elements differ in number");
}

/// The bytes of a slice, part by part.
struct Parts<'a> {
    table: &'a [u64],
    births: &'a [u64],
    elements: &'a [u8],
    events: &'a [u64],
    counts: &'a [u8],
    places: &'a [u8],
    killed: &'a [u8],
    survivors: Option<&'a [u64]>,
}

impl Parts<'_> {
    const fn new() -> Self {
        Parts {
            table: &[1],
            births: &[],
            elements: &[],
            events: &[],
            counts: &[],
            places: &[],
            killed: &[],
            survivors: None,
        }
    }

    /// Dots are those of the first replica; the others have none.
    fn bytes(&self) -> Vec<u8> {
        let mut out = vec![1];
        self.table.iter().map(|n| id(*n)).collect::<Vec<_>>().encode(&mut out);
        let rows = |counters: &[u64], out: &mut Vec<u8>| {
            for place in 0..self.table.len() {
                let row = if place == 0 { counters } else { &[] };
                crdt_core::wire::encode_runs(row.iter().map(|counter| *counter..=*counter), out);
            }
        };
        rows(self.births, &mut out);
        out.extend(self.elements);
        rows(self.events, &mut out);
        for column in [self.counts, self.places, self.killed].into_iter().filter(|column| !column.is_empty())
        {
            out.push(1);
            out.extend(column);
        }
        self.survivors.is_some().encode(&mut out);
        if let Some(survivors) = self.survivors {
            rows(survivors, &mut out);
        }
        out
    }
}

#[test]
fn malformed_slices_are_refused() {
    const NEW: Parts<'_> = Parts::new();
    let birth = Parts { births: &[2, 4], elements: &[7, 8], ..NEW };
    let death = Parts { events: &[5, 7], counts: &[1, 2], places: &[0, 0, 0], killed: &[3, 1, 2], ..NEW };
    for good in [&birth, &death, &Parts { survivors: Some(&[1, 3]), ..NEW }] {
        assert!(Slice::<u8>::from_bytes(&good.bytes()).is_ok());
    }
    for (bad, why) in [
        (NEW, "a table of replicas lacks one, or has one that is not used"),
        (Parts { table: &[1, 2], ..birth }, "a table of replicas"),
        (Parts { table: &[1, 1], ..birth }, "a table of replicas"),
        (Parts { table: &[2, 1], ..death }, "a table of replicas"),
        (Parts { places: &[0, 1, 0], ..death }, "a table of replicas"),
        (Parts { killed: &[3, 2, 1], ..death }, "rows or entries are out of order or written twice"),
        (Parts { killed: &[3, 2, 2], ..death }, "rows or entries are out of order or written twice"),
        (Parts { killed: &[0, 1, 2], ..death }, "a counter is 0"),
        (Parts { counts: &[0, 3], ..death }, "an event that ended nothing"),
        (Parts { counts: &[1, 255], ..death }, "the bytes end within a value"),
        (Parts { births: &[2, 4], elements: &[7], ..NEW }, "the bytes end within a value"),
    ] {
        refused::<Slice<u8>>(&bad.bytes(), why);
    }
}

#[test]
fn malformed_deltas_are_refused() {
    const NEW: Parts<'_> = Parts::new();
    let delta = |behind: u8, slice: &Parts<'_>, floor: Option<u8>| {
        // Until is 9 of replica 1.
        let until = [1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 9];
        let mut bytes = [&until[..], &[1, behind], &slice.bytes()[1..]].concat();
        bytes.extend(floor.map(|behind| [1, behind]).into_iter().flatten());
        bytes
    };
    let birth = Parts { births: &[7], elements: &[7], ..NEW };
    let death = Parts { events: &[7], counts: &[1], places: &[0], killed: &[9], ..NEW };
    let survivors = Parts { survivors: Some(&[3]), ..birth };
    for good in [delta(3, &birth, None), delta(3, &death, None), delta(3, &survivors, Some(0))] {
        assert!(OrSetDelta::<u8>::from_bytes(&good).is_ok());
    }
    let outside = "a dot lies outside the version that should cover it";
    for (bad, why) in [
        (delta(10, &birth, None), outside),
        (delta(2, &birth, None), outside),
        (delta(3, &Parts { births: &[10], ..birth }, None), outside),
        (delta(2, &death, None), outside),
        (delta(3, &Parts { events: &[10], ..death }, None), outside),
        (delta(3, &Parts { killed: &[10], ..death }, None), outside),
        (delta(3, &survivors, Some(10)), outside),
        (delta(3, &Parts { survivors: Some(&[7]), ..birth }, Some(0)), outside),
        (delta(3, &survivors, Some(9)), "survivors are listed exactly when deaths since then are forgotten"),
        (delta(3, &survivors, None), "the bytes end within a value"),
        (delta(3, &birth, Some(0)), "the value ends at byte"),
    ] {
        refused::<OrSetDelta<u8>>(&bad, why);
    }
}

/// Whatever is accepted is what would be written.
#[test]
fn accepted_bytes_are_canonical() {
    fn check<T: Wire + PartialEq + Debug>(bytes: &[u8], rng: &mut Rng) -> u32 {
        let mut accepted = 0;
        for _ in 0..3_000 {
            let mut bytes = bytes.to_vec();
            for _ in 0..=rng.below::<u8>(2) {
                let bit = rng.below::<usize>(bytes.len() as u64 * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            match T::from_bytes(&bytes) {
                Ok(value) => {
                    assert_eq!(value.to_bytes(), bytes, "{value:?}");
                    accepted += 1;
                }
                Err(error) => assert_ne!(error.to_string(), ""),
            }
        }
        accepted
    }
    let mut rng = Rng(7);
    let mut ann = example();
    let all = ann.version().clone();
    let since = [(1, 3)].into_iter().collect();
    let mut accepted = [0; 3];
    for _ in 0..2 {
        let delta = ann.delta_since(&since);
        accepted[0] += check::<OrSet<String>>(&ann.to_bytes(), &mut rng);
        accepted[1] += check::<OrSetDelta<String>>(&delta.to_bytes(), &mut rng);
        accepted[2] += check::<Slice<String>>(&delta.slice().to_bytes(), &mut rng);
        ann.update(|set, _| set.forget_deaths(&all));
    }
    assert!(accepted.iter().all(|accepted| *accepted > 100), "{accepted:?}");
}
