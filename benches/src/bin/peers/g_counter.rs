//! Grow-only counters.

use crate::{
    contest::Contestant,
    measure::Effort,
    rows::{PerReplica, name, run},
    table::{OURS, Results},
};
use atomr_distributed_data::CrdtMerge as _;
use crdt_core::{Merge as _, ReplicaId};
use crdt_kit::Crdt as _;
use crdts::{CmRDT as _, CvRDT as _};
use g_counter::GCounter;
use lattices::{Max, map_union::MapUnionHashMap};

pub(crate) const KIND: &str = "g-counter";

pub(crate) fn round(effort: Effort, results: &mut Results) {
    run::<GCounter>(KIND, 0, effort, results);
    run::<crdts::GCounter<u64>>(KIND, 0, effort, results);
    run::<MapUnionHashMap<u64, Max<u64>>>(KIND, 0, effort, results);
    run::<crdt_kit::GCounter>(KIND, 0, effort, results);
    run::<atomr_distributed_data::GCounter>(KIND, 0, effort, results);
    run::<Abyo>(KIND, 0, effort, results);
}

impl Contestant for GCounter {
    const SIDE: &'static str = OURS;

    fn join(&mut self, other: &Self) {
        self.merge(other);
    }

    fn absorb(&mut self, other: Self) {
        self.merge_owned(other);
    }

    fn digest(&self) -> u128 {
        self.value()
    }
}

impl PerReplica for GCounter {
    fn build(salt: u64, rows: &[(u64, u64)]) -> Self {
        rows.iter().map(|(k, total)| (ReplicaId::new(name(salt, *k)), *total)).collect()
    }
}

impl Contestant for crdts::GCounter<u64> {
    const SIDE: &'static str = "crdts";

    fn join(&mut self, other: &Self) {
        self.merge(other.clone());
    }

    fn absorb(&mut self, other: Self) {
        self.merge(other);
    }

    fn digest(&self) -> u128 {
        self.read().iter_u64_digits().next().map_or(0, u128::from)
    }
}

impl PerReplica for crdts::GCounter<u64> {
    fn build(salt: u64, rows: &[(u64, u64)]) -> Self {
        let mut counter = Self::new();
        for (k, total) in rows {
            counter.apply(counter.inc_many(name(salt, *k), *total));
        }
        counter
    }
}

impl Contestant for crdt_kit::GCounter {
    const SIDE: &'static str = "crdt-kit";

    fn join(&mut self, other: &Self) {
        self.merge(other);
    }

    fn digest(&self) -> u128 {
        u128::from(self.value())
    }
}

impl PerReplica for crdt_kit::GCounter {
    fn build(salt: u64, rows: &[(u64, u64)]) -> Self {
        let mut all = Self::new(name(salt, 0));
        for (k, total) in rows {
            let mut one = Self::new(name(salt, *k));
            one.increment_by(*total);
            all.merge(&one);
        }
        all
    }
}

/// Names replicas by strings.
impl Contestant for atomr_distributed_data::GCounter {
    const SIDE: &'static str = "atomr";

    fn join(&mut self, other: &Self) {
        self.merge(other);
    }

    fn digest(&self) -> u128 {
        u128::from(self.value())
    }
}

impl PerReplica for atomr_distributed_data::GCounter {
    fn build(salt: u64, rows: &[(u64, u64)]) -> Self {
        let mut made = Self::new();
        for (k, total) in rows {
            made.increment(&format!("n{salt}-{k}"), *total);
        }
        // A copy that has arrived from elsewhere: without what is pending for others.
        let mut counter = Self::new();
        counter.merge(&made);
        counter
    }
}

/// A log of increments; each count here is one of them.
#[derive(Clone)]
pub(crate) struct Abyo(abyo_crdt::Counter);

impl Contestant for Abyo {
    const SIDE: &'static str = "abyo";

    fn join(&mut self, other: &Self) {
        self.0.merge(&other.0);
    }

    fn digest(&self) -> u128 {
        self.0.value().cast_unsigned()
    }
}

impl PerReplica for Abyo {
    fn build(salt: u64, rows: &[(u64, u64)]) -> Self {
        let mut all = abyo_crdt::Counter::new(name(salt, 0));
        for (k, total) in rows {
            all.merge(&abyo(salt, *k, *total, 0));
        }
        Abyo(all)
    }
}

/// One replica's part, from the same first operations whatever it counted: what is newer is one operation more.
pub(crate) fn abyo(salt: u64, k: u64, total: u64, down: u64) -> abyo_crdt::Counter {
    let mut one = abyo_crdt::Counter::new(name(salt, k));
    let first = total.min(10 + k % 3);
    one.increment(first);
    if down > 0 {
        one.decrement(down);
    }
    if total > first {
        one.increment(total - first);
    }
    one
}
