//! Sets of some thousand elements: births fill many chunks, lie apart, grow thin, are swept and resettled. Random
//! histories in bursts of one kind, against the textbook's definition.

#[path = "../common/mod.rs"]
mod common;
mod model;
mod nodes;

use common::{Rng, id};
use model::{Deaths, Model, check_deaths};
use nodes::{Alone, Leader, Node};
use or_set::Dot;
use std::rc::Rc;

struct Player<N> {
    node: N,
    model: Model,
}

struct History<N: Node> {
    rng: Rng,
    players: Vec<Player<N>>,
    deaths: Deaths,
    /// Pieces on their way, each with what its sender had.
    mail: Vec<(N::Piece, Rc<Model>)>,
    /// States as they once were, to merge again later.
    old: Vec<(N::State, Rc<Model>)>,
    /// The next element that nobody has.
    fresh: u16,
    /// How far events of a burst are apart at most.
    gap: u64,
}

/// What a history tends to for a while.
#[derive(Clone, Copy, Debug)]
enum Mood {
    Grow,
    /// New ones come, old ones go.
    Churn,
    Shrink,
}

/// Beyond it a set only shrinks.
const LARGE: usize = 3_000;

impl<N: Node> History<N> {
    fn new(seed: u64) -> Self {
        let mut rng = Rng(seed);
        let gap = *rng.pick(&[1, 1, 2, 3, 10, 30, 100, 1 << 33]).unwrap();
        // Ids come to be known in another order than their own.
        let others = (1..=rng.below::<u64>(3) * 40).map(|n| (n << 30, 7)).collect();
        let player = |n| {
            let node = N::new(id(n), &others);
            let model = Model::new(node.version());
            Player { node, model }
        };
        let players = vec![player(1 << 35 | 1), player(u64::MAX), player(2)];
        History { rng, players, deaths: Deaths::new(), mail: Vec::new(), old: Vec::new(), fresh: 0, gap }
    }

    fn gap(&mut self) -> u64 {
        match self.rng.below::<u16>(500) {
            0 => (1 << 33) + self.rng.below::<u64>(100),
            // Around the greatest offset within a chunk.
            1 => u64::from(u32::MAX) - 1 + self.rng.below::<u64>(3),
            _ => 1 + self.rng.below::<u64>(self.gap),
        }
    }

    /// A burst is of one size, mostly small.
    fn size(&mut self) -> usize {
        let most = *self.rng.pick(&[1, 8, 8, 70, 70, 300, 900]).unwrap();
        1 + self.rng.below::<usize>(most)
    }

    fn fresh(&mut self) -> u16 {
        self.fresh = self.fresh.wrapping_add(1);
        self.fresh
    }

    fn extend(&mut self, at: usize, key: usize, elements: &[u16]) {
        let gap = self.gap();
        let Player { node, model } = &mut self.players[at];
        let last = node.extend(gap, key, elements);
        let first = last.counter - (elements.len() as u64 - 1);
        for (counter, element) in (first..).zip(elements) {
            model.add(Dot::new(last.replica, counter), (key, *element), &mut self.deaths);
        }
    }

    fn remove(&mut self, at: usize, key: usize, elements: impl IntoIterator<Item = u16>) {
        for element in elements {
            let (gap, item) = (self.gap(), (key, element));
            let Player { node, model } = &mut self.players[at];
            let removed = node.remove(gap, item);
            assert_eq!(removed.is_some(), !model.dots_of(item).is_empty());
            if let Some(dot) = removed {
                model.end(dot, [item], &mut self.deaths);
            }
        }
    }

    fn add_some(&mut self, at: usize, key: usize) {
        let count = self.size();
        match self.rng.below::<u8>(4) {
            0 => {
                let births = self.players[at].model.births(key);
                for _ in 0..count {
                    let again = self.rng.pick(&births).map(|(_, element)| *element);
                    let element = again.unwrap_or_else(|| self.fresh());
                    self.extend(at, key, &[element]);
                }
            }
            1 => {
                // In bulk, with what is there, and with repeats.
                let births = self.players[at].model.births(key);
                let mut elements: Vec<u16> = Vec::new();
                for _ in 0..count {
                    let element = match self.rng.below::<u8>(16) {
                        0 => self.rng.pick(&elements).copied(),
                        1..3 => self.rng.pick(&births).map(|(_, element)| *element),
                        _ => None,
                    };
                    elements.push(element.unwrap_or_else(|| self.fresh()));
                }
                self.extend(at, key, &elements);
            }
            _ => {
                for _ in 0..count {
                    let element = self.fresh();
                    self.extend(at, key, &[element]);
                }
            }
        }
    }

    fn remove_some(&mut self, at: usize, key: usize) {
        let births = self.players[at].model.births(key);
        let elements: Vec<u16> = births.iter().map(|(_, element)| *element).collect();
        let count = self.size().min(elements.len());
        let from: usize = self.rng.below((elements.len() - count) as u64 + 1);
        match self.rng.below::<u8>(8) {
            0 => self.remove(at, key, elements[..count].iter().copied()),
            1 => self.remove(at, key, elements.iter().rev().take(count).copied()),
            2..4 => self.remove(at, key, elements[from..from + count].iter().copied()),
            4 => {
                // Those that remain lie far apart.
                let step = 2 + self.rng.below::<usize>(80);
                let kept = |at: &usize| at.is_multiple_of(step);
                let gone: Vec<u16> =
                    (0..elements.len()).filter(|at| !kept(at)).map(|at| elements[at]).collect();
                self.remove(at, key, gone);
            }
            5 => {
                let absent = self.fresh();
                self.remove(at, key, [absent]);
                let gap = self.gap();
                let Player { node, model } = &mut self.players[at];
                let cleared = node.clear(gap, key);
                assert_eq!(cleared.is_some(), !births.is_empty());
                if let Some(dot) = cleared {
                    model.end(dot, elements.iter().map(|element| (key, *element)), &mut self.deaths);
                }
            }
            _ => {
                let picked: Vec<u16> = (0..count).map(|_| *self.rng.pick(&elements).unwrap()).collect();
                self.remove(at, key, picked);
            }
        }
    }

