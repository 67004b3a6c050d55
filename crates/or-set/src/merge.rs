//! How a kernel learns from others: cutting a slice, applying one, and joining another kernel.

use crate::{
    births::{Births, Handle},
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
        for (row, known) in self.births.beside(since).filter(|(row, known)| row.last() > *known) {
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
        self.expect(&slice.births, seen);
        for (dot, element) in slice.births {
            grew |= !seen.contains(dot) && self.take(dot, element, watch);
        }
        grew
    }

    /// As [`apply`](Kernel::apply) of a slice that has these births, ascending, and nothing else. Those that are new are
    /// cloned.
    pub fn apply_births<'a>(
        &mut self,
        births: impl Iterator<Item = (Dot, &'a E)>,
        seen: &VersionVector,
        watch: &mut impl FnMut(Change<'_, E>),
    ) -> bool
    where
        E: Clone + 'a,
    {
        let (mut grew, mut known) = (false, None);
        for (dot, element) in births {
            let seen = match known {
                Some((replica, counter)) if replica == dot.replica => counter,
                _ => known.insert((dot.replica, seen.get(dot.replica))).1,
            };
            grew |= dot.counter > seen && self.take(dot, element.clone(), watch);
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
        self.expect(&slice.births, seen);
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
        if slice.survivors.is_none() && slice.deaths.is_empty() {
            return grew;
        }
        if let Some(survivors) = &slice.survivors {
            let births = slice.births.iter().map(|(dot, _)| Run::from(*dot));
            let dead = without(without(self.covered(until), survivors.iter().copied()), births);
            let dead: Vec<Dot> = dead.flat_map(Run::dots).collect();
            grew |= self.kill_all(dead.into_iter(), watch);
        }
        let rows = news_of(&slice.deaths, seen);
        self.births.open_all(rows.clone().map(|(replica, ..)| replica));
        for (replica, known, deaths) in rows {
            let after = |known| {
                let from = deaths.partition_point(|(event, _)| event.counter <= known);
                deaths[from..].iter().map(|(event, killed)| (event.counter, *killed))
            };
            grew |= self.take_deaths(replica, known, after, watch);
        }
        grew
    }

    /// Makes room for those births of a slice that are new.
    fn expect(&mut self, births: &[(Dot, E)], seen: &VersionVector) {
        if births.len() < 2 {
            return;
        }
        let rows = news_of(births, seen);
        self.births.open_all(rows.clone().map(|(replica, ..)| replica));
        self.reserve(
            rows.map(|(_, known, births)| births.iter().filter(|birth| birth.0.counter > known).count())
                .sum(),
        );
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
        let news = other.news(seen);
        let mut grew = self.merge_deaths(other, &news, (seen, theirs, their_floor), watch);
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
        let mut grew = self.merge_deaths(&other, &other.news(seen), (seen, theirs, their_floor), watch);
        other.births.take_after(
            |replica| seen.get(replica),
            |run, elements| grew |= self.take_run(run, elements, watch),
        );
        grew
    }

    /// Takes the deaths of another kernel, and makes room for its births.
    fn merge_deaths(
        &mut self,
        other: &Self,
        news: &[(&Row, u64)],
        (seen, theirs, their_floor): (&VersionVector, &VersionVector, &VersionVector),
        watch: &mut impl FnMut(Change<'_, E>),
    ) -> bool {
        let mut grew = false;
        if seen.covers(their_floor).is_err() {
            let dead = without(self.covered(theirs), other.births.runs());
            let dead: Vec<Dot> = dead.flat_map(Run::dots).collect();
            grew |= self.kill_all(dead.into_iter(), watch);
        }
        self.births.open_all(news.iter().map(|(row, _)| row.id));
        for (row, known) in news.iter().filter(|(row, known)| row.last_death() > *known) {
            grew |= self.take_deaths(row.id, *known, |known| row.deaths_after(known), watch);
        }
        if self.index.spare() < other.index.len() {
            self.reserve(news.iter().map(|(row, known)| other.births.count_after(row, *known)).sum());
        }
        grew
    }

    /// The live dots in `version`.
    fn covered(&self, version: &VersionVector) -> impl Iterator<Item = Run> {
        self.births.runs().filter_map(|run| run.up_to(version.get(run.replica)))
    }

    /// Executes and records the deaths by events of `replica` that are beyond `known` and beyond its log; `after` gives
    /// those beyond a counter.
    fn take_deaths<D: ExactSizeIterator<Item = (u64, Dot)> + Clone>(
        &mut self,
        replica: ReplicaId,
        known: u64,
        after: impl FnOnce(u64) -> D,
        watch: &mut impl FnMut(Change<'_, E>),
    ) -> bool {
        let row = self.births.open(replica);
        let deaths = after(known.max(self.births.row(row).last_death()));
        let count = deaths.len();
        if count == 0 {
            return false;
        }
        self.kill_all(deaths.clone().map(|death| death.1), watch);
        self.births.row_mut(row).deaths.extend(deaths);
        self.deaths += count;
        true
    }

    /// Appends to the births of the dot's replica; false, and nothing has happened, if they are already that far.
    pub(crate) fn take(&mut self, dot: Dot, element: E, watch: &mut impl FnMut(Change<'_, E>)) -> bool {
        let row = self.births.open(dot.replica);
        if self.births.row(row).last_birth >= dot.counter {
            return false;
        }
        watch(Change::Born(dot, &element));
        self.reserve(1);
        let hash = self.index.hash(&element);
        let birth = |births: &mut Births<E>, element| births.push(row, dot.counter, element);
        if let Some(older) = self.index.insert_new(hash, &mut self.births, (dot, element), birth) {
            self.kill(older, watch);
        }
        true
    }

    /// The rows with births or deaths beyond `seen`, and what it has of them.
    fn news(&self, seen: &VersionVector) -> Vec<(&Row, u64)> {
        let has_news = |row: &Row, known| row.last_death() > known || row.live > 0 && row.last_birth > known;
        self.births.beside(seen).filter(|(row, known)| has_news(row, *known)).collect()
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
                if let Some(older) = self.enter(dot, handle, watch) {
                    again.push(older);
                }
            }
            // Handles change when a dot dies, so first all births of the chunk are entered.
            for older in again {
                self.kill(older, watch);
            }
            if run.last - first < u64::from(count) {
                return true;
            }
            first += u64::from(count);
        }
    }

    /// Indexes a birth. A replica's add supersedes its own older dot: if that lives, it is returned, and to be ended. The
    /// deaths of an honest peer have said so before, or will.
    #[inline]
    fn enter(&mut self, dot: Dot, handle: Handle, watch: &mut impl FnMut(Change<'_, E>)) -> Option<Dot> {
        let element = self.births.element(handle);
        watch(Change::Born(dot, element));
        self.index.insert(&self.births, element, dot, handle)
    }
}

/// The entries of a slice that are beyond `seen`, by replica: its id, how far it was seen, and its entries, of which
/// the last is beyond that.
fn news_of<'a, T>(
    entries: &'a [(Dot, T)],
    seen: &VersionVector,
) -> impl Iterator<Item = (ReplicaId, u64, &'a [(Dot, T)])> + Clone {
    entries.chunk_by(|a, b| a.0.replica == b.0.replica).filter_map(|row| {
        let last = row[row.len() - 1].0;
        let known = seen.get(last.replica);
        (known < last.counter).then_some((last.replica, known, row))
    })
}
