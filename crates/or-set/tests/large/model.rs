//! What sets should hold: a dot survives a merge if both sides have it, or one has it and the other has not seen it.

use crate::common::{Rng, id};
use or_set::{Dot, Kernel, OrSet, ReplicaId, VersionVector};
use std::collections::{BTreeMap, BTreeSet};

/// An element of one of the sets of a node.
pub(crate) type Item = (usize, u16);

/// Which event ended which dot.
pub(crate) type Deaths = BTreeSet<(Dot, Dot)>;

/// What a node should hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model {
    pub(crate) seen: BTreeMap<ReplicaId, u64>,
    pub(crate) live: BTreeMap<Dot, Item>,
    /// The same, found by item.
    dots: BTreeSet<(Item, Dot)>,
}

impl Model {
    pub(crate) fn new(seen: &VersionVector) -> Self {
        Model { seen: seen.iter().collect(), ..Model::default() }
    }

    pub(crate) fn has_seen(&self, dot: Dot) -> bool {
        self.seen.get(&dot.replica).is_some_and(|last| dot.counter <= *last)
    }

    fn born(&mut self, dot: Dot, item: Item) {
        assert!(self.live.insert(dot, item).is_none() && self.dots.insert((item, dot)));
    }

    fn died(&mut self, dot: Dot) {
        let item = self.live.remove(&dot).unwrap();
        assert!(self.dots.remove(&(item, dot)));
    }

    pub(crate) fn dots_of(&self, item: Item) -> Vec<Dot> {
        let all = (item, Dot::new(id(1), 0))..=(item, Dot::new(id(u64::MAX), u64::MAX));
        self.dots.range(all).map(|(_, dot)| *dot).collect()
    }

    /// The live births of one set, ascending by dot.
    pub(crate) fn births(&self, key: usize) -> Vec<(Dot, u16)> {
        let of_key = self.live.iter().filter(|(_, item)| item.0 == key);
        of_key.map(|(dot, item)| (*dot, item.1)).collect()
    }

    /// The event `dot` ends all dots of some items.
    pub(crate) fn end(&mut self, dot: Dot, items: impl IntoIterator<Item = Item>, deaths: &mut Deaths) {
        let killed: BTreeSet<Dot> = items.into_iter().flat_map(|item| self.dots_of(item)).collect();
        for killed in killed {
            self.died(killed);
            deaths.insert((dot, killed));
        }
        assert!(self.seen.insert(dot.replica, dot.counter) < Some(dot.counter));
    }

    pub(crate) fn add(&mut self, dot: Dot, item: Item, deaths: &mut Deaths) {
        self.end(dot, [item], deaths);
        self.born(dot, item);
    }

    pub(crate) fn merge(&mut self, other: &Model) {
        let dead = self.live.keys().filter(|dot| other.has_seen(**dot) && !other.live.contains_key(dot));
        for dot in dead.copied().collect::<Vec<_>>() {
            self.died(dot);
        }
        for (dot, item) in &other.live {
            if !self.has_seen(*dot) {
                self.born(*dot, *item);
            }
        }
        for (replica, last) in &other.seen {
            let seen = self.seen.entry(*replica).or_default();
            *seen = (*seen).max(*last);
        }
    }
}

/// What can be read of a set and of a kernel alike.
pub(crate) trait Set {
    fn live(&self) -> impl Iterator<Item = (Dot, &u16)>;
    fn iter(&self) -> impl ExactSizeIterator<Item = &u16>;
    fn len(&self) -> usize;
    fn contains(&self, element: u16) -> bool;
    fn dots(&self, element: u16) -> Vec<Dot>;
}

macro_rules! is_a_set {
    ($($set:ty),*) => {$(
        impl Set for $set {
            fn live(&self) -> impl Iterator<Item = (Dot, &u16)> {
                self.live()
            }

            fn iter(&self) -> impl ExactSizeIterator<Item = &u16> {
                self.iter()
            }

            fn len(&self) -> usize {
                assert_eq!(self.is_empty(), self.len() == 0);
                self.len()
            }

            fn contains(&self, element: u16) -> bool {
                self.contains(&element)
            }

            fn dots(&self, element: u16) -> Vec<Dot> {
                self.dots(&element)
            }
        }
    )*};
}

is_a_set!(Kernel<u16>, OrSet<u16>);

pub(crate) fn check_set(set: &impl Set, model: &Model, key: usize, rng: &mut Rng) {
    let births = model.births(key);
    assert!(set.live().map(|(dot, element)| (dot, *element)).eq(births.iter().copied()));

    let mut met = BTreeSet::new();
    let elements = births.iter().map(|(_, element)| *element).filter(|element| met.insert(*element));
    let elements: Vec<u16> = elements.collect();
    assert_eq!(set.len(), elements.len());
    let mut one_by_one = Vec::new();
    for element in set.iter() {
        one_by_one.push(*element);
    }
    assert_eq!(one_by_one, elements);
    assert_eq!(set.iter().count(), elements.len());
    // Any part by itself, and the rest at once.
    let part: usize = rng.below(elements.len() as u64 + 1);
    let mut iter = set.iter();
    let first: Vec<u16> = (0..part).map(|_| *iter.next().unwrap()).collect();
    assert_eq!((&*first, iter.len()), (&elements[..part], elements.len() - part));
    let rest = iter.fold(Vec::new(), |mut rest, element| {
        rest.push(*element);
        rest
    });
    assert_eq!(rest, elements[part..]);

    assert!(elements.iter().all(|element| set.contains(*element)));
    for _ in 0..40 {
        let element = match rng.below::<u8>(2) {
            0 => rng.below(1 << 16),
            _ => rng.pick(&elements).copied().unwrap_or_default(),
        };
        assert_eq!(set.contains(element), met.contains(&element));
        assert_eq!(set.dots(element), model.dots_of((key, element)));
    }
}

/// Those deaths that are above the floor and in `seen` are kept, and no others are made up.
pub(crate) fn check_deaths(kept: &Deaths, all: &Deaths, model: &Model, floor: &VersionVector) {
    assert!(kept.is_subset(all));
    let least = Dot::new(id(1), 1);
    for (replica, last) in &model.seen {
        let (first, last) = (Dot::new(*replica, floor.get(*replica) + 1), Dot::new(*replica, *last));
        if first <= last {
            let above = all.range((first, least)..=(last, Dot::new(id(u64::MAX), u64::MAX)));
            assert!(above.into_iter().all(|death| kept.contains(death)));
        }
    }
    assert!(kept.iter().all(|(event, _)| model.has_seen(*event)));
}
