//! Sets of a million: copies take as long as merges, so that each state is built once.

use super::{
    D1, D100, DISJOINT, INDEPENDENT, KIND, LARGE, MEMORY, OTHERS, PERCENT, Set, Shape, digest, elements,
    expected, expected_disjoint, is_plain, kernel, limits, ours, peers, side, small, sum,
};
use crate::{
    contest::{Merge, Names},
    measure::{Effort, live_bytes, time},
    table::{LIMITS, OURS, Results, Unit},
};

const DENSE: Shape = Shape { kind: KIND, n: LARGE, writers: 3, is_apart: false };
const APART: Shape = Shape { kind: INDEPENDENT, is_apart: true, ..DENSE };

/// Each side once; and the kernel as a mesh uses it.
pub(crate) fn round(quick: bool, effort: Effort, results: &mut Results) {
    dense::<ours::Ours<u64>>(quick, effort, results);
    dense::<peers::Crdts<u64>>(quick, effort, results);
    dense::<peers::Dson<u64>>(quick, effort, results);
    dense::<peers::Atomr<u64>>(quick, effort, results);
    dense::<peers::Abyo<u64>>(quick, effort, results);
    dense::<limits::Hashbrown<u64>>(quick, effort, results);
    dense::<limits::Std<u64>>(quick, effort, results);
    apart::<ours::Ours<u64>>(effort, results);
    if !quick {
        dense::<peers::Lattice<u64>>(quick, effort, results);
        dense::<peers::Kit<u64>>(quick, effort, results);
        apart::<peers::Crdts<u64>>(effort, results);
        apart::<peers::Dson<u64>>(effort, results);
        apart::<peers::Lattice<u64>>(effort, results);
        apart::<peers::Kit<u64>>(effort, results);
        apart::<peers::Atomr<u64>>(effort, results);
        apart::<peers::Abyo<u64>>(effort, results);
    }
    kernel::round(quick, effort, results);
}

/// Whether a merge of peers is worth its time if there is little.
fn is_quick<C: Set<u64>>(names: Names) -> bool {
    match C::SIDE {
        OURS => true,
        "crdts" => names.calls != D1.calls,
        _ => names.calls == D100.calls,
    }
}

fn dense<C: Set<u64>>(quick: bool, effort: Effort, results: &mut Results) {
    let (n, effort) = (LARGE, effort.few());
    if !results.wants_some(KIND, n, C::SIDE) {
        return;
    }
    crate::section(&format!("{KIND} of 10^6, {}", C::SIDE));
    let items = elements(0, n);
    let (bytes, base) = live_bytes(|| C::base(super::FIRST, DENSE.writers, &items));
    let right = digest(sum(items.iter()));
    drop(items);
    if !is_plain::<C>() {
        results.add(DENSE.row(MEMORY, Unit::Bytes), C::SIDE, bytes / n as f64);
    }
    let wanted = |names: Names, results: &Results| {
        if is_plain::<C>() {
            return names.calls == DISJOINT.calls;
        }
        // Quadratic in the removals: minutes.
        let is_endless = C::SIDE == "crdt-kit" && names.calls == PERCENT.calls;
        !is_endless && (!quick || is_quick::<C>(names)) && names.wanted(KIND, n, C::SIDE, results)
    };
    for (names, d) in [(super::IDENTICAL, 0), (D1, 1), (D100, 100), (PERCENT, n / 100)] {
        if wanted(names, results) {
            let states = match d {
                0 => (base.clone(), base.clone()),
                d => (side(&base, n, d, 0), side(&base, n, d, 1)),
            };
            let expected = if d == 0 { right } else { expected::<u64>(n, d) };
            merge(DENSE, names, states, expected, quick, effort, results);
        }
    }
    if C::SIDE == OURS || !quick {
        small::reading(DENSE, &base, effort, results);
        small::wire(DENSE, &base, effort, results);
        small::deltas(DENSE, &base, results);
    }
    if wanted(DISJOINT, results) {
        let other = C::base(OTHERS, DENSE.writers, &elements(n, n));
        merge(DENSE, DISJOINT, (base, other), expected_disjoint::<u64>(n), quick, effort, results);
    }
}

fn apart<C: Set<u64>>(effort: Effort, results: &mut Results) {
    let (n, effort) = (LARGE, effort.few());
    if !results.wants_some(INDEPENDENT, n, C::SIDE) {
        return;
    }
    crate::section(&format!("{INDEPENDENT}, 10^6, {}", C::SIDE));
    let bases: (C, C) = APART.bases();
    let sides = (side(&bases.0, n, 100, 0), side(&bases.1, n, 100, 1));
    let right = digest(sum(elements::<u64>(0, n).iter()));
    merge(APART, super::IDENTICAL, bases, right, false, effort, results);
    merge(APART, D100, sides, expected::<u64>(n, 100), false, effort, results);
}

/// Both ways, or, if there is little time, what peers do fastest on the only copy.
fn merge<C: Set<u64>>(
    shape: Shape,
    names: Names,
    states: (C, C),
    expected: u128,
    quick: bool,
    effort: Effort,
    results: &mut Results,
) {
    let is_noop = names.calls == super::IDENTICAL.calls && C::SIDE == OURS;
    if C::SIDE == OURS || LIMITS.contains(&C::SIDE) || !quick {
        let Shape { kind, n, .. } = shape;
        let merge = Merge { kind, names, n, pairs: &[states], expected, is_noop, most: 1 };
        merge.by_reference(effort, results);
        merge.by_value(effort, results);
        return;
    }
    let (mut left, right) = states;
    let (took, ()) = time(|| left.absorb(right));
    results.add(shape.row(names.by_value, Unit::Nanoseconds), C::SIDE, took);
    assert_eq!(left.digest(), expected, "{} of {}: {} gives another state", KIND, C::SIDE, names.by_value);
}
