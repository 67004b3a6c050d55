//! The sets of other crates, each in the way that serves it best.

use super::{Element, Set, digest, sum, turns};
use crate::{contest::Contestant, measure::mix, version_vector::identifier};
use atomr_distributed_data::CrdtMerge as _;
use crdt_kit::{Crdt as _, DeltaCrdt as _};
use crdts::{CmRDT as _, CvRDT as _, Dot, Orswot, orswot::Op};
use dson::{CausalDotStore, DotFun, DotMap, sentinel::DummySentinel};
use lattices::{
    Merge as _, map_union::MapUnionHashMap, set_union_with_tombstones::SetUnionWithTombstonesHashSet,
};

#[derive(Clone)]
pub(crate) struct Crdts<E: Element> {
    writer: u64,
    set: Orswot<E, u64>,
}

impl<E: Element> Contestant for Crdts<E> {
    const SIDE: &'static str = "crdts";

    fn join(&mut self, other: &Self) {
        self.set.merge(other.set.clone());
    }

    fn absorb(&mut self, other: Self) {
        self.set.merge(other.set);
    }

    fn digest(&self) -> u128 {
        digest(sum(self.set.read().val.iter()))
    }
}

impl<E: Element> Set<E> for Crdts<E> {
    type Delta = ();

    fn empty(writer: u64) -> Self {
        Crdts { writer: mix(writer), set: Orswot::new() }
    }

    fn fork(&self, writer: u64) -> Self {
        Crdts { writer: mix(writer), set: self.set.clone() }
    }

    /// As documented: what to add is derived from what was read. Asking `contains` for the context takes longer, and
    /// the cheaper `clock().inc(..)` says the same less safely; `add_all` is the fastest that its types allow.
    fn add(&mut self, element: E) {
        let context = self.set.read_ctx().derive_add_ctx(self.writer);
        self.set.apply(self.set.add(element, context));
    }

    /// Counts its dots itself: a read context clones the clock twice, which is half of the time. (Its `add_all` gives all members
    /// one dot, which the crate's own validation refuses.)
    fn add_all(&mut self, elements: impl ExactSizeIterator<Item = E>) {
        let mut counter = self.set.clock().get(&self.writer);
        for element in elements {
            counter += 1;
            self.set.apply(Op::Add { dot: Dot::new(self.writer, counter), members: vec![element] });
        }
    }

    fn remove_all(&mut self, elements: &[E]) {
        for element in elements {
            let context = self.set.contains(element).derive_rm_ctx();
            self.set.apply(self.set.rm(element.clone(), context));
        }
    }

    fn has(&self, element: &E) -> bool {
        self.set.contains(element).val
    }

    /// By its iterator, which copies the clocks for each element.
    fn sum(&self) -> (u64, u64) {
        self.set.iter().fold((0, 0), |(count, sum), read| (count + 1, sum.wrapping_add(read.val.word())))
    }

    /// To copy all members into another set first is faster.
    fn sum_of_copy(&self) -> Option<(u64, u64)> {
        Some(sum(self.set.read().val.iter()))
    }

    fn encode(&self) -> Option<Vec<u8>> {
        postcard::to_allocvec(&self.set).ok()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Crdts { writer: 0, set: postcard::from_bytes(bytes).ok()? })
    }

    fn base(first: u64, writers: u64, elements: &[E]) -> Self {
        let mut all = Self::empty(first);
        for (writer, part) in turns(first, writers, elements) {
            all.writer = mix(writer);
            all.add_all(part);
        }
        all
    }
}

/// The smallest of its dot stores that makes an add-wins set. Its deltas leave removals "as an exercise for the caller".
#[derive(Clone)]
pub(crate) struct Dson<E: Element> {
    writer: u64,
    set: CausalDotStore<DotMap<E, DotFun<()>>>,
}

impl<E: Element> Contestant for Dson<E> {
    const SIDE: &'static str = "dson";

    fn join(&mut self, other: &Self) {
        let CausalDotStore { store, context } = &other.set;
        self.set.join_or_replace_with(store.clone(), context);
    }

    fn absorb(&mut self, other: Self) {
        self.set.consume(other.set, &mut DummySentinel).expect("nobody objects");
    }

    fn digest(&self) -> u128 {
        digest(self.sum())
    }
}

impl<E: Element> Set<E> for Dson<E> {
    type Delta = ();

