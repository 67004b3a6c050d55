//! What sets cost in memory and on the wire where it depends on more than the number of elements. Counted, not timed.

use super::{FIRST, Row, Set as _, Unit, elements, ours::Ours};
use crate::{
    measure::{live_bytes, mix},
    table::{OURS, Results},
};
use crdt_core::wire::Wire as _;
use or_set::OrSet;
use std::collections::HashSet;

pub(crate) const KIND: &str = "or-set memory and wire";
pub(crate) const LIVE: &str = "live memory, an element, u64";
pub(crate) const STRINGS: &str = "live memory, an element, strings of 24 bytes";
pub(crate) const WIRE: &str = "bytes beyond 8 for each element";
pub(crate) const GAPS: &str = "bytes beyond 8 for each element, half of them removed";
pub(crate) const GAPS_ENTROPY: &str = "entropy of the gaps, an element, half of them removed";
pub(crate) const RARE: &str = "bytes beyond 8 for each element, 1 of 10 kept";
pub(crate) const RARE_ENTROPY: &str = "entropy of the gaps, an element, 1 of 10 kept";

/// Just after a hash table has grown, and at round numbers.
pub(crate) const SIZES: [u64; 4] = [10_000, 28_673, 100_000, 1_000_000];
pub(crate) const TEXTS: [u64; 2] = [10_000, 100_000];
pub(crate) const GAPPED: u64 = 100_000;

pub(crate) fn round(results: &mut Results) {
    let add = |results: &mut Results, work, n, side, value| {
        results.add(Row { kind: KIND, work, n, unit: Unit::Bytes }, side, value);
    };
    for n in SIZES {
        let items = elements(0, n);
        let (bytes, base) = live_bytes(|| Ours::base(FIRST, 3, &items));
        add(results, LIVE, n, OURS, bytes / n as f64);
        let overhead = beyond_payload(&base.set);
        add(results, WIRE, n, OURS, overhead / n as f64);
        drop(base);
        let (bytes, _set) = live_bytes(|| {
            let mut set = hashbrown::HashSet::new();
            set.extend(items.iter().copied());
            set
        });
        add(results, LIVE, n, "hashbrown", bytes / n as f64);
    }
    for n in TEXTS {
        let items = elements::<String>(0, n);
        let (bytes, _set) = live_bytes(|| Ours::base(FIRST, 3, &items));
        add(results, STRINGS, n, OURS, bytes / n as f64);
        let (bytes, _set) = live_bytes(|| {
            items.iter().fold(HashSet::new(), |mut set, text| {
                set.insert(text.clone());
                set
            })
        });
        add(results, STRINGS, n, "std", bytes / n as f64);
    }
    for (work, entropy, of, kept) in [(GAPS, GAPS_ENTROPY, 10, 5), (RARE, RARE_ENTROPY, 10, 1)] {
        let mut set = Ours::base(FIRST, 3, &elements(0, GAPPED));
        let (left, dead): (Vec<u64>, Vec<u64>) =
            elements::<u64>(0, GAPPED).into_iter().partition(|element| mix(*element) % of < kept);
        set.remove_all(&dead);
        let live = left.len() as f64;
        add(results, work, GAPPED, OURS, beyond_payload(&set.set) / live);
        let (p, q) = (live / GAPPED as f64, dead.len() as f64 / GAPPED as f64);
        let bits = -(p * p.log2() + q * q.log2()) / p;
        add(results, entropy, GAPPED, "hashbrown", bits / 8.0);
    }
}

/// What the set's own form takes beyond 8 bytes for each element: numbers that look random need all of them.
fn beyond_payload(set: &OrSet<u64>) -> f64 {
    set.to_bytes().len() as f64 - (set.len() * size_of::<u64>()) as f64
}
