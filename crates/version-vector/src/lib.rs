//! Version vectors: what a replica has seen, in one number for each replica.
//!
//! A [`VersionVector`] summarises a causally closed set of update events: for each replica the counter of the last one
//! seen. Comparing two tells exactly whether one history contains the other or whether they are **concurrent**, which is
//! how conflicts are detected.
//!
//! ```
//! use version_vector::{Causality, Replica, ReplicaId, UpdateError, VersionVector};
//!
//! let mut ann = Replica::new(ReplicaId::new(1), VersionVector::new());
//! let mut bob = Replica::new(ReplicaId::new(2), VersionVector::new());
//! ann.update(|seen, tick| seen.increment(tick))?;
//! bob.merge(&ann);
//! assert_eq!(ann.compare(&bob), Causality::Equal);
//!
//! bob.update(|seen, tick| seen.increment(tick))?;
//! assert_eq!(ann.compare(&bob), Causality::Before, "bob has seen all that ann has, and more");
//!
//! let dot = ann.update(|seen, tick| seen.increment(tick))?;
//! assert_eq!(ann.compare(&bob), Causality::Concurrent);
//! assert!(!bob.contains(dot));
//! # Ok::<(), UpdateError>(())
//! ```
//!
//! Source: Parker et al., "Detection of mutual inconsistency in distributed systems", IEEE TSE SE-9 (1983). For the
//! difference to vector *clocks*: these count updates of replicas, not messages of processes.
#![no_std]

extern crate alloc;

mod wire;

use core::{fmt, ops::RangeInclusive};
pub use crdt_core::{
    Causality, Delta, Dot, Dotted, Gap, InvalidRows, Merge, Replica, ReplicaId, Rows, Tick, UpdateError,
    wire::{DecodeError, Wire},
};

/// For each replica the counter of the last update seen, all earlier ones included.
///
/// # Laws
///
/// - A join-semilattice; the join is the pointwise maximum, bottom is empty.
/// - `a.compare(b)` is `Before` exactly when the events in `a` are a proper subset of those in `b`, and `Concurrent`
///   exactly when neither contains the other.
/// - It stands for *gap-free prefixes*: `contains(Dot(r, n))` implies `contains(Dot(r, m))` for all `1 <= m <= n`. It
///   cannot say "2 but not 1"; whoever receives events out of order holds them back.
#[derive(Default, PartialEq, Eq, Hash, PartialOrd)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct VersionVector(Rows);

impl VersionVector {
    /// The empty history: bottom.
    pub const fn new() -> Self {
        VersionVector(Rows::new())
    }

    /// The counter of the last update of `replica` seen; 0 for none. **O(log n)**.
    #[inline]
    pub fn get(&self, replica: ReplicaId) -> u64 {
        self.0.get(replica)
    }

    /// Whether the event `dot` is in this history. **O(log n)**.
    #[inline]
    pub fn contains(&self, dot: Dot) -> bool {
        dot.counter <= self.get(dot.replica)
    }

    /// Names one new event of the ticking replica and adds it. **O(log n)**.
    ///
    /// # Errors
    ///
    /// [`UpdateError`] if the tick does not directly follow what this vector has, or at 2⁶⁴ − 1; nothing is changed.
    #[inline]
    pub fn increment(&mut self, tick: Tick<'_>) -> Result<Dot, UpdateError> {
        let replica = tick.replica();
        let mut counter = 0;
        self.0.raise_with(replica, |last| {
            counter = tick.follows_counter(last)?.take()?.counter;
            Ok(counter)
        })?;
        Ok(Dot::new(replica, counter))
    }

    /// Adds all events of `dot`'s replica up to and including `dot`; true exactly when the history grew. **O(log n)**,
    /// O(n) for a new replica.
    ///
    /// For those who keep a history of *received* events; one's own are named by [`increment`](Self::increment).
    #[inline]
    pub fn advance(&mut self, dot: Dot) -> bool {
        self.0.raise(dot.replica, dot.counter)
    }

    /// How the two histories stand to each other, exactly. **O(n)**.
    #[inline]
    pub fn compare(&self, other: &Self) -> Causality {
        self.0.compare(&other.0)
    }

    /// Checks that this history contains all of `other`. **O(n)**.
    ///
    /// # Errors
    ///
    /// [`Gap`] names the first replica of which events are missing.
    #[inline]
    pub fn covers(&self, other: &Self) -> Result<(), Gap> {
        self.0.covers(&other.0)
    }

