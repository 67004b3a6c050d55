//! What a way of storing a set must do, and a set stored in that way together with what it has seen.

use crate::measure::mix;
use crdt_core::{Dot, Merge as _, ReplicaId};
use std::hash::Hash;
use version_vector::VersionVector;

/// An add-wins set without a causal context of its own: the caller keeps the vector and numbers the events.
///
/// All contestants promise what [`or_set::Kernel`] does, and are given the same dots.
pub(crate) trait Representation<E: Element>: Clone + Default {
    const NAME: &'static str;

    /// Adds by a new event of `dot.replica`, which supersedes the element's live dots.
    fn add(&mut self, dot: Dot, element: E);

    /// Removes by a new event; false, and nothing has happened, if the element is not there.
    fn remove(&mut self, dot: Dot, element: &E) -> bool;

    fn contains(&self, element: &E) -> bool;

    /// Each element once.
    fn iter<'a>(&'a self) -> impl Iterator<Item = &'a E>
    where
        E: 'a;

    /// Joins a set that has seen `theirs` into this one, which has seen `seen`; true exactly when there was news.
    fn merge(&mut self, other: &Self, seen: &VersionVector, theirs: &VersionVector) -> bool;

    /// Forgets which events ended which dots, as a bounded memory would.
    fn forget_deaths(&mut self, seen: &VersionVector);
}

/// What the sets hold.
pub(crate) trait Element: Clone + Eq + Hash {
    /// The k-th element: all differ, and look random.
    fn make(k: u64) -> Self;

    /// Something to add up that needs the element's bytes.
    fn weight(&self) -> u64;
}

impl Element for u64 {
    fn make(k: u64) -> Self {
        mix(k)
    }

    fn weight(&self) -> u64 {
        *self
    }
}

impl Element for String {
    fn make(k: u64) -> Self {
        format!("{:024x}", mix(k))
    }

    fn weight(&self) -> u64 {
        self.as_bytes().last_chunk().map_or(0, |last| u64::from_le_bytes(*last))
    }
}

/// How many sets share a numbering when it is sparse: between two of a set's dots lie as many of others.
const SHARED: u64 = 1_000;

/// Numbers the events of all replicas.
#[derive(Clone, Default)]
pub(crate) struct Numbering {
    pub(crate) seen: VersionVector,
    is_sparse: bool,
}

impl Numbering {
    pub(crate) fn new(is_sparse: bool) -> Self {
        Numbering { seen: VersionVector::new(), is_sparse }
    }

    /// The next event of a replica.
    pub(crate) fn next(&mut self, replica: u64) -> Dot {
        let replica = ReplicaId::new(replica);
        let last = self.seen.get(replica);
        let skipped = if self.is_sparse { mix(last) % (2 * SHARED - 1) } else { 0 };
        let dot = Dot::new(replica, last + 1 + skipped);
        self.seen.advance(dot);
        dot
    }
}

/// A replica's set.
#[derive(Clone)]
pub(crate) struct State<R> {
    pub(crate) set: R,
    pub(crate) numbering: Numbering,
}

impl<R> State<R> {
    pub(crate) fn add<E: Element>(&mut self, replica: u64, element: E)
    where
        R: Representation<E>,
    {
        self.set.add(self.numbering.next(replica), element);
    }

    /// Removes what is there.
    pub(crate) fn remove<E: Element>(&mut self, replica: u64, element: &E)
    where
        R: Representation<E>,
    {
        let was_there = self.set.remove(self.numbering.next(replica), element);
        assert!(was_there, "{} has lost an element", R::NAME);
    }

    pub(crate) fn join<E: Element>(&mut self, other: &Self)
    where
        R: Representation<E>,
    {
        self.set.merge(&other.set, &self.numbering.seen, &other.numbering.seen);
        self.numbering.seen.merge(&other.numbering.seen);
    }
}

/// How many elements there are, and the sum of their weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest {
    count: u64,
    sum: u64,
}

impl Digest {
    pub(crate) fn of<'a, E: Element + 'a>(elements: impl Iterator<Item = &'a E>) -> Self {
        elements.fold(Digest::default(), Digest::with)
    }

    pub(crate) fn with<E: Element>(self, element: &E) -> Self {
        self.plus(Digest { count: 1, sum: element.weight() })
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Digest { count: self.count + other.count, sum: self.sum.wrapping_add(other.sum) }
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Digest { count: self.count - other.count, sum: self.sum.wrapping_sub(other.sum) }
    }
}