    fn empty(writer: u64) -> Self {
        Dson { writer, set: CausalDotStore::new() }
    }

    fn fork(&self, writer: u64) -> Self {
        Dson { writer, set: self.set.clone() }
    }

    /// In place: joining a delta for each would rebuild the map each time.
    fn add(&mut self, element: E) {
        let dot = self.set.context.next_dot_for(identifier(self.writer));
        let mut dots = DotFun::with_capacity(1);
        dots.set(dot, ());
        self.set.store.set(element, dots);
        self.set.context.insert_next_dot(dot);
    }

    fn remove_all(&mut self, elements: &[E]) {
        for element in elements {
            self.set.store.remove(element);
        }
    }

    fn has(&self, element: &E) -> bool {
        self.set.store.has(element)
    }

    fn sum(&self) -> (u64, u64) {
        sum(self.set.store.keys())
    }

    fn encode(&self) -> Option<Vec<u8>> {
        postcard::to_allocvec(&self.set).ok()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Dson { writer: 0, set: postcard::from_bytes(bytes).ok()? })
    }

    fn base(first: u64, writers: u64, elements: &[E]) -> Self {
        let mut all = Self::empty(first);
        for (writer, part) in turns(first, writers, elements) {
            all.writer = writer;
            all.add_all(part);
        }
        all
    }
}

/// It has no OR-Set; this is one, of its parts: for each element its dots, those that died as tombstones.
#[derive(Clone)]
pub(crate) struct Lattice<E: Element> {
    writer: u64,
    counter: u64,
    set: MapUnionHashMap<E, SetUnionWithTombstonesHashSet<(u64, u64)>>,
}

impl<E: Element> Contestant for Lattice<E> {
    const SIDE: &'static str = "lattices";

    fn join(&mut self, other: &Self) {
        self.set.merge(other.set.clone());
    }

    fn absorb(&mut self, other: Self) {
        self.set.merge(other.set);
    }

    fn digest(&self) -> u128 {
        digest(self.sum())
    }
}

impl<E: Element> Set<E> for Lattice<E> {
    type Delta = ();

    fn empty(writer: u64) -> Self {
        Lattice { writer, counter: 0, set: MapUnionHashMap::default() }
    }

    fn fork(&self, writer: u64) -> Self {
        Lattice { writer, counter: 0, set: self.set.clone() }
    }

    fn add(&mut self, element: E) {
        self.counter += 1;
        let dots = self.set.as_reveal_mut().entry(element).or_default();
        dots.as_reveal_mut().0.insert((mix(self.writer), self.counter));
    }

    fn remove_all(&mut self, elements: &[E]) {
        for element in elements {
            if let Some(dots) = self.set.as_reveal_mut().get_mut(element) {
                let (live, dead) = dots.as_reveal_mut();
                dead.extend(live.drain());
            }
        }
    }

    fn has(&self, element: &E) -> bool {
        self.set.as_reveal_ref().get(element).is_some_and(|dots| !dots.as_reveal_ref().0.is_empty())
    }

    fn sum(&self) -> (u64, u64) {
        let all = self.set.as_reveal_ref().iter();
        sum(all.filter(|(_, dots)| !dots.as_reveal_ref().0.is_empty()).map(|(element, _)| element))
    }

    fn base(first: u64, writers: u64, elements: &[E]) -> Self {
        let mut all = Self::empty(first);
        for (writer, part) in turns(first, writers, elements) {
            (all.writer, all.counter) = (writer, 0);
            all.add_all(part);
        }
        all
    }
}

/// The set knows its writer: a copy for another one is an empty set that has merged.
#[derive(Clone)]
pub(crate) struct Kit<E: Element>(crdt_kit::ORSet<E>);

impl<E: Element> Contestant for Kit<E> {
    const SIDE: &'static str = "crdt-kit";

    fn join(&mut self, other: &Self) {
        self.0.merge(&other.0);
    }

    fn digest(&self) -> u128 {
        digest(self.sum())
    }
}

impl<E: Element> Set<E> for Kit<E> {
    type Delta = crdt_kit::ORSetDelta<E>;

    fn empty(writer: u64) -> Self {
        Kit(crdt_kit::ORSet::new(mix(writer)))
    }

