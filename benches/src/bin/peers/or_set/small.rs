//! Sets that can be copied as often as one likes.

use super::{
    ADD, BYTES, CHANGERS, CLONE, CONTAINS, COPY, Changes, D1, D100, DECODE, DELTA_BYTES, DELTA_COLD,
    DELTA_WARM, DISJOINT, ENCODE, EXTEND, Element, IDENTICAL, ITERATE, KIND, MEMORY, OTHERS, STRINGS, Set,
    Shape, changes, digest, elements, expected, expected_disjoint, is_plain, limits, ours, peers, side, sum,
};
use crate::{
    contest::Merge,
    measure::{Effort, chill, fresh, live_bytes, mix, repeat, time},
    table::{Results, Unit},
};
use std::{collections::HashSet, hint::black_box};

/// All workloads of a shape, by all sides that can hold such elements.
pub(super) fn peers<E: Element>(shape: Shape, effort: Effort, results: &mut Results) {
    if !results.is_focused() {
        crate::section(&format!("{}, {}", shape.kind, shape.n));
    }
    all::<ours::Ours<E>, E>(shape, effort, results);
    all::<peers::Crdts<E>, E>(shape, effort, results);
    all::<peers::Dson<E>, E>(shape, effort, results);
    all::<peers::Lattice<E>, E>(shape, effort, results);
    all::<peers::Kit<E>, E>(shape, effort, results);
    all::<peers::Atomr<E>, E>(shape, effort, results);
    all::<peers::Abyo<E>, E>(shape, effort, results);
    // What a plain set does depends neither on who has filled it nor on how.
    if [KIND, STRINGS].contains(&shape.kind) {
        all::<limits::Hashbrown<E>, E>(shape, effort, results);
        all::<limits::Std<E>, E>(shape, effort, results);
    }
}

/// All workloads of a shape, by one side.
pub(super) fn all<C: Set<E>, E: Element>(shape: Shape, effort: Effort, results: &mut Results) {
    if !results.wants_some(shape.kind, shape.n, C::SIDE) {
        return;
    }
    let bases = shape.bases::<C, E>();
    merges(shape, &bases, effort, results);
    if [KIND, STRINGS].contains(&shape.kind) {
        operations(shape, &bases.0, effort, results);
    }
    if shape.kind == KIND {
        wire(shape, &bases.0, effort, results);
        if shape.n > 200 {
            deltas(shape, &bases.0, results);
        }
    }
}

fn merges<C: Set<E>, E: Element>(shape: Shape, bases: &(C, C), effort: Effort, results: &mut Results) {
    let n = shape.n;
    let most = usize::try_from((100_000 / n).min(500)).expect("small");
    let mut merge = |names, pair: &dyn Fn() -> (C, C), expected, is_noop| {
        if crate::contest::Names::wanted(names, shape.kind, n, C::SIDE, results) {
            let pairs = [pair()];
            Merge { kind: shape.kind, names, n, pairs: &pairs, expected, is_noop, most }.run(effort, results);
        }
    };
    merge(IDENTICAL, &|| bases.clone(), digest(sum(elements::<E>(0, n).iter())), true);
    if !is_plain::<C>() {
        for (names, d) in [(D1, 1), (D100, 100)].into_iter().filter(|(_, d)| 2 * d <= n) {
            let sides = || (side(&bases.0, n, d, 0), side(&bases.1, n, d, 1));
            merge(names, &sides, expected::<E>(n, d), false);
        }
    }
    if !shape.is_apart {
        let other = || (bases.0.clone(), shape.base(OTHERS, elements(n, n)));
        merge(DISJOINT, &other, expected_disjoint::<E>(n), false);
    }
}

/// Elements to look up in a base of n: as many as it has, in no order, half of them absent. A few that are asked again
/// and again would always be in the caches.
fn asked<E: Element>(n: u64) -> Vec<E> {
    (0..n.min(100_000)).map(|k| E::nth(mix(k) % (2 * n))).collect()
}

