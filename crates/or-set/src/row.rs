use alloc::{collections::VecDeque, vec::Vec};
use crdt_core::{Dot, ReplicaId};

/// What one replica did: two logs in the order of its counters.
///
/// Events of one replica arrive in order, locally and by merge, so both logs only ever grow at the end, and "what has
/// happened since counter c" is a binary search and the rest of each log.
#[derive(Clone, Debug)]
pub(crate) struct Row<E> {
    pub(crate) id: ReplicaId,
    /// Adds: the element while its dot lives, then a hole until the next sweep.
    pub(crate) births: Vec<(u64, Option<E>)>,
    /// How many of `births` are not holes.
    pub(crate) live: usize,
    /// The events that ended a dot, each with the dot it ended; a clear ends many with one event.
    pub(crate) deaths: VecDeque<(u64, Dot)>,
}

impl<E> Row<E> {
    fn new(id: ReplicaId) -> Self {
        Row { id, births: Vec::new(), live: 0, deaths: VecDeque::new() }
    }

    /// The greatest counter in the two logs; 0 for none. Holes that were swept are not counted.
    pub(crate) fn last(&self) -> u64 {
        let birth = self.births.last().map_or(0, |birth| birth.0);
        birth.max(self.last_death())
    }

    pub(crate) fn last_death(&self) -> u64 {
        self.deaths.back().map_or(0, |death| death.0)
    }

    /// Where the birth of the live dot `counter` stands. **O(log n)**, O(1) while the row has no gaps.
    pub(crate) fn find(&self, counter: u64) -> Option<usize> {
        let is_it = |at: &usize| self.births.get(*at).is_some_and(|birth| birth.0 == counter);
        let dense = counter.checked_sub(self.births.first()?.0)?;
        usize::try_from(dense)
            .ok()
            .filter(is_it)
            .or_else(|| self.births.binary_search_by_key(&counter, |birth| birth.0).ok())
            .filter(|at| self.births[*at].1.is_some())
    }

    /// The live births with a counter above `known`.
    pub(crate) fn births_after(&self, known: u64) -> impl Iterator<Item = (Dot, &E)> {
        let id = self.id;
        self.births[self.births_known(known)..]
            .iter()
            .filter_map(move |(counter, element)| Some((Dot::new(id, *counter), element.as_ref()?)))
    }

    /// The live births with a counter above `known`, by value.
    pub(crate) fn into_births_after(mut self, known: u64) -> impl Iterator<Item = (Dot, E)> {
        let id = self.id;
        self.births.drain(..self.births_known(known)).for_each(drop);
        self.births.into_iter().filter_map(move |(counter, element)| Some((Dot::new(id, counter), element?)))
    }

    fn births_known(&self, known: u64) -> usize {
        // A row with nothing new is the common case of a merge.
        if self.births.last().is_none_or(|birth| birth.0 <= known) {
            return self.births.len();
        }
        self.births.partition_point(|birth| birth.0 <= known)
    }

    /// The deaths by events with a counter above `known`.
    pub(crate) fn deaths_after(&self, known: u64) -> impl Iterator<Item = (u64, Dot)> {
        self.deaths.range(self.deaths_known(known)..).copied()
    }

    /// How many deaths are by events with a counter up to `known`.
    pub(crate) fn deaths_known(&self, known: u64) -> usize {
        if self.last_death() <= known {
            return self.deaths.len();
        }
        self.deaths.partition_point(|death| death.0 <= known)
    }
}

/// The rows of all replicas.
///
/// Rows stay where they are once opened, because handles name them by position; `order` is what gives the order of the
/// ids. Inserting rows in that order instead would rewrite every handle each time a replica is first heard of.
#[derive(Clone, Debug)]
pub(crate) struct Logs<E> {
    rows: Vec<Row<E>>,
    order: Vec<(ReplicaId, u32)>,
}

/// Where a live element stands: a row, and a position in its births.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle {
    pub(crate) row: u32,
    pub(crate) at: u32,
}

impl Handle {
    /// # Panics
    ///
    /// At 2³² positions, holes included, in one row.
    pub(crate) fn new(row: u32, at: usize) -> Self {
        let at = u32::try_from(at).expect("a replica has fewer than 2^32 elements in one set");
        Handle { row, at }
    }
}

impl<E> Logs<E> {
    pub(crate) const fn new() -> Self {
        Logs { rows: Vec::new(), order: Vec::new() }
    }

    pub(crate) fn get(&self, id: ReplicaId) -> Option<&Row<E>> {
        let at = self.order.binary_search_by_key(&id, |row| row.0).ok()?;
        Some(self.row(self.order[at].1))
    }

    pub(crate) fn row(&self, row: u32) -> &Row<E> {
        &self.rows[row as usize]
    }

    pub(crate) fn row_mut(&mut self, row: u32) -> &mut Row<E> {
        &mut self.rows[row as usize]
    }

    /// The row of `id`, made if need be. **O(log r)** for r rows, O(r) to make one.
    pub(crate) fn open(&mut self, id: ReplicaId) -> u32 {
        let at = self.order.partition_point(|row| row.0 < id);
        if let Some((_, row)) = self.order.get(at).filter(|row| row.0 == id) {
            return *row;
        }
        let row = u32::try_from(self.rows.len()).expect("fewer than 2^32 replicas");
        self.rows.push(Row::new(id));
        self.order.insert(at, (id, row));
        row
    }

    /// The rows in ascending order of the ids.
    pub(crate) fn sorted(&self) -> impl Iterator<Item = &Row<E>> {
        self.order.iter().map(|(_, row)| self.row(*row))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Row<E>> {
        self.rows.iter_mut()
    }

    /// The rows by value, in ascending order of the ids.
    pub(crate) fn into_sorted(mut self) -> Vec<Row<E>> {
        self.rows.sort_unstable_by_key(|row| row.id);
        self.rows
    }

    pub(crate) fn dot(&self, handle: Handle) -> Dot {
        let row = self.row(handle.row);
        Dot::new(row.id, row.births[handle.at as usize].0)
    }

    pub(crate) fn element(&self, handle: Handle) -> &E {
        self.row(handle.row).births[handle.at as usize].1.as_ref().expect("a handle names a live dot")
    }

    pub(crate) fn find(&self, dot: Dot) -> Option<Handle> {
        let at = self.order.binary_search_by_key(&dot.replica, |row| row.0).ok()?;
        let row = self.order[at].1;
        Some(Handle::new(row, self.row(row).find(dot.counter)?))
    }
}
