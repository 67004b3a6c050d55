use crate::HybridTime;
use core::fmt;

/// A hybrid logical clock: follows the physical clock, never goes back, and counts on where that one stands still.
///
/// It has no clock of its own; the caller reads one, in milliseconds since the epoch that all replicas share, and
/// passes the reading in.
///
/// # Laws
///
/// - Each [`now`](Self::now) is greater than all times that this clock gave or observed before, up to
///   [`HybridTime::MAX`] in the year 10889, where it stays (and a register refuses to write over it).
/// - It is never behind the reading passed in, and never more than the greatest reading so far, or an observed time
///   within the drift bound, plus one millisecond for each 65,536 calls.
/// - A time that is refused leaves no trace.
///
/// [`LwwRegister`](crate::LwwRegister) orders a write after what it has seen without any help. Observing what is
/// received does that across *all* registers of a replica, and the bound keeps one broken clock from dragging the times
/// of every other replica with it.
///
/// Source: Kulkarni, Demirbas, Madappa, Avva, Leone, "Logical physical clocks", OPODIS 2014: the algorithm of its HLC,
/// and the bound that its section on resilience puts on what is received.
///
/// ```
/// use lww_register::{Drift, HybridClock, HybridTime};
///
/// let mut clock = HybridClock::new(500);
/// let first = clock.now(1_000);
/// assert!(clock.now(1_000) > first, "the physical clock stands still");
/// assert!(clock.now(400) > first, "… or is set back");
///
/// clock.observe(HybridTime::from_millis(1_300), 1_000)?;
/// assert!(clock.now(1_000) > HybridTime::from_millis(1_300));
///
/// // A peer whose clock is an hour ahead does not take this one with it.
/// assert!(clock.observe(HybridTime::from_millis(3_601_000), 1_000).is_err());
/// assert_eq!(clock.now(2_000), HybridTime::from_millis(2_000));
/// # Ok::<(), Drift>(())
/// ```
// Not `Clone`: two clocks under one replica id would give the same times.
#[derive(Debug, PartialEq, Eq)]
pub struct HybridClock {
    last: HybridTime,
    max_drift_millis: u64,
}

/// An observed time is further ahead of the physical clock than the bound allows; the clock is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drift {
    /// The time that was refused.
    pub time: HybridTime,
    /// The reading of the physical clock it was held against, in milliseconds.
    pub physical_millis: u64,
    /// The bound, in milliseconds.
    pub max_drift_millis: u64,
}

impl HybridClock {
    /// A clock that accepts observed times up to `max_drift_millis` milliseconds ahead of the physical clock.
    ///
    /// The bound should exceed how far the replicas' clocks really are apart (with NTP some tens of milliseconds) by a
    /// good factor: what it refuses is not an error of the network but a clock that is wrong.
    pub const fn new(max_drift_millis: u64) -> Self {
        HybridClock { last: HybridTime::MIN, max_drift_millis }
    }

    /// The time of a new event, where the physical clock reads `physical_millis`. **O(1)**.
    pub fn now(&mut self, physical_millis: u64) -> HybridTime {
        let next = self.last.next().unwrap_or(HybridTime::MAX);
        self.last = next.max(HybridTime::from_millis(physical_millis));
        self.last
    }

    /// Takes note of the time of a received event, where the physical clock reads `physical_millis`. **O(1)**.
    ///
    /// # Errors
    ///
    /// [`Drift`] if `time` is ahead of that reading by more than the bound; the clock is unchanged.
    pub fn observe(&mut self, time: HybridTime, physical_millis: u64) -> Result<(), Drift> {
        let max_drift_millis = self.max_drift_millis;
        if time.millis().saturating_sub(physical_millis) > max_drift_millis {
            return Err(Drift { time, physical_millis, max_drift_millis });
        }
        self.last = self.last.max(time);
        Ok(())
    }

    /// The greatest time given or observed so far.
    pub const fn last(&self) -> HybridTime {
        self.last
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ahead = self.time.millis().saturating_sub(self.physical_millis);
        let bound = self.max_drift_millis;
        write!(
            f,
            "the time {} is {ahead} ms ahead of the physical clock, of which {bound} ms are allowed",
            self.time
        )
    }
}

