use crate::{
    kernel::{Change, Kernel},
    slice::Slice,
};
use alloc::vec::Vec;
use core::{borrow::Borrow, cmp::Ordering, fmt, hash::Hash, mem};
use crdt_core::{Delta, Dot, Dotted, Gap, Merge, ReplicaId, Tick, UpdateError};
use version_vector::{Causality, VersionVector};

/// Deaths remembered for a set of any size; and one more for each so many elements. A death takes as much memory as one
/// or two elements, and what divergence there is between two syncs is mostly far below a sixteenth of a set.
const DEATHS: usize = 384;
const ELEMENTS_PER_DEATH: usize = 16;

/// A set in which an add wins over a concurrent remove.
///
/// An element is in the set while one of its **dots** lives. An add makes a new dot and ends those that its replica
/// saw of the same element; a remove ends those that its replica *observed*, so that an add that it had not seen
/// stays.
///
/// # Laws
///
/// - A join-semilattice (see [`Merge`]); bottom is the empty set at the empty version.
/// - Every update, a remove too, is one numbered event; the version is a [`VersionVector`] of them, and **equal
///   versions imply equal states**.
/// - Whoever covers a dot without holding it knows that it died: there are no tombstones. See [`Delta`] for deltas,
///   which carry removals and are cut from a version vector alone.
///
/// # Death memory
///
/// To cut a delta without looking at what did not change, a set remembers which event ended which dot: at most 384
/// deaths, and one for every sixteen elements; complete above a [`floor`](OrSet::floor). Beyond that, and after
/// deserialising, deltas for those who are behind the floor list the dots that live (as ranges), and a merge compares
/// them. This costs time and bytes and never changes a result; memory and floor are not part of equality nor of the
/// encoding.
///
/// # Elements that panic
///
/// If `Hash` or `Eq` of an element panics in the middle of a change, what the set holds afterwards is not specified: it
/// is to be dropped. What it was to be merged with is as it was.
///
/// # Source
///
/// Bieniusa et al., "An optimized conflict-free replicated set", INRIA RR-8083 (2012), for the set without
/// tombstones; Almeida, Shoker, Baquero, "Delta state replicated data types", JPDC 111 (2018), the add-wins set among
/// its causal CRDTs, for dots and causal context. The logs of births and deaths are this crate's own.
///
/// ```
/// use or_set::{Merge, OrSet, Replica, ReplicaId, UpdateError};
///
/// let mut ann = Replica::new(ReplicaId::new(1), OrSet::new());
/// let mut bob = Replica::new(ReplicaId::new(2), OrSet::new());
/// ann.update(|set, tick| set.add(tick, "milk"))?;
/// bob.merge(&ann);
///
/// // Concurrently, Bob removes what he has seen and Ann adds it anew.
/// bob.update(|set, tick| set.remove(tick, "milk"))?;
/// ann.update(|set, tick| set.add(tick, "milk"))?;
/// ann.merge(&bob);
/// bob.merge(&ann);
/// assert!(ann.contains("milk"));
/// assert_eq!(ann.state(), bob.state());
/// # Ok::<(), UpdateError>(())
/// ```
#[derive(Clone)]
pub struct OrSet<E> {
    pub(crate) kernel: Kernel<E>,
    pub(crate) version: VersionVector,
    /// For each replica the deaths by events above this are all in the kernel. Never beyond `version`.
    pub(crate) floor: VersionVector,
}

/// What has happened to an [`OrSet`] in the interval `(since, until]`, removals included.
///
/// # Invariant
///
/// `since <= until`; what was born or ended is in between. Survivors come with the floor that made them necessary.
/// Deserialising checks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrSetDelta<E> {
    pub(crate) since: VersionVector,
    pub(crate) until: VersionVector,
    pub(crate) slice: Slice<E>,
    /// The sender's, if the slice has survivors; else empty: all deaths since `since` are in the slice.
    pub(crate) floor: VersionVector,
}

impl<E> OrSet<E> {
    /// The empty set: bottom.
    pub fn new() -> Self {
        OrSet { kernel: Kernel::new(), version: VersionVector::new(), floor: VersionVector::new() }
    }

