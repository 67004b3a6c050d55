//! Add-wins sets of `u64`.

pub(crate) mod kernel;
mod limits;
pub(crate) mod memory;
mod ours;
mod peers;

use crate::{
    contest::{Contestant, Merge, Names, names},
    measure::{Effort, fresh, live_bytes, mix, repeat, time},
    table::{LIMITS, OURS, Results, Row, Unit},
};
use std::{collections::HashSet, hint::black_box};

pub(crate) const KIND: &str = "or-set";
pub(crate) const IDENTICAL: Names = names!("identical");
pub(crate) const D1: Names = names!("d = 1");
pub(crate) const D100: Names = names!("d = 100");
pub(crate) const PERCENT: Names = names!("d = 1%");
pub(crate) const DISJOINT: Names = names!("disjoint");
pub(crate) const ADD: &str = "add, one by one";
pub(crate) const EXTEND: &str = "add, all at once, an element";
pub(crate) const CONTAINS: &str = "contains";
pub(crate) const ITERATE: &str = "iterate, an element";
pub(crate) const CLONE: &str = "clone";
pub(crate) const MEMORY: &str = "live memory, an element";
pub(crate) const BYTES: &str = "postcard, an element";
pub(crate) const ENCODE: &str = "encode (postcard)";
pub(crate) const DECODE: &str = "decode (postcard)";
pub(crate) const DELTA_COLD: &str = "delta d = 100, make + apply, cold";
pub(crate) const DELTA_WARM: &str = "delta d = 100, make + apply, warm";
pub(crate) const DELTA_BYTES: &str = "delta d = 100, postcard";

/// Sizes at which sets are compared; the large one takes its time.
pub(crate) const SMALL: [u64; 2] = [100, 10_000];
pub(crate) const LARGE: u64 = 1_000_000;

/// A set with a writer.
pub(crate) trait Set: Contestant {
    /// What brings another set up to date.
    type Delta;

    fn empty(writer: u64) -> Self;

    /// A copy for another writer.
    fn fork(&self, writer: u64) -> Self;

    /// Adds in the documented way.
    fn add(&mut self, element: u64);

    /// Adds many in the fastest way.
    fn add_all(&mut self, elements: &[u64]) {
        for element in elements {
            self.add(*element);
        }
    }

    fn remove_all(&mut self, elements: &[u64]);

    fn has(&self, element: u64) -> bool;

    /// Visits all elements: how many, and the sum of what they mix to.
    fn sum(&self) -> (u64, u64);

    fn encode(&self) -> Option<Vec<u8>> {
        None
    }

    fn decode(_: &[u8]) -> Option<Self> {
        None
    }

    /// What `receiver` lacks; `None` if there are no deltas, or none that say what was removed.
    fn delta(&self, _receiver: &Self) -> Option<Self::Delta> {
        None
    }

    fn apply(&mut self, _delta: &Self::Delta) {}

    fn encode_delta(_: &Self::Delta) -> Option<Vec<u8>> {
        None
    }

    /// A set that three writers, from `first` on, have filled in turn.
    fn base(first: u64, elements: &[u64]) -> Self {
        let part = |k: usize| {
            let mut part = Self::empty(first + k as u64);
            part.add_all(&elements.iter().skip(k).step_by(3).copied().collect::<Vec<_>>());
            part
        };
        let mut all = part(0);
        all.join(&part(1));
        all.join(&part(2));
        all
    }
}

/// How [`Contestant::digest`] is made for sets.
pub(crate) fn digest((count, sum): (u64, u64)) -> u128 {
    u128::from(count) << 64 | u128::from(sum)
}

pub(crate) fn sum<'a>(elements: impl Iterator<Item = &'a u64>) -> (u64, u64) {
    elements.fold((0, 0), |(count, sum), element| (count + 1, sum.wrapping_add(mix(*element))))
}

/// The elements `from .. from + count`, which look random.
pub(crate) fn elements(from: u64, count: u64) -> Vec<u64> {
    (from..from + count).map(mix).collect()
}

/// What each of two sides does to a base of n elements: half adds and half removals, spread over the base.
pub(crate) struct Changes {
    pub(crate) added: Vec<u64>,
    pub(crate) removed: Vec<u64>,
}

