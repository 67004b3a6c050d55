use crate::{
    births::{Births, Handle},
    elements::Elements,
    index::Index,
    row::Row,
    slice::{Run, Slice, without},
};
use alloc::{collections::VecDeque, vec::Vec};
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
    births: Births<E>,
    index: Index,
    /// Distinct elements; there may be more live dots.
    len: usize,
    /// Deaths in all rows.
    deaths: usize,
}

/// How many dots are looked up at a time before any is ended.
const BATCH: usize = 16;

/// Where a live dot was found.
#[derive(Clone, Copy)]
struct Place {
    row: u32,
    handle: Handle,
    hash: u64,
    /// In the index.
    bucket: usize,
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
        Kernel { births: Births::new(), index: Index::default(), len: 0, deaths: 0 }
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
            if let Some((last, _)) = row.deaths.drain(..count).next_back() {
                floor(Dot::new(row.id, last));
            }
            self.deaths -= count;
            if row.deaths.capacity() / 2 > row.deaths.len() {
                row.deaths.shrink_to(row.deaths.len() / 2 * 3);
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

    /// The rows with births beyond `seen`, and what it has of them.
    fn news(&self, seen: &VersionVector) -> Vec<(&Row, u64)> {
        self.births.beside(seen).filter(|(row, known)| row.last_birth > *known).collect()
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
        self.index.glance(&self.births, element).unwrap_or_else(|| self.contains_exactly(element))
    }

    #[cold]
    #[inline(never)]
    fn contains_exactly<Q>(&self, element: &Q) -> bool
    where
        E: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.index.find(self.index.hash(element), &self.births, element).is_some()
    }

