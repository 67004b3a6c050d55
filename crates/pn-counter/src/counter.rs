use crate::{Delta, Dotted, Gap, Merge, ReplicaId, Rows, Tick, UpdateError};
use core::{cmp::Ordering, fmt};

/// A counter that goes up and down: for each replica the total it has added and the total it has taken away.
///
/// # Laws
///
/// - A join-semilattice; the join is the pointwise maximum of both totals, bottom counts nothing.
/// - Each unit, up or down, is one update event, and a replica numbers both kinds as one sequence: the counter of its
///   last event is the *sum* of its two totals.
/// - So that sum is bounded: **a replica adds and takes away at most 2⁶⁴ − 1 units in its life**. Updates and
///   everything that makes a counter from outside check it. Totals never shrink: counting one up and one down uses two
///   events.
///
/// A counter is its own version: a delta is the totals of the replicas of which the other side lacks events.
///
/// The join of counters of one history keeps the bound, since one replica's totals are then always ordered. Of forged
/// ones, each valid by itself, it may not: the last counter of that replica then reads 2⁶⁴ − 1 and every further update
/// of it is refused as an overflow; value, order and merge stay exact.
///
/// Source: Shapiro, Preguiça, Baquero, Zawirski, "A comprehensive study of Convergent and Commutative Replicated Data
/// Types", INRIA RR-7506 (2011), section 3.1.3.
///
/// # Example
///
/// ```
/// use pn_counter::{Delta, Gap, PnCounter, Replica, ReplicaId};
///
/// let mut ann = Replica::new(ReplicaId::new(1), PnCounter::new());
/// let mut bob = Replica::new(ReplicaId::new(2), PnCounter::new());
/// ann.update(|likes, tick| likes.increment(tick, 3)).unwrap();
/// bob.update(|likes, tick| likes.decrement(tick, 1)).unwrap();
/// bob.merge(&ann);
///
/// // Only what ann lacks travels; delivered twice, it counts once.
/// let delta = bob.delta_since(ann.version());
/// assert_eq!(delta.value(), -1);
/// assert!(ann.apply(&delta)?);
/// assert!(!ann.apply(&delta)?);
/// assert_eq!(ann.value(), 2);
/// # Ok::<(), Gap>(())
/// ```
#[derive(Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct PnCounter {
    increments: Rows,
    decrements: Rows,
}

/// A replica is said to have made more than 2⁶⁴ − 1 updates: its increments and decrements do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyEvents {
    /// The first such replica.
    pub replica: ReplicaId,
}

impl PnCounter {
    /// Nothing counted: bottom.
    pub const fn new() -> Self {
        PnCounter { increments: Rows::new(), decrements: Rows::new() }
    }

    /// The counter with these totals. **O(n)**.
    ///
    /// # Errors
    ///
    /// [`TooManyEvents`] if the two totals of a replica add up to more than 2⁶⁴ − 1.
    pub fn from_rows(increments: Rows, decrements: Rows) -> Result<Self, TooManyEvents> {
        let unfit = |&(_, up, down): &(ReplicaId, u64, u64)| up.checked_add(down).is_none();
        let found = increments.zip(&decrements).find(unfit);
        match found {
            Some((replica, ..)) => Err(TooManyEvents { replica }),
            None => Ok(PnCounter { increments, decrements }),
        }
    }

    /// Counts `by` up; 0 changes nothing. **O(log n)** for n replicas, O(n) for the first increment of a replica.
    ///
    /// # Errors
    ///
    /// [`UpdateError`] if the tick does not follow what this counter has, or if the replica would pass 2⁶⁴ − 1 events
    /// (up and down together); nothing is changed.
    #[inline]
    pub fn increment(&mut self, tick: Tick<'_>, by: u64) -> Result<(), UpdateError> {
        let last = tick.follows(self)?.take_many(by)?;
        // Cannot overflow: the number just taken is both totals and `by`, or `by` is 0.
        let total = self.increments.get(last.replica) + by;
        self.increments.raise(last.replica, total);
        Ok(())
    }

