use crate::{Delta, Dotted, Gap, Merge, ReplicaId};
use alloc::vec::Vec;
use core::{cmp::Ordering, fmt};

/// One number for each replica, joined by maximum: the lattice under version vectors and counters.
///
/// A replica that is absent counts as 0, and 0 is never stored, so equal rows are equal values. Kept as two columns in
/// the order of the ids: a merge of rows with the same replicas is an elementwise maximum over plain integers.
///
/// # Law
///
/// A join-semilattice (see [`Merge`]): the pointwise maximum; bottom is empty. Its own version (see [`Delta`]).
///
/// Source: Shapiro et al., INRIA RR-7506 (2011), section 3.1.2, where it is the payload of the G-Counter.
///
/// ```
/// use crdt_core::{Causality, Merge, ReplicaId, Rows};
///
/// let mut left: Rows = [(1, 4), (2, 1)].into_iter().collect();
/// let right: Rows = [(2, 3), (9, 1)].into_iter().collect();
/// assert_eq!(left.compare(&right), Causality::Concurrent);
/// left.merge(&right);
/// assert_eq!(left.get(ReplicaId::new(2)), 3);
/// assert_eq!(left.sum(), 8);
/// ```
#[derive(Default, PartialEq, Eq, Hash)]
pub struct Rows {
    ids: Vec<ReplicaId>,
    values: Vec<u64>,
}

/// How two histories stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Causality {
    /// Each contains the other.
    Equal,
    /// The left one is contained in the right one, and is smaller.
    Before,
    /// The left one contains the right one, and is larger.
    After,
    /// Each has what the other lacks.
    Concurrent,
}

/// Why a list of pairs is not [`Rows`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidRows {
    /// A replica's number is 0, which is written by leaving the replica out.
    Zero(ReplicaId),
    /// The ids are not strictly ascending at this one.
    Unsorted(ReplicaId),
}

impl Rows {
    /// No rows: bottom.
    pub const fn new() -> Self {
        Rows { ids: Vec::new(), values: Vec::new() }
    }

    /// The number of `replica`; 0 if it has none. **O(log n)**.
    pub fn get(&self, replica: ReplicaId) -> u64 {
        self.ids.binary_search(&replica).map_or(0, |at| self.values[at])
    }

    /// Raises the number of `replica` to at least `value`; true exactly when it grew. **O(log n)**, O(n) for a new row.
    pub fn raise(&mut self, replica: ReplicaId, value: u64) -> bool {
        match self.ids.binary_search(&replica) {
            Ok(at) if self.values[at] < value => self.values[at] = value,
            Err(at) if value > 0 => {
                self.ids.insert(at, replica);
                self.values.insert(at, value);
            }
            _ => return false,
        }
        true
    }

    /// How many replicas have a number.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// True for bottom.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The rows in ascending order of the ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (ReplicaId, u64)> + DoubleEndedIterator + Clone + '_ {
        self.ids.iter().copied().zip(self.values.iter().copied())
    }

    /// The sum of all numbers; wide, so that it cannot overflow. **O(n)**.
    pub fn sum(&self) -> u128 {
        self.values.iter().map(|&value| u128::from(value)).sum()
    }

    /// Compares two histories exactly, in one pass. **O(n)**.
    pub fn compare(&self, other: &Self) -> Causality {
        let (mut less, mut more) = (false, false);
        for (_, mine, theirs) in self.zip(other) {
            less |= mine < theirs;
            more |= mine > theirs;
            if less && more {
                return Causality::Concurrent;
            }
        }
        match (less, more) {
            (false, false) => Causality::Equal,
            (true, false) => Causality::Before,
            (false, true) => Causality::After,
            (true, true) => Causality::Concurrent,
        }
    }

    /// The first row in which `self` is behind `other`, as a [`Gap`]. **O(n)**.
    ///
    /// # Errors
    ///
    /// [`Gap`] exactly when not `other <= self`.
    pub fn covers(&self, other: &Self) -> Result<(), Gap> {
        match self.zip(other).find(|(_, have, since)| have < since) {
            None => Ok(()),
            Some((replica, have, since)) => Err(Gap { replica, have, since }),
        }
    }

    /// Both sides' numbers for every replica of either, ascending.
    pub fn zip<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (ReplicaId, u64, u64)> + 'a {
        let (mut left, mut right) = (self.iter().peekable(), other.iter().peekable());
        core::iter::from_fn(move || {
            let order = match (left.peek(), right.peek()) {
                (None, None) => return None,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((l, _)), Some((r, _))) => l.cmp(r),
            };
            let mine = if order.is_le() { left.next() } else { None };
            let theirs = if order.is_ge() { right.next() } else { None };
            let (id, _) = mine.or(theirs)?;
            Some((id, mine.map_or(0, |row| row.1), theirs.map_or(0, |row| row.1)))
        })
    }
}

