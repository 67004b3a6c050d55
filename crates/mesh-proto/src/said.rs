//! What both sides of a connection remember of what one of them has said, so that it need not be said again.

use crate::{
    entropy::{Numbers, Odds},
    key::Interned,
    sync::MAX_REPLICAS,
};
use crdt_core::ReplicaId;
use hashbrown::HashMap;
use std::collections::BTreeSet;
use version_vector::VersionVector;

/// The replicas that one side names by their places.
#[derive(Debug, Default)]
pub(crate) struct Names {
    ids: Vec<ReplicaId>,
    places: HashMap<ReplicaId, usize>,
}

impl Names {
    pub(crate) fn new(ids: impl Iterator<Item = ReplicaId>) -> Self {
        let mut names = Names::default();
        for id in ids {
            names.place_or_add(id);
        }
        names
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn get(&self, place: usize) -> Option<ReplicaId> {
        self.ids.get(place).copied()
    }

    pub(crate) fn place(&self, id: ReplicaId) -> Option<usize> {
        self.places.get(&id).copied()
    }

    pub(crate) fn place_or_add(&mut self, id: ReplicaId) -> usize {
        let ids = &mut self.ids;
        *self.places.entry(id).or_insert_with(|| {
            ids.push(id);
            ids.len() - 1
        })
    }

    /// Whether there are no more than `most` with these.
    pub(crate) fn have_room(&self, ids: impl Iterator<Item = ReplicaId> + Clone, most: usize) -> bool {
        if self.len() + ids.clone().count() <= most {
            return true;
        }
        let new: BTreeSet<ReplicaId> = ids.filter(|id| !self.places.contains_key(id)).collect();
        new.is_empty() || self.len() + new.len() <= most
    }

    pub(crate) fn from(&self, place: usize) -> &[ReplicaId] {
        &self.ids[place.min(self.ids.len())..]
    }

    /// Takes the names that the other side says stand from a place on; what is known already must be the same.
    pub(crate) fn extend(&mut self, from: u64, names: &[ReplicaId]) -> Result<(), &'static str> {
        let Some(from) = usize::try_from(from).ok().filter(|from| *from <= self.ids.len()) else {
            return Err("names of replicas are left out");
        };
        for (at, id) in (from..).zip(names) {
            if at >= MAX_REPLICAS {
                return Err("more replicas are named than a mesh may have");
            }
            if self.place_or_add(*id) != at {
                return Err("a replica is named twice, or anew");
            }
        }
        Ok(())
    }
}

/// What one frame may leave out because of those before it. Frames that may be lost or overtaken each begin with nothing.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) rows: Rows,
    pub(crate) keys: Keys,
    pub(crate) odds: Box<FrameOdds>,
}

impl Said {
    /// On a connection on which the sender's greeting was this.
    pub(crate) fn new(greeting: &VersionVector) -> Self {
        let row = |(_, told): (_, u64)| Row { told, shown: told, ..Row::default() };
        let rows = Rows { acknowledged: 1, of: greeting.iter().map(row).collect() };
        Said { rows, ..Said::default() }
    }
}

/// Of the replicas, by place.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// Up to which frame of the other direction was acknowledged.
    pub(crate) acknowledged: u64,
    of: Vec<Row>,
}

#[derive(Debug, Default)]
struct Row {
    /// Up to which of the replica's updates the sender has told that it has,
    told: u64,
    /// up to which it has told of or sent,
    shown: u64,
    /// how far the sender then was from the origin,
    hops: u64,
    /// and what the latest batches that were sent depend on.
    deps: Vec<Dep>,
}

impl Rows {
    pub(crate) fn told(&self, place: usize) -> u64 {
        self.of.get(place).map_or(0, |row| row.told)
    }

    pub(crate) fn shown(&self, place: usize) -> u64 {
        self.of.get(place).map_or(0, |row| row.shown)
    }

    pub(crate) fn hops(&self, place: usize) -> u64 {
        self.of.get(place).map_or(0, |row| row.hops)
    }

    /// What is remembered of what the batches of an origin depend on, to be put back by [`pass`](Rows::pass).
    pub(crate) fn take_deps(&mut self, place: usize) -> Vec<Dep> {
        self.of.get_mut(place).map(|row| std::mem::take(&mut row.deps)).unwrap_or_default()
    }

    pub(crate) fn tell(&mut self, place: usize, counter: u64) {
        let row = self.row(place);
        row.told = row.told.max(counter);
        row.shown = row.shown.max(counter);
    }

    pub(crate) fn pass(&mut self, place: usize, until: u64, early: bool, hops: u64, mut deps: Vec<Dep>) {
        // Those that were idle for longest go; of equal ones, the last.
        if deps.len() > 2 * MAX_DEPS {
            let mut ranks: Vec<(usize, usize)> = (0..).zip(&deps).map(|(at, dep)| (dep.idle, at)).collect();
            let (_, first_to_go, _) = ranks.select_nth_unstable(MAX_DEPS);
            let mut places = 0..;
            deps.retain(|dep| places.next().is_some_and(|at| (dep.idle, at) < *first_to_go));
        }
        while deps.len() > MAX_DEPS {
            let longest = deps.iter().enumerate().max_by_key(|(_, dep)| dep.idle);
            longest.map(|(at, _)| at).map(|at| deps.remove(at));
        }
        // One batch may name thousands in a few bytes.
        deps.shrink_to(2 * MAX_DEPS);
        if !early {
            self.tell(place, until);
        }
        let row = self.row(place);
        row.shown = row.shown.max(until);
        (row.hops, row.deps) = (hops, deps);
    }