    /// One new element for each of the oldest of some replica.
    fn queue(&mut self, at: usize, key: usize) {
        let births = self.players[at].model.births(key);
        let Some((any, _)) = self.rng.pick(&births).copied() else { return };
        let oldest = births.iter().filter(|(dot, _)| dot.replica == any.replica).take(self.size());
        for element in oldest.map(|birth| birth.1).collect::<Vec<_>>() {
            let new = self.fresh();
            self.extend(at, key, &[new]);
            self.remove(at, key, [element]);
        }
    }

    fn merge(&mut self, at: usize, state: &N::State, model: &Model) {
        let owned = self.rng.below::<u8>(2) == 0;
        self.players[at].node.merge(state, owned);
        self.players[at].model.merge(model);
    }

    fn apply(&mut self, at: usize, piece: &N::Piece, model: &Model) -> bool {
        let owned = self.rng.below::<u8>(2) == 0;
        let applied = self.players[at].node.apply(piece, owned);
        if applied {
            self.players[at].model.merge(model);
        }
        applied
    }

    fn exchange(&mut self, at: usize, from: usize) {
        let sender = &self.players[from];
        let (model, state) = (Rc::new(sender.model.clone()), sender.node.state().clone());
        match self.rng.below::<u8>(9) {
            0..2 => self.merge(at, &state, &model),
            2..4 => {
                let piece = sender.node.cut(self.players[at].node.version());
                assert!(self.apply(at, &piece, &model));
            }
            4..6 => {
                let since = self.players[self.rng.below::<usize>(3)].node.version().clone();
                let piece = self.players[from].node.cut(&since);
                self.mail.push((piece, Rc::clone(&model)));
                self.old.push((state, model));
            }
            6 => {
                if let Some((piece, model)) = self.rng.pick(&self.mail).cloned() {
                    self.apply(at, &piece, &model);
                }
            }
            7 => {
                if let Some((state, model)) = self.rng.pick(&self.old).cloned() {
                    self.merge(at, &state, &model);
                }
            }
            _ => {
                let stable = self.players[from].node.version().clone();
                self.players[at].node.forget(&stable);
                if self.rng.below::<u8>(2) == 0 {
                    self.players[at].node.reload();
                }
            }
        }
    }

    fn burst(&mut self, mood: Mood) {
        let (at, from): (usize, usize) = (self.rng.below(3), self.rng.below(3));
        let key = self.rng.below::<usize>(N::KEYS as u64);
        let is_large = self.players[at].model.live.len() > LARGE;
        match (self.rng.below::<u8>(10), mood) {
            (0..5, _) if is_large => self.remove_some(at, key),
            (0..4, Mood::Grow) | (0, Mood::Churn | Mood::Shrink) => self.add_some(at, key),
            (1..4, Mood::Shrink) | (4, _) => self.remove_some(at, key),
            (1..4, Mood::Churn) => self.queue(at, key),
            _ => self.exchange(at, from),
        }
        self.check(at);
    }

    fn check(&mut self, at: usize) {
        let Player { node, model } = &self.players[at];
        assert!(node.version().iter().eq(model.seen.iter().map(|(replica, last)| (*replica, *last))));
        node.check(model, &mut self.rng);
        if self.rng.below::<u8>(8) == 0 {
            check_deaths(&node.deaths(), &self.deaths, model, node.floor());
        }
    }

    /// Everyone to everyone, once around and back.
    fn converge(&mut self) {
        for (at, from) in [(1, 0), (2, 1), (1, 2), (0, 1)] {
            let piece = self.players[from].node.cut(self.players[at].node.version());
            let model = self.players[from].model.clone();
            assert!(self.apply(at, &piece, &model));
            self.check(at);
        }
        let [a, b, c] = &*self.players else { unreachable!() };
        assert!(a.model == b.model && b.model == c.model);
        assert!(a.node.state() == b.node.state() && b.node.state() == c.node.state());
    }
}

fn play<N: Node>(seed: u64) {
    let mut history = History::<N>::new(seed);
    for _ in 0..6 {
        let mood = *history.rng.pick(&[Mood::Grow, Mood::Grow, Mood::Churn, Mood::Shrink]).unwrap();
        for _ in 0..15 {
            history.burst(mood);
        }
        // Each holds a whole model.
        history.mail.truncate(10);
        history.old.truncate(10);
    }
    history.converge();
    // Down to nothing, in any order, and up again.
    for key in 0..N::KEYS {
        let mut elements: Vec<u16> =
            history.players[0].model.births(key).iter().map(|birth| birth.1).collect();
        match seed % 3 {
            0 => elements.reverse(),
            1 => elements.sort_by_key(|element| element.wrapping_mul(40_503)),
            _ => {}
        }
        history.remove(0, key, elements);
        history.check(0);
        assert_eq!(history.players[0].model.births(key), []);
        history.add_some(0, key);
        history.check(0);
    }
    history.converge();
}

#[test]
fn large_sets_agree_with_the_definition() {
    for seed in 0..30 {
        play::<Alone>(seed);
    }
}

#[test]
fn large_kernels_with_one_vector_agree_with_the_definition() {
    for seed in 0..40 {
        play::<Leader>(seed);
    }
}
