use crate::births::Handle;
use alloc::{vec, vec::Vec};

/// The slots of a bucket.
const SLOTS: usize = 6;
/// A one in each byte of a word that is a tag.
const ONES: u64 = 0x0101_0101_0101;
/// The highest bit of each tag. It is never set. A tag is not zero: a byte that is zero belongs to a free slot.
const HIGHS: u64 = ONES << 7;
/// As far as a count goes. From there on it stays.
const MANY: u64 = 0xf;

/// Half a cache line: six tags in a word, and six handles. What is left of the word counts who went past: four bits for
/// each of the four classes into which hashes fall.
#[derive(Clone, Copy, Default)]
#[repr(C, align(32))]
struct Bucket {
    word: u64,
    handles: [Handle; SLOTS],
}

/// A multimap from hashes to handles.
///
/// A bucket has a tag of seven bits for each of its entries, which are compared all at once. Who finds the bucket of its
/// hash full goes on to the next, and is counted in each that it passes: a search ends at a bucket that nobody of its
/// class has passed, and so a removal leaves no trace.
///
/// What this has over the table of a library: one line of memory is read where others keep tags and values apart; the
/// size need not be a power of two; and a copy of it is a copy of memory, in stable Rust too.
///
/// Source: Bronson and Shi, "Open-sourcing F14 for faster, more memory-efficient hash tables" (2019), for buckets with
/// tags and with a count of what went past.
#[derive(Clone, Default)]
pub(crate) struct Table {
    buckets: Vec<Bucket>,
    len: usize,
}

/// Where an entry stands: valid until the table is replaced.
#[derive(Clone, Copy)]
pub(crate) struct Position {
    bucket: usize,
    slot: usize,
}

/// The tag of a hash in each byte that is a tag.
#[inline]
fn tags(hash: u64) -> u64 {
    (hash >> 57).max(1) * ONES
}

/// The highest bit of each byte that is zero, of the six that are tags. Nothing is borrowed from one by another, since
/// all are less than 2⁷.
#[inline]
fn zeros(word: u64) -> u64 {
    HIGHS.wrapping_sub(word) & HIGHS
}

/// Where in a word those are counted that went past and are of the class of this hash.
#[inline]
fn past(hash: u64) -> u32 {
    48 + (hash >> 53 & 0xc) as u32
}

/// The slot that the lowest of some bits stands for.
#[inline]
fn slot(bits: u64) -> usize {
    bits.trailing_zeros() as usize / 8
}

impl Bucket {
    /// A bit for each slot with such a tag.
    #[inline]
    fn matches(&self, tags: u64) -> u64 {
        zeros(self.word ^ tags)
    }

    /// A bit for each slot that is free.
    #[inline]
    fn free(&self) -> u64 {
        zeros(self.word)
    }

    #[inline]
    fn put(&mut self, slot: usize, tags: u64, handle: Handle) {
        self.word |= tags & (0xff << (slot * 8));
        self.handles[slot] = handle;
    }

    fn free_slot(&mut self, slot: usize) {
        self.word &= !(0xff << (slot * 8));
    }

    /// How many of this class went past, as far as it was counted.
    #[inline]
    fn passed(&self, hash: u64) -> u64 {
        self.word >> past(hash) & MANY
    }
}

