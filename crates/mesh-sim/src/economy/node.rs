//! What a protocol looks like to the network: inputs, and the frames and news that come of them.

use super::{
    lattice::Lattice,
    object::{Change, Keyspace},
};
use std::{ops::Range, time::Duration};

/// One node of a protocol under comparison. Times are in microseconds.
pub trait Node {
    /// The user makes changes at this node, in one operation.
    fn update(&mut self, changes: &[Change], now: u64, out: &mut Outbox);

    /// A period of the node's has passed, or it is the time for which it asked.
    fn tick(&mut self, now: u64, out: &mut Outbox);

    /// When it wants to be woken before its period has passed.
    fn wake_at(&self) -> Option<u64> {
        None
    }

    /// How long it was at work on writing down what must survive a crash, by the clock on the wall. Published protocols write
    /// nothing down.
    fn durability(&self) -> Duration {
        Duration::ZERO
    }

    /// A frame of a neighbour arrives.
    ///
    /// # Panics
    ///
    /// If it is not one that such a node sends.
    fn receive(&mut self, from: usize, frame: &[u8], now: u64, out: &mut Outbox);

    /// What the node shows to its users, as far as it can be compared with that of other protocols.
    fn shows(&self, expected: &Keyspace) -> bool;
}

/// What a node sends, and what has become visible at it.
#[derive(Debug, Default)]
pub struct Outbox {
    /// To be sent, in this order.
    pub frames: Vec<Frame>,
    /// What is visible now and was not before, as states,
    pub states: Vec<Keyspace>,
    /// or as ranges of changes of an origin, counted from 0 in the order in which it made them.
    pub ranges: Vec<(usize, Range<usize>)>,
}

/// One message.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The neighbour it goes to.
    pub to: usize,
    /// The encoding.
    pub bytes: Vec<u8>,
    /// How many of the bytes are encoded elements and values.
    pub payload: usize,
    /// How many irreducible states are in it.
    pub elements: usize,
    /// How many entries of metadata Enes et al. count for it: one for a sequence number, a dot, or a vector's entry.
    pub entries: usize,
}

/// Writes one frame.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
    pub(crate) payload: usize,
    pub(crate) elements: usize,
    pub(crate) entries: usize,
}

impl Writer {
    /// A frame of this kind, with so many entries of metadata as Enes et al. count them.
    pub(crate) fn new(kind: u8, entries: usize) -> Self {
        Writer { bytes: vec![kind], entries, ..Writer::default() }
    }

    pub(crate) fn state(&mut self, state: &impl Lattice) {
        self.payload += state.encode(&mut self.bytes);
        self.elements += state.irreducibles();
    }

    pub(crate) fn send(self, to: usize, out: &mut Outbox) {
        let Writer { bytes, payload, elements, entries } = self;
        out.frames.push(Frame { to, bytes, payload, elements, entries });
    }

    pub(crate) fn send_to_all(self, to: impl IntoIterator<Item = usize>, out: &mut Outbox) {
        let Writer { bytes, payload, elements, entries } = self;
        let frames = to.into_iter().map(|to| Frame { to, bytes: bytes.clone(), payload, elements, entries });
        out.frames.extend(frames);
    }
}

/// The delta of an operation: the join of its changes.
pub(crate) fn delta_of(changes: &[Change]) -> Keyspace {
    let mut delta = Keyspace::default();
    for change in changes {
        delta.join(change.delta());
    }
    delta
}

/// What a node's frames begin with and how often one is read: a frame of the simulation's own making decodes.
pub(crate) const SENT_BY_A_NODE: &str = "a frame was sent by a node of the same protocol";
