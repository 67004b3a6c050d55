//! One leader and followers: operations go up a tree to the leader, which orders them, and its log comes down to all.
//!
//! The tree is one of shortest paths over the overlay. Each link of it is a stream in each direction: numbered, acknowledged,
//! and sent again a tick later where it is not.

use super::{
    codec::{Malformed, Reader, put_varint},
    lattice::Lattice,
    node::{Node, Outbox, SENT_BY_A_NODE, Writer, delta_of},
    object::{Change, Keyspace},
};
use std::collections::BTreeMap;

const ITEM: u8 = 0;
const ACKNOWLEDGEMENT: u8 = 1;

/// One end of a link of the tree.
#[derive(Debug, Default)]
struct Stream {
    sent: u64,
    /// What is not acknowledged, and when it was sent last.
    unacknowledged: BTreeMap<u64, (u64, Keyspace)>,
    received: u64,
    early: BTreeMap<u64, Keyspace>,
}

impl Stream {
    fn send(&mut self, to: usize, item: Keyspace, now: u64, out: &mut Outbox) {
        self.sent += 1;
        write(self.sent, &item).send(to, out);
        self.unacknowledged.insert(self.sent, (now, item));
    }
}

fn write(number: u64, item: &Keyspace) -> Writer {
    let mut frame = Writer::new(ITEM, 1);
    put_varint(&mut frame.bytes, number);
    frame.state(item);
    frame
}

/// The leader, or one of its followers.
#[derive(Debug)]
pub struct SingleLeader {
    parent: Option<usize>,
    streams: BTreeMap<usize, Stream>,
    state: Keyspace,
    /// After which time an item that was not acknowledged is sent again.
    patience: u64,
}

impl SingleLeader {
    /// Node `me` in the tree of these parents; the leader is the node without one.
    pub fn new(me: usize, parents: &[Option<usize>], patience: u64) -> Self {
        let children = (0..parents.len()).filter(|node| parents[*node] == Some(me));
        let linked = children.chain(parents[me]);
        SingleLeader {
            parent: parents[me],
            streams: linked.map(|node| (node, Stream::default())).collect(),
            state: Keyspace::default(),
            patience,
        }
    }

    fn up(&mut self, item: Keyspace, now: u64, out: &mut Outbox) {
        match self.parent {
            Some(parent) => self.streams.entry(parent).or_default().send(parent, item, now, out),
            None => self.down(item, now, out),
        }
    }

    fn down(&mut self, item: Keyspace, now: u64, out: &mut Outbox) {
        for (to, stream) in self.streams.iter_mut().filter(|(to, _)| Some(**to) != self.parent) {
            stream.send(*to, item.clone(), now, out);
        }
        out.states.push(self.state.absorb(item));
    }

    fn take(&mut self, from: usize, frame: &[u8], now: u64, out: &mut Outbox) -> Result<(), Malformed> {
        let mut reader = Reader::new(frame);
        let (kind, number) = (reader.byte()?, reader.varint()?);
        let stream = self.streams.entry(from).or_default();
        if kind == ACKNOWLEDGEMENT {
            stream.unacknowledged.remove(&number);
            return Ok(());
        }
        let mut reply = Writer::new(ACKNOWLEDGEMENT, 1);
        put_varint(&mut reply.bytes, number);
        reply.send(from, out);
        if number > stream.received {
            stream.early.insert(number, Keyspace::decode(&mut reader)?);
        }
        let mut items = Vec::new();
        while let Some(item) = stream.early.remove(&(stream.received + 1)) {
            stream.received += 1;
            items.push(item);
        }
        for item in items {
            if Some(from) == self.parent {
                self.down(item, now, out);
            } else {
                self.up(item, now, out);
            }
        }
        Ok(())
    }
}

impl Node for SingleLeader {
    fn update(&mut self, changes: &[Change], now: u64, out: &mut Outbox) {
        self.up(delta_of(changes), now, out);
    }

    fn tick(&mut self, now: u64, out: &mut Outbox) {
        for (to, stream) in &mut self.streams {
            for (number, (at, item)) in &mut stream.unacknowledged {
                if *at + self.patience <= now {
                    *at = now;
                    write(*number, item).send(*to, out);
                }
            }
        }
    }

    fn receive(&mut self, from: usize, frame: &[u8], now: u64, out: &mut Outbox) {
        self.take(from, frame, now, out).expect(SENT_BY_A_NODE);
    }

    fn shows(&self, expected: &Keyspace) -> bool {
        self.state == *expected
    }
}