    /// How many elements there are. **O(1)**.
    pub fn len(&self) -> usize {
        self.kernel.len()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.kernel.is_empty()
    }

    /// Which updates this state has, removals included.
    pub fn version(&self) -> &VersionVector {
        &self.version
    }

    /// Above which all deaths are remembered: who is not behind it gets the smallest delta. Never beyond the version.
    pub fn floor(&self) -> &VersionVector {
        &self.floor
    }

    /// The live dots with their elements, ascending by replica and then by counter.
    pub fn live(&self) -> impl Iterator<Item = (Dot, &E)> {
        self.kernel.live()
    }

    /// How many deaths are remembered.
    pub fn deaths(&self) -> usize {
        self.kernel.deaths()
    }

    /// Forgets the deaths by events in `stable`, says how many they were, and raises the floor to the last of them.
    ///
    /// Worth doing for events that everyone is known to have; safe for any version. **O(r log n)** for r replicas, and
    /// the number forgotten.
    pub fn forget_deaths(&mut self, stable: &VersionVector) -> usize {
        let floor = &mut self.floor;
        self.kernel.forget_up_to(stable, |dot| _ = floor.advance(dot))
    }

    /// Each forgetting drops a quarter, so that three quarters of the bound are always remembered.
    #[inline]
    fn bound_deaths(&mut self) {
        while self.kernel.deaths() > DEATHS + self.kernel.len() / ELEMENTS_PER_DEATH {
            let floor = &mut self.floor;
            self.kernel.forget_oldest(|dot| _ = floor.advance(dot));
        }
    }

    /// The context's part of a merge, after the kernel's.
    ///
    /// Below `their_floor` they have forgotten deaths: where it is beyond what was seen here, those are missing here
    /// too. Where it is not, what is remembered here was complete before and stays so; always joining the floors
    /// would forget it.
    fn join_context(&mut self, theirs: &VersionVector, their_floor: &VersionVector) {
        if self.version.covers(their_floor).is_err() {
            let raised = their_floor.difference(&self.version);
            let raised: VersionVector = raised.map(|(replica, unseen)| (replica, *unseen.end())).collect();
            self.floor.merge(&raised);
            // What lies below the floor is of no use to anyone.
            self.kernel.forget_deaths(&self.floor);
        }
        self.version.merge(theirs);
        self.bound_deaths();
    }
}

