// Slots, ranks and counts within a chunk are at most 64, and there are fewer than 2²⁶ chunks.
#![allow(clippy::cast_possible_truncation)]

use crate::{
    chunk::{Chunk, SLOTS, slots},
    row::{NONE, Row},
    slice::Run,
};
use alloc::vec::Vec;
use core::{borrow::Borrow, mem};
use crdt_core::{Dot, ReplicaId};
use version_vector::VersionVector;

/// What is born and lives: the chunks of all replicas, in one arena.
///
/// Rows stay where they are once opened, because chunks name them by position; `order` is what gives the order of the
/// ids. Inserting rows in that order instead would rewrite every chunk each time a replica is first heard of.
#[derive(Debug)]
pub(crate) struct Births<E> {
    chunks: Vec<Chunk<E>>,
    /// The row of each chunk.
    owners: Vec<u32>,
    /// Chunks that no row has.
    free: Vec<u32>,
    rows: Vec<Row>,
    order: Vec<(ReplicaId, u32)>,
    /// The row that was opened last, and will mostly be the next.
    recent: (Option<ReplicaId>, u32),
}

/// Names a live birth for as long as it is not moved by [`Births::sweep`]: a chunk and a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Handle(u32);

impl Handle {
    fn new(chunk: u32, slot: u32) -> Self {
        Handle(chunk * SLOTS + slot)
    }

    #[cfg(test)]
    pub(crate) const fn of(number: u32) -> Self {
        Handle(number)
    }

    fn chunk(self) -> u32 {
        self.0 / SLOTS
    }

    fn slot(self) -> u32 {
        self.0 % SLOTS
    }

    /// The following ones in the same chunk, this one first.
    pub(crate) fn following(self, count: u32) -> impl Iterator<Item = Handle> {
        (self.0..=self.0 + (count - 1)).map(Handle)
    }
}

impl<E> Births<E> {
    pub(crate) const fn new() -> Self {
        Births {
            chunks: Vec::new(),
            owners: Vec::new(),
            free: Vec::new(),
            rows: Vec::new(),
            order: Vec::new(),
            recent: (None, 0),
        }
    }

    pub(crate) fn get(&self, id: ReplicaId) -> Option<&Row> {
        let at = self.order.binary_search_by_key(&id, |row| row.0).ok()?;
        Some(self.row(self.order[at].1))
    }

    pub(crate) fn row(&self, row: u32) -> &Row {
        &self.rows[row as usize]
    }

    pub(crate) fn row_mut(&mut self, row: u32) -> &mut Row {
        &mut self.rows[row as usize]
    }

    /// The row of `id`, made if need be. **O(log r)** for r rows, O(r) to make one.
    #[inline]
    pub(crate) fn open(&mut self, id: ReplicaId) -> u32 {
        if self.recent.0 == Some(id) {
            return self.recent.1;
        }
        let row = match self.order.binary_search_by_key(&id, |row| row.0) {
            Ok(at) => self.order[at].1,
            Err(at) => self.open_new(id, at),
        };
        self.recent = (Some(id), row);
        row
    }

    /// Makes those of the rows of these ids, ascending, that are not there: **O(r)** for all of them, where to
    /// [`open`](Births::open) one takes that. O(log r) for each that is there.
    pub(crate) fn open_all(&mut self, ids: impl Iterator<Item = ReplicaId>) {
        let (known, mut from) = (self.order.len(), 0);
        for id in ids {
            match self.order[from..known].binary_search_by_key(&id, |row| row.0) {
                Ok(at) => from += at + 1,
                Err(at) => {
                    from += at;
                    self.open_new(id, self.order.len());
                }
            }
        }
        if known > 0 && self.order.len() > known {
            // Stable, so that it finds two runs and joins them.
            self.order.sort();
        }
    }

