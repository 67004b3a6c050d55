//! Delta-based synchronisation with sequence numbers and acknowledgements, with and without BP and RR.
//!
//! Almeida, Shoker and Baquero, "Delta State Replicated Data Types", JPDC 2018, Algorithm 2; BP and RR are those of Enes
//! et al., "Efficient Synchronization of State-based CRDTs", ICDE 2019, Algorithm 2. BP does not send a delta back to
//! the neighbour it came from; RR keeps of what is received only what is new.

use super::{
    codec::{Reader, put_varint},
    lattice::{Lattice, Mixer, Name},
    node::{Node, Outbox, SENT_BY_A_NODE, Writer, delta_of},
    object::{Change, Keyspace, Object},
};
use rand::{Rng, RngExt};
use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, BuildHasherDefault},
};

/// Which of the two improvements are made, and when deltas are let go of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delta {
    /// Avoid back-propagation.
    pub bp: bool,
    /// Remove redundancy from what is received.
    pub rr: bool,
    /// When deltas are let go of.
    pub prune: Prune,
}

/// When a delta in the buffer is let go of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prune {
    /// When all neighbours have acknowledged it, as the algorithm says.
    AcknowledgedByAll,
    /// When all neighbours that have ever acknowledged anything have acknowledged it, as in the program that made the
    /// published figures: a neighbour to which BP had nothing to send for an object then gets the whole object once.
    AcknowledgedBySome,
}

impl Delta {
    /// The best of them.
    pub const BP_RR: Delta = Delta { bp: true, rr: true, prune: Prune::AcknowledgedByAll };
    /// Neither improvement.
    pub const CLASSIC: Delta = Delta { bp: false, rr: false, prune: Prune::AcknowledgedByAll };
}

const DELTA: u8 = 0;
const ACKNOWLEDGEMENT: u8 = 1;

/// A state with the deltas that neighbours may not have yet.
#[derive(Debug)]
struct Buffered<L> {
    state: L,
    /// By sequence number, with the neighbour it came from; `None` for own ones.
    buffer: BTreeMap<u64, (Option<usize>, L)>,
    next: u64,
    /// All deltas from here on are in the buffer.
    kept_from: u64,
    /// What each neighbour has acknowledged, if it ever has.
    acknowledged: BTreeMap<usize, u64>,
}

impl<L: Default> Default for Buffered<L> {
    fn default() -> Self {
        Buffered {
            state: L::default(),
            buffer: BTreeMap::new(),
            next: 0,
            kept_from: 0,
            acknowledged: BTreeMap::new(),
        }
    }
}

impl<L: Lattice> Buffered<L> {
    fn push(&mut self, from: Option<usize>, delta: L) {
        self.buffer.insert(self.next, (from, delta));
        self.next += 1;
    }

    fn update(&mut self, delta: L) {
        self.state.join(delta.clone());
        self.push(None, delta);
    }

    /// Joins what came; what was new in it.
    fn receive(&mut self, from: usize, delta: L, rr: bool) -> L {
        let whole = (!rr).then(|| delta.clone());
        let news = self.state.absorb(delta);
        if !news.is_bottom() {
            self.push(Some(from), whole.unwrap_or_else(|| news.clone()));
        }
        news
    }

    fn acknowledged_by(&self, neighbour: usize) -> u64 {
        self.acknowledged.get(&neighbour).copied().unwrap_or(0)
    }

    /// What `to` may lack, with the sequence number to acknowledge.
    fn for_neighbour(&mut self, to: usize, options: Delta) -> Option<(u64, L)> {
        let since = self.acknowledged_by(to);
        if since >= self.next {
            return None;
        }
        if since < self.kept_from {
            return Some((self.next, self.state.clone()));
        }
        let mut group = L::default();
        for (from, delta) in self.buffer.range(since..).map(|entry| entry.1) {
            if !(options.bp && *from == Some(to)) {
                group.join(delta.clone());
            }
        }
        if !group.is_bottom() {
            return Some((self.next, group));
        }
        if options.prune == Prune::AcknowledgedByAll {
            // All of it is from there: as good as acknowledged.
            self.acknowledge(to, self.next);
        }
        None
    }

