//! Counters that also count down.

use crate::{
    contest::Contestant,
    g_counter::abyo,
    measure::Effort,
    rows::{DOWN, PerReplica, name, run},
    table::{OURS, Results},
};
use atomr_distributed_data::CrdtMerge as _;
use crdt_core::{Merge as _, ReplicaId, Rows};
use crdt_kit::Crdt as _;
use crdts::{CmRDT as _, CvRDT as _};
use lattices::{Max, Merge as _, Pair, map_union::MapUnionHashMap};
use pn_counter::PnCounter;

pub(crate) const KIND: &str = "pn-counter";

pub(crate) fn round(effort: Effort, results: &mut Results) {
    run::<PnCounter>(KIND, DOWN, effort, results);
    run::<crdts::PNCounter<u64>>(KIND, DOWN, effort, results);
    run::<Lattice>(KIND, DOWN, effort, results);
    run::<crdt_kit::PNCounter>(KIND, DOWN, effort, results);
    run::<atomr_distributed_data::PNCounter>(KIND, DOWN, effort, results);
    run::<Abyo>(KIND, DOWN, effort, results);
}

impl Contestant for PnCounter {
    const SIDE: &'static str = OURS;

    fn join(&mut self, other: &Self) {
        self.merge(other);
    }

    fn absorb(&mut self, other: Self) {
        self.merge_owned(other);
    }

    fn digest(&self) -> u128 {
        self.value().cast_unsigned()
    }
}

impl PerReplica for PnCounter {
    fn build(salt: u64, rows: &[(u64, u64)]) -> Self {
        let up: Rows = rows.iter().map(|(k, total)| (ReplicaId::new(name(salt, *k)), *total)).collect();
        let down: Rows = rows.iter().map(|(k, _)| (ReplicaId::new(name(salt, *k)), DOWN)).collect();
        PnCounter::from_rows(up, down).expect("few events")
    }
}

impl Contestant for crdts::PNCounter<u64> {
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

impl PerReplica for crdts::PNCounter<u64> {
    fn build(salt: u64, rows: &[(u64, u64)]) -> Self {
        let mut counter = Self::new();
        for (k, total) in rows {
            counter.apply(counter.inc_many(name(salt, *k), *total));
            counter.apply(counter.dec_many(name(salt, *k), DOWN));
        }
        counter
    }
}

type Totals = MapUnionHashMap<u64, Max<u64>>;

#[derive(Clone)]
struct Lattice(Pair<Totals, Totals>);

impl Contestant for Lattice {
    const SIDE: &'static str = "lattices";

    fn join(&mut self, other: &Self) {
        self.0.merge(other.0.clone());
    }

    fn absorb(&mut self, other: Self) {
        self.0.merge(other.0);
    }

    fn digest(&self) -> u128 {
        self.0.a.digest().wrapping_sub(self.0.b.digest())
    }
}

impl PerReplica for Lattice {
    fn build(salt: u64, rows: &[(u64, u64)]) -> Self {
        let down: Vec<(u64, u64)> = rows.iter().map(|(k, _)| (*k, DOWN)).collect();
        Lattice(Pair::new(Totals::build(salt, rows), Totals::build(salt, &down)))
    }
}

impl Contestant for crdt_kit::PNCounter {
    const SIDE: &'static str = "crdt-kit";

    fn join(&mut self, other: &Self) {
        self.merge(other);
    }

    fn digest(&self) -> u128 {
        i128::from(self.value()).cast_unsigned()
    }
}

impl PerReplica for crdt_kit::PNCounter {
    fn build(salt: u64, rows: &[(u64, u64)]) -> Self {
        let mut all = Self::new(name(salt, 0));
        for (k, total) in rows {
            let mut one = Self::new(name(salt, *k));
            (0..*total).for_each(|_| one.increment());
            (0..DOWN).for_each(|_| one.decrement());
            all.merge(&one);
        }
        all
    }
}

impl Contestant for atomr_distributed_data::PNCounter {
    const SIDE: &'static str = "atomr";

    fn join(&mut self, other: &Self) {
        self.merge(other);
    }

    fn digest(&self) -> u128 {
        i128::from(self.value()).cast_unsigned()
    }
}

impl PerReplica for atomr_distributed_data::PNCounter {
    fn build(salt: u64, rows: &[(u64, u64)]) -> Self {
        let mut made = Self::new();
        for (k, total) in rows {
            let name = format!("n{salt}-{k}");
            made.increment(&name, *total);
            made.decrement(&name, DOWN);
        }
        // A copy that has arrived from elsewhere: without what is pending for others.
        let mut counter = Self::new();
        counter.merge(&made);
        counter
    }
}

#[derive(Clone)]
struct Abyo(abyo_crdt::Counter);

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
            all.merge(&abyo(salt, *k, *total, DOWN));
        }
        Abyo(all)
    }
}
