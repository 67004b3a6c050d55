//! Sorted birth logs: for each replica its adds in the order of their counters, with lazily swept holes, and a hash
//! table of positions in them.

use crate::{
    logs::{Logs, position},
    representation::{Element, Representation},
};
use crdt_core::Dot;
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;
use version_vector::VersionVector;

#[derive(Clone)]
struct Births<E> {
    /// The element while its dot lives, then a hole until the next sweep.
    log: Vec<(u64, Option<E>)>,
    live: usize,
}

/// A row, and a position in its births.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Handle {
    row: u32,
    at: u32,
}

#[derive(Clone)]
pub(crate) struct BirthLogs<E> {
    logs: Logs<Births<E>>,
    /// One handle for each live dot.
    index: HashTable<Handle>,
    hasher: DefaultHashBuilder,
    /// Distinct elements.
    len: usize,
}

impl Handle {
    fn new(row: usize, at: usize) -> Self {
        let small = |number| u32::try_from(number).expect("fewer than 2^32");
        Handle { row: small(row), at: small(at) }
    }

    fn element<E>(self, logs: &Logs<Births<E>>) -> &E {
        let place = &logs.rows[self.row as usize].births.log[self.at as usize];
        place.1.as_ref().expect("a handle names a live dot")
    }
}

impl<E: Element> BirthLogs<E> {
    fn equal<'a>(&'a self, hash: u64, element: &'a E) -> impl Iterator<Item = Handle> + 'a {
        self.index.iter_hash(hash).copied().filter(move |handle| handle.element(&self.logs) == element)
    }

    fn dot(&self, Handle { row, at }: Handle) -> Dot {
        let row = &self.logs.rows[row as usize];
        Dot::new(row.id, row.births.log[at as usize].0)
    }

    fn birth(&mut self, hash: u64, dot: Dot, element: E, is_new: bool) {
        let BirthLogs { logs, index, hasher, len } = self;
        let row = logs.open(dot.replica);
        let births = &mut logs.rows[row].births;
        let handle = Handle::new(row, births.log.len());
        births.log.push((dot.counter, Some(element)));
        births.live += 1;
        *len += usize::from(is_new);
        index.insert_unique(hash, handle, |other| hasher.hash_one(other.element(logs)));
    }

    fn bury(&mut self, handle: Handle) {
        let births = &mut self.logs.rows[handle.row as usize].births;
        let Some(element) = births.log[handle.at as usize].1.take() else { return };
        births.live -= 1;
        let sweeps = births.log.len() - births.live > births.live;
        let hash = self.hasher.hash_one(&element);
        let distinct = self.index.len() == self.len;
        self.index.find_entry(hash, |other| *other == handle).ok().expect("it lives").remove();
        let is_last = distinct || self.equal(hash, &element).next().is_none();
        self.len -= usize::from(is_last);
        if sweeps {
            self.sweep(handle.row as usize);
        }
    }

    fn kill(&mut self, dot: Dot) {
        let Some(row) = self.logs.find(dot.replica) else { return };
        if let Some(at) = position(&self.logs.rows[row].births.log, dot.counter, |birth| birth.0) {
            self.bury(Handle::new(row, at));
        }
    }

    /// Closes the holes of a row. There are more of them than live births: O(1) amortised over the deaths.
    fn sweep(&mut self, row: usize) {
        let BirthLogs { logs, index, hasher, .. } = self;
        let log = &mut logs.rows[row].births.log;
        let (mut from, mut to) = (0, 0);
        log.retain(|(_, element)| {
            if let Some(element) = element {
                if from != to {
                    let old = Handle::new(row, from);
                    let handle = index.find_mut(hasher.hash_one(element), |other| *other == old);
                    *handle.expect("it lives") = Handle::new(row, to);
                }
                to += 1;
            }
            from += 1;
            element.is_some()
        });
        if log.capacity() / 4 > log.len() {
            log.shrink_to(log.len() * 2);
        }
    }
}

impl<E: Element> Representation<E> for BirthLogs<E> {
    const NAME: &'static str = "birth logs";

    fn add(&mut self, dot: Dot, element: E) {
        let hash = self.hasher.hash_one(&element);
        let superseded: Vec<Dot> = self.equal(hash, &element).map(|handle| self.dot(handle)).collect();
        self.birth(hash, dot, element, superseded.is_empty());
        // By dot, since burying one may move the others.
        for old in &superseded {
            self.kill(*old);
        }
        self.logs.record(dot, superseded);
    }

    fn remove(&mut self, dot: Dot, element: &E) -> bool {
        let hash = self.hasher.hash_one(element);
        let killed: Vec<Dot> = self.equal(hash, element).map(|handle| self.dot(handle)).collect();
        for old in &killed {
            self.kill(*old);
        }
        let any = !killed.is_empty();
        self.logs.record(dot, killed);
        any
    }

    fn contains(&self, element: &E) -> bool {
        self.equal(self.hasher.hash_one(element), element).next().is_some()
    }

    fn iter<'a>(&'a self) -> impl Iterator<Item = &'a E>
    where
        E: 'a,
    {
        let distinct = self.index.len() == self.len;
        let is_least = move |dot, element: &E| {
            distinct || self.equal(self.hasher.hash_one(element), element).all(|other| dot <= self.dot(other))
        };
        self.logs.sorted().flat_map(move |row| {
            row.births
                .log
                .iter()
                .filter_map(|(counter, element)| Some((*counter, element.as_ref()?)))
                .filter(move |(counter, element)| is_least(Dot::new(row.id, *counter), element))
                .map(|(_, element)| element)
        })
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
            let log = &row.births.log;
            let log = &log[log.partition_point(|birth| birth.0 <= known)..];
            let BirthLogs { logs, index, hasher, .. } = self;
            index.reserve(log.len().min(row.births.live), |handle| hasher.hash_one(handle.element(logs)));
            for (counter, element) in log {
                let Some(element) = element else { continue };
                let hash = self.hasher.hash_one(element);
                let is_new = self.equal(hash, element).next().is_none();
                self.birth(hash, Dot::new(row.id, *counter), element.clone(), is_new);
                grew = true;
            }
        }
        grew
    }

    fn forget_deaths(&mut self, _: &VersionVector) {
        self.logs.forget();
    }
}

impl<E> Default for Births<E> {
    fn default() -> Self {
        Births { log: Vec::new(), live: 0 }
    }
}

impl<E> Default for BirthLogs<E> {
    fn default() -> Self {
        BirthLogs {
            logs: Logs::default(),
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            len: 0,
        }
    }
}