    fn acknowledge(&mut self, from: usize, until: u64) {
        let acknowledged = self.acknowledged.entry(from).or_default();
        *acknowledged = until.max(*acknowledged);
    }

    fn prune(&mut self, neighbours: usize, prune: Prune) {
        let all = self.acknowledged.len() == neighbours || prune == Prune::AcknowledgedBySome;
        if let Some(everywhere) = self.acknowledged.values().copied().min().filter(|_| all) {
            self.kept_from = everywhere;
            self.buffer = self.buffer.split_off(&everywhere);
        }
    }
}

fn delta_frame(until: u64, name: Option<&Name>, group: &impl Lattice) -> Writer {
    let mut frame = Writer::new(DELTA, 1);
    put_varint(&mut frame.bytes, until);
    if let Some(name) = name {
        super::lattice::Key::encode(name, &mut frame.bytes);
    }
    frame.state(group);
    frame
}

/// A node with one buffer for its whole keyspace: one frame a neighbour and tick.
#[derive(Debug)]
pub struct DeltaNode {
    neighbours: Vec<usize>,
    options: Delta,
    held: Buffered<Keyspace>,
}

impl DeltaNode {
    /// A node with these neighbours.
    pub fn new(neighbours: &[usize], options: Delta) -> Self {
        DeltaNode { neighbours: neighbours.to_vec(), options, held: Buffered::default() }
    }
}

impl Node for DeltaNode {
    fn update(&mut self, changes: &[Change], _: u64, _: &mut Outbox) {
        self.held.update(delta_of(changes));
    }

    fn tick(&mut self, _: u64, out: &mut Outbox) {
        for to in &self.neighbours {
            if let Some((until, group)) = self.held.for_neighbour(*to, self.options) {
                delta_frame(until, None, &group).send(*to, out);
            }
        }
        self.held.prune(self.neighbours.len(), self.options.prune);
    }

    fn receive(&mut self, from: usize, frame: &[u8], _: u64, out: &mut Outbox) {
        let mut reader = Reader::new(frame);
        let (kind, until) = (reader.byte().expect(SENT_BY_A_NODE), reader.varint().expect(SENT_BY_A_NODE));
        if kind == ACKNOWLEDGEMENT {
            self.held.acknowledge(from, until);
            self.held.prune(self.neighbours.len(), self.options.prune);
            return;
        }
        let delta = Keyspace::decode(&mut reader).expect(SENT_BY_A_NODE);
        out.states.push(self.held.receive(from, delta, self.options.rr));
        let mut reply = Writer::new(ACKNOWLEDGEMENT, 1);
        put_varint(&mut reply.bytes, until);
        reply.send(from, out);
    }

    fn shows(&self, expected: &Keyspace) -> bool {
        self.held.state == *expected
    }
}

/// Into how many parts a tick is divided for the shards of an [`ObjectsNode`].
pub const TURNS: u8 = 64;

/// Over how many shards the program that made the published figures spreads a node's objects.
const SHARDS: u64 = 1_024;

/// A node with a buffer for each object, as in the program that made the published figures: one frame an object,
/// neighbour and tick.
///
/// There a node's objects are spread over 1,024 shards, each with a timer of its own that starts anew when its work is done, so
/// that they drift apart. Here each shard has a random part of the tick; the node is to be woken [`TURNS`] times a tick.
#[derive(Debug)]
pub struct ObjectsNode {
    neighbours: Vec<usize>,
    options: Delta,
    objects: HashMap<Name, Shared, BuildHasherDefault<Mixer>>,
    /// Objects for which there may be something to send, by the part of the tick in which it is their turn.
    pending: Vec<Vec<Name>>,
    /// The part in which it is each shard's turn.
    turns: Vec<u8>,
    /// The part that comes next.
    next: u8,
}

