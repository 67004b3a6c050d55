use crate::{Delta, Dotted, Gap, Merge, ReplicaId};
use alloc::vec::Vec;
use columns::{Block, ByRow, Columns, LANES, raise_while_common};
use core::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    iter::zip,
    mem,
};

mod columns;
#[cfg(test)]
mod tests;

/// One number for each replica, joined by maximum: the lattice under version vectors and counters.
///
/// A replica that is absent counts as 0, and 0 is never stored, so equal rows are equal values. Kept as two columns in
/// the order of the ids: a merge of rows with the same replicas is an elementwise maximum over plain integers. Up to
/// four rows allocate nothing; what is beyond takes one allocation.
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
pub struct Rows {
    columns: Columns,
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

/// In up to so many blocks an id is looked for one after the other; more are halved.
const FEW: usize = 2;

impl Rows {
    /// No rows: bottom.
    pub const fn new() -> Self {
        Rows { columns: Columns::new() }
    }

    /// The number of `replica`; 0 if it has none. **O(log n)**.
    #[inline]
    pub fn get(&self, replica: ReplicaId) -> u64 {
        match self.find(replica) {
            Ok(at) => self.columns.blocks().row(at).1,
            Err(_) => 0,
        }
    }

    /// Raises the number of `replica` to at least `value`; true exactly when it grew. **O(log n)**, a new row O(n).
    #[inline]
    pub fn raise(&mut self, replica: ReplicaId, value: u64) -> bool {
        match self.find(replica) {
            Ok(at) => {
                let held = self.columns.blocks_mut().value_mut(at);
                let grew = *held < value;
                *held = value.max(*held);
                grew
            }
            Err(block) if value > 0 => {
                let at = self.columns.blocks().seek(block * LANES, self.len(), replica.get());
                self.columns.insert(at, replica.get(), value);
                true
            }
            Err(_) => false,
        }
    }

    /// Raises the number of `replica`, 0 if it has none, to what `next` makes of it: one search where
    /// [`get`](Rows::get) and [`raise`](Rows::raise) are two. **O(log n)**, a new row O(n).
    ///
    /// # Errors
    ///
    /// Those of `next`; nothing is changed.
    #[inline]
    pub fn raise_with<E>(
        &mut self,
        replica: ReplicaId,
        next: impl FnOnce(u64) -> Result<u64, E>,
    ) -> Result<(), E> {
        match self.find(replica) {
            Ok(at) => {
                let held = self.columns.blocks_mut().value_mut(at);
                *held = next(*held)?.max(*held);
            }
            Err(_) => _ = self.raise(replica, next(0)?),
        }
        Ok(())
    }

    /// Where the row of `replica` is, or the block in which it would be.
    #[inline]
    fn find(&self, replica: ReplicaId) -> Result<usize, usize> {
        let (blocks, id) = (self.columns.blocks(), replica.get());
        let (first, blocks) = if blocks.len() <= FEW {
            (0, blocks)
        } else {
            let first = blocks.partition_point(|block| block.ids[0] <= id).saturating_sub(1);
            (first, &blocks[first..=first])
        };
        for (block, nth) in zip(blocks, first..) {
            // What is past the last row is no id.
            if let Some(lane) = block.ids.iter().position(|other| *other == id) {
                return Ok(nth * LANES + lane);
            }
        }
        Err(first)
    }

    /// How many replicas have a number.
    #[inline]
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// True for bottom.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows in ascending order of the ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (ReplicaId, u64)> + DoubleEndedIterator + Clone + '_ {
        self.columns.rows().map(|(id, value)| (ReplicaId::new(id), value))
    }

    /// The sum of all numbers; wide, so that it cannot overflow. **O(n)**.
    pub fn sum(&self) -> u128 {
        self.columns.blocks().iter().flat_map(|block| block.values).map(u128::from).sum()
    }

