//! This workspace's set.

use super::{Codec, Element, Set, digest, sum, turns};
use crate::{
    contest::Contestant,
    measure::mix,
    table::{OURS, OURS_SERDE},
};
use crdt_core::{Writer, wire::Wire as _};
use or_set::{Delta as _, Merge as _, OrSet, OrSetDelta, ReplicaId};

/// A set and its writer, apart so that it can be copied like those of others.
pub(crate) struct Ours<E> {
    writer: Writer,
    pub(crate) set: OrSet<E>,
}

impl<E: Element> Clone for Ours<E> {
    fn clone(&self) -> Self {
        Ours::new(self.writer.id(), self.set.clone())
    }
}

pub(crate) fn id(writer: u64) -> ReplicaId {
    ReplicaId::new(mix(writer))
}

impl<E: Element> Ours<E> {
    fn new(writer: ReplicaId, set: OrSet<E>) -> Self {
        Ours { writer: Writer::resume(writer, set.version().get(writer)), set }
    }
}

impl<E: Element> Contestant for Ours<E> {
    const SIDE: &'static str = OURS;

    fn join(&mut self, other: &Self) {
        self.set.merge(&other.set);
    }

    fn absorb(&mut self, other: Self) {
        self.set.merge_owned(other.set);
    }

    fn digest(&self) -> u128 {
        digest(self.sum())
    }
}

impl<E: Element> Set<E> for Ours<E> {
    type Delta = OrSetDelta<E>;

    fn empty(writer: u64) -> Self {
        Ours::new(id(writer), OrSet::new())
    }

    fn fork(&self, writer: u64) -> Self {
        Ours::new(id(writer), self.set.clone())
    }

    fn add(&mut self, element: E) {
        self.set.add(self.writer.tick(), element).expect("the only writer");
    }

    fn add_all(&mut self, elements: impl ExactSizeIterator<Item = E>) {
        self.set.extend(self.writer.tick(), elements).expect("the only writer");
    }

    fn remove_all(&mut self, elements: &[E]) {
        for element in elements {
            self.set.remove(self.writer.tick(), element).expect("the only writer");
        }
    }

    fn has(&self, element: &E) -> bool {
        self.set.contains(element)
    }

    fn sum(&self) -> (u64, u64) {
        sum(self.set.iter())
    }

    fn encode(&self) -> Option<Vec<u8>> {
        Some(self.set.to_bytes())
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Ours::new(id(0), OrSet::from_bytes(bytes).ok()?))
    }

    fn codecs() -> Vec<(&'static str, Codec<Self>)> {
        let write = |set: &Self| postcard::to_allocvec(&set.set).ok();
        let read = |bytes: &[u8]| Some(Ours::new(id(0), postcard::from_bytes(bytes).ok()?));
        vec![(OURS, (Self::encode, Self::decode)), (OURS_SERDE, (write, read))]
    }

    fn delta(&self, receiver: &Self) -> Option<Self::Delta> {
        Some(self.set.delta_since(receiver.set.version()))
    }

    fn apply(&mut self, delta: &Self::Delta) {
        self.set.apply(delta).expect("cut for this set");
    }

    fn encode_delta(delta: &Self::Delta) -> Option<Vec<u8>> {
        Some(delta.to_bytes())
    }

    fn base(first: u64, writers: u64, elements: &[E]) -> Self {
        let mut all = Self::empty(first);
        for (writer, part) in turns(first, writers, elements) {
            all = Ours::new(id(writer), all.set);
            part.for_each(|element| all.add(element));
        }
        all
    }
}