    #[cold]
    fn open_new(&mut self, id: ReplicaId, at: usize) -> u32 {
        let row = u32::try_from(self.rows.len()).expect("fewer than 2^32 replicas");
        // Most sets of a mesh are small: the first growth would make room for four.
        if self.rows.is_empty() {
            self.rows.reserve_exact(1);
            self.order.reserve_exact(1);
        }
        self.rows.push(Row::new(id));
        self.order.insert(at, (id, row));
        row
    }

    /// The rows in ascending order of the ids.
    pub(crate) fn sorted(&self) -> impl Iterator<Item = &Row> + Clone {
        self.order.iter().map(|(_, row)| self.row(*row))
    }

    pub(crate) fn rows_mut(&mut self) -> impl Iterator<Item = &mut Row> {
        self.rows.iter_mut()
    }

    pub(crate) fn row_of(&self, handle: Handle) -> u32 {
        self.owners[handle.chunk() as usize]
    }

    pub(crate) fn dot(&self, handle: Handle) -> Dot {
        let chunk = &self.chunks[handle.chunk() as usize];
        Dot::new(self.row(self.row_of(handle)).id, chunk.counter(handle.slot()))
    }

    #[inline]
    pub(crate) fn element(&self, handle: Handle) -> &E {
        self.chunks[handle.chunk() as usize].element(handle.slot())
    }

