use crate::{Delta, Dotted, Gap, HybridTime, Merge, ReplicaId, Stamp, Tick, UpdateError};
use core::fmt;

/// A register of which the last write wins: one value, and the stamp of the write that set it.
///
/// # Laws
///
/// - A join-semilattice in which all states are ordered: by stamp, then by value; the join is the greater one. Bottom
///   has neither stamp nor value, and is below every write.
/// - A write that has seen another wins over it: [`set`](Self::set) stamps above what the register holds, whatever the
///   clocks say. Of concurrent writes the one with the greater stamp wins, at every replica.
/// - A stamp names one write, so equal stamps imply equal values. States that break this come from forged or faulty
///   writers (see [`Stamp`]); they still converge, on the greater value, and [`try_merge`](Self::try_merge) reports
///   them. A delta is cut by stamps alone and does not see such a tie; merging whole states settles it.
///
/// The version of a register is its stamp: a delta is the register itself, or bottom for a peer that is as new.
///
/// Source: Shapiro, Preguiça, Baquero, Zawirski, "A comprehensive study of Convergent and Commutative Replicated Data
/// Types", INRIA RR-7506 (2011), section 3.2.1, which asks for timestamps that are unique and respect causality;
/// stamping above what is held is how they come to be.
///
/// # Example
///
/// ```
/// use lww_register::{Delta, Gap, HybridTime, LwwRegister, Replica, ReplicaId};
///
/// let mut ann = Replica::new(ReplicaId::new(1), LwwRegister::new());
/// let mut bob = Replica::new(ReplicaId::new(2), LwwRegister::new());
/// let noon = HybridTime::from_millis(43_200_000);
/// ann.update(|colour, tick| colour.set(tick, noon, "red")).unwrap();
/// bob.update(|colour, tick| colour.set(tick, noon, "blue")).unwrap();
///
/// // At the same time the greater replica id decides, on both sides alike.
/// assert!(ann.apply(&bob.delta_since(ann.version()))?);
/// assert!(!bob.apply(&ann.delta_since(bob.version()))?);
/// assert_eq!(ann.get(), Some(&"blue"));
/// assert_eq!(ann.state(), bob.state());
/// # Ok::<(), Gap>(())
/// ```
// The order of the fields is the order of the states. Without a value the stamp is `NEVER`, which is no other's: so that
// mostly two times are compared and nothing else.
#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LwwRegister<T> {
    stamp: Stamp,
    value: Option<T>,
}

/// Two registers hold different values under one stamp: a writer was forged, or lost its state and went on under its
/// old id. The register is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tie {
    /// The stamp that two writes claim.
    pub stamp: Stamp,
}

impl<T> LwwRegister<T> {
    /// Never written: bottom.
    pub const fn new() -> Self {
        LwwRegister { stamp: Stamp::NEVER, value: None }
    }

    /// The register that this one write makes.
    pub(crate) const fn written(stamp: Stamp, value: T) -> Self {
        LwwRegister { stamp, value: Some(value) }
    }

    /// Writes `value` and returns its stamp: at `now`, or just after the time held if that is not earlier. **O(1)**.
    ///
    /// `now` comes from a [`HybridClock`](crate::HybridClock), or from any clock: a wrong one makes this write lose to,
    /// or win over, *concurrent* ones only.
    ///
    /// Unlike other types this does not ask that the tick follow what the register has of its replica. A register
    /// remembers one stamp, so what it has of a replica is mostly nothing; and it needs no numbering to tell writes
    /// apart, since each is later than all before it in the same copy. The counter makes the stamp point to its update.
    ///
    /// # Errors
    ///
    /// [`UpdateError::Overflow`] if there is no time after the one held, or no counter is left; nothing is changed.
    pub fn set(&mut self, tick: Tick<'_>, now: HybridTime, value: T) -> Result<Stamp, UpdateError> {
        let time = match self.stamp() {
            None => now,
            Some(held) => now.max(held.time.next().ok_or(UpdateError::Overflow)?),
        };
        let stamp = Stamp::new(time, tick.take()?);
        *self = LwwRegister::written(stamp, value);
        Ok(stamp)
    }