    /// Compares two histories exactly, in one pass. **O(n)**; ends as soon as they are known to be concurrent.
    pub fn compare(&self, other: &Self) -> Causality {
        // Who has fewer rows lacks one of the other's.
        let (mut less, mut more) = (self.len() < other.len(), self.len() > other.len());
        let mut at = 0;
        for (mine, theirs) in self.common_blocks(other) {
            if mine.values != theirs.values {
                less |= mine.is_behind(theirs);
                more |= theirs.is_behind(mine);
                if less && more {
                    return Causality::Concurrent;
                }
            }
            at += LANES;
        }
        // Also where there are none, the rows that are left cost more than a few blocks.
        let rest = (at < self.len() || at < other.len()).then(|| self.zip_from(other, at));
        for (_, mine, theirs) in rest.into_iter().flatten() {
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

    /// The first row in which `self` is behind `other`, as a [`Gap`]. **O(n)**; for m rows of `other` O(m log n), if
    /// that is less.
    ///
    /// # Errors
    ///
    /// [`Gap`] exactly when not `other <= self`.
    pub fn covers(&self, other: &Self) -> Result<(), Gap> {
        let mut at = 0;
        for (mine, theirs) in self.common_blocks(other) {
            if mine.is_behind(theirs)
                && let Some(lane) = (0..LANES).find(|&lane| mine.values[lane] < theirs.values[lane])
            {
                let (have, since) = (mine.values[lane], theirs.values[lane]);
                return Err(Gap { replica: ReplicaId::new(mine.ids[lane]), have, since });
            }
            at += LANES;
        }
        let (mine, mut here) = (self.columns.blocks(), at);
        for (id, since) in other.columns.rows().skip(at) {
            here = mine.seek(here, self.len(), id);
            let have = if here < self.len() && mine.row(here).0 == id { mine.row(here).1 } else { 0 };
            if have < since {
                return Err(Gap { replica: ReplicaId::new(id), have, since });
            }
        }
        Ok(())
    }

    /// Both sides' numbers for every replica of either, ascending.
    pub fn zip<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (ReplicaId, u64, u64)> + 'a {
        self.zip_from(other, 0)
    }

    /// As [`zip`](Self::zip), without the first `at` rows of both.
    fn zip_from<'a>(
        &'a self,
        other: &'a Self,
        at: usize,
    ) -> impl Iterator<Item = (ReplicaId, u64, u64)> + 'a {
        let (left, right) = (self.columns.blocks(), other.columns.blocks());
        let (mut here, mut there) = (at, at);
        core::iter::from_fn(move || {
            let mine = (here < self.len()).then(|| left.row(here));
            let theirs = (there < other.len()).then(|| right.row(there));
            let order = match (mine, theirs) {
                (None, None) => return None,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((mine, _)), Some((theirs, _))) => mine.cmp(&theirs),
            };
            let mine = mine.filter(|_| order.is_le());
            let theirs = theirs.filter(|_| order.is_ge());
            here += usize::from(mine.is_some());
            there += usize::from(theirs.is_some());
            let (id, _) = mine.or(theirs)?;
            Some((ReplicaId::new(id), mine.map_or(0, |row| row.1), theirs.map_or(0, |row| row.1)))
        })
    }

    /// The rows in which `self` is above `other`, with both numbers, ascending. **O(n)**, of which stretches that are equal
    /// on both sides cost next to nothing; for m rows of `self` O(m log n), if that is less.
    pub fn above<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (ReplicaId, u64, u64)> + 'a {
        let (left, right) = (self.columns.blocks(), other.columns.blocks());
        let (mut here, mut there) = (0, 0);
        core::iter::from_fn(move || {
            while here < self.len() {
                if here == there && here % LANES == 0 {
                    let both = zip(&left[here / LANES..], right.get(here / LANES..).unwrap_or_default());
                    let equal = both.take_while(|(mine, theirs)| mine == theirs).count();
                    if equal > 0 {
                        (here, there) = (here + equal * LANES, there + equal * LANES);
                        continue;
                    }
                }
                let (id, mine) = left.row(here);
                here += 1;
                there = right.seek(there, other.len(), id);
                let theirs = if there < other.len() && right.row(there).0 == id {
                    there += 1;
                    right.row(there - 1).1
                } else {
                    0
                };
                if mine > theirs {
                    return Some((ReplicaId::new(id), mine, theirs));
                }
            }
            None
        })
    }

    /// Both sides' blocks for as long as they have the same ids.
    fn common_blocks<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (&'a Block, &'a Block)> + 'a {
        zip(self.columns.blocks(), other.columns.blocks()).take_while(|(mine, theirs)| mine.ids == theirs.ids)
    }

    /// Raises the rows of the blocks that have the same ids on both sides, from the first on; says whether one grew.
    ///
    /// # Errors
    ///
    /// If those are not all blocks of `other`: the same, and at which row it stopped.
    // Looks at nothing else, not even at the numbers of rows, which are in another cache line.
    #[inline]
    fn raise_blocks(&mut self, other: &Self) -> Result<bool, (bool, usize)> {
        let theirs = other.columns.blocks();
        let (grew, common) = raise_while_common(self.columns.blocks_mut(), theirs);
        if common == theirs.len() { Ok(grew) } else { Err((grew, common * LANES)) }
    }

    #[inline]
    fn merge_blocks(&mut self, other: &Self) -> bool {
        self.raise_blocks(other).unwrap_or_else(|(grew, at)| self.merge_differing(other, at) || grew)
    }

    /// Merges from row `at` of both on, up to which the replicas are the same; apart, so that the rest is small enough
    /// to be inlined.
    #[inline(never)]
    fn merge_differing(&mut self, other: &Self, at: usize) -> bool {
        if other.len() <= self.columns.capacity() {
            return self.merge_rest(other, at);
        }
        // The rows have to be moved anyway: start from the side that has more, of which fewer are missing.
        let grown = Rows { columns: other.columns.copied_to_replace(&self.columns) };
        let mine = mem::replace(self, grown);
        self.merge_blocks(&mine);
        true
    }

    /// As [`merge_differing`](Self::merge_differing), but takes the other's buffer where it would copy it.
    #[inline(never)]
    fn merge_differing_owned(&mut self, other: &mut Self, at: usize) -> bool {
        if other.len() <= self.columns.capacity() {
            return self.merge_rest(other, at);
        }
        mem::swap(self, other);
        self.merge_blocks(other);
        true
    }

    /// Raises the rows that both have, from row `at` of both on, and inserts those that are missing here; true exactly
    /// when something grew.
    fn merge_rest(&mut self, other: &Self, at: usize) -> bool {
        let (grew, missing) = self.raise_rest(other, at);
        if missing > 0 {
            self.columns.insert_missing(&other.columns, missing);
        }
        grew || missing > 0
    }

    /// Raises the rows that both have, from row `at` of both on; says whether one grew, and how many rows are missing
    /// here.
    fn raise_rest(&mut self, other: &Self, at: usize) -> (bool, usize) {
        let (my_len, their_len) = (self.len(), other.len());
        let (mine, theirs) = (self.columns.blocks_mut(), other.columns.blocks());
        let (mut grew, mut missing) = (false, 0);
        let (mut here, mut there) = (at, at);
        while here < my_len && there < their_len {
            let ((my_id, held), (their_id, value)) = (mine.row(here), theirs.row(there));
            match my_id.cmp(&their_id) {
                Ordering::Equal => {
                    grew |= held < value;
                    *mine.value_mut(here) = held.max(value);
                    (here, there) = (here + 1, there + 1);
                }
                Ordering::Less => here = mine.seek(here, my_len, their_id),
                Ordering::Greater => {
                    let next = theirs.seek(there, their_len, my_id);
                    missing += next - there;
                    there = next;
                }
            }
        }
        (grew, missing + their_len - there)
    }
}

