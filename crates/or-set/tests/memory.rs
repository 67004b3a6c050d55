//! Memory, counted: what a set holds depends on what is in it, and little on what has been.

mod common;

use common::{Rng, id};
use or_set::{Dot, Kernel, OrSet, Replica, VersionVector};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static MEMORY: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

type Set = Replica<OrSet<u64>>;

/// How many bytes are allocated.
fn held() -> usize {
    let stats = MEMORY.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

fn set_of(elements: impl IntoIterator<Item = u64>) -> Set {
    let mut set = Replica::new(id(1), OrSet::new());
    set.update(|set, tick| set.extend(tick, elements)).unwrap();
    set
}

fn remove(set: &mut Set, element: u64) {
    assert!(set.update(|set, tick| set.remove(tick, &element)).unwrap().is_some());
}

fn forget(set: &mut Set) {
    let all = set.version().clone();
    set.update(|set, _| set.forget_deaths(&all));
}

/// A set in which `pairs` elements of `live` were each replaced by a new one: the oldest, or any.
fn churned(live: u64, pairs: u64, oldest_first: bool) -> Set {
    let mut rng = Rng(live);
    let mut set = set_of(0..live);
    let mut elements: Vec<u64> = (0..live).collect();
    for new in live..live + pairs {
        let at = if oldest_first { new % live } else { rng.below(live) };
        let old = core::mem::replace(&mut elements[usize::try_from(at).unwrap()], new);
        set.update(|set, tick| set.add(tick, new)).unwrap();
        remove(&mut set, old);
    }
    set
}

/// One test: others that ran beside it would be counted too.
#[test]
fn memory_depends_on_what_is_in_the_set() {
    churn_leaves_little_behind();
    a_set_that_shrinks_gives_memory_back();
    what_lay_far_apart_moves_together();
}

fn churn_leaves_little_behind() {
    // The larger one fills its table of handles to the last: one that churns has a table of twice the size.
    for (live, bound) in [(10_000, 150), (14_300, 225)] {
        for oldest_first in [true, false] {
            let before = held();
            let mut set = churned(live, 200_000, oldest_first);
            let with_deaths = held() - before;
            forget(&mut set);
            let without = held() - before;
            let before = held();
            let fresh = set_of(set.iter().copied());
            let expected = held() - before;
            assert!(set.iter().eq(fresh.iter()));
            let percent = without * 100 / expected;
            assert!(
                percent <= bound,
                "{percent}% of {expected} bytes for {live}, oldest first: {oldest_first}"
            );
            // A death takes 24 bytes, in a list with up to four times the room.
            let deaths = 384 + usize::try_from(live).unwrap() / 16;
            assert!(with_deaths - without <= deaths * 24 * 4);
        }
    }
}

fn a_set_that_shrinks_gives_memory_back() {
    const N: u64 = 100_000;
    for step in [1, N - 1, 12_347] {
        let before = held();
        let mut set = set_of(0..N);
        let full = held() - before;
        for n in 0..N - 10 {
            remove(&mut set, n * step % N);
        }
        assert_eq!(set.len(), 10);
        let with_deaths = held() - before;
        forget(&mut set);
        let without = held() - before;
        assert!(
            full > 1_000_000 && with_deaths < 20_000 && without < 2_000,
            "{full}, {with_deaths} and {without} bytes with steps of {step}"
        );
    }
}

/// Births that lie far apart may take a chunk for a few of them; what is left of them should not.
fn what_lay_far_apart_moves_together() {
    let before = held();
    let mut kernel = Kernel::new();
    for n in 1..=20_000_u64 {
        kernel.add(Dot::new(id(1), n * 63), n, &mut |_| ());
    }
    for n in (1..=20_000).filter(|n| n % 5 > 1) {
        assert!(kernel.remove(Dot::new(id(2), n), &n, &mut |_| ()));
    }
    let all: VersionVector = [(2, 20_000)].into_iter().collect();
    assert_eq!((kernel.len(), kernel.forget_deaths(&all)), (8_000, 12_000));
    let each = (held() - before) / kernel.len();
    assert!(each <= 48, "{each} bytes for each");
}
