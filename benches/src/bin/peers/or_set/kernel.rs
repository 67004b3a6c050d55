//! The set's kernel as a mesh uses it, with one numbering for many sets; and a set under churn.

use super::{
    FIRST, OTHERS, Row, Set as _, Unit, changes, digest, elements,
    ours::{Ours, id},
    sum,
};
use crate::{
    measure::{Effort, allocations, chill, fresh, live_bytes, mix, repeat, time},
    table::{OURS, Results},
};
use crdt_core::wire::Wire as _;
use or_set::{Change, Dot, Kernel, Merge as _, VersionVector};

pub(crate) const KERNEL: &str = "or-set kernel, sparse";
pub(crate) const CHURN: &str = "or-set under churn";
pub(crate) const IDENTICAL: &str = "merge identical, by reference";
pub(crate) const IDENTICAL_CALLS: &str = "merge identical, allocations";
pub(crate) const D1: &str = "merge d = 1, by reference";
const D1_CALLS: &str = "merge d = 1, allocations";
pub(crate) const D100: &str = "merge d = 100, by reference";
pub(crate) const PERCENT: &str = "merge d = 1%, by reference";
pub(crate) const DISJOINT: &str = "merge disjoint, by reference";
pub(crate) const DELTA_COLD: &str = "slice d = 100, make + apply, cold";
pub(crate) const DELTA_WARM: &str = "slice d = 100, make + apply, warm";
pub(crate) const SLICE_BYTES: &str = "slice d = 100 and both vectors, bytes";
pub(crate) const CHURNED: &str = "live memory after add/remove pairs";
pub(crate) const FRESH: &str = "live memory of a fresh set";

/// How many sets share a row: between two of a set's dots lie as many of others.
const SHARED: u64 = 1_000;
/// Live elements under churn.
pub(crate) const LIVE: u64 = 10_000;

/// One of the sets, with the vector that it shares.
#[derive(Clone)]
struct Shared {
    kernel: Kernel<u64>,
    seen: VersionVector,
}

