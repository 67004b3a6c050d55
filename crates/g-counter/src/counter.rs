use crate::{Delta, Dotted, Gap, Merge, ReplicaId, Rows, Tick, UpdateError};

/// A counter that only grows: one total for each replica.
///
/// # Laws
///
/// - A join-semilattice; the join is the pointwise maximum, bottom counts nothing.
/// - Each unit is one update event: the total of a replica is the counter of its last event, and [`value`](Self::value)
///   is the number of events.
/// - Equal counts are equal states: a replica whose total is 0 is never written down, and who holds a copy is no part
///   of it.
///
/// A counter is its own version: a delta is the totals that the other side lacks.
///
/// Source: Shapiro, Preguiça, Baquero, Zawirski, "A comprehensive study of Convergent and Commutative Replicated Data
/// Types", INRIA RR-7506 (2011), section 3.1.2.
///
/// # Example
///
/// ```
/// use g_counter::{Delta, GCounter, Gap, Replica, ReplicaId};
///
/// let mut ann = Replica::new(ReplicaId::new(1), GCounter::new());
/// let mut bob = Replica::new(ReplicaId::new(2), GCounter::new());
/// ann.update(|hits, tick| hits.increment(tick, 3)).unwrap();
/// bob.update(|hits, tick| hits.increment(tick, 4)).unwrap();
/// bob.merge(&ann);
///
/// // Only what ann lacks travels; delivered twice, it counts once.
/// let delta = bob.delta_since(ann.version());
/// assert_eq!(delta.rows().len(), 1);
/// assert!(ann.apply(&delta)?);
/// assert!(!ann.apply(&delta)?);
/// assert_eq!(ann.value(), 7);
/// # Ok::<(), Gap>(())
/// ```
#[derive(Debug, Default, PartialEq, Eq, Hash, PartialOrd)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct GCounter(Rows);

impl GCounter {
    /// Nothing counted: bottom.
    pub const fn new() -> Self {
        GCounter(Rows::new())
    }

    /// Counts `by` more; 0 changes nothing. **O(log n)** for n replicas, O(n) for the first increment of a replica.
    ///
    /// # Errors
    ///
    /// [`UpdateError`] if the tick does not follow what this counter has, or if the replica's total would pass 2⁶⁴ − 1;
    /// nothing is changed.
    #[inline]
    pub fn increment(&mut self, tick: Tick<'_>, by: u64) -> Result<(), UpdateError> {
        let last = tick.follows(self)?.take_many(by)?;
        self.0.raise(last.replica, last.counter);
        Ok(())
    }

    /// The count: the sum of all totals; wide, so that it cannot overflow. **O(n)**.
    pub fn value(&self) -> u128 {
        self.0.sum()
    }

    /// The total of one replica; 0 if it has counted nothing. **O(log n)**.
    #[inline]
    pub fn get(&self, replica: ReplicaId) -> u64 {
        self.0.get(replica)
    }

    /// The totals, one row for each replica that has counted.
    pub fn rows(&self) -> &Rows {
        &self.0
    }
}

impl Merge for GCounter {
    /// The greater total of each replica. **O(n)**.
    #[inline]
    fn merge(&mut self, other: &Self) -> bool {
        self.0.merge(&other.0)
    }

    #[inline]
    fn merge_owned(&mut self, other: Self) -> bool {
        self.0.merge_owned(other.0)
    }
}

impl Dotted for GCounter {
    #[inline]
    fn last_counter(&self, replica: ReplicaId) -> u64 {
        self.get(replica)
    }
}

impl Delta for GCounter {
    type Version = GCounter;
    type Change = GCounter;

    fn version(&self) -> &GCounter {
        self
    }

    /// The totals that are ahead of `since`. **O(n)**.
    fn delta_since(&self, since: &GCounter) -> GCounter {
        GCounter(self.0.delta_since(&since.0))
    }

    /// Never an error: a total is absolute and stands for itself.
    fn apply(&mut self, change: &GCounter) -> Result<bool, Gap> {
        self.0.apply(&change.0)
    }
}

// Not derived: a derived `clone_from` would drop the buffer and allocate a new one.
impl Clone for GCounter {
    #[inline]
    fn clone(&self) -> Self {
        GCounter(self.0.clone())
    }

    fn clone_from(&mut self, source: &Self) {
        self.0.clone_from(&source.0);
    }
}

impl From<Rows> for GCounter {
    fn from(rows: Rows) -> Self {
        GCounter(rows)
    }
}

