//! This workspace's set.

use super::{Set, digest, sum};
use crate::{contest::Contestant, measure::mix, table::OURS};
use crdt_core::Writer;
use or_set::{Delta as _, Merge as _, OrSet, OrSetDelta, ReplicaId};

/// A set and its writer, apart so that it can be copied like those of others.
pub(crate) struct Ours {
    writer: Writer,
    pub(crate) set: OrSet<u64>,
}

impl Clone for Ours {
    fn clone(&self) -> Self {
        Ours::new(self.writer.id(), self.set.clone())
    }
}

pub(crate) fn id(writer: u64) -> ReplicaId {
    ReplicaId::new(mix(writer))
}

impl Ours {
    fn new(writer: ReplicaId, set: OrSet<u64>) -> Self {
        Ours { writer: Writer::resume(writer, set.version().get(writer)), set }
    }
}

impl Contestant for Ours {
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

impl Set for Ours {
    type Delta = OrSetDelta<u64>;

    fn empty(writer: u64) -> Self {
        Ours::new(id(writer), OrSet::new())
    }

    fn fork(&self, writer: u64) -> Self {
        Ours::new(id(writer), self.set.clone())
    }

    fn add(&mut self, element: u64) {
        self.set.add(self.writer.tick(), element).expect("the only writer");
    }

    fn add_all(&mut self, elements: &[u64]) {
        self.set.extend(self.writer.tick(), elements.iter().copied()).expect("the only writer");
    }

    fn remove_all(&mut self, elements: &[u64]) {
        for element in elements {
            self.set.remove(self.writer.tick(), element).expect("the only writer");
        }
    }

    fn has(&self, element: u64) -> bool {
        self.set.contains(&element)
    }

    fn sum(&self) -> (u64, u64) {
        sum(self.set.iter())
    }

    fn encode(&self) -> Option<Vec<u8>> {
        postcard::to_allocvec(&self.set).ok()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Ours::new(id(0), postcard::from_bytes(bytes).ok()?))
    }

    fn delta(&self, receiver: &Self) -> Option<Self::Delta> {
        Some(self.set.delta_since(receiver.set.version()))
    }

    fn apply(&mut self, delta: &Self::Delta) {
        self.set.apply(delta).expect("cut for this set");
    }

    fn encode_delta(delta: &Self::Delta) -> Option<Vec<u8>> {
        postcard::to_allocvec(delta).ok()
    }

    /// The three writers take turns on one set: the same state, and no merges.
    fn base(first: u64, elements: &[u64]) -> Self {
        let mut all = Self::empty(first);
        for k in 0..3 {
            all = Ours::new(id(first + k as u64), all.set);
            elements.iter().skip(k).step_by(3).for_each(|element| all.add(*element));
        }
        all
    }
}
