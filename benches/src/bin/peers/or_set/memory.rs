//! What sets cost in memory and on the wire where it depends on more than the number of elements. Counted, not timed.

use super::{
    OURS, Row, Set as _, Unit, elements,
    ours::{Ours, id},
};
use crate::{
    measure::{live_bytes, mix},
    table::Results,
};
use crdt_core::Writer;
use or_set::OrSet;
use std::collections::HashSet;

pub(crate) const KIND: &str = "or-set memory and wire";
pub(crate) const LIVE: &str = "live memory, an element, u64";
pub(crate) const STRINGS: &str = "live memory, an element, strings of 24 bytes";
pub(crate) const WIRE: &str = "postcard beyond the payload, an element";
pub(crate) const GAPS: &str = "postcard beyond the payload, an element, half of them removed";
pub(crate) const GAPS_ENTROPY: &str = "entropy of the gaps, an element, half of them removed";
pub(crate) const RARE: &str = "postcard beyond the payload, an element, 1 of 10 kept";
pub(crate) const RARE_ENTROPY: &str = "entropy of the gaps, an element, 1 of 10 kept";

/// Just after a hash table has grown, and at round numbers.
pub(crate) const SIZES: [u64; 4] = [10_000, 28_673, 100_000, 1_000_000];
pub(crate) const TEXTS: [u64; 2] = [10_000, 100_000];
const GAPPED: u64 = 100_000;

pub(crate) fn round(results: &mut Results) {
    let add = |results: &mut Results, work, n, side, value| {
        results.add(Row { kind: KIND, work, n, unit: Unit::Bytes }, side, value);
    };
    for n in SIZES {
        let items = elements(0, n);
        let (bytes, base) = live_bytes(|| Ours::base(1, &items));
        add(results, LIVE, n, OURS, bytes / n as f64);
        let overhead = beyond_payload(&base.set, &items);
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
        let text = |k: u64| format!("{:024x}", mix(k));
        let (bytes, _set) = live_bytes(|| {
            let mut set = OrSet::new();
            for k in 0..3 {
                let mut writer = Writer::resume(id(k), 0);
                for element in (k..n).step_by(3) {
                    set.add(writer.tick(), text(element)).expect("the only writer");
                }
            }
            set
        });
        add(results, STRINGS, n, OURS, bytes / n as f64);
        let (bytes, _set) = live_bytes(|| {
            (0..n).map(text).fold(HashSet::new(), |mut set, text| {
                set.insert(text);
                set
            })
        });
        add(results, STRINGS, n, "std", bytes / n as f64);
    }
    for (work, entropy, of, kept) in [(GAPS, GAPS_ENTROPY, 10, 5), (RARE, RARE_ENTROPY, 10, 1)] {
        let mut set = Ours::base(1, &elements(0, GAPPED));
        let (left, dead): (Vec<u64>, Vec<u64>) =
            elements(0, GAPPED).into_iter().partition(|element| mix(*element) % of < kept);
        set.remove_all(&dead);
        let live = left.len() as f64;
        add(results, work, GAPPED, OURS, beyond_payload(&set.set, &left) / live);
        let (p, q) = (live / GAPPED as f64, dead.len() as f64 / GAPPED as f64);
        let bits = -(p * p.log2() + q * q.log2()) / p;
        add(results, entropy, GAPPED, "hashbrown", bits / 8.0);
    }
}

fn beyond_payload(set: &OrSet<u64>, items: &[u64]) -> f64 {
    let bytes = postcard::to_allocvec(set).expect("a set is serialisable");
    let payload: usize =
        items.iter().map(|item| postcard::to_allocvec(item).expect("a number is").len()).sum();
    bytes.len() as f64 - payload as f64
}