impl Merge for Rows {
    /// The pointwise maximum. **O(n)**; with the same replicas on both sides an elementwise maximum.
    fn merge(&mut self, other: &Self) -> bool {
        if self.ids == other.ids {
            let mut grew = false;
            for (mine, theirs) in self.values.iter_mut().zip(&other.values) {
                grew |= *mine < *theirs;
                *mine = (*mine).max(*theirs);
            }
            return grew;
        }
        if self.is_empty() {
            self.clone_from(other);
            return true;
        }
        // A row that is not here makes every further insertion O(n): rebuild once instead.
        if other.iter().all(|(id, _)| self.ids.binary_search(&id).is_ok()) {
            let mut grew = false;
            for (id, value) in other.iter() {
                grew |= self.raise(id, value);
            }
            return grew;
        }
        let mut merged = Rows::new();
        merged.ids.reserve(self.len() + other.len());
        merged.values.reserve(self.len() + other.len());
        for (id, mine, theirs) in self.zip(other) {
            merged.ids.push(id);
            merged.values.push(mine.max(theirs));
        }
        *self = merged;
        true
    }
}

impl Dotted for Rows {
    fn last_counter(&self, replica: ReplicaId) -> u64 {
        self.get(replica)
    }
}

impl Delta for Rows {
    type Version = Rows;
    type Change = Rows;

    fn version(&self) -> &Rows {
        self
    }

    /// The rows that are ahead of `since`. **O(n)**.
    fn delta_since(&self, since: &Rows) -> Rows {
        let mut ahead = Rows::new();
        for (id, mine, theirs) in self.zip(since) {
            if mine > theirs {
                ahead.ids.push(id);
                ahead.values.push(mine);
            }
        }
        ahead
    }

    /// Never an error: a row is an absolute number and stands for itself.
    fn apply(&mut self, change: &Rows) -> Result<bool, Gap> {
        Ok(self.merge(change))
    }
}

impl PartialOrd for Rows {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.compare(other) {
            Causality::Equal => Some(Ordering::Equal),
            Causality::Before => Some(Ordering::Less),
            Causality::After => Some(Ordering::Greater),
            Causality::Concurrent => None,
        }
    }
}

impl Clone for Rows {
    fn clone(&self) -> Self {
        Rows { ids: self.ids.clone(), values: self.values.clone() }
    }

    fn clone_from(&mut self, source: &Self) {
        self.ids.clone_from(&source.ids);
        self.values.clone_from(&source.values);
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Rows from pairs in any order, for tests and examples; of two for one replica the greater counts.
///
/// Panics on a replica id of zero; what comes from outside goes through serde or [`Rows::from_sorted`].
impl FromIterator<(u64, u64)> for Rows {
    fn from_iter<I: IntoIterator<Item = (u64, u64)>>(pairs: I) -> Self {
        pairs.into_iter().map(|(id, value)| (ReplicaId::new(id), value)).collect()
    }
}

/// Rows from pairs in any order; of two for one replica the greater counts.
impl FromIterator<(ReplicaId, u64)> for Rows {
    fn from_iter<I: IntoIterator<Item = (ReplicaId, u64)>>(pairs: I) -> Self {
        let mut pairs: Vec<_> = pairs.into_iter().filter(|pair| pair.1 > 0).collect();
        pairs.sort_unstable();
        let mut rows = Rows::new();
        for (id, value) in pairs {
            if rows.ids.last() == Some(&id) {
                rows.values.pop();
            } else {
                rows.ids.push(id);
            }
            rows.values.push(value);
        }
        rows
    }
}

impl Rows {
    /// Rows from pairs that claim to be in canonical form.
    ///
    /// # Errors
    ///
    /// [`InvalidRows`] names the first pair that is out of order, repeated, or zero.
    pub fn from_sorted(pairs: impl IntoIterator<Item = (ReplicaId, u64)>) -> Result<Self, InvalidRows> {
        let mut rows = Rows::new();
        for (id, value) in pairs {
            rows.push(id, value)?;
        }
        Ok(rows)
    }

    fn push(&mut self, id: ReplicaId, value: u64) -> Result<(), InvalidRows> {
        if value == 0 {
            return Err(InvalidRows::Zero(id));
        }
        if self.ids.last().is_some_and(|last| *last >= id) {
            return Err(InvalidRows::Unsorted(id));
        }
        self.ids.push(id);
        self.values.push(value);
        Ok(())
    }
}

impl fmt::Display for InvalidRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidRows::Zero(id) => write!(f, "replica {id} has the number 0, which is not written"),
            InvalidRows::Unsorted(id) => write!(f, "replica {id} is out of order or written twice"),
        }
    }
}

