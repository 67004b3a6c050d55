//! How a kernel learns from others: cutting a slice, applying one, and joining another kernel.

use crate::{
    births::Handle,
    chunk::SLOTS,
    kernel::{Change, Kernel},
    row::Row,
    slice::{Run, Slice, without},
};
use alloc::vec::Vec;
use core::hash::Hash;
use crdt_core::{Dot, ReplicaId};
use version_vector::VersionVector;

/// The most births that are appended at a time.
const CHUNK: usize = SLOTS as usize;

impl<E: Eq + Hash> Kernel<E> {
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

    /// The rows with births beyond `seen`, and what it has of them.
    fn news(&self, seen: &VersionVector) -> Vec<(&Row, u64)> {
        self.births.beside(seen).filter(|(row, known)| row.last_birth > *known).collect()
    }

    /// Ends the older dot that the same replica has given to an equal element. A replica's add supersedes its own older
    /// dot; the deaths of an honest peer have said so before, or will.
    fn supersede(&mut self, dot: Dot, watch: &mut impl FnMut(Change<'_, E>)) {
        let Some((row, handle)) = self.births.find(dot) else { return };
        let mut older = None;
        self.index.any(&self.births, self.births.element(handle), |other| {
            older = Some(other).filter(|other| self.births.row_of(*other) == row && *other != handle);
            older.is_some()
        });
        if let Some(older) = older {
            self.kill(self.births.dot(older), watch);
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
            self.reserve(usize::try_from(run.last - first).map_or(CHUNK, |more| CHUNK.min(more + 1)));
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
}
