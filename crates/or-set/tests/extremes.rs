//! What a peer may choose: counters far apart or at the very end, deaths told again and again, a version that is wrong.

mod common;

use common::id;
use or_set::{Dot, Kernel, Merge, OrSet, Replica, VersionVector};
use std::{
    cell::Cell,
    hash::{Hash, Hasher},
};

thread_local! {
    static HASHES: Cell<usize> = const { Cell::new(0) };
}

/// A number that counts how often any is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Counted(u64);

impl Hash for Counted {
    fn hash<H: Hasher>(&self, state: &mut H) {
        HASHES.set(HASHES.get() + 1);
        self.0.hash(state);
    }
}

/// Whatever the distance of the counters, which a peer may choose.
#[test]
fn removing_one_by_one_is_linear() {
    const N: u64 = 4_000;
    for gap in [1, 2, 7, 21, 30, 63, 64, 100, 1 << 20, 1 << 31, 1 << 32, 1 << 33, 1 << 50] {
        let ann = id(1);
        let mut kernel = Kernel::new();
        for n in 1..=N {
            kernel.add(Dot::new(ann, n * gap), Counted(n), &mut |_| ());
        }
        HASHES.set(0);
        for n in 1..=N {
            // Not in their order.
            let element = Counted(n * 1_237 % N + 1);
            assert!(kernel.remove(Dot::new(id(2), n), &element, &mut |_| ()));
        }
        // For each: its hash, and what sweeps and smaller tables cost over time.
        let hashes = HASHES.get();
        assert!(kernel.is_empty() && hashes <= 12 * 4_000, "{hashes} with gaps of {gap}");
    }
}

/// A counter may be 2⁶⁴ − 1, and nothing comes after it.
#[test]
fn the_greatest_counters() {
    let ann = id(1);
    let empty = VersionVector::new();
    let version: VersionVector = [(1, u64::MAX)].into_iter().collect();
    let mut kernel = Kernel::new();
    for counter in u64::MAX - 99..=u64::MAX {
        kernel.add(Dot::new(ann, counter), counter, &mut |_| ());
    }
    let dots = |kernel: &Kernel<u64>| kernel.live().map(|(dot, _)| dot.counter).collect::<Vec<_>>();
    assert!(dots(&kernel).into_iter().eq(u64::MAX - 99..=u64::MAX));

    let mut copies = vec![Kernel::new(); 3];
    assert!(copies[0].merge(&kernel, &empty, &version, &empty, &mut |_| ()));
    assert!(copies[1].merge_owned(kernel.clone(), &empty, &version, &empty, &mut |_| ()));
    assert!(copies[2].apply(kernel.slice_since(&empty, true), &empty, &version, &mut |_| ()));
    for mut copy in copies {
        assert_eq!(copy, kernel);
        assert!(copy.remove(Dot::new(id(2), 1), &(u64::MAX - 1), &mut |_| ()));
        let survivors = copy.slice_since(&version, true);
        let both: VersionVector = [(1, u64::MAX), (2, 1)].into_iter().collect();
        assert!(kernel.clone().apply(survivors, &version, &both, &mut |_| ()));
        assert!(kernel.clone().merge(&copy, &version, &both, &both, &mut |_| ()));
        assert_eq!(dots(&copy).split_off(97), [u64::MAX - 2, u64::MAX]);
    }
}

/// A vector that says too little: what is here comes again, in the same run as what is not.
#[test]
fn births_that_are_told_again() {
    let (empty, version) = (VersionVector::new(), [(1, 300)].into_iter().collect());
    let mut part = Kernel::new();
    for n in 1..=100 {
        part.add(Dot::new(id(1), n), n, &mut |_| ());
    }
    let mut all = part.clone();
    for n in 101..=300 {
        all.add(Dot::new(id(1), n), n, &mut |_| ());
    }
    for owned in [false, true] {
        let mut merged = part.clone();
        for news in [true, false] {
            let grew = if owned {
                merged.merge_owned(all.clone(), &empty, &version, &empty, &mut |_| ())
            } else {
                merged.merge(&all, &empty, &version, &empty, &mut |_| ())
            };
            assert_eq!(grew, news);
            assert_eq!(merged, all);
        }
    }
}