/// Collects totals in any order; of two for one replica the greater counts, and zeros are left out.
impl<P> FromIterator<P> for GCounter
where
    Rows: FromIterator<P>,
{
    fn from_iter<I: IntoIterator<Item = P>>(totals: I) -> Self {
        GCounter(totals.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dot, Replica};
    extern crate std;
    use std::{collections::BTreeSet, vec::Vec};

    const IDS: [ReplicaId; 2] = [ReplicaId::new(1), ReplicaId::new(2)];

    /// The definition: the set of unit events seen.
    type Events = BTreeSet<Dot>;

    fn agrees(counter: &GCounter, events: &Events) {
        assert_eq!(counter.value(), events.len() as u128);
        for id in IDS {
            let own = events.iter().filter(|dot| dot.replica == id).count() as u64;
            assert_eq!(counter.get(id), own);
            assert_eq!(counter.last_counter(id), own);
        }
    }

    /// Two replicas, seven possible steps, every history of five of them.
    #[test]
    fn every_short_history_agrees_with_sets_of_events() {
        const STEPS: usize = 7;
        for history in 0..STEPS.pow(5) {
            let mut replicas = IDS.map(|id| Replica::new(id, GCounter::new()));
            let mut models = [Events::new(), Events::new()];
            let mut kept = GCounter::new();
            for at in 0..5 {
                let step = history / STEPS.pow(at) % STEPS;
                let (left, right) = (&models[0], &models[1]);
                match step {
                    0..4 => {
                        let (who, by) = (step % 2, step as u64 / 2 * 2);
                        replicas[who].update(|c, tick| c.increment(tick, by)).unwrap();
                        let from = models[who].iter().filter(|dot| dot.replica == IDS[who]).count() as u64;
                        models[who].extend((1..=by).map(|n| Dot::new(IDS[who], from + n)));
                    }
                    4 => {
                        let grew = !right.is_subset(left);
                        let other = replicas[1].clone();
                        assert_eq!(replicas[0].merge(&other), grew);
                        models[0] = left | right;
                    }
                    5 => {
                        // A delta, made now and delivered again by the last step.
                        let grew = !left.is_subset(right);
                        kept = replicas[0].delta_since(replicas[1].version());
                        assert_eq!(kept == GCounter::new(), !grew);
                        assert_eq!(replicas[1].apply(&kept), Ok(grew));
                        models[1] = left | right;
                    }
                    _ => assert_eq!(replicas[1].apply(&kept), Ok(false)),
                }
                for (replica, model) in replicas.iter().zip(&models) {
                    agrees(replica, model);
                }
                let (a, b) = (replicas[0].state(), replicas[1].state());
                assert_eq!(a <= b, models[0].is_subset(&models[1]));
                assert_eq!(a >= b, models[1].is_subset(&models[0]));
                assert_eq!(a == b, models[0] == models[1]);
            }
        }
    }

    #[test]
    fn every_small_merge_is_the_least_upper_bound() {
        let all: Vec<GCounter> =
            (0..27).map(|n| [(1, n % 3), (2, n / 3 % 3), (3, n / 9)].into_iter().collect()).collect();
        for a in &all {
            for b in &all {
                let mut joined = a.clone();
                assert_eq!(joined.merge(b), joined != *a);
                let mut moved = a.clone();
                assert_eq!(moved.merge_owned(b.clone()), joined != *a);
                assert_eq!(moved, joined);
                let mut copied = a.clone();
                copied.clone_from(b);
                assert_eq!(copied, *b);
                assert!(*a <= joined && *b <= joined);
                let above = all.iter().filter(|c| a <= c && b <= c);
                assert!(above.into_iter().all(|c| joined <= *c));
            }
        }
    }

    #[test]
    fn a_refused_increment_changes_nothing() {
        let mut replica = Replica::new(IDS[0], GCounter::from_iter([(IDS[0], u64::MAX - 1)]));
        assert_eq!(replica.update(|c, tick| c.increment(tick, 2)), Err(UpdateError::Overflow));
        assert_eq!(replica.get(IDS[0]), u64::MAX - 1);
        assert_eq!(replica.update(|c, tick| c.increment(tick, 1)), Ok(()));
        assert_eq!(replica.get(IDS[0]), u64::MAX);
        assert_eq!(replica.update(|c, tick| c.increment(tick, 0)), Ok(()));
    }

    #[test]
    fn a_tick_of_another_copy_is_refused() {
        let mut counter = GCounter::from_iter([(IDS[0], 4)]);
        let before = counter.clone();
        let mut behind = Replica::new(IDS[0], GCounter::new());
        let refused = behind.update(|_, tick| counter.increment(tick, 1));
        assert!(matches!(refused, Err(UpdateError::Stale { issued: 0, last: 4, .. })));
        let mut ahead = Replica::new(IDS[0], GCounter::from_iter([(IDS[0], 9)]));
        let refused = ahead.update(|_, tick| counter.increment(tick, 1));
        assert!(matches!(refused, Err(UpdateError::Gap { issued: 9, last: 4, .. })));
        assert_eq!(counter, before);
    }
}