pub(crate) fn changes(n: u64, d: u64, side: u64) -> Changes {
    let stride = (n / (2 * d)).max(1);
    Changes {
        added: (0..d.div_ceil(2)).map(|k| mix(n + 2 * k + side)).collect(),
        removed: (0..d / 2).map(|k| mix((2 * k + side) * stride)).collect(),
    }
}

/// The digest of the join of a base and what both sides did to it: they add what is new and remove what is there, each
/// element once.
fn expected(n: u64, d: u64) -> u128 {
    let (mut count, mut total) = sum(elements(0, n).iter());
    for side in 0..2 {
        let Changes { added, removed } = changes(n, d, side);
        let (more, less) = (sum(added.iter()), sum(removed.iter()));
        count = count + more.0 - less.0;
        total = total.wrapping_add(more.1).wrapping_sub(less.1);
    }
    digest((count, total))
}

pub(crate) fn side<C: Set>(base: &C, n: u64, d: u64, side: u64) -> C {
    let mut state = base.fork(10 + side);
    let Changes { added, removed } = changes(n, d, side);
    state.add_all(&added);
    state.remove_all(&removed);
    state
}

pub(crate) fn round(effort: Effort, results: &mut Results) {
    for n in SMALL {
        all_sides(n, effort, results);
    }
}

fn all_sides(n: u64, effort: Effort, results: &mut Results) {
    small::<ours::Ours>(n, effort, results);
    small::<peers::Crdts>(n, effort, results);
    small::<peers::Dson>(n, effort, results);
    small::<peers::Lattice>(n, effort, results);
    small::<peers::Kit>(n, effort, results);
    small::<peers::Atomr>(n, effort, results);
    small::<peers::Abyo>(n, effort, results);
    small::<limits::TwoPhase>(n, effort, results);
    small::<limits::Hashbrown>(n, effort, results);
    small::<limits::Std>(n, effort, results);
}

/// Sets of a million, each side once; and the kernel as a mesh uses it, and under churn.
pub(crate) fn large_round(quick: bool, effort: Effort, results: &mut Results) {
    large::<ours::Ours>(quick, effort, results);
    large::<peers::Crdts>(quick, effort, results);
    large::<peers::Dson>(quick, effort, results);
    large::<peers::Atomr>(quick, effort, results);
    large::<peers::Abyo>(quick, effort, results);
    large::<limits::Hashbrown>(quick, effort, results);
    large::<limits::Std>(quick, effort, results);
    if !quick {
        large::<peers::Lattice>(quick, effort, results);
        large::<peers::Kit>(quick, effort, results);
    }
    memory::round(results);
    kernel::round(quick, effort, results);
}

fn is_limit<C: Contestant>() -> bool {
    LIMITS.contains(&C::SIDE) && C::SIDE != limits::TwoPhase::SIDE
}

fn row(work: &'static str, n: u64, unit: Unit) -> Row {
    Row { kind: KIND, work, n, unit }
}

fn small<C: Set>(n: u64, effort: Effort, results: &mut Results) {
    let base = C::base(1, &elements(0, n));
    let most = usize::try_from((100_000 / n).min(500)).expect("small");
    let merge = |names, left: C, right: C, expected, is_noop, results: &mut Results| {
        let pairs = [(left, right)];
        Merge { kind: KIND, names, n, pairs: &pairs, expected, is_noop, most }.run(effort, results);
    };
    merge(IDENTICAL, base.clone(), base.clone(), base.digest(), true, results);
    // A plain set does not know what was removed.
    if !is_limit::<C>() {
        let works = [(D1, 1), (D100, 100)];
        for (names, d) in works.into_iter().filter(|(_, d)| 2 * d <= n) {
            merge(names, side(&base, n, d, 0), side(&base, n, d, 1), expected(n, d), false, results);
        }
    }
    let other = C::base(4, &elements(n, n));
    merge(DISJOINT, base.clone(), other, digest(sum(elements(0, 2 * n).iter())), false, results);
    operations(&base, n, effort, results);
    wire(&base, n, effort, results);
    if n > 200 {
        deltas(&base, n, results);
    }
}

