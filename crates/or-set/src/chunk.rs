// Slots, ranks and counts within a chunk are at most 64, and there are fewer than 2²⁶ chunks.
#![allow(clippy::cast_possible_truncation)]

use alloc::vec::Vec;
use core::{mem, slice};

/// How many births a chunk can name: the bits of its bitmap.
pub(crate) const SLOTS: u32 = u64::BITS;

/// With so many live births in it a chunk without offsets is worth having: what a chunk takes by itself is then less
/// than an offset for each of them.
const WORTHWHILE: usize = 16;

/// Some consecutive births of one replica: a **slot** for each, a bitmap of the slots that live, and the elements of
/// the live ones, packed.
///
/// A slot keeps its number while its element lives, whatever happens to the others: so handles can name it. The place
/// of its element is the number of live slots before it, which is the slot itself as long as nothing before it died.
///
/// In a **dense** chunk, counters are `first + slot`. In a **sparse** one, of a replica that wrote elsewhere in between,
/// each live slot has an offset to `first`.
///
/// # Invariant
///
/// `elements` has one element for each bit of `live`; `offsets` is empty, or has one offset for each, ascending.
// One cache line: a lookup reads the bitmap and where the elements are.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(crate) struct Chunk<E> {
    first: u64,
    live: u64,
    elements: Vec<E>,
    offsets: Vec<u32>,
}

/// The bits below `slot`.
const fn below(slot: u32) -> u64 {
    (1 << slot) - 1
}

/// How many bits are set. Apart, because it takes many registers where the processor has no instruction for it.
#[inline(never)]
fn count(bits: u64) -> usize {
    bits.count_ones() as usize
}

/// The slot of the element at `rank`: where the bit stands that has so many set bits below it. [`SLOTS`] if there is
/// none.
fn select(live: u64, rank: usize) -> u32 {
    (0..rank).fold(live, |rest, _| rest & rest.wrapping_sub(1)).trailing_zeros()
}

impl<E> Chunk<E> {
    /// With no birth yet; the first will have the counter `first`.
    pub(crate) const fn new(first: u64) -> Self {
        Chunk { first, live: 0, elements: Vec::new(), offsets: Vec::new() }
    }

    #[cfg(test)]
    fn first(&self) -> u64 {
        self.first
    }

    pub(crate) fn elements(&self) -> &[E] {
        &self.elements
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.live == 0
    }