    /// The value of the last write; `None` if there was none.
    pub fn get(&self) -> Option<&T> {
        self.value.as_ref()
    }

    /// The stamp of the last write; `None` if there was none.
    pub fn stamp(&self) -> Option<Stamp> {
        Some(self.stamp).filter(|_| self.value.is_some())
    }

    /// Gives the value away.
    pub fn into_value(self) -> Option<T> {
        self.value
    }
}

impl<T: Ord> LwwRegister<T> {
    /// Joins a write under a stamp of its own; true exactly when it won. **O(1)** and a comparison of values if the
    /// stamps are equal.
    ///
    /// For imports, and for writes that were stamped elsewhere. Whoever makes stamps up sees to it that each names one
    /// write.
    ///
    /// # Panics
    ///
    /// If the stamp's counter is 0, which names no update; a deserialised stamp never has it.
    pub fn set_at(&mut self, stamp: Stamp, value: T) -> bool {
        assert!(stamp.counter > 0, "the counter of a stamp starts at 1");
        self.take_if_greater(LwwRegister::written(stamp, value))
    }

    // Only where it is inlined is a register that is given away not copied to be looked at; too large to be inlined by
    // itself, it has cost twice the time.
    #[expect(clippy::inline_always, reason = "measured")]
    #[inline(always)]
    fn take_if_greater(&mut self, other: Self) -> bool {
        let grew = self.is_below(&other);
        if grew {
            *self = other;
        }
        grew
    }

    /// The same as `self < other`, laid out for what is common: the times differ, and decide alone.
    #[expect(clippy::inline_always, reason = "measured, see `take_if_greater`")]
    #[inline(always)]
    fn is_below(&self, other: &Self) -> bool {
        let (mine, theirs) = (self.stamp, other.stamp);
        if mine.time != theirs.time {
            mine.time < theirs.time
        } else if mine.dot() != theirs.dot() {
            mine.dot() < theirs.dot()
        } else {
            self.value < other.value
        }
    }
}

impl<T: Ord + Clone> LwwRegister<T> {
    /// What [`merge`](Merge::merge) does where the times do not decide; apart, so that the rest is inlined.
    #[inline(never)]
    fn merge_at_one_time(&mut self, other: &Self) -> bool {
        let grew = self.is_below(other);
        if grew {
            self.clone_from(other);
        }
        grew
    }

    /// As [`merge`](Merge::merge), but does not settle ties; true exactly when the register grew.
    ///
    /// # Errors
    ///
    /// [`Tie`] if both hold different values under one stamp, which no honest writers produce; nothing is changed, and
    /// `merge` would keep the greater value.
    pub fn try_merge(&mut self, other: &Self) -> Result<bool, Tie> {
        if self.stamp == other.stamp && self.value != other.value {
            return Err(Tie { stamp: self.stamp });
        }
        Ok(self.merge(other))
    }
}

impl<T: Ord + Clone> Merge for LwwRegister<T> {
    /// Keeps the greater state. **O(1)** and a comparison of values if the stamps are equal.
    ///
    /// A side that loses is not copied; one that wins is cloned *into* the value held, which reuses its allocation
    /// where `T::clone_from` does.
    #[inline]
    fn merge(&mut self, other: &Self) -> bool {
        if other.stamp.time < self.stamp.time {
            return false;
        }
        if other.stamp.time == self.stamp.time {
            return self.merge_at_one_time(other);
        }
        self.clone_from(other);
        true
    }

    /// As [`merge`](Merge::merge); a value that wins is moved.
    #[expect(clippy::inline_always, reason = "measured, see `take_if_greater`")]
    #[inline(always)]
    fn merge_owned(&mut self, other: Self) -> bool {
        self.take_if_greater(other)
    }
}