/// Elements to look up in a base of n: as many as it has, in no order, half of them absent. A few that are asked again
/// and again would always be in the caches.
fn asked(n: u64) -> Vec<u64> {
    (0..n.min(100_000)).map(|k| mix(mix(k) % (2 * n))).collect()
}

/// Adding, looking up, iterating and copying.
fn operations<C: Set>(base: &C, n: u64, effort: Effort, results: &mut Results) {
    let fresh_elements = elements(n, n / 10);
    let count = fresh_elements.len() as f64;
    let most = usize::try_from((100_000 / n).clamp(1, 500)).expect("small");
    let mut adding = |work, add: &dyn Fn(&mut C)| {
        let right = digest(sum(elements(0, n + n / 10).iter()));
        let took = fresh(
            effort,
            most,
            || base.fork(10),
            |state| add(state),
            |state| assert_eq!(state.digest(), right),
        );
        results.add(row(work, n, Unit::Nanoseconds), C::SIDE, took / count);
    };
    adding(ADD, &|state| {
        for element in &fresh_elements {
            state.add(*element);
        }
    });
    adding(EXTEND, &|state| state.add_all(&fresh_elements));

    let asked = asked(n);
    let present = asked.iter().filter(|element| base.has(**element)).count();
    let model: HashSet<u64> = elements(0, n).into_iter().collect();
    assert_eq!(present, asked.iter().filter(|element| model.contains(element)).count(), "{}", C::SIDE);
    let took = repeat(effort, || asked.iter().filter(|element| base.has(**element)).count());
    results.add(row(CONTAINS, n, Unit::Nanoseconds), C::SIDE, took / asked.len() as f64);

    let took = repeat(effort, || base.sum());
    results.add(row(ITERATE, n, Unit::Nanoseconds), C::SIDE, took / n as f64);

    let took = fresh(
        effort,
        most,
        || None,
        |copy| *copy = Some(base.clone()),
        |copy| assert_eq!(copy.as_ref().map(C::digest), Some(base.digest())),
    );
    results.add(row(CLONE, n, Unit::Nanoseconds), C::SIDE, took);

    let items = elements(0, n);
    let (bytes, _built) = live_bytes(|| C::base(1, &items));
    results.add(row(MEMORY, n, Unit::Bytes), C::SIDE, (bytes + size_of::<C>() as f64) / n as f64);
}

fn wire<C: Set>(base: &C, n: u64, effort: Effort, results: &mut Results) {
    let Some(bytes) = base.encode() else { return };
    assert_eq!(C::decode(&bytes).map(|set| set.digest()), Some(base.digest()), "{}", C::SIDE);
    results.add(row(BYTES, n, Unit::Bytes), C::SIDE, bytes.len() as f64 / n as f64);
    results.add(row(ENCODE, n, Unit::Nanoseconds), C::SIDE, repeat(effort, || base.encode()));
    let took = fresh(effort, 8, || None, |set| *set = C::decode(black_box(&bytes)), |_| ());
    results.add(row(DECODE, n, Unit::Nanoseconds), C::SIDE, took);
}

/// One side's hundred changes as a delta, to a receiver that has the base: with what it touches evicted from the
/// caches, and just looked up.
fn deltas<C: Set>(base: &C, n: u64, results: &mut Results) {
    let sender = side(base, n, 100, 0);
    let Changes { added, removed } = changes(n, 100, 0);
    let Some(first) = sender.delta(base) else { return };
    if let Some(bytes) = C::encode_delta(&first) {
        results.add(row(DELTA_BYTES, n, Unit::Bytes), C::SIDE, bytes.len() as f64);
    }
    drop(first);
    for (work, is_warm) in [(DELTA_COLD, false), (DELTA_WARM, true)] {
        for _ in 0..5 {
            let mut receiver = base.fork(11);
            if is_warm {
                let touched = added.iter().chain(&removed);
                black_box(touched.filter(|element| sender.has(**element) && receiver.has(**element)).count());
                drop(black_box(sender.delta(&receiver)));
            } else {
                crate::measure::chill();
            }
            let (took, ()) = time(|| {
                let delta = sender.delta(&receiver).expect("as before");
                receiver.apply(&delta);
            });
            assert_eq!(receiver.digest(), sender.digest(), "{}: a delta gives another state", C::SIDE);
            results.add(row(work, n, Unit::Nanoseconds), C::SIDE, took);
            if took > 1e8 {
                break;
            }
        }
    }
}