    fn fork(&self, writer: u64) -> Self {
        let mut copy = Self::empty(writer);
        copy.join(self);
        copy
    }

    fn add(&mut self, element: E) {
        self.0.insert(element);
    }

    fn remove_all(&mut self, elements: &[E]) {
        for element in elements {
            self.0.remove(element);
        }
    }

    fn has(&self, element: &E) -> bool {
        self.0.contains(element)
    }

    fn sum(&self) -> (u64, u64) {
        sum(self.0.iter())
    }

    fn encode(&self) -> Option<Vec<u8>> {
        postcard::to_allocvec(&self.0).ok()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Kit(postcard::from_bytes(bytes).ok()?))
    }

    /// From both states, not from a version.
    fn delta(&self, receiver: &Self) -> Option<Self::Delta> {
        Some(self.0.delta(&receiver.0))
    }

    fn apply(&mut self, delta: &Self::Delta) {
        self.0.apply_delta(delta);
    }

    fn encode_delta(delta: &Self::Delta) -> Option<Vec<u8>> {
        postcard::to_allocvec(delta).ok()
    }
}

/// Its tags are numbers that replicas choose alike; it works as long as they add different elements.
#[derive(Clone)]
pub(crate) struct Atomr<E: Element>(atomr_distributed_data::OrSet<E>);

impl<E: Element> Contestant for Atomr<E> {
    const SIDE: &'static str = "atomr";

    fn join(&mut self, other: &Self) {
        self.0.merge(&other.0);
    }

    fn digest(&self) -> u128 {
        digest(self.sum())
    }
}

impl<E: Element> Set<E> for Atomr<E> {
    type Delta = ();

    fn empty(_: u64) -> Self {
        Atomr(atomr_distributed_data::OrSet::new())
    }

    fn fork(&self, _: u64) -> Self {
        self.clone()
    }

    fn add(&mut self, element: E) {
        self.0.add(element);
    }

    fn remove_all(&mut self, elements: &[E]) {
        for element in elements {
            self.0.remove(element);
        }
    }

    fn has(&self, element: &E) -> bool {
        self.0.contains(element)
    }

    fn sum(&self) -> (u64, u64) {
        sum(self.0.iter())
    }

    fn encode(&self) -> Option<Vec<u8>> {
        postcard::to_allocvec(&self.0).ok()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Atomr(postcard::from_bytes(bytes).ok()?))
    }

    fn base(_: u64, _: u64, elements: &[E]) -> Self {
        let mut all = Self::empty(0);
        all.add_all(elements.iter().cloned());
        all
    }
}

/// A set with the log of all that ever happened to it.
#[derive(Clone)]
pub(crate) struct Abyo<E: Element>(abyo_crdt::Set<E>);

impl<E: Element> Contestant for Abyo<E> {
    const SIDE: &'static str = "abyo";

    fn join(&mut self, other: &Self) {
        self.0.merge(&other.0);
    }

    fn digest(&self) -> u128 {
        digest(self.sum())
    }
}

impl<E: Element> Set<E> for Abyo<E> {
    type Delta = Vec<abyo_crdt::SetOp<E>>;

    fn empty(writer: u64) -> Self {
        Abyo(abyo_crdt::Set::new(mix(writer)))
    }

    fn fork(&self, writer: u64) -> Self {
        let mut copy = Self::empty(writer);
        copy.join(self);
        copy
    }

    fn add(&mut self, element: E) {
        self.0.add(element);
    }

    fn remove_all(&mut self, elements: &[E]) {
        for element in elements {
            self.0.remove(element);
        }
    }

    fn has(&self, element: &E) -> bool {
        self.0.contains(element)
    }

    fn sum(&self) -> (u64, u64) {
        sum(self.0.iter())
    }

    fn encode(&self) -> Option<Vec<u8>> {
        postcard::to_allocvec(&self.0).ok()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Abyo(postcard::from_bytes(bytes).ok()?))
    }

    fn delta(&self, receiver: &Self) -> Option<Self::Delta> {
        Some(self.0.ops_since(receiver.0.version()).cloned().collect())
    }

    fn apply(&mut self, delta: &Self::Delta) {
        for op in delta {
            self.0.apply(op.clone()).expect("known before");
        }
    }

    fn encode_delta(delta: &Self::Delta) -> Option<Vec<u8>> {
        postcard::to_allocvec(delta).ok()
    }
}