impl<T> Dotted for LwwRegister<T> {
    /// The counter of the stamp held if `replica` wrote it, else 0: what was overwritten is not remembered.
    ///
    /// So this falls when another replica's write wins, and a [`Replica`](crate::Replica) made anew from such a
    /// register may use counters again. Its stamps are still unique, by their times.
    fn last_counter(&self, replica: ReplicaId) -> u64 {
        // Nobody's counter is 0.
        if self.stamp.replica == replica { self.stamp.counter } else { 0 }
    }
}

impl<T: Ord + Clone> Delta for LwwRegister<T> {
    type Version = Stamp;
    type Change = LwwRegister<T>;

    /// The stamp held; [`Stamp::NEVER`] if there is none.
    fn version(&self) -> &Stamp {
        &self.stamp
    }

    /// This register if its stamp is above `since`, else bottom. **O(1)** and a clone of the value.
    fn delta_since(&self, since: &Stamp) -> LwwRegister<T> {
        if self.stamp > *since { self.clone() } else { LwwRegister::new() }
    }

    /// Never an error: a write stands for itself.
    fn apply(&mut self, change: &LwwRegister<T>) -> Result<bool, Gap> {
        Ok(self.merge(change))
    }
}

// Not derived: that would ask for a bottom of `T`.
impl<T> Default for LwwRegister<T> {
    fn default() -> Self {
        LwwRegister::new()
    }
}

// Not derived: a derived `clone_from` would drop the value held and allocate a new one.
impl<T: Clone> Clone for LwwRegister<T> {
    fn clone(&self) -> Self {
        LwwRegister { stamp: self.stamp, value: self.value.clone() }
    }

    #[inline(never)]
    fn clone_from(&mut self, source: &Self) {
        self.value.clone_from(&source.value);
        self.stamp = source.stamp;
    }
}

impl<T: fmt::Debug> fmt::Debug for LwwRegister<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LwwRegister").field("stamp", &self.stamp()).field("value", &self.value).finish()
    }
}

impl fmt::Display for Tie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "two different values claim the write {} at {}", self.stamp.dot(), self.stamp.time)
    }
}

impl core::error::Error for Tie {}

