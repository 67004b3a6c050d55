use crate::{
    id::{GOLDEN, Id},
    symbol::Symbol,
};

/// An id's way through the coded symbols: an endless ascending sequence that begins with 0 and thins out, so that
/// symbol i holds each id with a probability close to 1 / (1 + i/2). About 2 ln m of the first m are in it.
///
/// Source: Yang, Gilad, Alizadeh, "Practical Rateless Set Reconciliation", SIGCOMM 2024, section 4. With that density
/// the next position after i exceeds j with probability (i+1)(i+2) / (j+1)(j+2), nearly (i + 3/2)² / (j + 3/2)²; so
/// j + 3/2 is distributed as (i + 3/2) / √u for a uniform u. The paper takes the root. The greater of two uniform
/// numbers is distributed as √u as well, and integers give the same positions on every machine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Walk {
    /// What the id adds to the symbols on its way.
    pub(crate) summand: u64,
    /// Where it is: [`u32::MAX`] from there on.
    pub(crate) at: u32,
    state: u64,
}

/// The bits behind the point in the reciprocal of a random number.
const FRACTION: u32 = 24;

impl Walk {
    /// At symbol 0.
    #[inline]
    pub(crate) fn of(id: Id) -> Self {
        let hash = id.hash();
        Walk { summand: Symbol::summand(id, hash), at: 0, state: hash }
    }

    /// To the next symbol.
    #[inline]
    pub(crate) fn advance(&mut self) {
        // A congruential generator is enough behind a good hash. The multiplier is Steele and Vigna's,
        // "Computationally easy, spectrally good multipliers for congruential pseudorandom number generators", 2022.
        self.state = self.state.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(GOLDEN);
        let random = self.state ^ self.state >> 32;
        let root = (random >> 32).max(random & 0xffff_ffff) + 1;
        // Apart from where we are, so that one step does not wait for the division of the one before.
        let stretch = (1 << (32 + FRACTION)) / root;
        let doubled = (2 * u64::from(self.at) + 3).saturating_mul(stretch) >> FRACTION;
        self.at = u32::try_from((doubled - 1) >> 1).unwrap_or(u32::MAX);
    }

    /// Whether the way of `id` leads to symbol `at`.
    pub(crate) fn leads(id: Id, at: u32) -> bool {
        let mut walk = Walk::of(id);
        while walk.at < at {
            walk.advance();
        }
        walk.at == at
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
mod tests {
    use super::*;
    use crate::Seed;
    use alloc::{vec, vec::Vec};

    fn way(id: Id, end: u32) -> Vec<u32> {
        let mut walk = Walk::of(id);
        let mut way = Vec::new();
        while walk.at < end {
            way.push(walk.at);
            walk.advance();
        }
        way
    }

    /// A change of what stands here is a change of the format.
    #[test]
    fn ways_are_the_same_everywhere() {
        let ways = [0, 1, (1 << 52) - 1].map(|id| way(Id::new(id).unwrap(), 1_000));
        assert_eq!(ways[0], [0, 8, 10, 70, 81, 151, 346, 595, 760]);
        assert_eq!(ways[1], [0, 2, 5, 10, 11, 13, 49, 88, 295, 298, 320, 392]);
        assert_eq!(ways[2], [0, 1, 6, 7, 10, 34, 67, 72, 120, 189, 243, 319, 417]);
    }

    #[test]
    fn ways_ascend_to_the_end_and_are_found_again() {
        for item in 0..200 {
            let id = Seed::new(3).id(item);
            let way = way(id, u32::MAX);
            assert_eq!(way[0], 0);
            assert!(way.is_sorted_by(|a, b| a < b));
            for at in 0..300 {
                assert_eq!(Walk::leads(id, at), way.contains(&at));
            }
        }
    }

    /// The density of the paper, and no correlation from one step to the next.
    #[test]
    fn symbols_hold_ids_with_the_density_of_the_paper() {
        const ITEMS: u32 = 40_000;
        let mut held = vec![0_u32; 500];
        let mut pairs = vec![0_u32; 500];
        for item in 0..ITEMS {
            let way = way(Seed::new(9).id(item.into()), 500);
            for at in &way {
                held[*at as usize] += 1;
            }
            for pair in way.windows(2).filter(|pair| pair[1] == pair[0] + 1) {
                pairs[pair[1] as usize] += 1;
            }
        }
        assert_eq!(held[0], ITEMS);
        for (at, held) in held.iter().enumerate().skip(1) {
            let density = 1.0 / (1.0 + at as f64 / 2.0);
            let expected = f64::from(ITEMS) * density;
            // Nearly: within 4% of the density at symbol 1, and better and better after it.
            let deviation = (f64::from(*held) - expected).abs();
            assert!(deviation <= 5.0 * expected.sqrt() + 0.04 * expected / at as f64, "{held} at {at}");
        }
        // Whether a symbol is led to does not depend on whether the one before was.
        let expected: f64 = (1..500).map(|at| 4.0 / f64::from((at + 2) * (at + 1))).sum();
        let found = f64::from(pairs.iter().sum::<u32>()) / f64::from(ITEMS);
        assert!((found - expected).abs() < 0.05 * expected, "{found} for {expected}");
    }
}