impl<E: Eq + Hash> OrSet<E> {
    /// Whether `element` is in the set. **O(1)**.
    #[inline]
    pub fn contains<Q>(&self, element: &Q) -> bool
    where
        E: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.kernel.contains(element)
    }

    /// The live dots of `element`, ascending; at most one for each replica. **O(1)** for one, O(log n) for each of
    /// several.
    pub fn dots<Q>(&self, element: &Q) -> Vec<Dot>
    where
        E: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.kernel.dots(element)
    }

    /// The elements, each once, ascending by their least live dot: equal states iterate alike. **O(n)**.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &E> {
        self.kernel.iter()
    }

    /// Adds `element`, present or not: the new dot wins over removes that have not seen it. **O(log n)** amortised.
    ///
    /// # Errors
    ///
    /// [`UpdateError`] if the tick does not directly follow what this set has, or at 2⁶⁴ − 1; nothing is changed.
    #[inline]
    pub fn add(&mut self, tick: Tick<'_>, element: E) -> Result<Dot, UpdateError> {
        let dot = self.version.increment(tick)?;
        self.kernel.add(dot, element, &mut ignore);
        self.bound_deaths();
        Ok(dot)
    }

    /// Adds many elements, each with a dot of its own, and returns the last dot; `None`, and no number is used, for no
    /// elements. **O(log n)** amortised for each.
    ///
    /// # Errors
    ///
    /// As [`add`](OrSet::add); all are added or none.
    pub fn extend(
        &mut self,
        tick: Tick<'_>,
        elements: impl IntoIterator<Item = E>,
    ) -> Result<Option<Dot>, UpdateError> {
        let tick = tick.follows(self)?;
        // The numbers can only be taken together when it is known how many elements there are.
        let elements: Vec<E> = elements.into_iter().collect();
        if elements.is_empty() {
            return Ok(None);
        }
        let count = elements.len() as u64;
        let last = tick.take_many(count)?;
        let first = last.counter - (count - 1);
        self.kernel.reserve(elements.len());
        for (counter, element) in (first..=last.counter).zip(elements) {
            let dot = Dot::new(last.replica, counter);
            self.kernel.add(dot, element, &mut ignore);
        }
        self.advance(last);
        Ok(Some(last))
    }

    /// Removes `element` as far as it was observed here; `None`, and no number is used, if it is not in the set.
    /// **O(log n)** amortised.
    ///
    /// # Errors
    ///
    /// As [`add`](OrSet::add).
    pub fn remove<Q>(&mut self, tick: Tick<'_>, element: &Q) -> Result<Option<Dot>, UpdateError>
    where
        E: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let tick = tick.follows(self)?;
        let removed = self.kernel.remove_by(|| tick.take(), element, &mut ignore)?;
        if let Some(dot) = removed {
            self.advance(dot);
        }
        Ok(removed)
    }

    /// Removes all elements that are here, by one event; `None`, and no number is used, if there are none. **O(n)**.
    ///
    /// # Errors
    ///
    /// As [`add`](OrSet::add).
    pub fn clear(&mut self, tick: Tick<'_>) -> Result<Option<Dot>, UpdateError> {
        let tick = tick.follows(self)?;
        if self.is_empty() {
            return Ok(None);
        }
        let dot = tick.take()?;
        self.kernel.clear(dot, &mut ignore);
        self.advance(dot);
        Ok(Some(dot))
    }

    /// As [`apply`](Delta::apply), moving elements instead of cloning them.
    ///
    /// # Errors
    ///
    /// [`Gap`] if the delta builds on updates that are not here; nothing is changed.
    pub fn apply_owned(&mut self, change: OrSetDelta<E>) -> Result<bool, Gap> {
        self.version.covers(&change.since)?;
        let news = self.version.covers(&change.until).is_err();
        if news {
            let OrSetDelta { until, slice, floor, .. } = change;
            self.kernel.apply(slice, &self.version, &until, &mut ignore);
            self.join_context(&until, &floor);
        }
        Ok(news)
    }

    /// Learns what is new in another set.
    fn join(&mut self, OrSet { kernel, version, floor }: &Self)
    where
        E: Clone,
    {
        self.kernel.merge(kernel, &self.version, version, floor, &mut ignore);
        self.join_context(version, floor);
    }

    /// How many changes there are at most to learn from another set: they are events, and it has them.
    fn news_in(&self, other: &Self) -> u128 {
        other.version.ahead_of(&self.version).min((other.len() + other.deaths()) as u128)
    }

    /// Whether a copy of another set, and what is new here, is less work than what is new there.
    fn is_far_behind(&self, other: &Self) -> bool {
        let events =
            |set: &Self| -> u128 { set.version.iter().map(|(_, counter)| u128::from(counter)).sum() };
        // Two elements, or a row, are copied in about the time of one change.
        let copy = (other.len() / 2 + other.version.len()) as u128;
        // What both have cancels out, so this is quickly known of most.
        events(other).saturating_sub(events(self)) > copy && self.news_in(other) > other.news_in(self) + copy
    }

    fn advance(&mut self, dot: Dot) {
        self.version.advance(dot);
        self.bound_deaths();
    }
}

