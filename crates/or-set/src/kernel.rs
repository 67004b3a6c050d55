use crate::{
    births::{Births, Handle},
    elements::Elements,
    index::Index,
    row::Seldom,
    slice::Run,
    table::Position,
};
use alloc::{collections::VecDeque, vec::Vec};
use core::{borrow::Borrow, convert::Infallible, fmt, hash::Hash};
use crdt_core::{Dot, ReplicaId};
use version_vector::VersionVector;

/// The add-wins set without a causal context of its own.
///
/// For stores that keep *many* sets under one numbering, as a leader of a mesh does: the version vector is kept once,
/// beside all of them, and lent to each call. A kernel's counters may therefore be sparse. [`OrSet`](crate::OrSet) is
/// a kernel together with its vector, and what most programs want.
///
/// # What the caller vouches for
///
/// - The vectors given are causally closed: who has an event has all events that its author had seen.
/// - Everything in the kernel is covered by the vector of its holder, called `seen` below.
/// - After [`merge`](Kernel::merge) or [`apply`](Kernel::apply) the holder's vector becomes its join with the other
///   side's; all kernels that share a vector take their part before it does.
/// - The **floor** that belongs to the kernel, or to all that share a vector: for each replica the remembered deaths by
///   its events above the floor are complete. It is raised by [`forget_deaths`](Kernel::forget_deaths), and whoever
///   takes over from another side's `floor` raises its own to it in those rows where its vector was below.
///
/// With wrong vectors, such as a lying peer may cause, removals are missed or undone, but nothing panics; only dots
/// that the holder itself gives to an update are checked, in debug builds.
///
/// # Watching
///
/// `watch` is told each dot that begins or ends to live, once. What is computed from that incrementally, such as a
/// fingerprint, depends only on the dots that live if it is itself independent of the order.
#[derive(Clone)]
pub struct Kernel<E> {
    pub(crate) births: Births<E>,
    pub(crate) index: Index,
    /// Deaths in all rows.
    pub(crate) deaths: usize,
}

/// How many dots are looked up at a time before any is ended.
const BATCH: usize = 16;

/// Where a live dot was found.
#[derive(Clone, Copy)]
struct Place {
    dot: Dot,
    row: u32,
    handle: Handle,
    hash: u64,
    /// In the table, if it is there.
    position: Option<Position>,
}

