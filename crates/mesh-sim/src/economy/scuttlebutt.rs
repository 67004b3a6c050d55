//! Scuttlebutt: every tick each node tells its neighbours what it has, and they send what it lacks.
//!
//! Van Renesse, Dumitriu, Gough and Thomas, "Efficient Reconciliation and Flow Control for Anti-Entropy Protocols", LADIS
//! 2008, as Enes et al. (ICDE 2019, Section V) use it for deltas of CRDTs: a delta is kept under its dot. The plain variant
//! keeps all of them for ever. The other one lets go of what all nodes have, which it knows from the vectors of all nodes:
//! each message then carries that many vectors.

use super::{
    codec::{Malformed, Reader, put_id, put_varint},
    lattice::Lattice,
    node::{Node, Outbox, SENT_BY_A_NODE, Writer, delta_of},
    object::{Change, Keyspace},
};
use crdt_core::ReplicaId;
use std::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

const VECTORS: u8 = 0;
const DELTAS: u8 = 1;

/// The ids of all nodes, in the order of their numbers.
pub type Ids = Rc<Vec<ReplicaId>>;

/// A node.
#[derive(Debug)]
pub struct Scuttlebutt {
    me: usize,
    ids: Ids,
    numbers: Rc<BTreeMap<ReplicaId, usize>>,
    neighbours: Vec<usize>,
    state: Keyspace,
    /// Of each origin the deltas that are kept, the last one being the latest known.
    deltas: Vec<VecDeque<Keyspace>>,
    /// How many deltas of each origin each node is known to have. The plain variant knows only its own row.
    known: Vec<Vec<u64>>,
    deletes: bool,
}

impl Scuttlebutt {
    /// Node `me` of these; with `deletes`, it lets go of what all nodes have.
    pub fn new(me: usize, ids: &Ids, neighbours: &[usize], deletes: bool) -> Self {
        let nodes = ids.len();
        Scuttlebutt {
            me,
            ids: Rc::clone(ids),
            numbers: Rc::new(ids.iter().enumerate().map(|(number, id)| (*id, number)).collect()),
            neighbours: neighbours.to_vec(),
            state: Keyspace::default(),
            deltas: vec![VecDeque::new(); nodes],
            known: vec![vec![0; nodes]; nodes],
            deletes,
        }
    }

    fn keep(&mut self, origin: usize, delta: Keyspace) -> Keyspace {
        let news = self.state.absorb(delta.clone());
        self.deltas[origin].push_back(delta);
        self.known[self.me][origin] += 1;
        news
    }

    fn put_vector(&self, row: usize, frame: &mut Writer) {
        let entries = || self.known[row].iter().zip(self.ids.iter()).filter(|(count, _)| **count > 0);
        let count = entries().count();
        put_varint(&mut frame.bytes, count as u64);
        for (count, id) in entries() {
            put_id(&mut frame.bytes, *id);
            put_varint(&mut frame.bytes, *count);
        }
        frame.entries += count;
    }

    fn take_vector(&mut self, row: usize, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let mut next = 0;
        for _ in 0..reader.count()? {
            let (id, count) = (reader.id()?, reader.varint()?);
            // Ids come in the order of their numbers, mostly without gaps.
            let number = if self.ids.get(next) == Some(&id) { next } else { self.numbers[&id] };
            next = number + 1;
            let known = &mut self.known[row][number];
            *known = count.max(*known);
        }
        Ok(())
    }

    fn forget(&mut self) {
        for origin in 0..self.ids.len() {
            let everywhere = self.known.iter().map(|row| row[origin]).min().unwrap_or(0);
            let first = self.known[self.me][origin] - self.deltas[origin].len() as u64;
            let gone = everywhere.saturating_sub(first);
            self.deltas[origin].drain(..usize::try_from(gone).expect("no more than there are"));
        }
    }

    /// What a node with the vector in `row` lacks: for each origin the first dot, and the deltas from there on.
    fn reply(&self, row: usize) -> Option<Writer> {
        let lacks = |origin: &usize| self.known[row][*origin] < self.known[self.me][*origin];
        let origins: Vec<usize> = (0..self.ids.len()).filter(lacks).collect();
        if origins.is_empty() {
            return None;
        }
        let mut frame = Writer::new(DELTAS, 0);
        put_varint(&mut frame.bytes, origins.len() as u64);
        for origin in origins {
            let (has, kept) = (self.known[row][origin], &self.deltas[origin]);
            let lacking = usize::try_from(self.known[self.me][origin] - has).expect("a count of deltas");
            put_id(&mut frame.bytes, self.ids[origin]);
            put_varint(&mut frame.bytes, has + 1);
            put_varint(&mut frame.bytes, lacking as u64);
            kept.iter().skip(kept.len() - lacking).for_each(|delta| frame.state(delta));
            frame.entries += lacking;
        }
        Some(frame)
    }

    fn take(&mut self, from: usize, frame: &[u8], out: &mut Outbox) -> Result<(), Malformed> {
        let mut reader = Reader::new(frame);
        if reader.byte()? == VECTORS {
            if self.deletes {
                for _ in 0..reader.count()? {
                    let row = self.numbers[&reader.id()?];
                    self.take_vector(row, &mut reader)?;
                }
                self.forget();
            } else {
                // What the peer says is all that is remembered of it, and for this reply only.
                self.known[from].fill(0);
                self.take_vector(from, &mut reader)?;
            }
            if let Some(reply) = self.reply(from) {
                reply.send(from, out);
            }
            return Ok(());
        }
        for _ in 0..reader.count()? {
            let origin = self.numbers[&reader.id()?];
            let first = reader.varint()?;
            for dot in first..first + reader.varint()? {
                let delta = Keyspace::decode(&mut reader)?;
                if dot == self.known[self.me][origin] + 1 {
                    let news = self.keep(origin, delta);
                    out.states.push(news);
                }
            }
        }
        Ok(())
    }
}

impl Node for Scuttlebutt {
    fn update(&mut self, changes: &[Change], _: u64, _: &mut Outbox) {
        self.keep(self.me, delta_of(changes));
    }

    fn tick(&mut self, _: u64, out: &mut Outbox) {
        let mut frame = Writer::new(VECTORS, 0);
        if self.deletes {
            let rows = || (0..self.ids.len()).filter(|row| self.known[*row].iter().any(|count| *count > 0));
            put_varint(&mut frame.bytes, rows().count() as u64);
            for row in rows() {
                put_id(&mut frame.bytes, self.ids[row]);
                frame.entries += 1;
                self.put_vector(row, &mut frame);
            }
        } else {
            self.put_vector(self.me, &mut frame);
        }
        frame.send_to_all(self.neighbours.iter().copied(), out);
    }

    fn receive(&mut self, from: usize, frame: &[u8], _: u64, out: &mut Outbox) {
        self.take(from, frame, out).expect(SENT_BY_A_NODE);
    }

    fn shows(&self, expected: &Keyspace) -> bool {
        self.state == *expected
    }
}
