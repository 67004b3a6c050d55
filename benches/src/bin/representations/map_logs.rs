//! A hash map from elements to their dots, and beside it for each replica a log from counters to hashes, by which a
//! merge finds in the other's map what is new without looking at the rest.

use crate::{
    logs::{Logs, position},
    map::Dots,
    representation::{Element, Representation},
};
use crdt_core::Dot;
use hashbrown::{DefaultHashBuilder, HashTable, hash_table::Entry};
use std::hash::BuildHasher;
use version_vector::VersionVector;

/// Two columns: a pair of a counter and half a hash would be padded.
#[derive(Clone, Default)]
struct Births {
    counters: Vec<u64>,
    hashes: Vec<u32>,
    live: usize,
}

#[derive(Clone)]
pub(crate) struct MapLogs<E> {
    map: HashTable<(E, Dots)>,
    hasher: DefaultHashBuilder,
    logs: Logs<Births>,
}

/// A table takes its bucket from the low bits of a hash and its tags from the highest seven: 32 bits are enough.
fn widen(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

fn hash<E: Element>(hasher: &DefaultHashBuilder, element: &E) -> u32 {
    (hasher.hash_one(element) >> 32) as u32
}

impl<E: Element> MapLogs<E> {
    fn entry(&mut self, hash: u32, element: &E) -> Entry<'_, (E, Dots)> {
        let MapLogs { map, hasher, .. } = self;
        map.entry(widen(hash), |(other, _)| other == element, |(other, _)| widen(self::hash(hasher, other)))
    }

    fn log(&mut self, dot: Dot, hash: u32) {
        let row = self.logs.open(dot.replica);
        let births = &mut self.logs.rows[row].births;
        births.counters.push(dot.counter);
        births.hashes.push(hash);
        births.live += 1;
    }

    /// Takes a dot that died out of its replica's log, at the next sweep.
    fn unlog(&mut self, dot: Dot) {
        let row = self.logs.find(dot.replica).expect("its birth opened it");
        let births = &mut self.logs.rows[row].births;
        births.live -= 1;
        if births.counters.len() - births.live > births.live {
            self.sweep(row);
        }
    }

    /// Drops what lives no more: the majority, so that this is O(1) amortised over the deaths.
    fn sweep(&mut self, row: usize) {
        let row = &mut self.logs.rows[row];
        let Births { counters, hashes, live } = &mut row.births;
        let mut kept = 0;
        for at in 0..counters.len() {
            let dot = Dot::new(row.id, counters[at]);
            if self.map.find(widen(hashes[at]), |(_, dots)| dots.as_slice().contains(&dot)).is_some() {
                (counters[kept], hashes[kept]) = (counters[at], hashes[at]);
                kept += 1;
            }
        }
        assert_eq!(kept, *live, "each live dot is in the map");
        counters.truncate(kept);
        hashes.truncate(kept);
        if counters.capacity() / 4 > kept {
            counters.shrink_to(kept * 2);
            hashes.shrink_to(kept * 2);
        }
    }

    fn kill(&mut self, dot: Dot) {
        let Some(row) = self.logs.get(dot.replica) else { return };
        let Some(at) = position(&row.births.counters, dot.counter, |counter| *counter) else { return };
        let hash = widen(row.births.hashes[at]);
        let Ok(mut found) = self.map.find_entry(hash, |(_, dots)| dots.as_slice().contains(&dot)) else {
            return;
        };
        if !found.get_mut().1.retain(|other| *other != dot) {
            found.remove();
        }
        self.unlog(dot);
    }

    fn die(&mut self, event: Dot, dots: &Dots) {
        dots.as_slice().iter().for_each(|dot| self.unlog(*dot));
        self.logs.record(event, dots.as_slice().iter().copied());
    }
}

impl<E: Element> Representation<E> for MapLogs<E> {
    const NAME: &'static str = "map and logs";

    fn add(&mut self, dot: Dot, element: E) {
        let hash = hash(&self.hasher, &element);
        let superseded = match self.entry(hash, &element) {
            Entry::Occupied(mut found) => Some(std::mem::replace(&mut found.get_mut().1, Dots::One(dot))),
            Entry::Vacant(place) => {
                place.insert((element, Dots::One(dot)));
                None
            }
        };
        self.log(dot, hash);
        if let Some(dots) = superseded {
            self.die(dot, &dots);
        }
    }

    fn remove(&mut self, dot: Dot, element: &E) -> bool {
        let hash = hash(&self.hasher, element);
        let Ok(found) = self.map.find_entry(widen(hash), |(other, _)| other == element) else { return false };
        let ((_, dots), _) = found.remove();
        self.die(dot, &dots);
        true
    }

    fn contains(&self, element: &E) -> bool {
        let hash = hash(&self.hasher, element);
        self.map.find(widen(hash), |(other, _)| other == element).is_some()
    }

    fn iter<'a>(&'a self) -> impl Iterator<Item = &'a E>
    where
        E: 'a,
    {
        self.map.iter().map(|(element, _)| element)
    }

    fn merge(&mut self, other: &Self, seen: &VersionVector, theirs: &VersionVector) -> bool {
        let mut grew = false;
        let news = || {
            theirs.difference(seen).filter_map(|(id, unseen)| Some((other.logs.get(id)?, unseen.start() - 1)))
        };
        for (row, known) in news() {
            for (event, killed) in row.deaths_after(known) {
                self.kill(killed);
                self.logs.record(event, [killed]);
                grew = true;
            }
        }
        for (row, known) in news() {
            let Births { counters, hashes, live } = &row.births;
            let from = counters.partition_point(|counter| *counter <= known);
            let MapLogs { map, hasher, .. } = self;
            map.reserve((counters.len() - from).min(*live), |(element, _)| widen(hash(hasher, element)));
            for (counter, theirs) in counters[from..].iter().zip(&hashes[from..]) {
                let dot = Dot::new(row.id, *counter);
                let found = other.map.find(widen(*theirs), |(_, dots)| dots.as_slice().contains(&dot));
                let Some((element, _)) = found else { continue };
                let ours = hash(&self.hasher, element);
                match self.entry(ours, element) {
                    Entry::Occupied(mut found) => found.get_mut().1.push(dot),
                    Entry::Vacant(place) => _ = place.insert((element.clone(), Dots::One(dot))),
                }
                self.log(dot, ours);
                grew = true;
            }
        }
        grew
    }

    fn forget_deaths(&mut self, _: &VersionVector) {
        self.logs.forget();
    }
}

impl<E> Default for MapLogs<E> {
    fn default() -> Self {
        MapLogs { map: HashTable::new(), hasher: DefaultHashBuilder::default(), logs: Logs::default() }
    }
}