/// What a [`Kernel`] reports to its watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a, E> {
    /// The dot of an add now lives.
    Born(Dot, &'a E),
    /// A dot that lived has died.
    Died(Dot, &'a E),
}

impl<E> Kernel<E> {
    /// Without elements.
    pub fn new() -> Self {
        Kernel { births: Births::new(), index: Index::default(), deaths: 0 }
    }

    /// How many distinct elements there are. **O(1)**.
    pub fn len(&self) -> usize {
        self.index.distinct()
    }

    /// Whether there are no elements. Deaths may be remembered all the same: see [`deaths`](Kernel::deaths).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The live dots with their elements, ascending by replica and then by counter.
    pub fn live(&self) -> impl Iterator<Item = (Dot, &E)> {
        self.births.sorted().flat_map(|row| self.births.after(row, 0))
    }

    /// The live dots as runs of consecutive counters, and the elements in the same order.
    pub(crate) fn columns(&self) -> (impl Iterator<Item = Run>, impl Iterator<Item = &[E]> + Clone) {
        (self.births.runs(), self.births.elements())
    }

    /// How many deaths are remembered. **O(1)**.
    pub fn deaths(&self) -> usize {
        self.deaths
    }

    /// Forgets the deaths by events in `up_to` and says how many they were. **O(r log n)** for r replicas, and the
    /// number forgotten.
    ///
    /// The floor must be raised to at least the last event forgotten of each replica, for instance to `up_to`.
    pub fn forget_deaths(&mut self, up_to: &VersionVector) -> usize {
        self.forget(|replica, _| up_to.get(replica), |_| ())
    }

    /// Forgets the oldest quarter of each replica's deaths and tells the last event forgotten of each: the new floor.
    pub(crate) fn forget_oldest(&mut self, floor: impl FnMut(Dot)) -> usize {
        // An event's deaths go together, or the floor would claim what is only partly remembered.
        self.forget(|_, deaths| deaths.get(deaths.len() / 4).map_or(0, |death| death.0), floor)
    }

    /// As [`forget_deaths`](Kernel::forget_deaths), telling the last event forgotten of each replica.
    pub(crate) fn forget_up_to(&mut self, up_to: &VersionVector, floor: impl FnMut(Dot)) -> usize {
        self.forget(|replica, _| up_to.get(replica), floor)
    }

    fn forget(
        &mut self,
        up_to: impl Fn(ReplicaId, &VecDeque<(u64, Dot)>) -> u64,
        mut floor: impl FnMut(Dot),
    ) -> usize {
        let before = self.deaths;
        for row in self.births.rows_mut() {
            let count = row.deaths_known(up_to(row.id, &row.deaths));
            let Some(deaths) = row.deaths.get_mut() else { continue };
            if let Some((last, _)) = deaths.drain(..count).next_back() {
                floor(Dot::new(row.id, last));
            }
            self.deaths -= count;
            if deaths.is_empty() {
                row.deaths = Seldom::default();
            } else if deaths.capacity() / 2 > deaths.len() {
                deaths.shrink_to(deaths.len() / 2 * 3);
            }
        }
        before - self.deaths
    }

    fn record(&mut self, event: Dot, killed: impl IntoIterator<Item = Dot>) {
        let row = self.births.open(event.replica);
        let log = &mut self.births.row_mut(row).deaths;
        let before = log.len();
        log.extend(killed.into_iter().map(|dot| (event.counter, dot)));
        self.deaths += log.len() - before;
    }

    fn is_ahead(&self, dot: Dot) -> bool {
        self.births.get(dot.replica).is_none_or(|row| row.last() < dot.counter)
    }
}

impl<E: Eq + Hash> Kernel<E> {
    /// Whether `element` has a live dot. **O(1)**.
    #[inline]
    pub fn contains<Q>(&self, element: &Q) -> bool
    where
        E: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.index.has(self.index.hash(element), &self.births, element)
    }

    /// The live dots of `element`, ascending; at most one for each replica. **O(1)** for one, O(log n) for each of
    /// several.
    pub fn dots<Q>(&self, element: &Q) -> Vec<Dot>
    where
        E: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.index.dots(&self.births, element)
    }

    /// The distinct elements, ascending by their least live dot. **O(n)**.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &E> {
        let Kernel { births, index, .. } = self;
        Elements::new(births, index, births.elements(), births.handles())
    }

    /// Adds `element` by the event `dot`, which supersedes the element's live dots. **O(log n)** amortised.
    ///
    /// The caller vouches that `dot` is new: beyond every counter of its replica in here.
    #[inline]
    pub fn add(&mut self, dot: Dot, element: E, watch: &mut impl FnMut(Change<'_, E>)) {
        debug_assert!(self.is_ahead(dot), "{dot} is not new here");
        let hash = self.index.hash(&element);
        if self.index.has(hash, &self.births, &element) {
            self.end(dot, hash, &element, watch);
        }
        let row = self.births.open(dot.replica);
        watch(Change::Born(dot, &element));
        self.reserve(1);
        let handle = self.births.push(row, dot.counter, element);
        self.index.insert_first(hash, handle);
    }

    /// Makes room for `more` elements. A death in between may take it back.
    #[inline]
    pub(crate) fn reserve(&mut self, more: usize) {
        self.index.reserve(&self.births, more);
    }

    /// Removes `element` by the event `dot`; false, and nothing has happened, if it was not there. **O(log n)**
    /// amortised.
    ///
    /// The caller vouches for `dot` as in [`add`](Kernel::add).
    pub fn remove<Q>(&mut self, dot: Dot, element: &Q, watch: &mut impl FnMut(Change<'_, E>)) -> bool
    where
        E: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        debug_assert!(self.is_ahead(dot), "{dot} is not new here");
        matches!(self.remove_by(|| Ok::<_, Infallible>(dot), element, watch), Ok(Some(_)))
    }

    /// As [`remove`](Kernel::remove), by an event that is taken only if the element is there.
    pub(crate) fn remove_by<Q, X>(
        &mut self,
        event: impl FnOnce() -> Result<Dot, X>,
        element: &Q,
        watch: &mut impl FnMut(Change<'_, E>),
    ) -> Result<Option<Dot>, X>
    where
        E: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let hash = self.index.hash(element);
        if !self.index.has(hash, &self.births, element) {
            return Ok(None);
        }
        let event = event()?;
        self.end(event, hash, element, watch);
        Ok(Some(event))
    }

    /// Ends the live dots of an element by an event.
    fn end<Q>(&mut self, event: Dot, hash: u64, element: &Q, watch: &mut impl FnMut(Change<'_, E>))
    where
        E: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        while let Some((dot, handle)) = self.index.least(hash, &self.births, element) {
            let (row, position) = (self.births.row_of(handle), self.index.position(hash, handle));
            self.bury(Place { dot, row, handle, hash, position }, watch);
            self.record(event, [dot]);
        }
    }

    /// Removes all elements by the event `dot`; false, and nothing has happened, if there were none. **O(n)**.
    ///
    /// The caller vouches for `dot` as in [`add`](Kernel::add).
    pub fn clear(&mut self, dot: Dot, watch: &mut impl FnMut(Change<'_, E>)) -> bool {
        debug_assert!(self.is_ahead(dot), "{dot} is not new here");
        if self.is_empty() {
            return false;
        }
        let killed: Vec<Dot> = self
            .live()
            .map(|(old, element)| {
                watch(Change::Died(old, element));
                old
            })
            .collect();
        self.index.clear();
        self.births.clear();
        self.record(dot, killed);
        true
    }

    /// Ends those of the dots that live; true if any did.
    pub(crate) fn kill_all(
        &mut self,
        mut dots: impl Iterator<Item = Dot>,
        watch: &mut impl FnMut(Change<'_, E>),
    ) -> bool {
        let before = self.index.len();
        loop {
            // First some are found, then they are ended: the processor can wait for many places of memory at a time,
            // but hardly beyond a change.
            let mut found = [const { None::<Place> }; BATCH];
            let mut count = 0;
            for place in dots.by_ref().filter_map(|dot| self.locate(dot)) {
                found[count] = Some(place);
                count += 1;
                if count == BATCH {
                    break;
                }
            }
            let mut is_valid = true;
            for place in found[..count].iter().flatten() {
                let place = if is_valid { Some(*place) } else { self.locate(place.dot) };
                is_valid &= place.is_none_or(|place| self.bury(place, watch));
            }
            if count < BATCH {
                return self.index.len() < before;
            }
        }
    }

    /// Ends a live dot; nothing happens if it is not.
    pub(crate) fn kill(&mut self, dot: Dot, watch: &mut impl FnMut(Change<'_, E>)) {
        if let Some(place) = self.locate(dot) {
            self.bury(place, watch);
        }
    }

    fn locate(&self, dot: Dot) -> Option<Place> {
        let (row, handle) = self.births.find(dot)?;
        let hash = self.index.hash(self.births.element(handle));
        Some(Place { dot, row, handle, hash, position: self.index.position(hash, handle) })
    }

    /// Ends a dot whose place was found; false if places that were found are not valid any more.
    fn bury(&mut self, place: Place, watch: &mut impl FnMut(Change<'_, E>)) -> bool {
        let Place { dot, row, handle, hash, position } = place;
        // A dot may be named twice.
        if !self.births.is_live(handle) {
            return true;
        }
        let element = self.births.remove(row, handle);
        self.index.remove(hash, &self.births, (dot, &element), (handle, position));
        watch(Change::Died(dot, &element));
        let is_thin = self.births.is_thin(row);
        if is_thin {
            let index = &mut self.index;
            self.births
                .sweep(row, |(dot, element), from, to| index.moved(index.hash(element), dot, from, to));
        }
        // O(1) amortised over the deaths that led here.
        let (resettle, shrink) = (self.births.is_oversized(), self.index.is_oversized());
        if resettle {
            self.births.resettle();
        }
        if shrink {
            self.index.shrink(&self.births);
        } else if resettle {
            self.index.refill(&self.births);
        }
        !is_thin && !resettle && !shrink
    }
}

impl<E> Default for Kernel<E> {
    fn default() -> Self {
        Kernel::new()
    }
}

/// The same live dots, with equal elements; what is remembered of deaths does not count.
impl<E: PartialEq> PartialEq for Kernel<E> {
    fn eq(&self, other: &Self) -> bool {
        self.index.len() == other.index.len() && self.live().eq(other.live())
    }
}

impl<E: Eq> Eq for Kernel<E> {}

impl<E: fmt::Debug> fmt::Debug for Kernel<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.live()).finish()
    }
}