    fn is_dense(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Where the element of a live slot stands.
    #[inline]
    fn rank(&self, slot: u32) -> usize {
        if self.is_shifted(slot) { count(self.live & below(slot)) } else { slot as usize }
    }

    /// The element of a live slot.
    #[inline]
    pub(crate) fn element(&self, slot: u32) -> &E {
        &self.elements[self.rank(slot)]
    }

    /// Whether a slot before this one does not live, so that its element does not stand at its own number.
    #[inline]
    pub(crate) fn is_shifted(&self, slot: u32) -> bool {
        let before = below(slot);
        self.live & before != before
    }

    /// The counter of a live slot.
    pub(crate) fn counter(&self, slot: u32) -> u64 {
        self.first + if self.is_dense() { u64::from(slot) } else { u64::from(self.offsets[self.rank(slot)]) }
    }

    /// The slot of a live birth. **O(1)**, but for the search in the offsets of a sparse chunk.
    pub(crate) fn find(&self, counter: u64) -> Option<u32> {
        let offset = u32::try_from(counter.checked_sub(self.first)?).ok()?;
        if self.is_dense() {
            return (offset < SLOTS && self.live >> offset & 1 == 1).then_some(offset);
        }
        let rank = self.offsets.binary_search(&offset).ok()?;
        // Without deaths the live slots are the lowest ones.
        let is_packed = self.live & self.live.wrapping_add(1) == 0;
        Some(if is_packed { rank as u32 } else { select(self.live, rank) })
    }

    /// How many live births have a counter up to `known`.
    fn known(&self, known: u64) -> usize {
        let Some(offset) = known.checked_sub(self.first) else { return 0 };
        if !self.is_dense() {
            return self.offsets.partition_point(|other| u64::from(*other) <= offset);
        }
        let covered = if offset < u64::from(SLOTS) - 1 { below(offset as u32 + 1) } else { u64::MAX };
        count(self.live & covered)
    }

    /// The counters above `known` of live births, and how many there are up to it.
    pub(crate) fn counters_after(&self, known: u64) -> (Counters<'_>, usize) {
        let rank = self.known(known);
        let live = match select(self.live, rank) {
            SLOTS => 0,
            slot => self.live & !below(slot),
        };
        let offsets = self.offsets.get(rank..).unwrap_or_default().iter();
        (Counters { first: self.first, live, offsets }, rank)
    }

    /// As [`counters_after`](Chunk::counters_after), with the elements.
    pub(crate) fn after(&self, known: u64) -> (Counters<'_>, &[E]) {
        let (counters, rank) = self.counters_after(known);
        (counters, &self.elements[rank..])
    }

    /// Takes the elements out of a chunk that is being taken apart.
    pub(crate) fn take_elements(&mut self) -> Vec<E> {
        mem::take(&mut self.elements)
    }

    pub(crate) fn live(&self) -> u64 {
        self.live
    }

    /// Where a birth with this counter, greater than all in here, can be put: a slot, and how many more of the births
    /// that directly follow it fit. None if another chunk should take it.
    #[inline]
    pub(crate) fn room(&mut self, counter: u64) -> Option<(u32, u32)> {
        if self.live == 0 {
            (self.first, self.offsets) = (counter, Vec::new());
            return Some((0, SLOTS));
        }
        let offset = counter - self.first;
        // As long as so many may still come.
        let gaps = offset - self.elements.len() as u64;
        if self.is_dense() && offset < u64::from(SLOTS) && gaps <= (SLOTS as usize - WORTHWHILE) as u64 {
            return Some((offset as u32, SLOTS - offset as u32));
        }
        if self.is_dense() && self.elements.len() >= WORTHWHILE {
            return None;
        }
        self.free_slot(offset).map(|slot| (slot, 1))
    }

    /// As [`room`](Chunk::room), leaving no slot unused.
    fn packed_room(&mut self, counter: u64) -> Option<u32> {
        if self.live == 0 {
            return self.room(counter).map(|room| room.0);
        }
        let (slot, offset) = (self.live.trailing_ones(), counter - self.first);
        if self.is_dense() && offset == u64::from(slot) {
            return (slot < SLOTS).then_some(slot);
        }
        self.free_slot(offset)
    }

    /// The slot after the last live one, to be used with an offset; the chunk is made sparse.
    fn free_slot(&mut self, offset: u64) -> Option<u32> {
        let slot = SLOTS - self.live.leading_zeros();
        if slot == SLOTS || u32::try_from(offset).is_err() {
            return None;
        }
        if self.is_dense() {
            self.offsets = slots(self.live).collect();
        }
        Some(slot)
    }

    /// Puts births with consecutive counters into the room that was found for the first of them.
    pub(crate) fn put(&mut self, slot: u32, counter: u64, elements: impl Iterator<Item = E>) {
        let before = self.elements.len();
        self.elements.extend(elements);
        let count = (self.elements.len() - before) as u32;
        self.mark(slot, count, counter);
    }

    /// As [`put`](Chunk::put), of one birth.
    #[inline]
    pub(crate) fn push(&mut self, slot: u32, counter: u64, element: E) {
        self.elements.push(element);
        self.mark(slot, 1, counter);
    }

    #[inline]
    fn mark(&mut self, slot: u32, count: u32, counter: u64) {
        if !self.is_dense() {
            self.offsets.extend((0..count).map(|n| (counter - self.first) as u32 + n));
        }
        self.live |= (u64::MAX >> (SLOTS - count)) << slot;
    }

    /// Takes the next birth of a row that is being rebuilt; gives it back if the chunk is full.
    pub(crate) fn pack(&mut self, counter: u64, element: E) -> Result<u32, E> {
        match self.packed_room(counter) {
            Some(slot) => {
                self.push(slot, counter, element);
                Ok(slot)
            }
            None => Err(element),
        }
    }

    /// Ends a live slot. A chunk that takes no more births gives memory back, now and then, and so does an empty one.
    pub(crate) fn remove(&mut self, slot: u32, is_last: bool) -> E {
        let rank = self.rank(slot);
        self.live &= !(1 << slot);
        if !self.is_dense() {
            self.offsets.remove(rank);
        }
        let element = self.elements.remove(rank);
        if !is_last || self.is_empty() {
            self.trim();
        }
        element
    }

    /// Gives back what is unused, if that is worth the copying.
    pub(crate) fn trim(&mut self) {
        const SLACK: usize = 8;
        if self.elements.capacity() >= self.elements.len() + SLACK {
            self.elements.shrink_to_fit();
            self.offsets.shrink_to_fit();
        }
    }

    pub(crate) fn reserve(&mut self, births: usize) {
        self.elements.reserve_exact(births);
    }
}

/// The set bits, ascending.
pub(crate) fn slots(live: u64) -> impl Iterator<Item = u32> {
    let mut rest = live;
    core::iter::from_fn(move || {
        let slot = rest.trailing_zeros();
        rest &= rest.wrapping_sub(1);
        (slot < SLOTS).then_some(slot)
    })
}

/// Counters of live births, ascending.
#[derive(Clone, Debug)]
pub(crate) struct Counters<'a> {
    first: u64,
    live: u64,
    /// Of a sparse chunk.
    offsets: slice::Iter<'a, u32>,
}