impl core::error::Error for InvalidRows {}

/// A map from id to number: in JSON an object with hexadecimal keys.
#[cfg(feature = "serde")]
mod serde_impls {
    use super::{ReplicaId, Rows};
    use core::fmt;
    use serde::{
        Deserialize, Deserializer, Serialize, Serializer,
        de::{Error, MapAccess, Visitor},
    };

    impl Serialize for Rows {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_map(self.iter())
        }
    }

    impl<'de> Deserialize<'de> for Rows {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Sorted;

            impl<'de> Visitor<'de> for Sorted {
                type Value = Rows;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("a map from replica ids, ascending, to numbers above 0")
                }

                // Grows as entries really arrive: a claimed length reserves nothing.
                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Rows, A::Error> {
                    let mut rows = Rows::new();
                    while let Some((id, value)) = map.next_entry::<ReplicaId, u64>()? {
                        rows.push(id, value).map_err(A::Error::custom)?;
                    }
                    Ok(rows)
                }
            }

            deserializer.deserialize_map(Sorted)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows<const N: usize>(pairs: [(u64, u64); N]) -> Rows {
        pairs.into_iter().collect()
    }

    /// All rows over three replicas with numbers 0 to 2: every case of every pair, against the definition.
    #[test]
    fn every_small_pair_agrees_with_the_definition() {
        let all: Vec<[u64; 3]> = (0..27).map(|n| [n % 3, n / 3 % 3, n / 9]).collect();
        let make = |v: &[u64; 3]| rows([(1, v[0]), (2, v[1]), (3, v[2])]);
        for a in &all {
            for b in &all {
                let join = [0, 1, 2].map(|i| a[i].max(b[i]));
                let mut merged = make(a);
                assert_eq!(merged.merge(&make(b)), join != *a);
                assert_eq!(merged, make(&join));
                let le = |x: &[u64; 3], y: &[u64; 3]| (0..3).all(|i| x[i] <= y[i]);
                let expected = match (le(a, b), le(b, a)) {
                    (true, true) => Causality::Equal,
                    (true, false) => Causality::Before,
                    (false, true) => Causality::After,
                    (false, false) => Causality::Concurrent,
                };
                assert_eq!(make(a).compare(&make(b)), expected);
                assert_eq!(make(a).covers(&make(b)).is_ok(), le(b, a));
                let mut updated = make(b);
                assert_eq!(updated.apply(&make(a).delta_since(&make(b))), Ok(join != *b));
                assert_eq!(updated, make(&join));
            }
        }
    }

    #[test]
    fn canonical_form_is_checked() {
        let id = ReplicaId::new;
        assert_eq!(Rows::from_sorted([(id(1), 0)]), Err(InvalidRows::Zero(id(1))));
        assert_eq!(Rows::from_sorted([(id(2), 1), (id(1), 1)]), Err(InvalidRows::Unsorted(id(1))));
        assert_eq!(Rows::from_sorted([(id(2), 1), (id(2), 1)]), Err(InvalidRows::Unsorted(id(2))));
        assert_eq!(rows([(2, 1), (1, 5), (2, 3), (4, 0)]), rows([(1, 5), (2, 3)]));
    }

    #[cfg(feature = "serde")]
    #[test]
    fn bytes_are_canonical_and_validated() {
        let value = rows([(1, 5), (0xab, 300)]);
        let json = serde_json::to_string(&value).unwrap();
        assert_eq!(json, r#"{"0000000000000001":5,"00000000000000ab":300}"#);
        assert_eq!(serde_json::from_str::<Rows>(&json).unwrap(), value);
        let bytes = postcard::to_allocvec(&value).unwrap();
        assert_eq!(bytes, [2, 1, 5, 0xab, 1, 0xac, 2]);
        assert_eq!(postcard::from_bytes::<Rows>(&bytes).unwrap(), value);
        for bad in [r#"{"1":0}"#, r#"{"0":1}"#, r#"{"2":1,"1":1}"#, r#"{"1":1,"1":2}"#, r#"{"g":1}"#] {
            assert!(serde_json::from_str::<Rows>(bad).is_err(), "{bad}");
        }
        // A claimed length of 2^63 entries is refused when the bytes end, not allocated.
        assert!(
            postcard::from_bytes::<Rows>(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]).is_err()
        );
    }
}
