//! The definition of an add-wins set, from events alone, and a source of reproducible choices.
#![allow(dead_code, reason = "each test binary uses a part")]

use or_set::{Dot, ReplicaId, VersionVector};
use std::collections::{BTreeMap, BTreeSet};

/// An element of one of several sets.
pub(crate) type Element = (u8, u8);

/// A set of events, by their places in a [`Model`].
pub(crate) type Events = u128;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Add(Element),
    Remove(Element),
    Clear(u8),
}

#[derive(Clone, Debug)]
struct Event {
    dot: Dot,
    kind: Kind,
    /// The adds of the same element that its author had seen.
    ends: Events,
    /// Those of them that lived for its author.
    killed: Events,
}

/// All events of a history.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    events: Vec<Event>,
}

impl Model {
    pub(crate) fn has_room(&self) -> bool {
        self.events.len() < 120
    }

    /// A new event by someone who has seen `past`; what they have seen then.
    pub(crate) fn push(&mut self, past: Events, dot: Dot, kind: Kind) -> Events {
        let is_ended = |event: &Event| matches!(event.kind, Kind::Add(element) if kind.is_about(element));
        let ends = self.of(past).filter(|(_, event)| is_ended(event));
        let ends = ends.fold(0, |ends, (at, _)| ends | 1 << at);
        let killed = ends & self.alive(past);
        self.events.push(Event { dot, kind, ends, killed });
        past | 1 << (self.events.len() - 1)
    }

    fn of(&self, events: Events) -> impl Iterator<Item = (usize, &Event)> {
        let all = self.events.iter().enumerate();
        all.filter(move |(at, _)| events & (1 << at) != 0)
    }

    /// Events that no event about the same element has seen.
    fn alive(&self, events: Events) -> Events {
        self.of(events).fold(events, |alive, (_, event)| alive & !event.ends)
    }

    /// The adds that live.
    pub(crate) fn live(&self, events: Events) -> BTreeMap<Dot, Element> {
        self.of(self.alive(events))
            .filter_map(|(_, event)| match event.kind {
                Kind::Add(element) => Some((event.dot, element)),
                _ => None,
            })
            .collect()
    }

    /// Which event ended which dot that lived for its author.
    pub(crate) fn deaths(&self, events: Events) -> BTreeSet<(Dot, Dot)> {
        self.of(events)
            .flat_map(|(_, event)| self.of(event.killed).map(|(_, killed)| (event.dot, killed.dot)))
            .collect()
    }

    pub(crate) fn version(&self, events: Events) -> VersionVector {
        let mut version = VersionVector::new();
        version.extend(self.of(events).map(|(_, event)| event.dot));
        version
    }
}

impl Kind {
    fn is_about(self, element: Element) -> bool {
        match self {
            Kind::Add(other) | Kind::Remove(other) => other == element,
            Kind::Clear(key) => key == element.0,
        }
    }
}

pub(crate) fn id(n: u64) -> ReplicaId {
    ReplicaId::new(n)
}

/// `SplitMix64`: the same seed gives the same history.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, of any type that can hold it.
    pub(crate) fn below<T: TryFrom<u64>>(&mut self, bound: u64) -> T {
        let Ok(drawn) = T::try_from(self.next() % bound) else {
            panic!("the type does not hold all numbers below {bound}");
        };
        drawn
    }

    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        if items.is_empty() {
            return None;
        }
        Some(&items[self.below::<usize>(items.len() as u64)])
    }
}