fn ignore(_: Change<'_, u64>) {}

impl Shared {
    fn new() -> Self {
        Shared { kernel: Kernel::new(), seen: VersionVector::new() }
    }

    /// The next of this set's dots under a shared numbering.
    fn next(&self, writer: u64) -> Dot {
        let last = self.seen.get(id(writer));
        Dot::new(id(writer), last + 1 + mix(last) % (2 * SHARED - 1))
    }

    fn add(&mut self, writer: u64, element: u64) {
        let dot = self.next(writer);
        self.kernel.add(dot, element, &mut ignore);
        self.seen.advance(dot);
    }

    fn remove(&mut self, writer: u64, element: u64) {
        let dot = self.next(writer);
        assert!(self.kernel.remove(dot, &element, &mut ignore), "each is removed once");
        self.seen.advance(dot);
    }

    fn base(first: u64, items: &[u64]) -> Self {
        let mut all = Shared::new();
        for k in 0..3 {
            items.iter().skip(k).step_by(3).for_each(|item| all.add(first + k as u64, *item));
        }
        all
    }

    fn side(&self, n: u64, d: u64, side: u64) -> Self {
        let mut state = self.clone();
        let made = changes::<u64>(n, d, side);
        made.added.iter().for_each(|element| state.add(10 + side, *element));
        made.removed.iter().for_each(|element| state.remove(10 + side, *element));
        state
    }

    fn join(&mut self, other: &Self) {
        let floor = VersionVector::new();
        self.kernel.merge(&other.kernel, &self.seen, &other.seen, &floor, &mut ignore);
        self.seen.merge(&other.seen);
    }

    fn digest(&self) -> u128 {
        digest(sum(self.kernel.iter()))
    }
}

pub(crate) fn round(quick: bool, effort: Effort, results: &mut Results) {
    let effort = effort.few();
    for n in if quick { vec![10_000, 100_000] } else { vec![10_000, 100_000, 1_000_000] } {
        if results.wants_some(KERNEL, n, OURS) {
            crate::section(&format!("{KERNEL}, {n}"));
            merges(n, effort, results);
        }
    }
}

fn merges(n: u64, effort: Effort, results: &mut Results) {
    let base = Shared::base(FIRST, &elements(0, n));
    let row = |work| Row { kind: KERNEL, work, n, unit: Unit::Nanoseconds };

    // Other sets have changed, so that the vectors differ; this one has not.
    let mut other = base.clone();
    let elsewhere = other.next(9);
    other.seen.advance(elsewhere);
    let mut state = base.clone();
    let floor = VersionVector::new();
    let took =
        repeat(effort, || state.kernel.merge(&other.kernel, &state.seen, &other.seen, &floor, &mut ignore));
    assert_eq!(state.digest(), base.digest());
    results.add(row(IDENTICAL), OURS, took);
    let (calls, _) =
        allocations(|| state.kernel.merge(&other.kernel, &state.seen, &other.seen, &floor, &mut ignore));
    results.add(Row { unit: Unit::Calls, ..row(IDENTICAL_CALLS) }, OURS, calls);

    for (work, d) in [(D1, 1), (D100, 100), (PERCENT, n / 100)] {
        let (left, right) = (base.side(n, d, 0), base.side(n, d, 1));
        let expected = super::expected::<u64>(n, d);
        let took = fresh(
            effort,
            1,
            || left.clone(),
            |state| state.join(&right),
            |state| assert_eq!(state.digest(), expected),
        );
        results.add(row(work), OURS, took);
        if work == D1 {
            let mut state = left.clone();
            let (calls, ()) = allocations(|| state.join(&right));
            results.add(Row { unit: Unit::Calls, ..row(D1_CALLS) }, OURS, calls);
        }
    }

    let other = Shared::base(OTHERS, &elements(n, n));
    let expected = super::expected_disjoint::<u64>(n);
    let took = fresh(
        effort,
        1,
        || base.clone(),
        |state| state.join(&other),
        |state| assert_eq!(state.digest(), expected),
    );
    results.add(row(DISJOINT), OURS, took);

    let sender = base.side(n, 100, 0);
    let made = changes::<u64>(n, 100, 0);
    let slice = sender.kernel.slice_since(&base.seen, false);
    let bytes = (base.seen.clone(), (sender.seen.clone(), slice)).to_bytes();
    let row_of_bytes = Row { unit: Unit::Bytes, ..row(SLICE_BYTES) };
    results.add(row_of_bytes, OURS, bytes.len() as f64);
    for (work, is_warm) in [(DELTA_COLD, false), (DELTA_WARM, true)] {
        for _ in 0..5 {
            let mut receiver = base.clone();
            if is_warm {
                let touched = made.added.iter().chain(&made.removed);
                let here =
                    |element: &&u64| sender.kernel.contains(*element) && receiver.kernel.contains(*element);
                std::hint::black_box(touched.filter(here).count());
                drop(std::hint::black_box(sender.kernel.slice_since(&receiver.seen, false)));
            } else {
                chill();
            }
            let (took, _) = time(|| {
                let slice = sender.kernel.slice_since(&receiver.seen, false);
                receiver.kernel.apply(slice, &receiver.seen, &sender.seen, &mut ignore)
            });
            assert_eq!(receiver.digest(), sender.digest());
            results.add(row(work), OURS, took);
        }
    }
}

/// Adds one element and removes the oldest, over and over, by one writer on one set.
pub(crate) fn churn(pairs: u64, results: &mut Results) {
    let row = |work, n| Row { kind: CHURN, work, n, unit: Unit::Bytes };
    let (bytes, _fresh) = live_bytes(|| Ours::base(FIRST, 3, &elements::<u64>(0, LIVE)));
    results.add(row(FRESH, LIVE), OURS, bytes);
    let (bytes, churned) = live_bytes(|| {
        let mut set = Ours::base(FIRST, 3, &elements(0, LIVE));
        // A writer asks for its place once for each block.
        for pair in 0..pairs {
            set.add(mix(LIVE + pair));
            set.remove_all(&[mix(pair)]);
        }
        set
    });
    assert_eq!(churned.set.len() as u64, LIVE);
    results.add(row(CHURNED, pairs), OURS, bytes);
}
