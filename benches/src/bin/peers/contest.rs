//! What all types have in common: two states, merged.

use crate::{
    measure::{Effort, allocations, fresh, repeat},
    table::{Results, Row, Unit},
};
use std::hint::black_box;

/// A state of one of the sides that are compared.
pub(crate) trait Contestant: Clone {
    /// Its column.
    const SIDE: &'static str;
    /// Joins a state that the caller keeps; clones it if there is no other way.
    fn join(&mut self, other: &Self);

    /// Joins a state that the caller gives away: afterwards it is gone.
    fn absorb(&mut self, other: Self) {
        self.join(&other);
    }

    /// What a reader sees, in one number that is the same for all sides.
    fn digest(&self) -> u128;
}

/// The names of one merge's rows.
#[derive(Clone, Copy)]
pub(crate) struct Names {
    pub(crate) by_reference: &'static str,
    pub(crate) by_value: &'static str,
    pub(crate) calls: &'static str,
}

impl Names {
    /// Whether any of the rows is still to be measured.
    pub(crate) fn wanted(self, kind: &'static str, n: u64, side: &str, results: &Results) -> bool {
        [
            (self.by_reference, Unit::Nanoseconds),
            (self.by_value, Unit::Nanoseconds),
            (self.calls, Unit::Calls),
        ]
        .into_iter()
        .any(|(work, unit)| results.wants(Row { kind, work, n, unit }, side))
    }
}

/// The rows of a merge, from what is merged.
macro_rules! names {
    ($what:literal) => {
        $crate::contest::Names {
            by_reference: concat!("merge ", $what, ", by reference"),
            by_value: concat!("merge ", $what, ", by value"),
            calls: concat!("merge ", $what, ", allocations"),
        }
    };
}
pub(crate) use names;

/// Pairs of states, what comes of each pair, and where that is written.
pub(crate) struct Merge<'a, C> {
    pub(crate) kind: &'static str,
    pub(crate) names: Names,
    pub(crate) n: u64,
    /// Merged in turns: if the pairs differ, no branch predictor can learn one of them by heart.
    pub(crate) pairs: &'a [(C, C)],
    /// The digest of each join.
    pub(crate) expected: u128,
    /// The joins are the left states: they can be merged again and again.
    pub(crate) is_noop: bool,
    /// The most copies of the states at a time.
    pub(crate) most: usize,
}

impl<C: Contestant> Merge<'_, C> {
    /// Checks the result, then times the merge in both ways.
    ///
    /// # Panics
    ///
    /// If the result is wrong: no time is of interest then.
    pub(crate) fn run(&self, effort: Effort, results: &mut Results) {
        self.by_reference(effort, results);
        self.by_value(effort, results);
        self.count(results);
    }

    fn row(&self, work: &'static str, unit: Unit) -> Row {
        Row { kind: self.kind, work, n: self.n, unit }
    }

    fn check(&self, state: &C) {
        let Names { by_reference, .. } = self.names;
        assert_eq!(
            state.digest(),
            self.expected,
            "{} of {}, n = {}: {by_reference} gives another state",
            self.kind,
            C::SIDE,
            self.n
        );
    }

    pub(crate) fn by_reference(&self, effort: Effort, results: &mut Results) {
        let row = self.row(self.names.by_reference, Unit::Nanoseconds);
        if !results.wants(row, C::SIDE) {
            return;
        }
        let mut turn = self.pairs.iter().cycle();
        let mut next = || turn.next().expect("there is a pair");
        let took = if self.is_noop {
            let mut states: Vec<C> = self.pairs.iter().map(|pair| pair.0.clone()).collect();
            let mut all = || {
                for (state, (_, other)) in states.iter_mut().zip(self.pairs) {
                    state.join(black_box(other));
                }
            };
            let took = repeat(effort, &mut all) / self.pairs.len() as f64;
            for state in &states {
                self.check(state);
            }
            took
        } else {
            fresh(
                effort,
                self.most,
                || {
                    let (left, right) = next();
                    (left.clone(), right)
                },
                |(state, other)| state.join(other),
                |(state, _)| self.check(state),
            )
        };
        results.add(row, C::SIDE, took);
    }

    pub(crate) fn by_value(&self, effort: Effort, results: &mut Results) {
        let row = self.row(self.names.by_value, Unit::Nanoseconds);
        if !results.wants(row, C::SIDE) {
            return;
        }
        let mut turn = self.pairs.iter().cycle();
        let took = fresh(
            effort,
            self.most,
            || {
                let (left, right) = turn.next().expect("there is a pair");
                (left.clone(), Some(right.clone()))
            },
            |(state, other)| state.absorb(other.take().expect("run once")),
            |(state, _)| self.check(state),
        );
        results.add(row, C::SIDE, took);
    }

    /// Counts what one merge asks of the allocator, by reference.
    pub(crate) fn count(&self, results: &mut Results) {
        let row = self.row(self.names.calls, Unit::Calls);
        if !results.wants(row, C::SIDE) {
            return;
        }
        let (left, right) = &self.pairs[0];
        let mut state = left.clone();
        let (calls, ()) = allocations(|| state.join(right));
        results.add(row, C::SIDE, calls);
    }
}