    fn row(&mut self, place: usize) -> &mut Row {
        if self.of.len() <= place {
            self.of.resize_with(place + 1, Row::default);
        }
        &mut self.of[place]
    }
}

/// Whose updates an origin's batches depend on.
#[derive(Debug, Default)]
pub(crate) struct Dep {
    pub(crate) place: usize,
    /// The latest of which they do,
    pub(crate) counter: u64,
    /// how many batches ago,
    pub(crate) idle: usize,
    /// and how often.
    pub(crate) odds: Odds,
}

/// So many are remembered of each origin: more than it hears from directly, which it does by turns.
const MAX_DEPS: usize = 32;

/// The latest keys that were named; the oldest make room.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    slots: Vec<Interned>,
    oldest: u32,
    /// Of what this side says, by where a key is in memory.
    places: HashMap<usize, u32>,
}

/// So many keys are remembered: no more than 1 MiB of names.
const MAX_KEYS: usize = 1 << 10;

impl Keys {
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or_else(|_| unreachable!("there are at most {MAX_KEYS}"))
    }

    /// Of what the other side says.
    pub(crate) fn get_mut(&mut self, place: u32) -> Option<&mut Interned> {
        self.slots.get_mut(place as usize)
    }

    pub(crate) fn place(&self, key: &Interned) -> Option<u32> {
        self.places.get(&key.address()).copied()
    }

    /// This side names a key that has no place.
    pub(crate) fn say(&mut self, key: Interned) {
        let address = key.address();
        let (place, gone) = self.put(key);
        gone.map(|gone| self.places.remove(&gone.address()));
        self.places.insert(address, place);
    }

    /// The other side names a key.
    pub(crate) fn hear(&mut self, key: Interned) {
        self.put(key);
    }

    fn put(&mut self, key: Interned) -> (u32, Option<Interned>) {
        if self.slots.len() < MAX_KEYS {
            self.slots.push(key);
            return (self.len() - 1, None);
        }
        let place = self.oldest;
        self.oldest = if place + 1 < self.len() { place + 1 } else { 0 };
        (place, Some(std::mem::replace(&mut self.slots[place as usize], key)))
    }
}

/// The odds of all that is asked in a frame.
#[derive(Debug, Default)]
pub(crate) struct FrameOdds {
    pub(crate) acknowledged: Numbers,
    pub(crate) durable: Numbers,
    pub(crate) has_missing: Odds,
    pub(crate) has_names: Odds,
    pub(crate) modes: Numbers,
    pub(crate) mode_place: Numbers,
    pub(crate) mode: Odds,
    pub(crate) pulls: Numbers,
    pub(crate) pull_place: Numbers,
    pub(crate) told: Numbers,
    pub(crate) told_place: Numbers,
    pub(crate) told_step: Numbers,
    pub(crate) batches: Numbers,
    pub(crate) batch_place: Numbers,
    pub(crate) has_since: Odds,
    pub(crate) len: Numbers,
    pub(crate) early: Odds,
    pub(crate) same_hops: Odds,
    pub(crate) hops: Numbers,
    /// By how long ago the same was depended on.
    pub(crate) dep_step: [Numbers; 4],
    pub(crate) deps: Numbers,
    pub(crate) dep_place: Numbers,
    pub(crate) dep_behind: Odds,
    pub(crate) dep_distance: Numbers,
    pub(crate) has_lineage: Odds,
    pub(crate) pieces: Numbers,
    pub(crate) key_known: Odds,
    pub(crate) newest: Numbers,
    pub(crate) written: Odds,
    pub(crate) written_at: Numbers,
    pub(crate) births: Numbers,
    pub(crate) birth_step: Numbers,
    pub(crate) deaths: Numbers,
    pub(crate) death_step: Numbers,
    pub(crate) death_place: Numbers,
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    /// Against taking them out one by one, which takes the square of how many there are.
    #[test]
    fn those_that_were_idle_for_longest_are_forgotten() {
        let mut rng = StdRng::seed_from_u64(1);
        for len in (0..60).chain([30_000]) {
            let idle: Vec<usize> = (0..len).map(|_| rng.random_range(0..5)).collect();
            let dep = |(place, idle): (usize, &usize)| Dep { place, idle: *idle, ..Dep::default() };
            let mut rows = Rows::default();
            rows.pass(0, 1, false, 0, idle.iter().enumerate().map(dep).collect());
            let kept: Vec<usize> = rows.take_deps(0).iter().map(|dep| dep.place).collect();
            let mut expected: Vec<usize> = (0..len).collect();
            expected.sort_by_key(|place| idle[*place]);
            expected.truncate(MAX_DEPS);
            expected.sort_unstable();
            assert_eq!(kept, expected);
        }
    }
}
