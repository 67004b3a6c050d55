//! Registers of strings in which the last writer wins.

use crate::{
    contest::{Contestant, Merge, Names, names},
    measure::{Effort, fresh, mix},
    table::{OURS, Results, Row, Unit},
};
use atomr_distributed_data::CrdtMerge as _;
use crdt_core::{Dot, Merge as _, ReplicaId};
use crdt_kit::{Crdt as _, clock::HybridTimestamp};
use crdts::CvRDT as _;
use lattices::{DomPair, Max, Merge as _};
use lww_register::{HybridTime, LwwRegister, Stamp};

pub(crate) const KIND: &str = "lww-register";
/// The length of a value.
pub(crate) const N: u64 = 24;
pub(crate) const NEWER: Names = names!("newer");
pub(crate) const OLDER: Names = names!("older");
pub(crate) const EQUAL: Names = names!("equal");
/// How many pairs are merged in turns.
const PAIRS: u64 = 64;
const FREE: &str = "free a string of 24 bytes";
pub(crate) const COPY: &str = "clone a string of 24 bytes into another";

/// A register of strings.
trait Register: Contestant {
    fn write(writer: u64, millis: u64, value: String) -> Self;
}

pub(crate) fn round(effort: Effort, results: &mut Results) {
    run::<LwwRegister<String>>(effort, results);
    run::<crdts::LWWReg<String, (u64, u64)>>(effort, results);
    run::<Lattice>(effort, results);
    run::<crdt_kit::LWWRegister<String>>(effort, results);
    run::<atomr_distributed_data::LwwRegister<String>>(effort, results);
    run::<Abyo>(effort, results);
    limits(effort, results);
}

/// What nobody can avoid: by value, who is given a register that loses, or whose own loses; by reference, whose own loses.
fn limits(effort: Effort, results: &mut Results) {
    let row = |work| Row { kind: KIND, work, n: N, unit: Unit::Nanoseconds };
    let value = text(1);
    let took = fresh(effort, 2_000, || Some(value.clone()), |value| drop(value.take()), |_| ());
    results.add(row(FREE), "std", took);
    let newer = text(2);
    let check = |value: &String| assert_eq!(*value, newer);
    let took = fresh(effort, 2_000, || value.clone(), |value| value.clone_from(&newer), check);
    results.add(row(COPY), "std", took);
}

fn text(writer: u64) -> String {
    format!("the value of writer {writer:>4}")
}

fn run<C: Register>(effort: Effort, results: &mut Results) {
    if !results.wants_some(KIND, N, C::SIDE) {
        return;
    }
    // A loop over one pair would take as long as the shortest of these merges.
    let old: Vec<C> = (0..PAIRS).map(|k| C::write(1, 1_000 + k, text(1))).collect();
    let new: Vec<C> = (0..PAIRS).map(|k| C::write(2, 1_001 + k, text(2))).collect();
    let zipped =
        |left: &[C], right: &[C]| left.iter().cloned().zip(right.iter().cloned()).collect::<Vec<_>>();
    for (names, pairs, winner) in
        [(NEWER, zipped(&old, &new), 2), (OLDER, zipped(&new, &old), 2), (EQUAL, zipped(&new, &new), 2)]
    {
        Merge {
            kind: KIND,
            names,
            n: N,
            pairs: &pairs,
            expected: digest(&text(winner)),
            is_noop: names.calls != NEWER.calls,
            most: 2_000,
        }
        .run(effort, results);
    }
}

fn digest(text: &str) -> u128 {
    u128::from(text.bytes().fold(0, |sum, byte| mix(sum ^ u64::from(byte))))
}

impl Contestant for LwwRegister<String> {
    const SIDE: &'static str = OURS;

    fn join(&mut self, other: &Self) {
        self.merge(other);
    }

    fn absorb(&mut self, other: Self) {
        self.merge_owned(other);
    }

    fn digest(&self) -> u128 {
        self.get().map_or(0, |value| digest(value))
    }
}

impl Register for LwwRegister<String> {
    fn write(writer: u64, millis: u64, value: String) -> Self {
        let mut register = LwwRegister::new();
        let dot = Dot::new(ReplicaId::new(mix(writer)), 1);
        register.set_at(Stamp::new(HybridTime::from_millis(millis), dot), value);
        register
    }
}

impl Contestant for crdts::LWWReg<String, (u64, u64)> {
    const SIDE: &'static str = "crdts";

    fn join(&mut self, other: &Self) {
        self.merge(other.clone());
    }

    fn absorb(&mut self, other: Self) {
        self.merge(other);
    }

    fn digest(&self) -> u128 {
        digest(&self.val)
    }
}

impl Register for crdts::LWWReg<String, (u64, u64)> {
    fn write(writer: u64, millis: u64, value: String) -> Self {
        crdts::LWWReg { val: value, marker: (millis, mix(writer)) }
    }
}

#[derive(Clone)]
struct Lattice(DomPair<Max<(u64, u64)>, Max<String>>);

impl Contestant for Lattice {
    const SIDE: &'static str = "lattices";

    fn join(&mut self, other: &Self) {
        self.0.merge(other.0.clone());
    }

    fn absorb(&mut self, other: Self) {
        self.0.merge(other.0);
    }

    fn digest(&self) -> u128 {
        digest(self.0.as_reveal_ref().1.as_reveal_ref())
    }
}

impl Register for Lattice {
    fn write(writer: u64, millis: u64, value: String) -> Self {
        Lattice(DomPair::new(Max::new((millis, mix(writer))), Max::new(value)))
    }
}

impl Contestant for crdt_kit::LWWRegister<String> {
    const SIDE: &'static str = "crdt-kit";

    fn join(&mut self, other: &Self) {
        self.merge(other);
    }

    fn digest(&self) -> u128 {
        digest(self.value())
    }
}

impl Register for crdt_kit::LWWRegister<String> {
    fn write(writer: u64, millis: u64, value: String) -> Self {
        let node_id = u16::try_from(writer).expect("few writers");
        Self::with_timestamp(value, HybridTimestamp { physical: millis, logical: 0, node_id })
    }
}

impl Contestant for atomr_distributed_data::LwwRegister<String> {
    const SIDE: &'static str = "atomr";

    fn join(&mut self, other: &Self) {
        self.merge(other);
    }

    fn digest(&self) -> u128 {
        digest(self.value())
    }
}

impl Register for atomr_distributed_data::LwwRegister<String> {
    fn write(writer: u64, millis: u64, value: String) -> Self {
        Self::new(format!("n{writer}"), value, millis)
    }
}

/// A map with one key, since there is no register; its time is the number of writes seen.
#[derive(Clone)]
struct Abyo(abyo_crdt::Map<(), String>);

impl Contestant for Abyo {
    const SIDE: &'static str = "abyo";

    fn join(&mut self, other: &Self) {
        self.0.merge(&other.0);
    }

    fn digest(&self) -> u128 {
        self.0.get(&()).map_or(0, |value| digest(value))
    }
}

impl Register for Abyo {
    fn write(writer: u64, _: u64, value: String) -> Self {
        let mut map = abyo_crdt::Map::new(writer);
        map.set((), value);
        Abyo(map)
    }
}