impl Merge for Rows {
    /// The pointwise maximum. **O(n)**; with the same replicas on both sides an elementwise maximum, and for m rows
    /// whose replicas are all here O(m log n), if that is less.
    #[inline]
    fn merge(&mut self, other: &Self) -> bool {
        if let Some((mine, theirs)) = self.columns.both_inline(&other.columns)
            && let Some(grown) = mine.raise(theirs)
        {
            return grown > 0;
        }
        self.merge_blocks(other)
    }

    /// As [`merge`](Merge::merge); where it would have to allocate for the other's rows, it takes their buffer.
    #[inline]
    fn merge_owned(&mut self, mut other: Self) -> bool {
        if let Some((mine, theirs)) = self.columns.both_inline(&other.columns)
            && let Some(grown) = mine.raise(theirs)
        {
            return grown > 0;
        }
        // By reference from here on: `other` has been moved often enough.
        self.raise_blocks(&other)
            .unwrap_or_else(|(grew, at)| self.merge_differing_owned(&mut other, at) || grew)
    }
}

impl Dotted for Rows {
    #[inline]
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
        let (mut ahead, mut at) = (Rows::new(), 0);
        for (mine, theirs) in self.common_blocks(since) {
            if mine.values != theirs.values {
                for (id, (mine, theirs)) in zip(mine.ids, zip(mine.values, theirs.values)) {
                    if mine > theirs {
                        ahead.columns.push(id, mine);
                    }
                }
            }
            at += LANES;
        }
        for (id, mine, theirs) in self.zip_from(since, at) {
            if mine > theirs {
                ahead.columns.push(id.get(), mine);
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

impl Default for Rows {
    fn default() -> Self {
        Rows::new()
    }
}

// Not derived: a derived `clone_from` would drop the buffer and allocate a new one.
impl Clone for Rows {
    #[inline]
    fn clone(&self) -> Self {
        Rows { columns: self.columns.clone() }
    }

    fn clone_from(&mut self, source: &Self) {
        self.columns.clone_from(&source.columns);
    }
}

impl PartialEq for Rows {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.columns.blocks() == other.columns.blocks()
    }
}

impl Eq for Rows {}

impl Hash for Rows {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for row in self.columns.rows() {
            row.hash(state);
        }
        self.len().hash(state);
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
        let given = pairs.into_iter();
        // What is filtered promises nothing, and few rows should not be moved again and again.
        let mut pairs = Vec::with_capacity(given.size_hint().1.map_or(0, |most| most.min(64)));
        pairs.extend(given.filter(|pair| pair.1 > 0));
        pairs.sort_unstable();
        pairs.dedup_by(|greater, kept| {
            let same = greater.0 == kept.0;
            if same {
                kept.1 = greater.1;
            }
            same
        });
        let mut columns = Columns::with_capacity(pairs.len());
        for (id, value) in pairs {
            columns.push(id.get(), value);
        }
        Rows { columns }
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
        if self.columns.rows().next_back().is_some_and(|(last, _)| last >= id.get()) {
            return Err(InvalidRows::Unsorted(id));
        }
        self.columns.push(id.get(), value);
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