#[derive(Debug, Default)]
struct Shared {
    held: Buffered<Object>,
    is_pending: bool,
}

impl ObjectsNode {
    /// A node with these neighbours, whose shards take turns that `rng` draws.
    pub fn new(neighbours: &[usize], options: Delta, rng: &mut impl Rng) -> Self {
        ObjectsNode {
            neighbours: neighbours.to_vec(),
            options,
            objects: HashMap::default(),
            pending: vec![Vec::new(); TURNS.into()],
            turns: (0..SHARDS).map(|_| rng.random_range(0..TURNS)).collect(),
            next: 0,
        }
    }

    /// Does something to an object, after which there may be something to send for it.
    fn act<T>(&mut self, name: &Name, act: impl FnOnce(&mut Buffered<Object>) -> T) -> T {
        let shared = self.objects.entry(name.clone()).or_default();
        if !std::mem::replace(&mut shared.is_pending, true) {
            let hash = BuildHasherDefault::<Mixer>::default().hash_one(name);
            let shard = usize::try_from((hash >> 32) % SHARDS).expect("a small number");
            self.pending[usize::from(self.turns[shard])].push(name.clone());
        }
        act(&mut shared.held)
    }
}

impl Node for ObjectsNode {
    fn update(&mut self, changes: &[Change], _: u64, _: &mut Outbox) {
        for (name, delta) in delta_of(changes) {
            self.act(&name, |held| held.update(delta));
        }
    }

    fn tick(&mut self, _: u64, out: &mut Outbox) {
        let Self { neighbours, options, objects, pending, next, .. } = self;
        let turn = usize::from(*next);
        *next = (*next + 1) % TURNS;
        pending[turn].retain(|name| {
            let Shared { held, is_pending } = objects.get_mut(name).expect("what is pending is there");
            let before = out.frames.len();
            // Without BP, those who have acknowledged the same get the same.
            let mut latest: Option<(u64, Writer)> = None;
            for to in &*neighbours {
                let since = held.acknowledged_by(*to);
                match &latest {
                    Some((same, frame)) if *same == since => frame.clone().send(*to, out),
                    _ => {
                        let Some((until, group)) = held.for_neighbour(*to, *options) else { continue };
                        let frame = delta_frame(until, Some(name), &group);
                        latest = (!options.bp).then(|| (since, frame.clone()));
                        frame.send(*to, out);
                    }
                }
            }
            *is_pending = out.frames.len() > before;
            *is_pending
        });
    }

    fn receive(&mut self, from: usize, frame: &[u8], _: u64, out: &mut Outbox) {
        let mut reader = Reader::new(frame);
        let (kind, until) = (reader.byte().expect(SENT_BY_A_NODE), reader.varint().expect(SENT_BY_A_NODE));
        let name: Name = super::lattice::Key::decode(&mut reader).expect(SENT_BY_A_NODE);
        if kind == ACKNOWLEDGEMENT {
            let (neighbours, prune) = (self.neighbours.len(), self.options.prune);
            self.act(&name, |held| {
                held.acknowledge(from, until);
                held.prune(neighbours, prune);
            });
        } else {
            let delta = Object::decode(&mut reader).expect(SENT_BY_A_NODE);
            let rr = self.options.rr;
            let news = self.act(&name, |held| held.receive(from, delta, rr));
            if !news.is_bottom() {
                out.states.push(Keyspace::entry(name.clone(), news));
            }
            let mut reply = Writer::new(ACKNOWLEDGEMENT, 1);
            put_varint(&mut reply.bytes, until);
            super::lattice::Key::encode(&name, &mut reply.bytes);
            reply.send(from, out);
        }
    }

    fn shows(&self, expected: &Keyspace) -> bool {
        self.objects.len() == expected.len()
            && expected.iter().all(|(name, object)| {
                self.objects.get(name).is_some_and(|shared| shared.held.state == *object)
            })
    }
}
