//! Version vectors.

use crate::{
    contest::Contestant,
    measure::Effort,
    rows::{PerReplica, name, run},
    table::{OURS, Results},
};
use crdt_core::{Merge as _, ReplicaId};
use crdts::CvRDT as _;
use lattices::{Max, Merge as _, map_union::MapUnionHashMap};
use std::num::NonZeroU64;
use version_vector::VersionVector;

pub(crate) const KIND: &str = "version-vector";

pub(crate) fn round(effort: Effort, results: &mut Results) {
    run::<VersionVector>(KIND, 0, effort, results);
    run::<crdts::VClock<u64>>(KIND, 0, effort, results);
    run::<dson::CausalContext>(KIND, 0, effort, results);
    run::<MapUnionHashMap<u64, Max<u64>>>(KIND, 0, effort, results);
    run::<abyo_crdt::VersionVector>(KIND, 0, effort, results);
}

impl Contestant for VersionVector {
    const SIDE: &'static str = OURS;

    fn join(&mut self, other: &Self) {
        self.merge(other);
    }

    fn absorb(&mut self, other: Self) {
        self.merge_owned(other);
    }

    fn digest(&self) -> u128 {
        self.iter().map(|(_, counter)| u128::from(counter)).sum()
    }
}

impl PerReplica for VersionVector {
    fn build(salt: u64, rows: &[(u64, u64)]) -> Self {
        rows.iter().map(|(k, counter)| (ReplicaId::new(name(salt, *k)), *counter)).collect()
    }
}

impl Contestant for crdts::VClock<u64> {
    const SIDE: &'static str = "crdts";

    fn join(&mut self, other: &Self) {
        self.merge(other.clone());
    }

    fn absorb(&mut self, other: Self) {
        self.merge(other);
    }

    fn digest(&self) -> u128 {
        self.iter().map(|dot| u128::from(dot.counter)).sum()
    }
}

impl PerReplica for crdts::VClock<u64> {
    fn build(salt: u64, rows: &[(u64, u64)]) -> Self {
        rows.iter().map(|(k, counter)| crdts::Dot::new(name(salt, *k), *counter)).collect()
    }
}

/// dson's names are a node's 8 bits and an application's 12.
pub(crate) fn identifier(k: u64) -> dson::Identifier {
    let node = u8::try_from(k >> 12).expect("at most 2^20 replicas");
    dson::Identifier::new(node, (k & 0xfff) as u16)
}

/// Its context keeps sets of intervals; here all begin at 1.
impl Contestant for dson::CausalContext {
    const SIDE: &'static str = "dson";

    fn join(&mut self, other: &Self) {
        self.union(other);
    }

    fn digest(&self) -> u128 {
        u128::from(self.dot_count())
    }
}

impl PerReplica for dson::CausalContext {
    fn build(salt: u64, rows: &[(u64, u64)]) -> Self {
        let intervals = rows.iter().map(|(k, counter)| {
            (identifier(*k + salt % 64 * 4097), [(NonZeroU64::MIN, NonZeroU64::new(*counter))])
        });
        dson::CausalContext::from_intervals(intervals).expect("each is one interval")
    }
}

/// Also what its counters would be made of.
impl Contestant for MapUnionHashMap<u64, Max<u64>> {
    const SIDE: &'static str = "lattices";

    fn join(&mut self, other: &Self) {
        self.merge(other.clone());
    }

    fn absorb(&mut self, other: Self) {
        self.merge(other);
    }

    fn digest(&self) -> u128 {
        self.as_reveal_ref().values().map(|max| u128::from(*max.as_reveal_ref())).sum()
    }
}

impl PerReplica for MapUnionHashMap<u64, Max<u64>> {
    fn build(salt: u64, rows: &[(u64, u64)]) -> Self {
        let rows = rows.iter().map(|(k, counter)| (name(salt, *k), Max::new(*counter)));
        MapUnionHashMap::new(rows.collect())
    }
}

/// It has no merge of its own, but what it takes.
impl Contestant for abyo_crdt::VersionVector {
    const SIDE: &'static str = "abyo";

    fn join(&mut self, other: &Self) {
        for (replica, counter) in other.iter_clocks() {
            self.observe(abyo_crdt::OpId::new(counter, replica));
        }
    }

    fn digest(&self) -> u128 {
        self.iter_clocks().map(|(_, counter)| u128::from(counter)).sum()
    }
}

impl PerReplica for abyo_crdt::VersionVector {
    fn build(salt: u64, rows: &[(u64, u64)]) -> Self {
        let mut vector = abyo_crdt::VersionVector::new();
        for (k, counter) in rows {
            vector.observe(abyo_crdt::OpId::new(*counter, name(salt, *k)));
        }
        vector
    }
}