    /// Counts `by` down; 0 changes nothing. **O(log n)** for n replicas, O(n) for the first decrement of a replica.
    ///
    /// # Errors
    ///
    /// As [`increment`](Self::increment).
    #[inline]
    pub fn decrement(&mut self, tick: Tick<'_>, by: u64) -> Result<(), UpdateError> {
        let last = tick.follows(self)?.take_many(by)?;
        // As above.
        let total = self.decrements.get(last.replica) + by;
        self.decrements.raise(last.replica, total);
        Ok(())
    }

    /// The count: all increments less all decrements; wide, so that it cannot overflow. **O(n)**.
    pub fn value(&self) -> i128 {
        // A sum of totals below 2⁶⁴ passes 2¹²⁷ only with 2⁶³ rows.
        self.increments.sum().cast_signed() - self.decrements.sum().cast_signed()
    }

    /// What each replica has added.
    pub fn increments(&self) -> &Rows {
        &self.increments
    }

    /// What each replica has taken away.
    pub fn decrements(&self) -> &Rows {
        &self.decrements
    }
}

impl Merge for PnCounter {
    /// The greater of each total. **O(n)**.
    #[inline]
    fn merge(&mut self, other: &Self) -> bool {
        // Not `||`: both sides of it must run.
        self.increments.merge(&other.increments) | self.decrements.merge(&other.decrements)
    }

    #[inline]
    fn merge_owned(&mut self, other: Self) -> bool {
        self.increments.merge_owned(other.increments) | self.decrements.merge_owned(other.decrements)
    }
}

impl Dotted for PnCounter {
    /// The sum of both totals of `replica`.
    #[inline]
    fn last_counter(&self, replica: ReplicaId) -> u64 {
        let (up, down) = (self.increments.get(replica), self.decrements.get(replica));
        // Passes 2⁶⁴ − 1 only after a merge of forged totals.
        up.saturating_add(down)
    }
}

impl Delta for PnCounter {
    type Version = PnCounter;
    type Change = PnCounter;

    fn version(&self) -> &PnCounter {
        self
    }

    /// Both totals of each replica that is ahead of `since` in either. **O(n + d log n)** for d such replicas.
    ///
    /// The total that `since` has already comes along, so that whoever applies the delta holds, for each replica in it,
    /// exactly a prefix of its events, whatever they held before; [`Dotted::last_counter`] names that prefix.
    fn delta_since(&self, since: &PnCounter) -> PnCounter {
        let mut ahead = self.increments.delta_since(&since.increments);
        ahead.merge(&self.decrements.delta_since(&since.decrements));
        let totals = |rows: &Rows| ahead.iter().map(|(id, _)| (id, rows.get(id))).collect();
        PnCounter { increments: totals(&self.increments), decrements: totals(&self.decrements) }
    }

    /// Never an error: totals are absolute and stand for themselves.
    fn apply(&mut self, change: &PnCounter) -> Result<bool, Gap> {
        Ok(self.merge(change))
    }
}

/// The product order: at most the other in increments *and* in decrements. Says nothing of the values.
impl PartialOrd for PnCounter {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let up = self.increments.partial_cmp(&other.increments)?;
        let down = self.decrements.partial_cmp(&other.decrements)?;
        match (up, down) {
            (Ordering::Equal, order) | (order, Ordering::Equal) => Some(order),
            _ => (up == down).then_some(up),
        }
    }
}

// Not derived: a derived `clone_from` would drop the buffers and allocate new ones.
impl Clone for PnCounter {
    #[inline]
    fn clone(&self) -> Self {
        PnCounter { increments: self.increments.clone(), decrements: self.decrements.clone() }
    }

    fn clone_from(&mut self, source: &Self) {
        self.increments.clone_from(&source.increments);
        self.decrements.clone_from(&source.decrements);
    }
}

impl fmt::Display for TooManyEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let replica = self.replica;
        write!(f, "the increments and decrements of replica {replica} add up to more than 2^64 - 1")
    }
}

