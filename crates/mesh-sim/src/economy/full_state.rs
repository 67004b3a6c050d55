//! The whole state to every neighbour, every tick: Shapiro et al., "Conflict-free Replicated Data Types", SSS 2011.

use super::{
    codec::Reader,
    lattice::Lattice,
    node::{Node, Outbox, SENT_BY_A_NODE, Writer, delta_of},
    object::{Change, Keyspace},
};

/// A node that sends all it has. Robust against everything, since every message has everything in it.
#[derive(Debug)]
pub struct FullState {
    neighbours: Vec<usize>,
    state: Keyspace,
}

impl FullState {
    /// A node with these neighbours.
    pub fn new(neighbours: &[usize]) -> Self {
        FullState { neighbours: neighbours.to_vec(), state: Keyspace::default() }
    }
}

impl Node for FullState {
    fn update(&mut self, changes: &[Change], _: u64, _: &mut Outbox) {
        self.state.join(delta_of(changes));
    }

    fn tick(&mut self, _: u64, out: &mut Outbox) {
        if !self.state.is_bottom() {
            let mut frame = Writer::default();
            frame.state(&self.state);
            frame.send_to_all(self.neighbours.iter().copied(), out);
        }
    }

    fn receive(&mut self, _: usize, frame: &[u8], _: u64, out: &mut Outbox) {
        let state = Keyspace::decode(&mut Reader::new(frame)).expect(SENT_BY_A_NODE);
        out.states.push(self.state.absorb(state));
    }

    fn shows(&self, expected: &Keyspace) -> bool {
        self.state == *expected
    }
}
