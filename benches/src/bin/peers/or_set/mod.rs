//! Add-wins sets.

pub(crate) mod kernel;
mod large;
mod limits;
pub(crate) mod memory;
mod ours;
mod peers;
mod small;

use crate::{
    contest::{Contestant, Names, names},
    measure::{Effort, mix},
    table::{LIMITS, Results, Row, Unit},
};
use crdt_core::wire::Wire;
use serde::{Serialize, de::DeserializeOwned};
use std::{fmt::Debug, hash::Hash};

/// Sets of `u64`, filled by three writers.
pub(crate) const KIND: &str = "or-set";
pub(crate) const STRINGS: &str = "or-set of strings of 24 bytes";
pub(crate) const SIXTEEN: &str = "or-set, 16 replicas";
pub(crate) const MANY: &str = "or-set, 256 replicas";
/// Sides that are no clones of one state: their hash tables are laid out differently.
pub(crate) const INDEPENDENT: &str = "or-set, sides built apart";

pub(crate) const IDENTICAL: Names = names!("identical");
pub(crate) const D1: Names = names!("d = 1");
pub(crate) const D100: Names = names!("d = 100");
pub(crate) const PERCENT: Names = names!("d = 1%");
pub(crate) const DISJOINT: Names = names!("disjoint");
pub(crate) const ADD: &str = "add, one by one";
pub(crate) const EXTEND: &str = "add, all at once, an element";
pub(crate) const CONTAINS: &str = "contains";
pub(crate) const ITERATE: &str = "iterate, an element";
pub(crate) const COPY: &str = "copy out and iterate, an element";
pub(crate) const CLONE: &str = "clone";
pub(crate) const MEMORY: &str = "live memory, an element";
pub(crate) const BYTES: &str = "bytes, an element";
pub(crate) const ENCODE: &str = "encode";
pub(crate) const DECODE: &str = "decode";
pub(crate) const DELTA_COLD: &str = "delta d = 100, make + apply, cold";
pub(crate) const DELTA_WARM: &str = "delta d = 100, make + apply, warm";
pub(crate) const DELTA_BYTES: &str = "delta d = 100, bytes";

/// Sizes at which sets are compared; the large one takes its time.
pub(crate) const SMALL: [u64; 2] = [100, 10_000];
pub(crate) const LARGE: u64 = 1_000_000;

/// The writers of a base begin here,
const FIRST: u64 = 1;
/// those of a base that has nothing in common with it here,
const OTHERS: u64 = 1_000;
/// those that only received here,
const RECEIVERS: u64 = 2_000;
/// and those of the two sides' changes here.
const CHANGERS: u64 = 3_000;

/// What sets are made of.
pub(crate) trait Element:
    Clone + Ord + Hash + Debug + Wire + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// One of as many different ones as there are numbers, in no order.
    fn nth(k: u64) -> Self;

    /// What stands for it in a sum. It costs next to nothing, or iterating would measure that.
    fn word(&self) -> u64;
}

impl Element for u64 {
    fn nth(k: u64) -> Self {
        mix(k)
    }

    fn word(&self) -> u64 {
        *self
    }
}

/// 24 bytes that differ from the first on.
impl Element for String {
    fn nth(k: u64) -> Self {
        format!("{:016x}{:08x}", mix(k), k & 0xffff_ffff)
    }