impl Table {
    /// With room for at least so many entries, and a third more: a set that was made to measure grows too, and should not
    /// have to be laid out anew for its first change. Two thirds of the slots can be used.
    pub(crate) fn with_capacity(room: usize) -> Self {
        Table { buckets: vec![Bucket::default(); room.div_ceil(3)], len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How many entries there may be.
    #[inline]
    pub(crate) fn capacity(&self) -> usize {
        self.buckets.len() * 4
    }

    pub(crate) fn clear(&mut self) {
        self.buckets.fill(Bucket::default());
        self.len = 0;
    }

    /// The bucket of a hash, by bits that are not in the tag.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        // There are fewer than 2³² buckets, because there are fewer handles.
        (((hash & 0xffff_ffff) * self.buckets.len() as u64) >> 32) as usize
    }

    #[inline]
    fn next(&self, bucket: usize) -> usize {
        if bucket + 1 < self.buckets.len() { bucket + 1 } else { 0 }
    }

    /// Whether there is an entry with this hash that is wanted, if the first that comes into question tells.
    #[inline]
    pub(crate) fn glance(&self, hash: u64, is_wanted: impl FnOnce(Handle) -> bool) -> Option<bool> {
        let Some(bucket) = self.buckets.get(self.home(hash)) else { return Some(false) };
        match bucket.matches(tags(hash)) {
            0 => (bucket.passed(hash) == 0).then_some(false),
            matches => is_wanted(bucket.handles[slot(matches)]).then_some(true),
        }
    }

    /// Where the first entry stands that has this hash and is wanted. Some that have other hashes are asked about too.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is_wanted: impl FnMut(Handle) -> bool) -> Option<Position> {
        let mut at = self.home(hash);
        // Once round at most: all buckets may have been passed.
        for _ in 0..self.buckets.len() {
            let bucket = &self.buckets[at];
            let mut matches = bucket.matches(tags(hash));
            while matches != 0 {
                let slot = slot(matches);
                if is_wanted(bucket.handles[slot]) {
                    return Some(Position { bucket: at, slot });
                }
                matches &= matches - 1;
            }
            if bucket.passed(hash) == 0 {
                return None;
            }
            at = self.next(at);
        }
        None
    }

    /// Puts another handle in the place of one whose element is the same.
    pub(crate) fn replace(&mut self, position: Position, handle: Handle) {
        self.buckets[position.bucket].handles[position.slot] = handle;
    }

    /// Adds an entry.
    ///
    /// # Panics
    ///
    /// If there is no room for it.
    #[inline]
    pub(crate) fn insert(&mut self, hash: u64, handle: Handle) {
        assert!(self.len < self.capacity(), "there is room for one more");
        self.len += 1;
        let home = self.home(hash);
        let bucket = &mut self.buckets[home];
        match bucket.free() {
            0 => self.insert_beyond(home, hash, handle),
            free => bucket.put(slot(free), tags(hash), handle),
        }
    }

    #[cold]
    #[inline(never)]
    fn insert_beyond(&mut self, mut at: usize, hash: u64, handle: Handle) {
        loop {
            let bucket = &mut self.buckets[at];
            let free = bucket.free();
            if free != 0 {
                return bucket.put(slot(free), tags(hash), handle);
            }
            if bucket.passed(hash) < MANY {
                bucket.word += 1 << past(hash);
            }
            at = self.next(at);
        }
    }