    /// Whether `element` stands where that of a live birth does if no birth before it in its chunk has died. It lives in
    /// any case.
    #[inline]
    pub(crate) fn is_at_slot<Q>(&self, handle: Handle, element: &Q) -> bool
    where
        E: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let elements = self.chunks[handle.chunk() as usize].elements();
        elements.get(handle.slot() as usize).is_some_and(|other| other.borrow() == element)
    }

    pub(crate) fn is_live(&self, handle: Handle) -> bool {
        self.chunks[handle.chunk() as usize].live() >> handle.slot() & 1 == 1
    }

    /// The row and the handle of a live birth.
    pub(crate) fn find(&self, dot: Dot) -> Option<(u32, Handle)> {
        let number = self.order[self.order.binary_search_by_key(&dot.replica, |row| row.0).ok()?].1;
        let row = self.row(number);
        if dot.counter > row.last_birth {
            return None;
        }
        let chunk = row.chunk_of(dot.counter)?;
        let slot = self.chunks[chunk as usize].find(dot.counter)?;
        Some((number, Handle::new(chunk, slot)))
    }

    /// The rows in ascending order of the ids, each with its counter in `version`. **O(r)** for r rows and
    /// entries of the vector, **O(r log n)** where the rows are far fewer.
    pub(crate) fn beside<'a>(&'a self, version: &VersionVector) -> impl Iterator<Item = (&'a Row, u64)> {
        // A few searches, or one walk along both.
        let few = self.rows.len() * 8 < version.len();
        let mut entries = version.iter();
        let mut next = entries.next();
        self.sorted().map(move |row| {
            if few {
                return (row, version.get(row.id));
            }
            // By hand: a peekable iterator takes several times the instructions.
            while let Some((id, counter)) = next {
                if id >= row.id {
                    return (row, if id == row.id { counter } else { 0 });
                }
                next = entries.next();
            }
            (row, 0)
        })
    }

    /// The chunks of a row that may have births above `known`.
    pub(crate) fn chunks_after(&self, row: &Row, known: u64) -> impl Iterator<Item = &Chunk<E>> {
        row.chunks_after(known).map(|chunk| &self.chunks[chunk as usize])
    }

    /// The live births of a row with a counter above `known`.
    pub(crate) fn after(&self, row: &Row, known: u64) -> impl Iterator<Item = (Dot, &E)> {
        let id = row.id;
        self.chunks_after(row, known).flat_map(move |chunk| {
            let (counters, elements) = chunk.after(known);
            counters.map(move |counter| Dot::new(id, counter)).zip(elements)
        })
    }

    /// Takes out, for each replica, runs of births with a counter above `known` of it, with an iterator of their
    /// elements, which must be used up.
    pub(crate) fn take_after(
        mut self,
        known: impl Fn(ReplicaId) -> u64,
        mut run: impl FnMut(Run, &mut dyn Iterator<Item = E>),
    ) {
        for (replica, row) in &self.order {
            let known = known(*replica);
            for chunk in self.rows[*row as usize].chunks_after(known) {
                let chunk = &mut self.chunks[chunk as usize];
                let elements = chunk.take_elements();
                let (mut counters, rank) = chunk.counters_after(known);
                let mut elements = elements.into_iter().skip(rank);
                while let Some((first, count)) = counters.run() {
                    run(Run { replica: *replica, first, last: first + (count - 1) }, &mut elements);
                }
            }
        }
    }

    /// How many live births of a row have a counter above `known`.
    pub(crate) fn count_after(&self, row: &Row, known: u64) -> usize {
        if known == 0 {
            return row.live as usize;
        }
        self.chunks_after(row, known).map(|chunk| chunk.after(known).1.len()).sum()
    }

    /// The elements, chunk by chunk, ascending by dot.
    pub(crate) fn elements(&self) -> impl Iterator<Item = &[E]> + Clone {
        self.sorted().flat_map(Row::chunks).map(|(_, chunk)| self.chunks[chunk as usize].elements())
    }

    /// The handles of all live births, chunk by chunk.
    pub(crate) fn handles(&self) -> impl Iterator<Item = Handle> {
        self.sorted().flat_map(Row::chunks).flat_map(|(_, chunk)| {
            slots(self.chunks[chunk as usize].live()).map(move |slot| Handle::new(chunk, slot))
        })
    }

    /// Visits all live births in the order of the chunks.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(Handle, &E)) {
        for (chunk, number) in self.chunks.iter().zip(0..) {
            for (slot, element) in slots(chunk.live()).zip(chunk.elements()) {
                visit(Handle::new(number, slot), element);
            }
        }
    }

    /// The live dots as runs of consecutive counters, ascending.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Run> {
        self.sorted().flat_map(|row| self.runs_of(row))
    }

    /// As [`runs`](Births::runs), of one row.
    pub(crate) fn runs_of(&self, row: &Row) -> impl Iterator<Item = Run> {
        let id = row.id;
        let mut pieces = self.chunks_after(row, 0).flat_map(|chunk| {
            let mut counters = chunk.after(0).0;
            core::iter::from_fn(move || counters.run())
        });
        let mut pending: Option<Run> = None;
        core::iter::from_fn(move || {
            for (first, count) in pieces.by_ref() {
                let last = first + (count - 1);
                match &mut pending {
                    Some(run) if run.last + 1 == first => run.last = last,
                    _ => {
                        let done = pending.replace(Run { replica: id, first, last });
                        if done.is_some() {
                            return done;
                        }
                    }
                }
            }
            pending.take()
        })
    }

    /// Appends one birth, beyond all counters of its row.
    #[inline]
    pub(crate) fn push(&mut self, row: u32, counter: u64, element: E) -> Handle {
        let (number, slot, _) = self.room(row, counter);
        let (row, chunk) = (&mut self.rows[row as usize], &mut self.chunks[number as usize]);
        (row.live, row.last_birth) = (row.live + 1, counter);
        chunk.push(slot, counter, element);
        Handle::new(number, slot)
    }

    /// Appends births with consecutive counters from `first`, as many of `count` as go into one chunk. Returns the
    /// handle of the first, and how many they were.
    pub(crate) fn append(
        &mut self,
        row: u32,
        first: u64,
        count: u64,
        mut elements: impl Iterator<Item = E>,
    ) -> (Handle, u32) {
        let (chunk, slot, room) = self.room(row, first);
        let count = count.min(u64::from(room)) as u32;
        self.chunks[chunk as usize].put(slot, first, elements.by_ref().take(count as usize));
        let row = self.row_mut(row);
        (row.live, row.last_birth) = (row.live + count, first + u64::from(count - 1));
        (Handle::new(chunk, slot), count)
    }

    /// Where the next birth of a row goes: the chunk, the slot, and how many fit there.
    #[inline]
    fn room(&mut self, row: u32, counter: u64) -> (u32, u32, u32) {
        let (first, number) = &mut self.rows[row as usize].tail;
        if let Some(tail) = self.chunks.get_mut(*number as usize) {
            if tail.is_empty() {
                *first = counter;
            }
            if let Some((slot, room)) = tail.room(counter) {
                return (*number, slot, room);
            }
        }
        self.room_in_new(row, counter)
    }

    #[cold]
    fn room_in_new(&mut self, row: u32, counter: u64) -> (u32, u32, u32) {
        let tail = self.rows[row as usize].tail.1;
        let is_first = tail == NONE;
        if !is_first {
            self.chunks[tail as usize].trim();
        }
        let chunk = self.open_chunk(row, counter);
        self.row_mut(row).push_chunk(counter, chunk);
        // A row that has filled a chunk will fill another; and many rows only ever have one birth.
        self.chunks[chunk as usize].reserve(if is_first { 1 } else { SLOTS as usize });
        (chunk, 0, SLOTS)
    }

    /// # Panics
    ///
    /// At 2²⁶ chunks: two to four thousand million live births in one set.
    fn open_chunk(&mut self, row: u32, first: u64) -> u32 {
        if let Some(chunk) = self.free.pop() {
            self.chunks[chunk as usize] = Chunk::new(first);
            self.owners[chunk as usize] = row;
            return chunk;
        }
        let chunk = self.chunks.len();
        assert!(chunk < (u32::MAX / SLOTS) as usize, "a set has fewer than 2^26 chunks of live elements");
        if chunk == 0 {
            self.chunks.reserve_exact(1);
            self.owners.reserve_exact(1);
        }
        self.chunks.push(Chunk::new(first));
        self.owners.push(row);
        chunk as u32
    }

    /// Ends a live birth of this row.
    pub(crate) fn remove(&mut self, row: u32, handle: Handle) -> E {
        let Births { chunks, free, rows, .. } = self;
        let row = &mut rows[row as usize];
        (row.live, row.died) = (row.live - 1, row.died.saturating_add(1));
        let is_last = row.tail.1 == handle.chunk();
        let chunk = &mut chunks[handle.chunk() as usize];
        let element = chunk.remove(handle.slot(), is_last);
        // Often the oldest go first; what dies in between waits for the next sweep.
        while let Some((_, first)) =
            row.earlier.front().filter(|(_, first)| chunks[*first as usize].is_empty())
        {
            free.push(*first);
            row.earlier.pop_front();
        }
        element
    }

    /// Whether a row's chunks are so thinly filled that it should be rebuilt.
    pub(crate) fn is_thin(&self, row: u32) -> bool {
        let row = self.row(row);
        let is_thin = row.chunk_count() * SLOTS as usize > row.live as usize * 3 + 2 * SLOTS as usize;
        // Births very far apart fill no chunk, however often they are packed. A row has at most one chunk for each that
        // lives or died since the last time: when as many died as live, they have paid for the next.
        is_thin && row.died >= row.live
    }

    /// Rebuilds a row of full chunks and tells the new handle of each birth, in order. A new handle is none that is
    /// still to be replaced.
    pub(crate) fn sweep(&mut self, row: u32, mut moved: impl FnMut((Dot, &E), Handle, Handle)) {
        let id = self.row(row).id;
        self.row_mut(row).died = 0;
        for from in self.row_mut(row).take_chunks() {
            let mut before = mem::replace(&mut self.chunks[from as usize], Chunk::new(0));
            let elements = before.take_elements();
            for ((slot, counter), element) in
                slots(before.live()).zip(before.counters_after(0).0).zip(elements)
            {
                let to = self.pack(row, counter, element);
                moved((Dot::new(id, counter), self.element(to)), Handle::new(from, slot), to);
            }
            self.free.push(from);
        }
    }

    /// Whether more chunks are unused than are used: they have paid for a walk over these, and over the rows.
    pub(crate) fn is_oversized(&self) -> bool {
        let used = self.chunks.len() - self.free.len();
        self.free.len() > used + self.rows.len() + 8
    }

    /// Moves the chunks that are used into an arena of their size. All handles change.
    pub(crate) fn resettle(&mut self) {
        let used = self.chunks.len() - self.free.len();
        let mut old = mem::replace(&mut self.chunks, Vec::with_capacity(used));
        (self.owners, self.free) = (Vec::with_capacity(used), Vec::new());
        for (row, number) in self.rows.iter_mut().zip(0..) {
            let tail = Some(&mut row.tail.1).filter(|tail| **tail != NONE);
            let earlier = row.earlier.get_mut().map(|earlier| {
                earlier.shrink_to_fit();
                earlier.iter_mut().map(|(_, chunk)| chunk)
            });
            for chunk in earlier.into_iter().flatten().chain(tail) {
                let settled = mem::replace(&mut old[*chunk as usize], Chunk::new(0));
                *chunk = self.chunks.len() as u32;
                self.chunks.push(settled);
                self.owners.push(number);
            }
        }
    }

    fn pack(&mut self, row: u32, counter: u64, mut element: E) -> Handle {
        let tail = self.row(row).tail.1;
        if tail != NONE {
            match self.chunks[tail as usize].pack(counter, element) {
                Ok(slot) => return Handle::new(tail, slot),
                Err(back) => element = back,
            }
        }
        let chunk = self.open_chunk(row, counter);
        self.row_mut(row).push_chunk(counter, chunk);
        self.chunks[chunk as usize].push(0, counter, element);
        Handle::new(chunk, 0)
    }

    /// Ends all births.
    pub(crate) fn clear(&mut self) {
        (self.chunks, self.owners, self.free) = (Vec::new(), Vec::new(), Vec::new());
        for row in &mut self.rows {
            drop(row.take_chunks());
            (row.live, row.died) = (0, 0);
        }
    }
}