    /// The events that are here and not in `other`: for each replica that is ahead, the range of counters. **O(n)**; for m
    /// replicas of `self` O(m log n), if that is less.
    ///
    /// ```
    /// use version_vector::{ReplicaId, VersionVector};
    ///
    /// let ours: VersionVector = [(1, 5), (2, 3)].into_iter().collect();
    /// let theirs: VersionVector = [(1, 2), (2, 7)].into_iter().collect();
    /// assert!(ours.difference(&theirs).eq([(ReplicaId::new(1), 3..=5)]));
    /// ```
    pub fn difference<'a>(
        &'a self,
        other: &'a Self,
    ) -> impl Iterator<Item = (ReplicaId, RangeInclusive<u64>)> + 'a {
        self.0.above(&other.0).map(|(id, mine, theirs)| (id, theirs + 1..=mine))
    }

    /// How many events are here and not in `other`. **O(n)**; wide, so that it cannot overflow.
    pub fn ahead_of(&self, other: &Self) -> u128 {
        self.difference(other).map(|(_, range)| u128::from(range.end() - range.start()) + 1).sum()
    }

    /// Both sides' counters for every replica of either, in ascending order of the ids.
    pub fn zip<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (ReplicaId, u64, u64)> + 'a {
        self.0.zip(&other.0)
    }

    /// Each replica seen with its last counter, in ascending order of the ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (ReplicaId, u64)> + DoubleEndedIterator + Clone + '_ {
        self.0.iter()
    }

    /// How many replicas have been seen.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True for the empty history.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Merge for VersionVector {
    /// The union of both histories. **O(n)**.
    #[inline]
    fn merge(&mut self, other: &Self) -> bool {
        self.0.merge(&other.0)
    }

    #[inline]
    fn merge_owned(&mut self, other: Self) -> bool {
        self.0.merge_owned(other.0)
    }
}

impl Dotted for VersionVector {
    #[inline]
    fn last_counter(&self, replica: ReplicaId) -> u64 {
        self.get(replica)
    }
}

impl Delta for VersionVector {
    type Version = VersionVector;
    type Change = VersionVector;

    fn version(&self) -> &VersionVector {
        self
    }

    /// The entries that are ahead of `since`. **O(n)**.
    fn delta_since(&self, since: &VersionVector) -> VersionVector {
        VersionVector(self.0.delta_since(&since.0))
    }

    /// Never an error: an entry is an absolute number and stands for itself.
    fn apply(&mut self, change: &VersionVector) -> Result<bool, Gap> {
        self.0.apply(&change.0)
    }
}

// Not derived: a derived `clone_from` would drop the buffer and allocate a new one.
impl Clone for VersionVector {
    #[inline]
    fn clone(&self) -> Self {
        VersionVector(self.0.clone())
    }

    fn clone_from(&mut self, source: &Self) {
        self.0.clone_from(&source.0);
    }
}

impl From<Rows> for VersionVector {
    fn from(rows: Rows) -> Self {
        VersionVector(rows)
    }
}

/// Collects pairs in any order; of two for one replica the greater counts, and zeros are left out.
impl<P> FromIterator<P> for VersionVector
where
    Rows: FromIterator<P>,
{
    fn from_iter<I: IntoIterator<Item = P>>(pairs: I) -> Self {
        VersionVector(pairs.into_iter().collect())
    }
}

/// Collects dots: the least history that contains them all.
impl Extend<Dot> for VersionVector {
    fn extend<I: IntoIterator<Item = Dot>>(&mut self, dots: I) {
        for dot in dots {
            self.advance(dot);
        }
    }
}

impl fmt::Debug for VersionVector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::{collections::BTreeSet, vec::Vec};

    const IDS: [ReplicaId; 2] = [ReplicaId::new(1), ReplicaId::new(2)];

    /// The definition: a vector is a set of events.
    fn events(vector: &VersionVector) -> BTreeSet<Dot> {
        IDS.into_iter()
            .flat_map(|id| (1..=4).map(move |n| Dot::new(id, n)))
            .filter(|dot| vector.contains(*dot))
            .collect()
    }

    #[test]
    fn every_small_pair_agrees_with_sets_of_events() {
        let all: Vec<VersionVector> =
            (0..16).map(|n| [(IDS[0], n % 4), (IDS[1], n / 4)].into_iter().collect()).collect();
        for a in &all {
            for b in &all {
                let (left, right) = (events(a), events(b));
                let expected = match (left.is_subset(&right), right.is_subset(&left)) {
                    (true, true) => Causality::Equal,
                    (true, false) => Causality::Before,
                    (false, true) => Causality::After,
                    (false, false) => Causality::Concurrent,
                };
                assert_eq!(a.compare(b), expected);
                assert_eq!(a.ahead_of(b), left.difference(&right).count() as u128);
                let ahead: BTreeSet<Dot> =
                    a.difference(b).flat_map(|(id, range)| range.map(move |n| Dot::new(id, n))).collect();
                assert_eq!(ahead, left.difference(&right).copied().collect());
                assert_eq!(a.covers(b).is_ok(), right.is_subset(&left));
                let mut joined = a.clone();
                joined.merge(b);
                assert_eq!(events(&joined), left.union(&right).copied().collect());
            }
        }
    }

    #[test]
    fn a_second_writer_is_found_out() {
        let mut original = Replica::new(IDS[0], VersionVector::new());
        let mut fork = Replica::new(IDS[0], original.clone());
        fork.update(VersionVector::increment).unwrap();
        original.merge(&fork);
        let refused = original.update(VersionVector::increment);
        assert_eq!(refused, Err(UpdateError::Stale { replica: IDS[0], issued: 0, last: 1 }));
        assert_eq!(original.state(), fork.state());
    }
}
