use crate::{
    index::Index,
    row::{Handle, Logs, Row},
    slice::{Run, Slice, runs, within},
};
use alloc::vec::Vec;
use core::{borrow::Borrow, fmt, hash::Hash};
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
    logs: Logs<E>,
    index: Index,
    /// Distinct elements; there may be more live dots.
    len: usize,
    /// Deaths in all rows.
    deaths: usize,
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
        Kernel { logs: Logs::new(), index: Index::default(), len: 0, deaths: 0 }
    }

    /// How many distinct elements there are. **O(1)**.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements. Deaths may be remembered all the same: see [`deaths`](Kernel::deaths).
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The live dots with their elements, ascending by replica and then by counter.
    pub fn live(&self) -> impl Iterator<Item = (Dot, &E)> {
        self.logs.sorted().flat_map(|row| row.births_after(0))
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

    /// Forgets the older half of each replica's deaths and tells the last event forgotten of each: the new floor.
    pub(crate) fn forget_half(&mut self, floor: impl FnMut(Dot)) -> usize {
        // An event's deaths go together, or the floor would claim what is only half remembered.
        self.forget(|_, deaths| deaths.get(deaths.len() / 2).map_or(0, |death| death.0), floor)
    }

    /// As [`forget_deaths`](Kernel::forget_deaths), telling the last event forgotten of each replica.
    pub(crate) fn forget_up_to(&mut self, up_to: &VersionVector, floor: impl FnMut(Dot)) -> usize {
        self.forget(|replica, _| up_to.get(replica), floor)
    }

    fn forget(
        &mut self,
        up_to: impl Fn(ReplicaId, &alloc::collections::VecDeque<(u64, Dot)>) -> u64,
        mut floor: impl FnMut(Dot),
    ) -> usize {
        let before = self.deaths;
        for row in self.logs.iter_mut() {
            let count = row.deaths_known(up_to(row.id, &row.deaths));
            if let Some((last, _)) = row.deaths.drain(..count).next_back() {
                floor(Dot::new(row.id, last));
            }
            self.deaths -= count;
            if row.deaths.capacity() / 4 > row.deaths.len() {
                row.deaths.shrink_to(row.deaths.len() * 2);
            }
        }
        before - self.deaths
    }

    fn record(&mut self, event: Dot, killed: impl IntoIterator<Item = Dot>) {
        let row = self.logs.open(event.replica);
        let log = &mut self.logs.row_mut(row).deaths;
        let before = log.len();
        log.extend(killed.into_iter().map(|dot| (event.counter, dot)));
        self.deaths += log.len() - before;
    }

    fn is_ahead(&self, dot: Dot) -> bool {
        self.logs.get(dot.replica).is_none_or(|row| row.last() < dot.counter)
    }
}