/// With a little room in each list: a copy is mostly made to be written to, and to grow a list by one it is moved whole.
impl<E: Clone> Clone for Births<E> {
    fn clone(&self) -> Self {
        Births {
            chunks: roomy(&self.chunks),
            owners: roomy(&self.owners),
            free: self.free.clone(),
            rows: roomy(&self.rows),
            order: roomy(&self.order),
            recent: self.recent,
        }
    }
}

fn roomy<T: Clone>(list: &[T]) -> Vec<T> {
    let mut copy = Vec::with_capacity(list.len() + list.len() / 16 + 1);
    copy.extend_from_slice(list);
    copy
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    /// However many are there already, and wherever the new ones belong.
    #[test]
    fn rows_that_are_opened_together_are_those_opened_one_by_one() {
        let id = ReplicaId::new;
        let lists = [
            vec![],
            vec![5],
            vec![1, 5, 9],
            vec![2, 4, 6, 8],
            (1..=40).collect(),
            (1..=400).step_by(7).collect(),
        ];
        for before in &lists {
            for ids in &lists {
                let (mut together, mut single) = (Births::<u8>::new(), Births::<u8>::new());
                for one in before.iter().rev() {
                    assert_eq!(together.open(id(*one)), single.open(id(*one)));
                }
                together.open_all(ids.iter().copied().map(id));
                for one in ids {
                    single.open(id(*one));
                }
                assert_eq!(together.order, single.order);
                assert!(together.order.iter().all(|(id, row)| together.row(*row).id == *id));
                assert!(together.sorted().map(|row| row.id).is_sorted());
            }
        }
    }
}