    fn word(&self) -> u64 {
        self.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

/// How a set is written, and how it is read.
type Codec<C> = (fn(&C) -> Option<Vec<u8>>, fn(&[u8]) -> Option<C>);

/// A set with a writer.
pub(crate) trait Set<E: Element>: Contestant {
    /// What brings another set up to date.
    type Delta;

    fn empty(writer: u64) -> Self;

    /// A copy for another writer.
    fn fork(&self, writer: u64) -> Self;

    /// Adds in the documented way.
    fn add(&mut self, element: E);

    /// Adds many in the fastest way.
    fn add_all(&mut self, elements: impl ExactSizeIterator<Item = E>) {
        for element in elements {
            self.add(element);
        }
    }

    fn remove_all(&mut self, elements: &[E]);

    fn has(&self, element: &E) -> bool;

    /// Visits all elements: how many, and the sum of their words.
    fn sum(&self) -> (u64, u64);

    /// The same on a copy of all elements, for whom that is faster than iterating.
    fn sum_of_copy(&self) -> Option<(u64, u64)> {
        None
    }

    /// In the smallest and fastest form that there is: our own for ours, postcard for all others.
    fn encode(&self) -> Option<Vec<u8>> {
        None
    }

    fn decode(_: &[u8]) -> Option<Self> {
        None
    }

    /// All ways to encode, each with its column.
    fn codecs() -> Vec<(&'static str, Codec<Self>)> {
        vec![(Self::SIDE, (Self::encode, Self::decode))]
    }

    /// What `receiver` lacks; `None` if there are no deltas, or none that say what was removed.
    fn delta(&self, _receiver: &Self) -> Option<Self::Delta> {
        None
    }

    fn apply(&mut self, _delta: &Self::Delta) {}

    fn encode_delta(_: &Self::Delta) -> Option<Vec<u8>> {
        None
    }

    /// A set that so many writers, from `first` on, have filled in turn. Made of their [`parts`], merged two by two, if
    /// a set knows its writer; those that do not let them take turns on one set: the same state, and no merges.
    fn base(first: u64, writers: u64, elements: &[E]) -> Self {
        let mut parts: Vec<Self> = parts(first, writers, elements);
        while parts.len() > 1 {
            let mut rest = parts.into_iter();
            parts = Vec::new();
            while let Some(mut left) = rest.next() {
                if let Some(right) = rest.next() {
                    left.absorb(right);
                }
                parts.push(left);
            }
        }
        parts.pop().expect("there is a writer")
    }
}

/// What each writer adds, as a set of its own.
fn parts<C: Set<E>, E: Element>(first: u64, writers: u64, elements: &[E]) -> Vec<C> {
    turns(first, writers, elements)
        .map(|(writer, part)| {
            let mut set = C::empty(writer);
            set.add_all(part);
            set
        })
        .collect()
}

/// The writers, each with the elements that are its own.
fn turns<E: Element>(
    first: u64,
    writers: u64,
    elements: &[E],
) -> impl Iterator<Item = (u64, impl ExactSizeIterator<Item = E>)> {
    let stride = usize::try_from(writers).expect("few writers");
    let part = move |k| elements.iter().skip(k).step_by(stride).cloned();
    (0..stride).map(move |k| (first + k as u64, part(k)))
}

/// How [`Contestant::digest`] is made for sets.
pub(crate) fn digest((count, sum): (u64, u64)) -> u128 {
    u128::from(count) << 64 | u128::from(sum)
}

pub(crate) fn sum<'a, E: Element>(elements: impl Iterator<Item = &'a E>) -> (u64, u64) {
    elements.fold((0, 0), |(count, sum), element| (count + 1, sum.wrapping_add(element.word())))
}

/// The elements `from .. from + count`.
pub(crate) fn elements<E: Element>(from: u64, count: u64) -> Vec<E> {
    (from..from + count).map(E::nth).collect()
}

/// What each of two sides does to a base of n elements: half adds and half removals, spread over the base.
pub(crate) struct Changes<E> {
    pub(crate) added: Vec<E>,
    pub(crate) removed: Vec<E>,
}

pub(crate) fn changes<E: Element>(n: u64, d: u64, side: u64) -> Changes<E> {
    let stride = (n / (2 * d).max(1)).max(1);
    Changes {
        added: (0..d.div_ceil(2)).map(|k| E::nth(n + 2 * k + side)).collect(),
        removed: (0..d / 2).map(|k| E::nth((2 * k + side) * stride)).collect(),
    }
}

/// The digest of the join of a base and what both sides did to it: they add what is new and remove what is there, each
/// element once.
fn expected<E: Element>(n: u64, d: u64) -> u128 {
    let (mut count, mut total) = sum(elements::<E>(0, n).iter());
    for side in 0..2 {
        let Changes { added, removed } = changes::<E>(n, d, side);
        let (more, less) = (sum(added.iter()), sum(removed.iter()));
        count = count + more.0 - less.0;
        total = total.wrapping_add(more.1).wrapping_sub(less.1);
    }
    digest((count, total))
}

/// The digest of n elements and n others.
fn expected_disjoint<E: Element>(n: u64) -> u128 {
    digest(sum(elements::<E>(0, 2 * n).iter()))
}

fn side<C: Set<E>, E: Element>(base: &C, n: u64, d: u64, side: u64) -> C {
    let mut state = base.fork(CHANGERS + side);
    let Changes { added, removed } = changes::<E>(n, d, side);
    state.add_all(added.into_iter());
    state.remove_all(&removed);
    state
}

/// How two sides came to have a base in common.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    kind: &'static str,
    n: u64,
    /// By how many it was filled.
    writers: u64,
    /// If the sides are no clones, but have each received what the writers added, in another order.
    is_apart: bool,
}

