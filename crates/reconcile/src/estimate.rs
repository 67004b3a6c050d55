use crate::id::{ID_BITS, Id};
use alloc::boxed::Box;
use core::fmt;

/// How many counters an estimator has: 512 bytes.
pub(crate) const COUNTERS: usize = 512;

/// Counts by which the size of a symmetric difference is estimated before anything is known of it.
///
/// Each id adds one to one of 512 counters, or takes one away, as its bits say; all counts are modulo 256. What both
/// sets have cancels out of the difference of two estimators, so that the sum of the squares of the differing counts
/// is an estimate of the number d of differences. It is right on average, with a standard deviation of at most d/16;
/// beyond 500,000 or so it is too low, but still above 500,000.
///
/// Sources: Alon, Matias, Szegedy, "The space complexity of approximating the frequency moments", STOC 1996, for
/// squares of random signs; Thorup, Zhang, "Tabulation based 4-universal hashing with applications to second moment
/// estimation", SODA 2004, for one counter an item.
#[derive(Clone, PartialEq, Eq)]
pub struct Estimator(Box<[u8; COUNTERS]>);

impl Estimator {
    /// Of the empty set.
    pub fn new() -> Self {
        Estimator(Box::new([0; COUNTERS]))
    }

    /// Adds an id that is not in the set. **O(1)**.
    #[inline]
    pub fn insert(&mut self, id: Id) {
        #[expect(clippy::cast_possible_truncation, reason = "the low bits are what counts")]
        let counter = &mut self.0[id.get() as usize % COUNTERS];
        *counter =
            if id.get() >> (ID_BITS - 1) == 0 { counter.wrapping_add(1) } else { counter.wrapping_sub(1) };
    }

    /// About how many ids are in one of the two sets and not in the other. **O(1)**.
    pub fn difference(&self, other: &Self) -> u32 {
        let pairs = self.0.iter().zip(other.0.iter());
        pairs
            .map(|(mine, theirs)| u32::from(mine.wrapping_sub(*theirs).cast_signed().unsigned_abs()).pow(2))
            .sum()
    }

    pub(crate) fn counts(&self) -> &[u8; COUNTERS] {
        &self.0
    }

    pub(crate) fn from_counts(counts: &[u8; COUNTERS]) -> Self {
        Estimator(Box::new(*counts))
    }
}

/// With how many symbols a difference is found that was estimated as so large, with a probability above 0.99.
///
/// In 99 of 100 cases d differences take at most 1.36 d + 3 √d + 11 symbols (measured; the first term is nearly the
/// paper's limit for large d), and the estimate is at least (1 − 2.33 / 16) d: that makes 1.6 of the first term.
pub(crate) fn enough(estimate: u32) -> u32 {
    16 + 8 * estimate / 5 + 3 * estimate.isqrt()
}

impl Default for Estimator {
    fn default() -> Self {
        Estimator::new()
    }
}

impl Extend<Id> for Estimator {
    fn extend<I: IntoIterator<Item = Id>>(&mut self, ids: I) {
        for id in ids {
            self.insert(id);
        }
    }
}

impl fmt::Debug for Estimator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Estimator(..)")
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
mod tests {
    use super::*;
    use crate::Seed;
    use alloc::vec::Vec;

    /// Mean and standard deviation over many seeds, against what the documentation says; with and without many ids
    /// that both sides have.
    #[test]
    fn estimates_are_right_on_average_and_a_sixteenth_off() {
        for (difference, common) in [(1_u64, 50), (30, 3_000), (3_000, 0)] {
            let estimates: Vec<f64> = (0..300)
                .map(|seed| {
                    let id = |item| Seed::new(seed).id(item);
                    let (mut one, mut other) = (Estimator::new(), Estimator::new());
                    one.extend((0..common).map(id));
                    other.extend((0..common).rev().map(id));
                    one.extend((common..common + difference / 3).map(id));
                    other.extend((common + difference / 3..common + difference).map(id));
                    assert_eq!(one.difference(&other), other.difference(&one));
                    f64::from(one.difference(&other))
                })
                .collect();
            let d = difference as f64;
            let mean = estimates.iter().sum::<f64>() / 300.0;
            assert!((mean - d).abs() <= 0.015 * d, "{mean} for {d}");
            let square = estimates.iter().map(|estimate| (estimate - d).powi(2)).sum::<f64>() / 300.0;
            // The standard deviation of 300 values is itself off by 4%.
            assert!(square <= (1.15 / 16.0 * d).powi(2), "{square} for {d}");
        }
    }

    #[test]
    fn more_than_can_be_counted_is_still_a_lot() {
        let seed = Seed::new(1);
        for size in [600_000, 3_000_000] {
            let mut all = Estimator::new();
            all.extend((0..size).map(|item| seed.id(item)));
            assert!(enough(all.difference(&Estimator::new())) > 900_000);
        }
    }
}