impl core::error::Error for TooManyEvents {}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for PnCounter {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(rename = "PnCounter", deny_unknown_fields)]
        struct Raw {
            increments: Rows,
            decrements: Rows,
        }
        let raw = Raw::deserialize(deserializer)?;
        PnCounter::from_rows(raw.increments, raw.decrements).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Replica;
    extern crate std;
    use std::{collections::BTreeMap, vec::Vec};

    const IDS: [ReplicaId; 2] = [ReplicaId::new(1), ReplicaId::new(2)];

    /// The definition: the events seen, each a step of one up or down.
    type Events = BTreeMap<(ReplicaId, usize), i128>;

    fn of(events: &Events, id: ReplicaId) -> usize {
        events.keys().filter(|event| event.0 == id).count()
    }

    fn is_subset(left: &Events, right: &Events) -> bool {
        left.keys().all(|event| right.contains_key(event))
    }

    fn agrees(counter: &PnCounter, events: &Events) {
        assert_eq!(counter.value(), events.values().sum::<i128>());
        for id in IDS {
            assert_eq!(counter.last_counter(id), of(events, id) as u64);
        }
    }

    /// Two replicas, eight possible steps, every history of five of them.
    #[test]
    fn every_short_history_agrees_with_maps_of_events() {
        const STEPS: usize = 8;
        for history in 0..STEPS.pow(5) {
            let mut replicas = IDS.map(|id| Replica::new(id, PnCounter::new()));
            let mut models = [Events::new(), Events::new()];
            let (mut kept, mut kept_model) = (PnCounter::new(), Events::new());
            for at in 0..5 {
                let step = history / STEPS.pow(at) % STEPS;
                match step {
                    0..4 => {
                        let (who, id) = (step % 2, IDS[step % 2]);
                        let next = of(&models[who], id) + 1;
                        let replica = &mut replicas[who];
                        if step < 2 {
                            replica.update(|c, tick| c.increment(tick, 2)).unwrap();
                            models[who].extend([((id, next), 1), ((id, next + 1), 1)]);
                        } else {
                            replica.update(|c, tick| c.decrement(tick, 1)).unwrap();
                            models[who].insert((id, next), -1);
                        }
                    }
                    4 => {
                        let grew = !is_subset(&models[1], &models[0]);
                        let other = replicas[1].clone();
                        assert_eq!(replicas[0].merge(&other), grew);
                        let right = models[1].clone();
                        models[0].extend(right);
                    }
                    5 => {
                        let grew = !is_subset(&models[0], &models[1]);
                        let delta = replicas[0].delta_since(replicas[1].version());
                        assert_eq!(delta == PnCounter::new(), !grew);
                        assert_eq!(replicas[1].apply(&delta), Ok(grew));
                        let left = models[0].clone();
                        models[1].extend(left);
                    }
                    6 => {
                        // A delta for what the other has now, to be delivered by a later step or never.
                        kept = replicas[0].delta_since(replicas[1].version());
                        let news = |id| of(&models[0], id) > of(&models[1], id);
                        kept_model.clone_from(&models[0]);
                        kept_model.retain(|event, _| news(event.0));
                    }
                    _ => {
                        let grew = !is_subset(&kept_model, &models[1]);
                        assert_eq!(replicas[1].apply(&kept), Ok(grew));
                        models[1].extend(kept_model.clone());
                    }
                }
                for (replica, model) in replicas.iter().zip(&models) {
                    agrees(replica, model);
                }
                let (a, b) = (replicas[0].state(), replicas[1].state());
                assert_eq!(a <= b, is_subset(&models[0], &models[1]));
                assert_eq!(a >= b, is_subset(&models[1], &models[0]));
                assert_eq!(a == b, models[0] == models[1]);
            }
        }
    }

    /// All counters of two replicas with totals 0 to 2.
    fn all() -> Vec<PnCounter> {
        let rows = |n: u64| [(1, n % 3), (2, n / 3)].into_iter().collect();
        (0..81).map(|n| PnCounter::from_rows(rows(n % 9), rows(n / 9)).unwrap()).collect()
    }

    #[test]
    fn every_small_merge_is_the_least_upper_bound() {
        let all = all();
        for a in &all {
            for b in &all {
                let mut joined = a.clone();
                assert_eq!(joined.merge(b), joined != *a);
                assert_eq!(*a <= *b, joined == *b);
                let mut moved = a.clone();
                assert_eq!(moved.merge_owned(b.clone()), joined != *a);
                assert_eq!(moved, joined);
                let mut updated = b.clone();
                updated.apply(&a.delta_since(b.version())).unwrap();
                assert_eq!(updated, joined);
                let mut copied = a.clone();
                copied.clone_from(b);
                assert_eq!(copied, *b);
                assert!(*a <= joined && *b <= joined);
                let mut above = all.iter().filter(|c| a <= c && b <= c);
                assert!(above.all(|c| joined <= *c));
            }
        }
    }

    #[test]
    fn up_and_down_share_one_bound() {
        let rows = |n| Rows::from_iter([(IDS[0], n)]);
        let half = 1 << 63;
        let counter = PnCounter::from_rows(rows(half), rows(half - 2)).unwrap();
        let mut replica = Replica::new(IDS[0], counter.clone());
        for by in [2, half, u64::MAX] {
            let refused = replica.update(|c, tick| c.increment(tick, by));
            assert_eq!(refused, Err(UpdateError::Overflow));
            let refused = replica.update(|c, tick| c.decrement(tick, by));
            assert_eq!(refused, Err(UpdateError::Overflow));
            assert_eq!(*replica.state(), counter);
        }
        replica.update(|c, tick| c.decrement(tick, 1)).unwrap();
        assert_eq!(replica.last_counter(IDS[0]), u64::MAX);
        assert_eq!(replica.value(), 1);
        replica.update(|c, tick| c.decrement(tick, 0)).unwrap();
        replica.update(|c, tick| c.increment(tick, 0)).unwrap();
        assert_eq!(replica.value(), 1);
        assert_eq!(PnCounter::from_rows(rows(half), rows(half)), Err(TooManyEvents { replica: IDS[0] }));
    }

    #[test]
    fn forged_totals_merge_without_panic_or_wrap() {
        let (none, full) = (Rows::new(), Rows::from_iter([(IDS[0], u64::MAX)]));
        let mut state = PnCounter::from_rows(full.clone(), none.clone()).unwrap();
        assert!(state.merge(&PnCounter::from_rows(none, full).unwrap()));
        assert_eq!(state.last_counter(IDS[0]), u64::MAX);
        assert_eq!(state.value(), 0);
        let mut replica = Replica::new(IDS[0], state.clone());
        for by in [1, u64::MAX] {
            let refused = replica.update(|c, tick| c.increment(tick, by));
            assert_eq!(refused, Err(UpdateError::Overflow));
        }
        assert_eq!(replica.update(|c, tick| c.decrement(tick, 0)), Ok(()));
        assert_eq!(*replica.state(), state);
    }

    #[test]
    fn a_tick_of_another_copy_is_refused() {
        let rows = |n| Rows::from_iter([(IDS[0], n)]);
        let before = PnCounter::from_rows(rows(3), rows(1)).unwrap();
        let mut counter = before.clone();
        let mut behind = Replica::new(IDS[0], PnCounter::new());
        let refused = behind.update(|_, tick| counter.decrement(tick, 1));
        assert!(matches!(refused, Err(UpdateError::Stale { issued: 0, last: 4, .. })));
        let mut ahead = Replica::new(IDS[0], PnCounter::from_rows(rows(9), Rows::new()).unwrap());
        let refused = ahead.update(|_, tick| counter.increment(tick, 1));
        assert!(matches!(refused, Err(UpdateError::Gap { issued: 9, last: 4, .. })));
        assert_eq!(counter, before);
    }
}