impl Shape {
    /// The base as each side has it.
    fn bases<C: Set<E>, E: Element>(self) -> (C, C) {
        let items = elements::<E>(0, self.n);
        if self.is_apart {
            let parts: Vec<C> = parts(FIRST, self.writers, &items);
            let (mut left, mut right) = (C::empty(RECEIVERS), C::empty(RECEIVERS + 1));
            for (one, other) in parts.iter().zip(parts.iter().rev()) {
                left.join(one);
                right.join(other);
            }
            return (left, right);
        }
        let base: C = self.base(FIRST, items);
        (base.clone(), base)
    }

    /// Whoever adds nothing that stays has added and seen removed something: each replica counts in the vectors.
    fn base<C: Set<E>, E: Element>(self, first: u64, mut items: Vec<E>) -> C {
        let gone: Vec<E> =
            (self.n..self.writers).map(|k| E::nth(u64::MAX / 2 + first * self.writers + k)).collect();
        items.extend(gone.iter().cloned());
        let mut base = C::base(first, self.writers, &items);
        base.remove_all(&gone);
        base
    }

    fn row(self, work: &'static str, unit: Unit) -> Row {
        Row { kind: self.kind, work, n: self.n, unit }
    }
}

const FEW: Shape = Shape { kind: KIND, n: 10_000, writers: 3, is_apart: false };

/// Sets of numbers, by few writers.
pub(crate) fn round(effort: Effort, results: &mut Results) {
    for n in SMALL {
        let shape = Shape { n, ..FEW };
        small::peers::<u64>(shape, effort, results);
        small::all::<limits::TwoPhase, u64>(shape, effort, results);
    }
}

/// Strings; many writers; and sides that are no clones.
pub(crate) fn other_round(effort: Effort, results: &mut Results) {
    small::peers::<String>(Shape { kind: STRINGS, ..FEW }, effort, results);
    for shape in [
        Shape { kind: SIXTEEN, writers: 16, ..FEW },
        Shape { kind: MANY, n: 100, writers: 256, ..FEW },
        Shape { kind: MANY, writers: 256, ..FEW },
        Shape { kind: INDEPENDENT, is_apart: true, ..FEW },
    ] {
        small::peers::<u64>(shape, effort, results);
    }
}

pub(crate) use large::round as large_round;

/// What is counted, and so is the same each time.
pub(crate) fn count(quick: bool, results: &mut Results) {
    memory::round(results);
    kernel::churn(if quick { 1_000_000 } else { 10_000_000 }, results);
}

/// A plain set does not know what was removed.
fn is_plain<C: Contestant>() -> bool {
    LIMITS.contains(&C::SIDE) && C::SIDE != limits::TwoPhase::SIDE
}