/// At this size a side is measured alone, once a round, and peers consume their states: copies take as long as merges.
fn large<C: Set>(quick: bool, effort: Effort, results: &mut Results) {
    let (n, effort) = (LARGE, effort.few());
    let items = elements(0, n);
    let (bytes, base) = live_bytes(|| C::base(1, &items));
    drop(items);
    if !is_limit::<C>() {
        results.add(row(MEMORY, n, Unit::Bytes), C::SIDE, bytes / n as f64);
    }
    let base_digest = base.digest();
    let is_quick_for = |names: Names| match C::SIDE {
        OURS => true,
        "crdts" => names.calls != D1.calls,
        "dson" => names.calls == D100.calls,
        _ => names.calls == D100.calls || names.calls == DISJOINT.calls,
    };
    let wanted = |names: Names| {
        if is_limit::<C>() {
            return names.calls == DISJOINT.calls;
        }
        // Quadratic in the removals: minutes.
        let is_endless = C::SIDE == "crdt-kit" && names.calls == PERCENT.calls;
        !is_endless && (!quick || is_quick_for(names))
    };
    for (names, d) in [(IDENTICAL, 0), (D1, 1), (D100, 100), (PERCENT, n / 100)] {
        if wanted(names) {
            let states = || match d {
                0 => (base.clone(), base.clone()),
                d => (side(&base, n, d, 0), side(&base, n, d, 1)),
            };
            let result = if d == 0 { base_digest } else { expected(n, d) };
            large_merge(names, d == 0, &states, result, quick, effort, results);
        }
    }
    if C::SIDE == OURS || !quick {
        let took = repeat(effort, || base.sum());
        results.add(row(ITERATE, n, Unit::Nanoseconds), C::SIDE, took / n as f64);
        let asked = asked(n);
        let took = repeat(effort, || asked.iter().filter(|element| base.has(**element)).count());
        results.add(row(CONTAINS, n, Unit::Nanoseconds), C::SIDE, took / asked.len() as f64);
        wire(&base, n, effort, results);
        deltas(&base, n, results);
    }
    if wanted(DISJOINT) {
        let other = C::base(4, &elements(n, n));
        let base = std::cell::Cell::new(Some((base, other)));
        let copies = std::cell::RefCell::new(None::<(C, C)>);
        let states = || {
            // The originals serve once; only whoever is measured more often is copied.
            if C::SIDE == OURS || !quick {
                let mut copies = copies.borrow_mut();
                let (left, right) = copies.get_or_insert_with(|| base.take().expect("the first time"));
                (left.clone(), right.clone())
            } else {
                base.take().expect("one sample")
            }
        };
        let result = digest(sum(elements(0, 2 * n).iter()));
        large_merge(DISJOINT, false, &states, result, quick, effort, results);
    }
}

fn large_merge<C: Set>(
    names: Names,
    is_noop: bool,
    states: &dyn Fn() -> (C, C),
    result: u128,
    quick: bool,
    effort: Effort,
    results: &mut Results,
) {
    if C::SIDE == OURS || LIMITS.contains(&C::SIDE) || !quick {
        let merge = Merge {
            kind: KIND,
            names,
            n: LARGE,
            pairs: &[states()],
            expected: result,
            is_noop: is_noop && C::SIDE == OURS,
            most: 1,
        };
        merge.by_reference(effort, results);
        merge.by_value(effort, results);
        return;
    }
    let (mut left, right) = states();
    let (took, ()) = time(|| left.absorb(right));
    results.add(row(names.by_value, LARGE, Unit::Nanoseconds), C::SIDE, took);
    assert_eq!(left.digest(), result, "{} of {}: {} gives another state", KIND, C::SIDE, names.by_value);
}
