//! Every operation at once to all neighbours, and on to theirs at its first arrival: no protocol is faster, and none sends
//! an operation more often over a link. What is lost is not sent again.

use super::{
    codec::Reader,
    lattice::Lattice,
    node::{Node, Outbox, SENT_BY_A_NODE, Writer, delta_of},
    object::{Change, Keyspace},
};

/// A node that passes on at once what is new to it.
#[derive(Debug)]
pub struct Flooding {
    neighbours: Vec<usize>,
    state: Keyspace,
}

impl Flooding {
    /// A node with these neighbours.
    pub fn new(neighbours: &[usize]) -> Self {
        Flooding { neighbours: neighbours.to_vec(), state: Keyspace::default() }
    }

    fn pass_on(&self, delta: &Keyspace, from: Option<usize>, out: &mut Outbox) {
        let mut frame = Writer::default();
        frame.state(delta);
        frame.send_to_all(self.neighbours.iter().copied().filter(|to| Some(*to) != from), out);
    }
}

impl Node for Flooding {
    fn update(&mut self, changes: &[Change], _: u64, out: &mut Outbox) {
        let delta = delta_of(changes);
        self.pass_on(&delta, None, out);
        self.state.join(delta);
    }

    fn tick(&mut self, _: u64, _: &mut Outbox) {}

    fn receive(&mut self, from: usize, frame: &[u8], _: u64, out: &mut Outbox) {
        let delta = Keyspace::decode(&mut Reader::new(frame)).expect(SENT_BY_A_NODE);
        let news = self.state.absorb(delta);
        if !news.is_bottom() {
            self.pass_on(&news, Some(from), out);
            out.states.push(news);
        }
    }

    fn shows(&self, expected: &Keyspace) -> bool {
        self.state == *expected
    }
}