/// Adding, looking up, iterating and copying.
fn operations<C: Set<E>, E: Element>(shape: Shape, base: &C, effort: Effort, results: &mut Results) {
    let n = shape.n;
    let fresh_elements = elements::<E>(n, n / 10);
    let count = fresh_elements.len() as f64;
    let most = usize::try_from((100_000 / n).clamp(1, 500)).expect("small");
    let right = digest(sum(elements::<E>(0, n + n / 10).iter()));
    let mut adding = |work, add: &dyn Fn(&mut C, std::vec::Drain<'_, E>)| {
        let row = shape.row(work, Unit::Nanoseconds);
        if results.wants(row, C::SIDE) {
            let took = fresh(
                effort,
                most,
                || (base.fork(CHANGERS), fresh_elements.clone()),
                |(state, elements)| add(state, elements.drain(..)),
                |(state, _)| assert_eq!(state.digest(), right),
            );
            results.add(row, C::SIDE, took / count);
        }
    };
    adding(ADD, &|state, elements| elements.for_each(|element| state.add(element)));
    adding(EXTEND, &|state, elements| state.add_all(elements));

    reading(shape, base, effort, results);

    let row = shape.row(CLONE, Unit::Nanoseconds);
    if results.wants(row, C::SIDE) {
        let took = fresh(
            effort,
            most,
            || None,
            |copy| *copy = Some(base.clone()),
            |copy| assert_eq!(copy.as_ref().map(C::digest), Some(base.digest())),
        );
        results.add(row, C::SIDE, took);
    }

    let row = shape.row(MEMORY, Unit::Bytes);
    if results.wants(row, C::SIDE) {
        let items = elements::<E>(0, n);
        let (bytes, _built) = live_bytes(|| C::base(super::FIRST, shape.writers, &items));
        results.add(row, C::SIDE, (bytes + size_of::<C>() as f64) / n as f64);
    }
}

/// Looking up and iterating.
pub(super) fn reading<C: Set<E>, E: Element>(shape: Shape, base: &C, effort: Effort, results: &mut Results) {
    let row = shape.row(CONTAINS, Unit::Nanoseconds);
    if results.wants(row, C::SIDE) {
        let asked = asked::<E>(shape.n);
        let present = || asked.iter().filter(|element| base.has(element)).count();
        let model: HashSet<E> = elements(0, shape.n).into_iter().collect();
        let right = asked.iter().filter(|element| model.contains(*element)).count();
        assert_eq!(present(), right, "{}", C::SIDE);
        results.add(row, C::SIDE, repeat(effort, present) / asked.len() as f64);
    }
    let row = shape.row(ITERATE, Unit::Nanoseconds);
    if results.wants(row, C::SIDE) {
        results.add(row, C::SIDE, repeat(effort, || base.sum()) / shape.n as f64);
    }
    let row = shape.row(COPY, Unit::Nanoseconds);
    if results.wants(row, C::SIDE) && base.sum_of_copy().is_some() {
        results.add(row, C::SIDE, repeat(effort, || base.sum_of_copy()) / shape.n as f64);
    }
}

pub(super) fn wire<C: Set<E>, E: Element>(shape: Shape, base: &C, effort: Effort, results: &mut Results) {
    let [size, encode, decode] =
        [(BYTES, Unit::Bytes), (ENCODE, Unit::Nanoseconds), (DECODE, Unit::Nanoseconds)]
            .map(|(work, unit)| shape.row(work, unit));
    for (side, (write, read)) in C::codecs() {
        let Some(bytes) = write(base) else { continue };
        if results.wants(size, side) {
            assert_eq!(read(&bytes).map(|set| set.digest()), Some(base.digest()), "{side}");
            results.add(size, side, bytes.len() as f64 / shape.n as f64);
        }
        if results.wants(encode, side) {
            results.add(encode, side, repeat(effort, || write(base)));
        }
        if results.wants(decode, side) {
            let took = fresh(effort, 8, || None, |set| *set = read(black_box(&bytes)), |_| ());
            results.add(decode, side, took);
        }
    }
}

/// One side's hundred changes as a delta, to a receiver that has the base: with what it touches evicted from the
/// caches, and just looked up.
pub(super) fn deltas<C: Set<E>, E: Element>(shape: Shape, base: &C, results: &mut Results) {
    let n = shape.n;
    let times = [(DELTA_COLD, false), (DELTA_WARM, true)]
        .map(|(work, is_warm)| (shape.row(work, Unit::Nanoseconds), is_warm));
    if !times.iter().any(|(row, _)| results.wants(*row, C::SIDE)) {
        return;
    }
    let sender = side(base, n, 100, 0);
    let Changes { added, removed } = changes::<E>(n, 100, 0);
    let Some(first) = sender.delta(base) else { return };
    if let Some(bytes) = C::encode_delta(&first) {
        results.add(shape.row(DELTA_BYTES, Unit::Bytes), C::SIDE, bytes.len() as f64);
    }
    drop(first);
    for (row, is_warm) in times {
        for _ in 0..5 {
            let mut receiver = base.fork(CHANGERS + 1);
            if is_warm {
                let touched = added.iter().chain(&removed);
                black_box(touched.filter(|element| sender.has(element) && receiver.has(element)).count());
                drop(black_box(sender.delta(&receiver)));
            } else {
                chill();
            }
            let (took, ()) = time(|| {
                let delta = sender.delta(&receiver).expect("as before");
                receiver.apply(&delta);
            });
            assert_eq!(receiver.digest(), sender.digest(), "{}: a delta gives another state", C::SIDE);
            results.add(row, C::SIDE, took);
            if took > 1e8 {
                break;
            }
        }
    }
}