    /// Removes the entry at a position, which has this hash.
    pub(crate) fn remove(&mut self, hash: u64, position: Position) {
        self.buckets[position.bucket].free_slot(position.slot);
        self.len -= 1;
        let mut at = self.home(hash);
        while at != position.bucket {
            let bucket = &mut self.buckets[at];
            if bucket.passed(hash) < MANY {
                bucket.word -= 1 << past(hash);
            }
            at = self.next(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;

    /// Whatever is in the table is found under its hash and nowhere else, however often entries come and go, if all
    /// have the same hash, or one of a few, or each its own.
    #[test]
    fn agrees_with_a_map_of_lists() {
        // Of all hashes, of those of one tag and class, and of those that begin at the last bucket.
        let shapes = [(u64::MAX, 0), (0xffff_ffff, 0), (!0xffff_ffff, 0xffff_ffff)];
        let sizes = [(1, 40), (2, 300), (7, 500), (u64::MAX, 500), (u64::MAX, 5), (3, 1)];
        for ((kinds, room), (mask, set)) in
            sizes.into_iter().flat_map(|size| shapes.map(|shape| (size, shape)))
        {
            let mut table = Table::with_capacity(room);
            let mut model: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
            let mut random = 1_u64;
            let mut next = || {
                random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                random >> 20
            };
            let spread = |n: u64| (n % kinds % 1_000).wrapping_mul(0x9e37_79b9_7f4a_7c15) & mask | set;
            for step in 0..8_000_u32 {
                let hash = spread(next());
                let phase = if step / 1_000 % 2 == 0 { 3 } else { 1 };
                if next() % 4 < phase && table.len() < table.capacity() {
                    table.insert(hash, Handle::of(step));
                    model.entry(hash).or_default().push(step);
                } else if let Some(gone) = model.get_mut(&hash).and_then(Vec::pop) {
                    let position = table.find(hash, |handle| handle == Handle::of(gone)).unwrap();
                    table.remove(hash, position);
                }
                if let Some(moved) = model.get_mut(&hash).and_then(|all| all.first_mut()) {
                    let position = table.find(hash, |handle| handle == Handle::of(*moved)).unwrap();
                    *moved += 1 << 20;
                    *moved %= 1 << 28;
                    table.replace(position, Handle::of(*moved));
                }
                if step % 64 == 0 {
                    counts_are_right(&table.clone(), &model);
                    assert_eq!(table.len(), model.values().map(Vec::len).sum::<usize>());
                    for (hash, all) in &model {
                        for wanted in all {
                            let is_wanted = |handle| handle == Handle::of(*wanted);
                            assert!(table.find(*hash, is_wanted).is_some());
                            assert_ne!(table.glance(*hash, is_wanted), Some(false));
                        }
                        let mut asked = Vec::new();
                        assert!(
                            table
                                .find(*hash, |handle| {
                                    asked.push(handle);
                                    false
                                })
                                .is_none()
                        );
                        assert!(all.iter().all(|handle| asked.contains(&Handle::of(*handle))));
                    }
                }
            }
            table.clear();
            assert_eq!((table.len(), table.find(0, |_| true).is_none()), (0, true));
        }
    }

    /// Each bucket counts who went past it, if they are not too many.
    fn counts_are_right(table: &Table, model: &BTreeMap<u64, Vec<u32>>) {
        let mut expected = vec![[0; 4]; table.buckets.len()];
        for (hash, entry) in model.iter().flat_map(|(hash, all)| all.iter().map(move |entry| (*hash, *entry)))
        {
            let position = table.find(hash, |handle| handle == Handle::of(entry)).unwrap();
            let mut at = table.home(hash);
            while at != position.bucket {
                expected[at][(past(hash) - 48) as usize / 4] += 1;
                at = table.next(at);
            }
        }
        for (bucket, expected) in table.buckets.iter().zip(expected) {
            for (class, expected) in (0_u64..).zip(expected) {
                let counted = bucket.passed(class << 55);
                assert!(counted == expected || counted == MANY, "{counted} of {expected}");
            }
        }
    }

    /// Fills a table with so many of one hash, and empties it.
    fn filled_and_emptied(room: usize, all: core::ops::Range<u32>) -> Table {
        let mut table = Table::with_capacity(room);
        for n in all.clone() {
            table.insert(0, Handle::of(n));
        }
        for n in all {
            let position = table.find(0, |handle| handle == Handle::of(n)).unwrap();
            table.remove(0, position);
        }
        table
    }

    #[test]
    fn a_removal_leaves_no_trace() {
        let table = filled_and_emptied(40, 0..20);
        assert_eq!(table.glance(0, |_| true), Some(false));
        assert!(table.buckets.iter().all(|bucket| bucket.word == 0));
    }

    /// More went past than a count can hold, and all are gone again.
    #[test]
    fn a_count_that_overflowed_costs_time_only() {
        let mut table = filled_and_emptied(400, 0..400);
        assert!(table.find(0, |_| true).is_none());
        assert_eq!(table.glance(0, |_| true), None);
        for n in 0..400 {
            table.insert(u64::from(n) << 24, Handle::of(n));
            assert!(table.find(u64::from(n) << 24, |handle| handle == Handle::of(n)).is_some());
        }
        assert_eq!(table.len(), 400);
    }

    #[test]
    #[should_panic(expected = "there is room")]
    fn nothing_fits_into_none() {
        assert!(Table::default().find(7, |_| true).is_none());
        assert_eq!(Table::default().glance(7, |_| true), Some(false));
        Table::default().insert(7, Handle::of(1));
    }
}
