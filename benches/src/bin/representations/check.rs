//! Random histories on all contestants at once: they must have the same elements after each step.

use crate::{
    birth_logs::BirthLogs,
    chunks::Chunks,
    map::Map,
    map_logs::MapLogs,
    measure::mix,
    representation::{Element, Numbering, Representation},
};
use crdt_core::Merge as _;
use std::collections::BTreeSet;

const REPLICAS: u64 = 4;
const HISTORIES: u64 = 100;
const STEPS: u64 = 300;
const ELEMENTS: u64 = 24;

/// One replica's set, stored in all ways.
#[derive(Clone)]
struct Copies<E> {
    numbering: Numbering,
    chunks: Chunks<E>,
    logs: BirthLogs<E>,
    map: Map<E>,
    both: MapLogs<E>,
}

impl<E: Element + Ord> Copies<E> {
    fn new(is_sparse: bool) -> Self {
        Copies {
            numbering: Numbering::new(is_sparse),
            chunks: Chunks::default(),
            logs: BirthLogs::default(),
            map: Map::default(),
            both: MapLogs::default(),
        }
    }

    fn add(&mut self, replica: u64, element: &E) {
        let dot = self.numbering.next(replica);
        self.chunks.add(dot, element.clone());
        self.logs.add(dot, element.clone());
        self.map.add(dot, element.clone());
        self.both.add(dot, element.clone());
    }

    fn remove(&mut self, replica: u64, element: &E) {
        if self.map.contains(element) {
            let dot = self.numbering.next(replica);
            let removed = [
                self.chunks.remove(dot, element),
                self.logs.remove(dot, element),
                self.map.remove(dot, element),
                self.both.remove(dot, element),
            ];
            assert_eq!(removed, [true; 4], "an element is not removed by all");
        }
    }

    fn merge(&mut self, other: &Self) {
        let (seen, theirs) = (&self.numbering.seen, &other.numbering.seen);
        let grew = [
            self.chunks.merge(&other.chunks, seen, theirs),
            self.logs.merge(&other.logs, seen, theirs),
            self.map.merge(&other.map, seen, theirs),
            self.both.merge(&other.both, seen, theirs),
        ];
        // A map without logs does not notice what was born and died in between.
        assert!(grew[0] == grew[1] && grew[1] == grew[3] && (grew[0] || !grew[2]), "{grew:?}");
        self.numbering.seen.merge(theirs);
    }

    fn compare(&self) {
        fn elements<E: Element + Ord, R: Representation<E>>(set: &R) -> BTreeSet<&E> {
            let mut elements = BTreeSet::new();
            assert!(set.iter().all(|element| elements.insert(element)), "{} repeats an element", R::NAME);
            elements
        }
        let model = elements(&self.map);
        assert_eq!(elements(&self.chunks).len(), model.len());
        assert!(elements(&self.chunks) == model, "chunks differ from the map");
        assert!(elements(&self.logs) == model, "birth logs differ from the map");
        assert!(elements(&self.both) == model, "a map with logs differs from one without");
    }
}

/// Few elements and many replicas' steps: most adds are concurrent with others of the same element.
pub(crate) fn histories<E: Element + Ord>() {
    for history in 0..HISTORIES {
        let mut replicas: Vec<Copies<E>> = (0..REPLICAS).map(|_| Copies::new(history % 2 == 1)).collect();
        for step in 0..STEPS {
            let random = mix(history * STEPS + step);
            let draw = |shift: u32, from: u64| (random >> shift & 0xffff) % from;
            let replica = draw(0, REPLICAS) as usize;
            let element = E::make(draw(16, ELEMENTS));
            match draw(32, 5) {
                0..2 => replicas[replica].add(replica as u64 + 1, &element),
                2..4 => replicas[replica].remove(replica as u64 + 1, &element),
                _ => {
                    let other = replicas[draw(48, REPLICAS) as usize].clone();
                    replicas[replica].merge(&other);
                }
            }
            replicas[replica].compare();
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn all_agree_after_random_histories() {
        super::histories::<u64>();
    }
}