impl Counters<'_> {
    /// The next counters that follow each other without a gap: the first of them, and how many they are.
    pub(crate) fn run(&mut self) -> Option<(u64, u64)> {
        if let Some(offset) = self.offsets.next() {
            self.live &= self.live.wrapping_sub(1);
            return Some((self.first + u64::from(*offset), 1));
        }
        if self.live == 0 {
            return None;
        }
        let slot = self.live.trailing_zeros();
        let count = (self.live >> slot).trailing_ones();
        self.live &= u64::MAX.checked_shl(slot + count).unwrap_or(0);
        Some((self.first + u64::from(slot), u64::from(count)))
    }
}

impl Iterator for Counters<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if self.live == 0 {
            return None;
        }
        let slot = self.live.trailing_zeros();
        self.live &= self.live - 1;
        let offset = self.offsets.next().copied().unwrap_or(slot);
        Some(self.first + u64::from(offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What should be in a chunk: counter, element and slot of each live birth.
    type Births = Vec<(u64, u32, u32)>;

    /// `SplitMix64`.
    struct Rng(u64);

    impl Rng {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)) % bound
        }
    }

    fn check(chunk: &Chunk<u32>, births: &Births, dead: &[u64]) {
        assert!(chunk.elements().iter().eq(births.iter().map(|birth| &birth.1)));
        assert!(slots(chunk.live()).eq(births.iter().map(|birth| birth.2)));
        assert_eq!(chunk.is_empty(), births.is_empty());
        for (at, (counter, element, slot)) in births.iter().enumerate() {
            assert_eq!(chunk.find(*counter), Some(*slot));
            assert_eq!((chunk.counter(*slot), chunk.element(*slot)), (*counter, element));
            // The slots ascend: without a gap before this one, it is as many as there are before.
            assert_eq!(chunk.is_shifted(*slot), *slot as usize != at);
        }
        for counter in dead.iter().copied().chain([0, chunk.first() - 1]) {
            assert_eq!(chunk.find(counter), None);
        }
        let around = |counter: u64| [counter.saturating_sub(1), counter, counter.saturating_add(1)];
        let counters = births.iter().map(|birth| birth.0).chain(dead.iter().copied());
        for known in counters.chain([0, chunk.first(), u64::MAX]).flat_map(around) {
            let rest = &births[births.partition_point(|birth| birth.0 <= known)..];
            let (mut counters, elements) = chunk.after(known);
            assert!(elements.iter().eq(rest.iter().map(|birth| &birth.1)));
            assert!(counters.clone().eq(rest.iter().map(|birth| birth.0)));
            assert_eq!(chunk.counters_after(known).1, births.len() - rest.len());
            let mut in_runs = rest.iter().map(|birth| birth.0);
            while let Some((first, count)) = counters.run() {
                assert!(
                    count > 0 && (first..=first + (count - 1)).all(|counter| in_runs.next() == Some(counter))
                );
            }
            assert_eq!(in_runs.next(), None);
        }
    }

    /// Births that lie `gap` apart at most, and deaths, until the chunk takes no more.
    fn fill_and_thin(rng: &mut Rng, gap: u64, deaths: u64) {
        let mut next = 1 + rng.below(100);
        let (mut chunk, mut births, mut dead) = (Chunk::new(next), Births::new(), Vec::new());
        for number in 0.. {
            if rng.below(10) < deaths && !births.is_empty() {
                let oldest_first = rng.below(3) == 0;
                let at = if oldest_first { 0 } else { rng.below(births.len() as u64) as usize };
                let (counter, element, slot) = births.remove(at);
                assert_eq!(chunk.remove(slot, rng.below(2) == 0), element);
                dead.push(counter);
            } else {
                let Some((slot, room)) = chunk.room(next) else {
                    let far = u32::try_from(next - chunk.first()).is_err();
                    let offset = next - chunk.first();
                    let is_full = births.iter().any(|birth| birth.2 == SLOTS - 1);
                    assert!(far || is_full || offset >= u64::from(SLOTS) && births.len() >= WORTHWHILE);
                    break;
                };
                assert!(births.last().is_none_or(|last| last.2 < slot) && slot + room <= SLOTS);
                // One, or some that follow each other.
                let count = 1 + if rng.below(2) == 0 { 0 } else { rng.below(u64::from(room)) as u32 };
                let new = (0..count).map(|n| (next + u64::from(n), number * SLOTS + n, slot + n));
                if count == 1 {
                    chunk.push(slot, next, number * SLOTS);
                } else {
                    chunk.put(slot, next, new.clone().map(|birth| birth.1));
                }
                births.extend(new);
                next += u64::from(count - 1) + 1 + rng.below(gap);
            }
            check(&chunk, &births, &dead);
            for never in [next, u64::MAX] {
                assert_eq!(chunk.find(never), None);
            }
            dead.truncate(64);
            if number == 400 {
                break;
            }
        }
        let elements = chunk.take_elements();
        assert!(elements.iter().eq(births.iter().map(|birth| &birth.1)));
        assert!(chunk.counters_after(0).0.eq(births.iter().map(|birth| birth.0)));
    }

    #[test]
    fn chunks_agree_with_a_list() {
        let mut rng = Rng(1);
        for gap in [1, 2, 5, 20, 63, 64, 65, 1_000, 1 << 27, 1 << 31, 1 << 33] {
            for deaths in [0, 3, 6] {
                for _ in 0..8 {
                    fill_and_thin(&mut rng, gap, deaths);
                }
            }
        }
    }

    /// As a sweep does: 64 in each, except where an offset would be too great.
    #[test]
    fn packing_leaves_no_slot_unused() {
        let mut rng = Rng(2);
        for gap in [1, 2, 64, 1 << 25, 1 << 27, 1 << 31] {
            for _ in 0..20 {
                let dense: u64 = rng.below(70);
                let first = 1 + rng.below(1_000);
                let (mut chunk, mut births, mut next) = (Chunk::new(first), Births::new(), first);
                while let Ok(slot) = chunk.pack(next, births.len() as u32) {
                    births.push((next, births.len() as u32, births.len() as u32));
                    assert_eq!(births.last().map(|birth| birth.2), Some(slot));
                    check(&chunk, &births, &[]);
                    next += if births.len() < dense as usize { 1 } else { 1 + rng.below(gap) };
                }
                assert!(births.len() == SLOTS as usize || next - first > u64::from(u32::MAX));
            }
        }
    }

    #[test]
    fn the_greatest_offset_and_the_greatest_counter() {
        let last = u64::from(u32::MAX);
        let mut chunk = Chunk::new(1);
        let mut births = Births::new();
        for (counter, element) in [(1, 10), (1 + last, 11)] {
            let slot = chunk.room(counter).unwrap().0;
            chunk.push(slot, counter, element);
            births.push((counter, element, slot));
        }
        check(&chunk, &births, &[2, last, 2 + last, 2 + 2 * last]);
        assert_eq!(chunk.room(2 + last), None);

        let mut chunk = Chunk::new(u64::MAX - 63);
        assert_eq!(chunk.room(u64::MAX - 63), Some((0, SLOTS)));
        chunk.put(0, u64::MAX - 63, 0..SLOTS);
        let births: Births = (0..SLOTS).map(|n| (u64::MAX - 63 + u64::from(n), n, n)).collect();
        check(&chunk, &births, &[1]);
    }
}