impl core::error::Error for Drift {}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::{string::ToString, vec::Vec};

    /// The paper's clock as it stands there: l and c apart, an event for each receipt.
    #[derive(Clone, Copy)]
    struct Paper {
        l: u64,
        c: u64,
    }

    impl Paper {
        fn send(&mut self, physical: u64) {
            let before = self.l;
            self.l = before.max(physical);
            self.c = if self.l == before { self.c + 1 } else { 0 };
        }

        fn receive(&mut self, m: Paper, physical: u64) {
            let before = self.l;
            self.l = before.max(m.l).max(physical);
            self.c = match (self.l == before, self.l == m.l) {
                (true, true) => self.c.max(m.c) + 1,
                (true, false) => self.c + 1,
                (false, true) => m.c + 1,
                (false, false) => 0,
            };
        }
    }

    /// Every history of six steps: readings that stand still, advance, jump and step back, and received times.
    #[test]
    fn every_short_history_agrees_with_the_paper() {
        const STEPS: usize = 7;
        for history in 0..STEPS.pow(6) {
            let mut clock = HybridClock::new(2);
            let mut paper = Paper { l: 0, c: 0 };
            let mut seen = HybridTime::MIN;
            for at in 0..6 {
                let step = history / STEPS.pow(at) % STEPS;
                if step < 4 {
                    let physical = step as u64;
                    let now = clock.now(physical);
                    paper.send(physical);
                    assert!(now > seen, "strictly increasing");
                    assert!(now.millis() >= physical);
                    seen = now;
                } else {
                    // A received event, and the local event that records it.
                    let (l, c) = [(1, 0), (2, 3), (3, 1)][step - 4];
                    let physical = 1;
                    clock.observe(HybridTime::from_bits((l << 16) | c), physical).unwrap();
                    seen = clock.now(physical);
                    paper.receive(Paper { l, c }, physical);
                }
                assert_eq!((seen.millis(), u64::from(seen.logical())), (paper.l, paper.c));
            }
        }
    }

    #[test]
    fn the_bound_is_exact_and_a_refusal_leaves_no_trace() {
        for (bound, physical) in [(0, 0), (0, 10), (5, 0), (5, 10), (u64::MAX, 0), (0, u64::MAX)] {
            for millis in 0..20 {
                for time in [HybridTime::from_millis(millis), HybridTime::from_bits((millis << 16) | 0xffff)]
                {
                    let mut clock = HybridClock::new(bound);
                    let result = clock.observe(time, physical);
                    let within = u128::from(millis) <= u128::from(physical) + u128::from(bound);
                    assert_eq!(result.is_ok(), within);
                    assert_eq!(clock.last(), if within { time } else { HybridTime::MIN });
                }
            }
        }
        let refused = HybridClock::new(5).observe(HybridTime::from_millis(16), 10);
        assert_eq!(
            refused.unwrap_err().to_string(),
            "the time 16+0 is 6 ms ahead of the physical clock, of which 5 ms are allowed"
        );
    }

    #[test]
    fn a_clock_set_back_goes_on_counting() {
        let mut clock = HybridClock::new(0);
        let before = clock.now(1_000);
        let after: Vec<_> = (0..70_000).map(|_| clock.now(0)).collect();
        assert!(before < after[0] && after.is_sorted_by(|a, b| a < b));
        // 65,536 calls for each millisecond of lead.
        assert_eq!(clock.last().millis(), 1_001);
        assert_eq!(clock.now(1_002), HybridTime::from_millis(1_002));
    }

    #[test]
    fn the_end_of_time_neither_wraps_nor_panics() {
        let mut clock = HybridClock::new(u64::MAX);
        clock.observe(HybridTime::MAX, 0).unwrap();
        assert_eq!(clock.now(u64::MAX), HybridTime::MAX);
        assert_eq!(clock.now(0), HybridTime::MAX);
    }
}
