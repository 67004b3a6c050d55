use crate::{Dot, HybridTime, ReplicaId};

/// The place of a write in the total order of writes: by time, then replica, then counter.
///
/// # Law
///
/// One stamp, one write: an honest replica stamps above all that its copy holds, so no two of its writes share a time,
/// and two replicas differ in their ids, of which all 64 bits are compared.
///
/// ```
/// use lww_register::{Dot, HybridTime, ReplicaId, Stamp};
///
/// let (early, late) = (HybridTime::from_millis(1), HybridTime::from_millis(2));
/// let (ann, bob) = (ReplicaId::new(1), ReplicaId::new(2));
/// assert!(Stamp::new(early, Dot::new(bob, 9)) < Stamp::new(late, Dot::new(ann, 1)));
/// assert!(Stamp::new(late, Dot::new(ann, 9)) < Stamp::new(late, Dot::new(bob, 1)));
/// assert!(Stamp::new(late, Dot::new(ann, 1)) < Stamp::new(late, Dot::new(ann, 9)));
/// ```
// The order of the fields is the order of the stamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Stamp {
    /// When, in hybrid time.
    pub time: HybridTime,
    /// Who wrote.
    pub replica: ReplicaId,
    /// The number of the write among that replica's updates, from 1; deserialising refuses 0 but in [`Stamp::NEVER`].
    pub counter: u64,
}

/// Why a stamp is refused.
pub(crate) const COUNTER: &str = "the counter of a stamp starts at 1";

impl Stamp {
    /// The stamp of no write, below those of all writes: the version of a register that was never written. Only here the
    /// counter is 0.
    pub const NEVER: Self = Stamp { time: HybridTime::MIN, replica: ReplicaId::new(1), counter: 0 };

    /// The stamp of the update `dot` at `time`.
    pub const fn new(time: HybridTime, dot: Dot) -> Self {
        Stamp { time, replica: dot.replica, counter: dot.counter }
    }

    /// Whether it is that of a write, or of none.
    pub(crate) fn is_valid(self) -> bool {
        self.counter > 0 || self == Stamp::NEVER
    }

    /// The update event that wrote.
    pub const fn dot(self) -> Dot {
        Dot::new(self.replica, self.counter)
    }
}

/// [`Stamp::NEVER`].
impl Default for Stamp {
    fn default() -> Self {
        Stamp::NEVER
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Stamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(rename = "Stamp", deny_unknown_fields)]
        struct Raw {
            time: HybridTime,
            replica: ReplicaId,
            counter: u64,
        }
        let Raw { time, replica, counter } = Raw::deserialize(deserializer)?;
        let stamp = Stamp { time, replica, counter };
        if stamp.is_valid() { Ok(stamp) } else { Err(serde::de::Error::custom(COUNTER)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_small_pair_is_ordered_by_time_then_replica_then_counter() {
        let parts = |n: u64| (n % 3, n / 3 % 3 + 1, n / 9 + 1);
        let stamp = |(time, replica, counter)| {
            let dot = Dot::new(ReplicaId::new(replica), counter);
            Stamp::new(HybridTime::from_bits(time), dot)
        };
        for a in (0..27).map(parts) {
            assert!(Stamp::NEVER < stamp(a));
            for b in (0..27).map(parts) {
                assert_eq!(stamp(a).cmp(&stamp(b)), a.cmp(&b));
            }
        }
    }
}