    /// The live dots of `element`, ascending; at most one for each replica. **O(1)** for one.
    pub fn dots<Q>(&self, element: &Q) -> Vec<Dot>
    where
        E: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let handles = self.index.equal(self.index.hash(element), &self.births, element);
        let mut dots: Vec<Dot> = handles.map(|handle| self.births.dot(handle)).collect();
        dots.sort_unstable();
        dots
    }

    /// The distinct elements, ascending by their least live dot. **O(n)**, and for an element with several live dots
    /// their square: one for each replica that added it concurrently.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &E> {
        let Kernel { births, index, len, .. } = self;
        Elements::new(births, index, *len, births.elements(), births.handles())
    }

    /// Adds `element` by the event `dot`, which supersedes the element's live dots. **O(log n)** amortised.
    ///
    /// The caller vouches that `dot` is new: beyond every counter of its replica in here.
    #[inline]
    pub fn add(&mut self, dot: Dot, element: E, watch: &mut impl FnMut(Change<'_, E>)) {
        debug_assert!(self.is_ahead(dot), "{dot} is not new here");
        let row = self.births.open(dot.replica);
        self.index.reserve(&self.births, 1);
        if self.bear(row, dot, element, watch) {
            let Some((_, handle)) = self.births.find(dot) else { return };
            let mut older = self.dots(self.births.element(handle));
            older.retain(|older| *older != dot);
            self.kill_all(&older, watch);
            self.record(dot, older);
        }
    }

    /// Makes room for `more` elements.
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
        let killed = self.dots(element);
        self.kill_all(&killed, watch);
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
        self.births.clear();
        self.len = 0;
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
        for (row, known) in self.births.beside(since) {
            let births = self.births.after(row, known);
            slice.births.extend(births.map(|(dot, element)| (dot, element.clone())));
            let deaths = row.deaths_after(known);
            slice.deaths.extend(deaths.map(|(event, killed)| (Dot::new(row.id, event), killed)));
        }
        if survivors {
            let known = self.births.runs().filter_map(|run| run.up_to(since.get(run.replica)));
            slice.survivors = Some(known.collect());
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
        self.reserve(slice.births.iter().filter(|(dot, _)| !seen.contains(*dot)).count());
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
        self.reserve(slice.births.iter().filter(|(dot, _)| !seen.contains(*dot)).count());
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
            let births = slice.births.iter().map(|(dot, _)| Run::from(*dot));
            let dead = without(without(self.covered(until), survivors.iter().copied()), births);
            let dead: Vec<Dot> = dead.flat_map(Run::dots).collect();
            grew |= self.kill_all(&dead, watch);
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
        let news = other.news(seen);
        self.reserve(news.iter().map(|(row, known)| other.births.count_after(row, *known)).sum());
        for (row, known) in news {
            for chunk in other.births.chunks_after(row, known) {
                let (mut counters, elements) = chunk.after(known);
                let mut elements = elements.iter().cloned();
                while let Some((first, count)) = counters.run() {
                    let run = Run { replica: row.id, first, last: first + (count - 1) };
                    grew |= self.take_run(run, &mut elements, watch);
                }
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
        self.reserve(other.news(seen).iter().map(|(row, known)| other.births.count_after(row, *known)).sum());
        other.births.take_after(
            |replica| seen.get(replica),
            |run, elements| grew |= self.take_run(run, elements, watch),
        );
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
            let dead = without(self.covered(theirs), other.births.runs());
            let dead: Vec<Dot> = dead.flat_map(Run::dots).collect();
            grew |= self.kill_all(&dead, watch);
        }
        for (row, known) in other.births.beside(seen).filter(|(row, known)| row.last_death() > *known) {
            grew |= self.take_deaths(row.id, known, row.deaths_after(known), watch);
        }
        grew
    }

    /// The live dots in `version`.
    fn covered(&self, version: &VersionVector) -> impl Iterator<Item = Run> {
        self.births.runs().filter_map(|run| run.up_to(version.get(run.replica)))
    }

    /// Records and executes the deaths by events of `replica` that are beyond `known` and beyond its log.
    fn take_deaths(
        &mut self,
        replica: ReplicaId,
        known: u64,
        deaths: impl Iterator<Item = (u64, Dot)>,
        watch: &mut impl FnMut(Change<'_, E>),
    ) -> bool {
        let row = self.births.open(replica);
        let known = known.max(self.births.row(row).last_death());
        let log = &mut self.births.row_mut(row).deaths;
        let mut killed = Vec::new();
        for death in deaths.filter(|(event, _)| *event > known) {
            log.push_back(death);
            killed.push(death.1);
        }
        self.deaths += killed.len();
        self.kill_all(&killed, watch);
        !killed.is_empty()
    }

    /// Appends to the births of the dot's replica; false, and nothing has happened, if they are already that far.
    fn take(&mut self, dot: Dot, element: E, watch: &mut impl FnMut(Change<'_, E>)) -> bool {
        let row = self.births.open(dot.replica);
        if self.births.row(row).last_birth >= dot.counter {
            return false;
        }
        if self.bear(row, dot, element, watch) {
            self.supersede(dot, watch);
        }
        true
    }

    /// Makes an element live, for which room was made; true if it had other live dots.
    #[inline]
    fn bear(&mut self, row: u32, dot: Dot, element: E, watch: &mut impl FnMut(Change<'_, E>)) -> bool {
        watch(Change::Born(dot, &element));
        let birth = |births: &mut Births<E>, element| births.push(row, dot.counter, element);
        let had_other = self.index.insert_new(&mut self.births, element, birth);
        self.len += usize::from(!had_other);
        had_other
    }

    /// Ends the older dot that the same replica has given to an equal element. A replica's add supersedes its own older
    /// dot; the deaths of an honest peer have said so before, or will.
    fn supersede(&mut self, dot: Dot, watch: &mut impl FnMut(Change<'_, E>)) {
        let Some((row, handle)) = self.births.find(dot) else { return };
        let older = self.index.find_other(&self.births, row, handle).map(|older| self.births.dot(older));
        if let Some(older) = older {
            self.kill(older, watch);
        }
    }

    /// As [`take`](Kernel::take), of births with consecutive counters.
    pub(crate) fn take_run(
        &mut self,
        run: Run,
        elements: &mut (impl Iterator<Item = E> + ?Sized),
        watch: &mut impl FnMut(Change<'_, E>),
    ) -> bool {
        if run.first == run.last {
            let dot = Dot::new(run.replica, run.first);
            return elements.next().is_some_and(|element| self.take(dot, element, watch));
        }
        let row = self.births.open(run.replica);
        let last_birth = self.births.row(row).last_birth;
        let mut first = run.first;
        if last_birth >= first {
            // Only a vector that is wrong leads here.
            (first..=last_birth.min(run.last)).zip(&mut *elements).for_each(drop);
            if last_birth >= run.last {
                return false;
            }
            first = last_birth + 1;
        }
        loop {
            let mut again = Vec::new();
            let (handle, count) = self.births.append(row, first, run.last - first + 1, &mut *elements);
            for (handle, counter) in handle.following(count).zip(first..=run.last) {
                let dot = Dot::new(run.replica, counter);
                if self.enter(dot, handle, watch) {
                    again.push(dot);
                }
            }
            // Chunk by chunk: what a hostile peer repeats is then compared with no more than a chunk.
            for dot in again {
                self.supersede(dot, watch);
            }
            if run.last - first < u64::from(count) {
                return true;
            }
            first += u64::from(count);
        }
    }

    /// Indexes a birth; true if the element had other live dots.
    #[inline]
    fn enter(&mut self, dot: Dot, handle: Handle, watch: &mut impl FnMut(Change<'_, E>)) -> bool {
        let element = self.births.element(handle);
        watch(Change::Born(dot, element));
        let had_other = self.index.insert(&self.births, element, handle);
        self.len += usize::from(!had_other);
        had_other
    }

    /// Ends those of the dots that live; true if any did.
    fn kill_all(&mut self, dots: &[Dot], watch: &mut impl FnMut(Change<'_, E>)) -> bool {
        let before = self.index.len();
        for batch in dots.chunks(BATCH) {
            // First all are found, then all are ended: the processor can wait for many places of memory at a time, but
            // hardly beyond a change.
            let mut found = [None; BATCH];
            for (place, dot) in found.iter_mut().zip(batch) {
                *place = self.locate(*dot);
            }
            let mut is_valid = true;
            for (place, dot) in found.into_iter().zip(batch) {
                let place = if is_valid { place } else { self.locate(*dot) };
                is_valid &= place.is_none_or(|place| self.bury(*dot, place, watch));
            }
        }
        self.index.len() < before
    }

    /// Ends a live dot; nothing happens if it is not.
    fn kill(&mut self, dot: Dot, watch: &mut impl FnMut(Change<'_, E>)) {
        if let Some(place) = self.locate(dot) {
            self.bury(dot, place, watch);
        }
    }

    fn locate(&self, dot: Dot) -> Option<Place> {
        let (row, handle) = self.births.find(dot)?;
        let hash = self.index.hash(self.births.element(handle));
        Some(Place { row, handle, hash, bucket: self.index.bucket(hash, handle)? })
    }

    /// Ends a dot whose place was found; false if places that were found are not valid any more.
    fn bury(&mut self, dot: Dot, place: Place, watch: &mut impl FnMut(Change<'_, E>)) -> bool {
        let Place { row, handle, hash, bucket } = place;
        // A dot may be named twice.
        if !self.births.is_live(handle) {
            return true;
        }
        let element = self.births.remove(row, handle);
        let distinct = self.index.len() == self.len;
        self.index.remove(bucket);
        let is_gone = distinct || self.index.find(hash, &self.births, &element).is_none();
        self.len -= usize::from(is_gone);
        watch(Change::Died(dot, &element));
        let is_thin = self.births.is_thin(row);
        if is_thin {
            let index = &mut self.index;
            self.births.sweep(row, |element, from, to| index.moved(index.hash(element), from, to));
        }
        // O(1) amortised over the deaths that led here.
        let (resettle, shrink) = (self.births.is_oversized(), self.index.is_oversized());
        if resettle {
            self.births.resettle();
        }
        if resettle || shrink {
            let more = if shrink { self.index.len() } else { self.index.spare() };
            self.index.rebuild(&self.births, more);
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