/// Both parts or neither, by construction in binary formats: an optional pair. In human-readable ones an object with
/// both fields or none, because there an optional pair and an optional value would both be `null`.
#[cfg(feature = "serde")]
mod serde_impls {
    use super::{LwwRegister, Stamp};
    use crate::stamp::COUNTER;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    #[derive(Serialize)]
    #[serde(rename = "LwwRegister")]
    struct Shown<'a, T> {
        #[serde(skip_serializing_if = "Option::is_none")]
        stamp: Option<Stamp>,
        #[serde(skip_serializing_if = "Option::is_none")]
        value: Option<&'a T>,
    }

    #[derive(Deserialize)]
    #[serde(rename = "LwwRegister", deny_unknown_fields, bound(deserialize = "T: Deserialize<'de>"))]
    struct Read<T> {
        #[serde(default, deserialize_with = "present")]
        stamp: Option<Stamp>,
        #[serde(default, deserialize_with = "present")]
        value: Option<T>,
    }

    /// A field that is there has a value: `null` is a value of `T` or nothing at all.
    fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        T::deserialize(deserializer).map(Some)
    }

    impl<T: Serialize> Serialize for LwwRegister<T> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            if serializer.is_human_readable() {
                let (stamp, value) = (self.stamp(), self.value.as_ref());
                Shown { stamp, value }.serialize(serializer)
            } else {
                self.stamp().zip(self.value.as_ref()).serialize(serializer)
            }
        }
    }

    impl<'de, T: Deserialize<'de>> Deserialize<'de> for LwwRegister<T> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let written = if deserializer.is_human_readable() {
                match Read::deserialize(deserializer)? {
                    Read { stamp: Some(stamp), value: Some(value) } => Some((stamp, value)),
                    Read { stamp: None, value: None } => None,
                    _ => return Err(D::Error::custom("a register has a stamp and a value, or neither")),
                }
            } else {
                Option::<(Stamp, T)>::deserialize(deserializer)?
            };
            match written {
                None => Ok(LwwRegister::new()),
                Some((Stamp::NEVER, _)) => Err(D::Error::custom(COUNTER)),
                Some((stamp, value)) => Ok(LwwRegister::written(stamp, value)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dot, Replica};
    extern crate std;
    use std::{
        collections::{BTreeMap, BTreeSet},
        string::{String, ToString},
        vec::Vec,
    };

    const IDS: [ReplicaId; 2] = [ReplicaId::new(1), ReplicaId::new(2)];

    fn stamp(time: u64, replica: u64, counter: u64) -> Stamp {
        let dot = Dot::new(ReplicaId::new(replica), counter);
        Stamp::new(HybridTime::from_bits(time), dot)
    }

    /// What a register holds, as a tuple: the definition of its order.
    fn held(register: &LwwRegister<u8>) -> Option<(Stamp, u8)> {
        register.stamp().zip(register.get().copied())
    }

    #[test]
    fn every_small_merge_is_the_maximum_of_stamp_and_value() {
        let mut all = Vec::from([LwwRegister::new()]);
        for n in 0..16 {
            let stamp = stamp(n & 1, 1 + (n >> 1 & 1), 1 + (n >> 2 & 1));
            all.extend([0, 1].map(|value| LwwRegister::written(stamp, value)));
        }
        for a in &all {
            for b in &all {
                let most = held(a).max(held(b));
                let mut joined = a.clone();
                assert_eq!(joined.merge(b), joined != *a);
                assert_eq!(held(&joined), most);
                let mut moved = a.clone();
                assert_eq!(moved.merge_owned(b.clone()), joined != *a);
                assert_eq!(moved, joined);
                assert_eq!(a.partial_cmp(b), Some(held(a).cmp(&held(b))));

                let tie = a.stamp().is_some() && a.stamp() == b.stamp() && a.get() != b.get();
                let mut tried = a.clone();
                match tried.try_merge(b) {
                    Ok(grew) => assert_eq!((tie, grew, &tried), (false, joined != *a, &joined)),
                    Err(Tie { stamp }) => assert_eq!((tie, Some(stamp), &tried), (true, a.stamp(), a)),
                }
                if !tie {
                    let mut updated = b.clone();
                    let delta = a.delta_since(b.version());
                    assert_eq!(delta == LwwRegister::new(), a <= b);
                    assert_eq!(updated.apply(&delta), Ok(joined != *b));
                    assert_eq!(updated, joined);
                }
                if let Some((stamp, value)) = held(b) {
                    let mut imported = a.clone();
                    assert_eq!(imported.set_at(stamp, value), joined != *a);
                    assert_eq!(imported, joined);
                }
            }
        }
    }

    /// Two replicas whose clocks read early or late as they please, every history of six steps. The definition: a set
    /// of writes, each with the writes that it had seen; the winner is one that no other write has seen.
    #[test]
    fn in_every_short_history_a_write_that_has_seen_another_wins() {
        const STEPS: usize = 6;
        for history in 0..STEPS.pow(6) {
            let mut replicas = IDS.map(|id| Replica::new(id, LwwRegister::new()));
            let mut known = [BTreeSet::<usize>::new(), BTreeSet::new()];
            let mut past: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
            let mut stamps = BTreeSet::new();
            for at in 0..6 {
                let step = history / STEPS.pow(at) % STEPS;
                let who = step % 2;
                if step < 4 {
                    let now = HybridTime::from_bits(step as u64 / 2 * 3);
                    let write = past.len();
                    let stamp = replicas[who].update(|r, tick| r.set(tick, now, write)).unwrap();
                    assert!(stamps.insert(stamp), "a stamp names one write");
                    past.insert(write, known[who].clone());
                    known[who].insert(write);
                } else {
                    let other = replicas[1 - who].clone();
                    replicas[who].merge(&other);
                    let news = known[1 - who].clone();
                    known[who].extend(news);
                }
                for (replica, known) in replicas.iter().zip(&known) {
                    let Some(winner) = replica.get() else {
                        assert!(known.is_empty());
                        continue;
                    };
                    assert!(known.contains(winner));
                    assert!(known.iter().all(|write| !past[write].contains(winner)));
                }
                if known[0] == known[1] {
                    assert_eq!(replicas[0].state(), replicas[1].state());
                }
            }
        }
    }

    #[test]
    fn a_refused_write_changes_nothing() {
        let mut full = Replica::new(IDS[0], LwwRegister::new());
        full.update(|r, tick| r.set(tick, HybridTime::MAX, 1)).unwrap();
        let before = full.clone();
        let refused = full.update(|r, tick| r.set(tick, HybridTime::MIN, 2));
        assert_eq!(refused, Err(UpdateError::Overflow));
        assert_eq!(*full.state(), before);
        // Nor was a number used.
        assert_eq!(full.update(|_, tick| tick.take()), Ok(Dot::new(IDS[0], 2)));

        let mut spent = LwwRegister::new();
        spent.set_at(stamp(1, 1, u64::MAX), 1);
        let mut spent = Replica::new(IDS[0], spent);
        let before = spent.clone();
        let refused = spent.update(|r, tick| r.set(tick, HybridTime::MAX, 2));
        assert_eq!(refused, Err(UpdateError::Overflow));
        assert_eq!(*spent.state(), before);
    }

    #[test]
    fn only_the_writer_of_the_stamp_held_has_a_counter() {
        let mut register = LwwRegister::new();
        assert_eq!(register.last_counter(IDS[0]), 0);
        register.set_at(stamp(1, 1, 7), "a");
        assert_eq!(register.last_counter(IDS[0]), 7);
        register.set_at(stamp(2, 2, 3), "b");
        assert_eq!((register.last_counter(IDS[0]), register.last_counter(IDS[1])), (0, 3));
    }

    #[test]
    #[should_panic(expected = "starts at 1")]
    fn counter_zero_names_no_write() {
        LwwRegister::new().set_at(stamp(1, 1, 0), "imported");
    }

    /// A value of which a clone is a failed test.
    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
    struct NeverCloned(u8);

    impl Clone for NeverCloned {
        fn clone(&self) -> Self {
            panic!("{self:?} was cloned")
        }
    }

    #[test]
    fn a_losing_merge_copies_nothing_and_an_owned_one_moves() {
        let mut newer = LwwRegister::written(stamp(2, 1, 1), NeverCloned(2));
        let older = LwwRegister::written(stamp(1, 1, 1), NeverCloned(1));
        assert!(!newer.merge(&older));
        assert_eq!(newer.try_merge(&older), Ok(false));
        assert!(!newer.merge(&LwwRegister::new()));
        assert_eq!(older.delta_since(newer.version()), LwwRegister::new());
        assert!(!newer.merge_owned(older));
        assert!(newer.merge_owned(LwwRegister::written(stamp(3, 1, 1), NeverCloned(3))));
        assert!(newer.set_at(stamp(4, 1, 1), NeverCloned(4)));
        assert_eq!(newer.into_value(), Some(NeverCloned(4)));
    }

    #[test]
    fn a_winning_merge_reuses_the_allocation() {
        let mut older = LwwRegister::written(stamp(1, 1, 1), String::with_capacity(64));
        let newer = LwwRegister::written(stamp(2, 1, 1), "a text that fits in there".to_string());
        let buffer = older.get().unwrap().as_ptr();
        assert!(older.merge(&newer));
        assert_eq!(older, newer);
        assert_eq!(older.get().unwrap().as_ptr(), buffer);
        assert!(older.get().unwrap().capacity() >= 64);

        let moved = newer.get().unwrap().as_ptr();
        let mut empty = LwwRegister::new();
        assert!(empty.merge_owned(newer));
        assert_eq!(empty.get().unwrap().as_ptr(), moved);
    }

    #[test]
    fn a_tie_says_who_is_said_to_have_written_when() {
        let error = Tie { stamp: stamp((7 << 16) | 2, 0xa, 3) };
        assert_eq!(error.to_string(), "two different values claim the write 000000000000000a:3 at 7+2");
    }
}