impl<E: Eq + Hash> Kernel<E> {
    /// Whether `element` has a live dot. **O(1)**.
    pub fn contains<Q>(&self, element: &Q) -> bool
    where
        E: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let hash = self.index.hash(element);
        self.index.equal(hash, &self.logs, element).next().is_some()
    }

    /// The live dots of `element`, ascending; at most one for each replica. **O(1)** for one.
    pub fn dots<Q>(&self, element: &Q) -> Vec<Dot>
    where
        E: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.dots_hashed(self.index.hash(element), element)
    }

    fn dots_hashed<Q>(&self, hash: u64, element: &Q) -> Vec<Dot>
    where
        E: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let handles = self.index.equal(hash, &self.logs, element);
        let mut dots: Vec<Dot> = handles.map(|handle| self.logs.dot(handle)).collect();
        dots.sort_unstable();
        dots
    }

    /// The distinct elements, ascending by their least live dot. **O(n)**.
    pub fn iter(&self) -> impl Iterator<Item = &E> {
        // Only where some element has several dots must each ask whether it is the first of its own.
        let distinct = self.index.len() == self.len;
        self.live()
            .filter(move |(dot, element)| distinct || self.is_least(*dot, element))
            .map(|(_, element)| element)
    }

    fn is_least(&self, dot: Dot, element: &E) -> bool {
        self.index
            .equal(self.index.hash(element), &self.logs, element)
            .all(|handle| dot <= self.logs.dot(handle))
    }

    /// Adds `element` by the event `dot`, which supersedes the element's live dots. **O(log n)** amortised.
    ///
    /// The caller vouches that `dot` is new: beyond every counter of its replica in here.
    pub fn add(&mut self, dot: Dot, element: E, watch: &mut impl FnMut(Change<'_, E>)) {
        debug_assert!(self.is_ahead(dot), "{dot} is not new here");
        let hash = self.index.hash(&element);
        let superseded = self.dots_hashed(hash, &element);
        self.birth(hash, dot, element, watch);
        for old in &superseded {
            self.kill(*old, watch);
        }
        self.record(dot, superseded);
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
        let killed = self.dots(element);
        for old in &killed {
            self.kill(*old, watch);
        }
        let any = !killed.is_empty();
        if any {
            self.record(dot, killed);
        }
        any
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
        self.len = 0;
        for row in self.logs.iter_mut() {
            row.births = Vec::new();
            row.live = 0;
        }
        self.record(dot, killed);
        true
    }

    /// What has happened here since the version `since`. **O(r log n)** for r replicas, and what is in the slice.
    ///
    /// `survivors` must be true unless `since` covers the floor: then deaths are missing, and the slice also says which
    /// of the dots in `since` live. That takes **O(n)**, and a few bytes for each run of consecutive dots.
    ///
    /// The deaths are those by *all* events beyond `since`, also of dots that were born after it: a receiver may hold
    /// such a dot already, or may pass it on to someone who does.
    pub fn slice_since(&self, since: &VersionVector, survivors: bool) -> Slice<E>
    where
        E: Clone,
    {
        let mut slice = Slice::default();
        for row in self.logs.sorted() {
            let known = since.get(row.id);
            let births = row.births_after(known);
            slice.births.extend(births.map(|(dot, element)| (dot, element.clone())));
            let deaths = row.deaths_after(known);
            slice.deaths.extend(deaths.map(|(event, killed)| (Dot::new(row.id, event), killed)));
        }
        if survivors {
            let known = self.live().map(|(dot, _)| dot).filter(|dot| since.contains(*dot));
            slice.survivors = Some(runs(known));
        }
        slice
    }

    /// Takes what is new in `slice`; true exactly when there was something. **O(s log n)** for the slice's size s,
    /// and O(n) if it has survivors.
    ///
    /// `seen` is the receiver's vector before, which covers what the slice was cut since. `until` is the version that
    /// the slice reaches: the sender's, when it was cut. It matters only to a slice with survivors, which together
    /// with the births are all dots in `until` that live; the receiver's other dots in `until` die. (Those in the
    /// version that it was cut since would not be enough: a receiver that is further on may hold dots that died by a
    /// forgotten event.)
    ///
    /// Stored slices can be replayed in their order, with the vector as it was each time; with an empty `seen` if
    /// each held only what was new when it was stored. (One that overlaps what came before would bring back what died
    /// since.)
    pub fn apply(
        &mut self,
        slice: Slice<E>,
        seen: &VersionVector,
        until: &VersionVector,
        watch: &mut impl FnMut(Change<'_, E>),
    ) -> bool {
        let mut grew = self.apply_deaths(&slice, seen, until, watch);
        for (dot, element) in slice.births {
            grew |= !seen.contains(dot) && self.take(dot, element, watch);
        }
        grew
    }

    /// As [`apply`](Kernel::apply), cloning those births that are new.
    pub(crate) fn apply_ref(
        &mut self,
        slice: &Slice<E>,
        seen: &VersionVector,
        until: &VersionVector,
        watch: &mut impl FnMut(Change<'_, E>),
    ) -> bool
    where
        E: Clone,
    {
        let mut grew = self.apply_deaths(slice, seen, until, watch);
        for (dot, element) in &slice.births {
            grew |= !seen.contains(*dot) && self.take(*dot, element.clone(), watch);
        }
        grew
    }

    fn apply_deaths(
        &mut self,
        slice: &Slice<E>,
        seen: &VersionVector,
        until: &VersionVector,
        watch: &mut impl FnMut(Change<'_, E>),
    ) -> bool {
        let mut grew = false;
        if let Some(survivors) = &slice.survivors {
            let mut survives = within(survivors.iter().copied());
            let mut is_born = within(slice.births.iter().map(|(dot, _)| Run::from(*dot)));
            grew |= self.kill_unless(until, |dot| survives(dot) || is_born(dot), watch);
        }
        for events in slice.deaths.chunk_by(|a, b| a.0.replica == b.0.replica) {
            let replica = events[0].0.replica;
            let deaths = events.iter().map(|(event, killed)| (event.counter, *killed));
            grew |= self.take_deaths(replica, seen.get(replica), deaths, watch);
        }
        grew
    }

    /// Joins another kernel; true exactly when it had something new. **O(r log n)** for r replicas, and what is new;
    /// O(n) where deaths that would be needed are forgotten.
    ///
    /// `seen` is the holder's vector, before; `theirs` and `their_floor` belong to `other`. If `seen` covers
    /// `their_floor`, the new deaths are all in their logs; otherwise a dot in `theirs` that does not live there has
    /// died.
    pub fn merge(
        &mut self,
        other: &Self,
        seen: &VersionVector,
        theirs: &VersionVector,
        their_floor: &VersionVector,
        watch: &mut impl FnMut(Change<'_, E>),
    ) -> bool
    where
        E: Clone,
    {
        let mut grew = self.merge_deaths(other, seen, theirs, their_floor, watch);
        for row in other.logs.sorted() {
            for (dot, element) in row.births_after(seen.get(row.id)) {
                grew |= self.take(dot, element.clone(), watch);
            }
        }
        grew
    }

    /// As [`merge`](Kernel::merge), moving elements instead of cloning them.
    pub fn merge_owned(
        &mut self,
        other: Self,
        seen: &VersionVector,
        theirs: &VersionVector,
        their_floor: &VersionVector,
        watch: &mut impl FnMut(Change<'_, E>),
    ) -> bool {
        let mut grew = self.merge_deaths(&other, seen, theirs, their_floor, watch);
        for row in other.logs.into_sorted() {
            let known = seen.get(row.id);
            for (dot, element) in row.into_births_after(known) {
                grew |= self.take(dot, element, watch);
            }
        }
        grew
    }

    fn merge_deaths(
        &mut self,
        other: &Self,
        seen: &VersionVector,
        theirs: &VersionVector,
        their_floor: &VersionVector,
        watch: &mut impl FnMut(Change<'_, E>),
    ) -> bool {
        let mut grew = false;
        if seen.covers(their_floor).is_err() {
            let alive = within(other.live().map(|(dot, _)| Run::from(dot)));
            grew |= self.kill_unless(theirs, alive, watch);
        }
        for row in other.logs.sorted() {
            let known = seen.get(row.id);
            grew |= self.take_deaths(row.id, known, row.deaths_after(known), watch);
        }
        grew
    }

    /// Ends the live dots in `covered` that do not live on the other side; `alive` is asked in ascending order.
    fn kill_unless(
        &mut self,
        covered: &VersionVector,
        mut alive: impl FnMut(Dot) -> bool,
        watch: &mut impl FnMut(Change<'_, E>),
    ) -> bool {
        let dead: Vec<Dot> =
            self.live().map(|(dot, _)| dot).filter(|dot| covered.contains(*dot) && !alive(*dot)).collect();
        for dot in &dead {
            self.kill(*dot, watch);
        }
        !dead.is_empty()
    }

    /// Records and executes the deaths by events of `replica` that are beyond `known` and beyond its log.
    fn take_deaths(
        &mut self,
        replica: ReplicaId,
        known: u64,
        deaths: impl Iterator<Item = (u64, Dot)>,
        watch: &mut impl FnMut(Change<'_, E>),
    ) -> bool {
        let logged = self.logs.get(replica).map_or(0, Row::last_death);
        let mut grew = false;
        for (event, killed) in deaths.filter(|(event, _)| *event > known.max(logged)) {
            self.kill(killed, watch);
            self.record(Dot::new(replica, event), [killed]);
            grew = true;
        }
        grew
    }

    fn take(&mut self, dot: Dot, element: E, watch: &mut impl FnMut(Change<'_, E>)) -> bool {
        let hash = self.index.hash(&element);
        self.birth(hash, dot, element, watch)
    }

    /// Appends to the births of the dot's replica; false, and nothing has happened, if the log is already that far.
    fn birth(&mut self, hash: u64, dot: Dot, element: E, watch: &mut impl FnMut(Change<'_, E>)) -> bool {
        let row = self.logs.open(dot.replica);
        let births = &self.logs.row(row).births;
        if births.last().is_some_and(|birth| birth.0 >= dot.counter) {
            return false;
        }
        let mut equal = self.index.equal(hash, &self.logs, &element);
        let first = equal.next();
        // A replica's add supersedes its own older dot; the deaths of an honest peer have said so before, or will.
        let own = first.into_iter().chain(equal).find(|handle| handle.row == row);
        self.len += usize::from(first.is_none());
        let births = &mut self.logs.row_mut(row).births;
        let handle = Handle::new(row, births.len());
        births.push((dot.counter, Some(element)));
        self.logs.row_mut(row).live += 1;
        self.index.insert(hash, &self.logs, handle);
        watch(Change::Born(dot, self.logs.element(handle)));
        if let Some(own) = own {
            self.bury(own, watch);
        }
        true
    }

    fn kill(&mut self, dot: Dot, watch: &mut impl FnMut(Change<'_, E>)) {
        if let Some(handle) = self.logs.find(dot) {
            self.bury(handle, watch);
        }
    }

    /// Ends a live dot: its place becomes a hole.
    fn bury(&mut self, handle: Handle, watch: &mut impl FnMut(Change<'_, E>)) {
        let row = self.logs.row_mut(handle.row);
        let (counter, place) = &mut row.births[handle.at as usize];
        let dot = Dot::new(row.id, *counter);
        let Some(element) = place.take() else { return };
        row.live -= 1;
        let holes = row.births.len() - row.live;
        let sweep = holes > row.live;

        let hash = self.index.hash(&element);
        let distinct = self.index.len() == self.len;
        self.index.remove(hash, handle);
        let last = distinct || self.index.equal(hash, &self.logs, &element).next().is_none();
        self.len -= usize::from(last);
        watch(Change::Died(dot, &element));
        if sweep {
            self.sweep(handle.row);
        }
    }

    /// Closes the holes of a row. There are more of them than live births: O(1) amortised over the deaths.
    fn sweep(&mut self, row: u32) {
        let index = &mut self.index;
        let births = &mut self.logs.row_mut(row).births;
        let (mut from, mut to) = (0, 0);
        births.retain(|(_, element)| {
            if let Some(element) = element {
                if from != to {
                    let hash = index.hash(element);
                    index.moved(hash, Handle::new(row, from), Handle::new(row, to));
                }
                to += 1;
            }
            from += 1;
            element.is_some()
        });
        if births.capacity() / 4 > births.len() {
            births.shrink_to(births.len() * 2);
        }
        self.index.shrink(&self.logs);
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