/// Two histories under one id: the later add of an element ends the earlier, though no death was told.
#[test]
fn an_element_has_one_dot_of_each_replica() {
    let kernel_of = |counters: core::ops::RangeInclusive<u64>| {
        let mut kernel = Kernel::new();
        for n in counters {
            kernel.add(Dot::new(id(1), n), n % 100, &mut |_| ());
        }
        kernel
    };
    let (mut earlier, later) = (kernel_of(1..=100), kernel_of(151..=220));
    let (seen, version) = ([(1, 100)].into_iter().collect(), [(1, 220)].into_iter().collect());
    assert!(earlier.merge(&later, &seen, &version, &VersionVector::new(), &mut |_| ()));
    assert_eq!(earlier.len(), 100);
    assert!(earlier.live().map(|(dot, _)| dot.counter).eq((21..=50).chain(151..=220)));
}

thread_local! {
    static LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// A number that panics when it is hashed or compared once too often.
#[derive(Clone, Debug, Eq)]
struct Fragile(u32);

fn strain() {
    match LEFT.get().checked_sub(1) {
        Some(left) => LEFT.set(left),
        // As a panic that prints nothing.
        None => std::panic::resume_unwind(Box::new("once too often")),
    }
}

impl PartialEq for Fragile {
    fn eq(&self, other: &Self) -> bool {
        strain();
        self.0 == other.0
    }
}

impl Hash for Fragile {
    fn hash<H: Hasher>(&self, state: &mut H) {
        strain();
        self.0.hash(state);
    }
}

/// Wherever an element panics: the other side is what it was, and a merge that copies leaves both so.
#[test]
fn elements_that_panic() {
    type Set = Replica<OrSet<Fragile>>;
    let add = |set: &mut Set, all: std::ops::Range<u32>| {
        set.update(|set, tick| set.extend(tick, all.map(Fragile))).unwrap();
    };
    let (mut ann, mut bob) = (Set::new(id(1), OrSet::new()), Set::new(id(2), OrSet::new()));
    add(&mut ann, 0..100);
    bob.merge(&ann);
    add(&mut ann, 90..110);
    add(&mut bob, 50..150);
    bob.update(|set, tick| set.remove(tick, &Fragile(3))).unwrap();
    let mut far = Set::new(id(3), bob.state().clone());
    for _ in 0..10 {
        add(&mut far, 0..60);
    }
    for (other, is_copied) in [(&bob, false), (&far, true)] {
        let before = other.state().clone();
        let mut expected = ann.state().clone();
        expected.merge(other);
        let mut panics = 0;
        loop {
            let mut merged = ann.state().clone();
            LEFT.set(panics);
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| merged.merge(other)));
            LEFT.set(usize::MAX);
            assert_eq!(other.state(), &before);
            if outcome.is_ok() {
                assert_eq!(merged, expected);
                break;
            }
            panics += 1;
            if is_copied {
                assert_eq!(&merged, ann.state());
            }
        }
        assert!(panics > 20, "{panics}");
    }
}

/// A peer may tell the death of a dot as often as it likes.
#[cfg(feature = "serde")]
#[test]
fn deaths_that_are_told_again() {
    const N: u64 = 500;
    let mut live = std::collections::BTreeSet::new();
    let mut watch = |change: or_set::Change<'_, u16>| match change {
        or_set::Change::Born(dot, _) => assert!(live.insert(dot)),
        or_set::Change::Died(dot, _) => assert!(live.remove(&dot)),
    };
    let mut kernel = Kernel::new();
    for n in 1..=N {
        kernel.add(Dot::new(id(1), n), u16::try_from(n).unwrap(), &mut watch);
    }
    // Each by three events, and some by a few more later.
    let killed = (0..3 * N).map(|n| n / 3 + 1).chain((0..N).map(|n| n / 50 + 1));
    let deaths: Vec<String> = killed.map(|counter| format!("[1,0,{counter}]")).collect();
    let json = format!(
        r#"{{"replicas":["{}","{}"],"births":[],"deaths":[[1,[{}]]],"survivors":null}}"#,
        id(1),
        id(2),
        deaths.join(",")
    );
    let slice: or_set::Slice<u16> = serde_json::from_str(&json).unwrap();
    let seen = [(1, N)].into_iter().collect();
    let until = [(1, N), (2, 4 * N)].into_iter().collect();
    assert!(kernel.apply(slice, &seen, &until, &mut watch));
    assert!(live.is_empty() && kernel.is_empty() && kernel.live().next().is_none());
    assert_eq!(kernel.deaths() as u64, 4 * N);
}