fn ignore<E>(_: Change<'_, E>) {}

impl<E: Eq + Hash + Clone> Merge for OrSet<E> {
    /// **O(r log n)** for r replicas, and what is new here; O(r) if nothing is. O(n) where deaths that would be
    /// needed are forgotten.
    ///
    /// Where more has happened there than is there, it takes a copy and merges what is new here into that. What is
    /// remembered of deaths is then the other side's: that only costs later deltas bytes.
    fn merge(&mut self, other: &Self) -> bool {
        match self.version.compare(&other.version) {
            Causality::Equal | Causality::After => return false,
            Causality::Before if self.version.is_empty() || self.is_far_behind(other) => {
                self.clone_from(other);
                return true;
            }
            Causality::Concurrent if self.is_far_behind(other) => {
                let mut joined = other.clone();
                joined.join(self);
                *self = joined;
            }
            Causality::Before | Causality::Concurrent => self.join(other),
        }
        true
    }

    /// As [`merge`](Merge::merge), without cloning elements; **O(r)** if either side has all that the other has. What is
    /// remembered of deaths may be the other side's: that only costs later deltas bytes.
    fn merge_owned(&mut self, mut other: Self) -> bool {
        match self.version.compare(&other.version) {
            Causality::Equal | Causality::After => return false,
            Causality::Before => {
                *self = other;
                return true;
            }
            Causality::Concurrent => {}
        }
        // The join is the same either way round.
        if self.len() < other.len() {
            mem::swap(self, &mut other);
        }
        let OrSet { kernel, version, floor } = other;
        self.kernel.merge_owned(kernel, &self.version, &version, &floor, &mut ignore);
        self.join_context(&version, &floor);
        true
    }
}

impl<E: Eq + Hash + Clone> Delta for OrSet<E> {
    type Version = VersionVector;
    type Change = OrSetDelta<E>;

    fn version(&self) -> &VersionVector {
        &self.version
    }

    /// **O(r log n)** for r replicas, and what is in the delta; O(n) if `since` is behind the [`floor`](OrSet::floor).
    ///
    /// It starts from what `since` and this set have in common, which is all that it can be complete from.
    fn delta_since(&self, since: &VersionVector) -> OrSetDelta<E> {
        let common = match self.version.covers(since) {
            Ok(()) => since.clone(),
            Err(_) => self.version.zip(since).map(|(id, ours, theirs)| (id, ours.min(theirs))).collect(),
        };
        let survivors = common.covers(&self.floor).is_err();
        OrSetDelta {
            slice: self.kernel.slice_since(&common, survivors),
            since: common,
            until: self.version.clone(),
            floor: if survivors { self.floor.clone() } else { VersionVector::new() },
        }
    }

    /// **O(d log n)** for the delta's size d; O(n) if it lists what lives.
    fn apply(&mut self, change: &OrSetDelta<E>) -> Result<bool, Gap> {
        self.version.covers(&change.since)?;
        let news = self.version.covers(&change.until).is_err();
        if news {
            self.kernel.apply_ref(&change.slice, &self.version, &change.until, &mut ignore);
            self.join_context(&change.until, &change.floor);
        }
        Ok(news)
    }
}

impl<E> OrSetDelta<E> {
    /// What a receiver must have: the delta is complete from here on.
    pub fn since(&self) -> &VersionVector {
        &self.since
    }

    /// What a receiver has afterwards.
    pub fn until(&self) -> &VersionVector {
        &self.until
    }

    /// What was born and what died in between.
    pub fn slice(&self) -> &Slice<E> {
        &self.slice
    }

    /// Whether it brings nothing to anyone.
    pub fn is_empty(&self) -> bool {
        self.since == self.until
    }
}

impl<E> Dotted for OrSet<E> {
    fn last_counter(&self, replica: ReplicaId) -> u64 {
        self.version.get(replica)
    }
}

impl<E> Default for OrSet<E> {
    fn default() -> Self {
        OrSet::new()
    }
}

/// The same version and the same live dots with equal elements. **O(n)**.
impl<E: PartialEq> PartialEq for OrSet<E> {
    fn eq(&self, other: &Self) -> bool {
        self.version == other.version && self.kernel == other.kernel
    }
}

impl<E: Eq> Eq for OrSet<E> {}

/// The order of the versions, which is that of the join. **O(r)** for r replicas, O(n) for equal versions.
impl<E: PartialEq> PartialOrd for OrSet<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.version.partial_cmp(&other.version) {
            // States of different histories may share a version; they are not ordered.
            Some(Ordering::Equal) if self.kernel != other.kernel => None,
            order => order,
        }
    }
}

impl<E: fmt::Debug> fmt::Debug for OrSet<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrSet")
            .field("version", &self.version)
            .field("live", &self.kernel)
            .finish_non_exhaustive()
    }
}
