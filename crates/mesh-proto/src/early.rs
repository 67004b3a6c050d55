//! Batches that came before what they depend on.

use crate::{
    batch::Batch,
    planted::{self, Bug},
};
use crdt_core::{Dot, ReplicaId};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};
use version_vector::VersionVector;

/// Batches that wait for others, bounded in bytes.
///
/// Who takes them out as soon as they can be takes what came, and what had waited for it, in one step.
#[derive(Debug, Default)]
pub(crate) struct Early {
    /// By origin and last counter.
    waiting: BTreeMap<ReplicaId, BTreeMap<u64, Arc<Batch>>>,
    /// Up to where an origin's batches wait without a gap, as far as that was looked for.
    reached: BTreeMap<ReplicaId, u64>,
    bytes: usize,
    /// Batches that wait for nothing any more, each after what it depends on, and up to where they lead.
    ready: Vec<Arc<Batch>>,
    ready_until: BTreeMap<ReplicaId, u64>,
    /// Origins whose first batch may have all that it depends on.
    candidates: BTreeSet<ReplicaId>,
    /// By a replica of whose updates something is missing, the origins whose first batch depends on it.
    blocked: BTreeMap<ReplicaId, BTreeSet<ReplicaId>>,
}

impl Early {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.ready.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The origins of which something waits.
    pub(crate) fn origins(&self) -> impl Iterator<Item = ReplicaId> {
        self.waiting.keys().chain(self.ready_until.keys()).copied()
    }

    /// Whether all that a batch depends on is visible to someone who has `version`, or will be with what is
    /// [ready](Early::push_ready). **O(d log r)** for d dependencies.
    pub(crate) fn is_ready(&self, batch: &Batch, version: &VersionVector) -> bool {
        let has = |id, counter| {
            counter <= version.get(id) || self.ready_until.get(&id).is_some_and(|until| counter <= *until)
        };
        has(batch.origin, batch.since) && batch.deps.iter().all(|dep| has(dep.replica, dep.counter))
    }

    /// Takes a batch in that [is ready](Early::is_ready) and news, if none of its origin waits; says whether it did.
    pub(crate) fn push_ready(&mut self, batch: &Arc<Batch>) -> bool {
        if self.waiting.contains_key(&batch.origin) {
            return false;
        }
        self.ready_until.insert(batch.origin, batch.until);
        self.ready.push(batch.clone());
        true
    }

    /// Takes a batch in, of an origin whose updates up to `from` are here; false, and nothing has happened, if there is no
    /// room for it or it is there already.
    pub(crate) fn push(&mut self, batch: &Arc<Batch>, from: u64, limit: usize) -> bool {
        let bytes = batch.bytes();
        if self.bytes + bytes > limit {
            return false;
        }
        let of_origin = self.waiting.entry(batch.origin).or_default();
        if of_origin.contains_key(&batch.until) {
            return false;
        }
        of_origin.insert(batch.until, batch.clone());
        self.candidates.insert(batch.origin);
        self.bytes += bytes;
        let reached = self.reaches(batch.origin, from);
        self.reached.insert(batch.origin, reached);
        true
    }

    /// How far the updates of `origin` are here or waiting without a gap, from `from` on. **O(log n)**, and what has come
    /// since the last [`push`](Early::push).
    pub(crate) fn reaches(&self, origin: ReplicaId, from: u64) -> u64 {
        let known = [self.reached.get(&origin), self.ready_until.get(&origin)];
        let from = known.into_iter().flatten().fold(from, |from, until| from.max(*until));
        let after = (Bound::Excluded(from), Bound::Unbounded);
        let waiting = self.waiting.get(&origin).into_iter().flat_map(|waiting| waiting.range(after));
        let mut reached = from;
        for (until, batch) in waiting {
            if batch.since > reached {
                break;
            }
            reached = *until;
        }
        reached
    }

    /// The vector has advanced otherwise than by what was taken from here: any batch may be the next.
    pub(crate) fn look_at_all(&mut self) {
        self.candidates = self.waiting.keys().copied().collect();
        self.blocked.clear();
    }

    /// Takes out all batches that can become visible to someone who has `version`, each after what it depends on, and
    /// drops what `version` has made useless. **O(d log r)** for d dependencies of the batches that are taken and of one
    /// more for each origin that was waited for.
    pub(crate) fn take(&mut self, version: &VersionVector) -> Vec<Arc<Batch>> {
        let mut taken = std::mem::take(&mut self.ready);
        let mut reached = std::mem::take(&mut self.ready_until);
        if !self.blocked.is_empty() {
            let unblocked = reached.keys().filter_map(|origin| self.blocked.remove(origin));
            self.candidates.extend(unblocked.flatten());
        }
        // What has become visible otherwise since it came is none.
        taken.retain(|batch| batch.until > version.get(batch.origin));
        reached.retain(|origin, until| *until > version.get(*origin));
        while let Some(origin) = self.candidates.pop_first() {
            let Some(of_origin) = self.waiting.get_mut(&origin) else { continue };
            let has = |id| reached.get(&id).copied().unwrap_or_else(|| version.get(id));
            let mut have = has(origin);
            let before = have;
            while let Some(first) = of_origin.first_entry() {
                let batch = first.get();
                if batch.until > have {
                    if batch.since > have && !planted::is(Bug::GapSkipped) {
                        break;
                    }
                    let is_missing = |dep: &&Dot| !version.contains(**dep) && has(dep.replica) < dep.counter;
                    if let Some(missing) = batch.deps.iter().find(is_missing)
                        && !planted::is(Bug::DependenciesIgnored)
                    {
                        self.blocked.entry(missing.replica).or_default().insert(origin);
                        break;
                    }
                    have = batch.until;
                    taken.push(batch.clone());
                }
                self.bytes -= first.remove().bytes();
            }
            if of_origin.is_empty() {
                self.waiting.remove(&origin);
                self.reached.remove(&origin);
            }
            if have > before {
                reached.insert(origin, have);
                self.candidates.extend(self.blocked.remove(&origin).unwrap_or_default());
            }
        }
        taken
    }

    /// Forgets all of an origin.
    pub(crate) fn clear(&mut self, origin: ReplicaId) {
        self.ready.retain(|batch| batch.origin != origin);
        self.ready_until.remove(&origin);
        let gone = self.waiting.remove(&origin).unwrap_or_default();
        self.reached.remove(&origin);
        self.bytes -= gone.values().map(|batch| batch.bytes()).sum::<usize>();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Key, Kind,
        batch::{BatchPiece, Body},
    };

    fn batch<const N: usize>(origin: u64, since: u64, until: u64, deps: [(u64, u64); N]) -> Arc<Batch> {
        let key = Key::new(Kind::GCounter, "n");
        let pieces = vec![BatchPiece { key: key.into(), newest: until, body: Body::GCounter(until) }];
        let deps = deps.map(|(id, counter)| Dot::new(ReplicaId::new(id), counter)).to_vec();
        Arc::new(Batch { origin: ReplicaId::new(origin), since, until, deps, lineage: None, pieces })
    }

    fn vector<const N: usize>(rows: [(u64, u64); N]) -> VersionVector {
        rows.into_iter().map(|(id, counter)| (ReplicaId::new(id), counter)).collect()
    }

    fn taken(early: &mut Early, version: &VersionVector) -> Vec<(u64, u64)> {
        early.look_at_all();
        early.take(version).iter().map(|batch| (batch.origin.get(), batch.until)).collect()
    }

    fn put(early: &mut Early, batch: &Arc<Batch>) {
        assert!(early.push(batch, 0, usize::MAX));
    }

    #[test]
    fn what_came_last_lets_go_of_all_that_waited_for_it_each_after_what_it_depends_on() {
        let mut early = Early::default();
        put(&mut early, &batch(1, 0, 2, [(3, 1)]));
        put(&mut early, &batch(1, 2, 4, []));
        put(&mut early, &batch(2, 0, 1, [(1, 4)]));
        put(&mut early, &batch(4, 0, 1, []));
        put(&mut early, &batch(5, 3, 4, [(2, 1)]));
        assert_eq!(early.reaches(ReplicaId::new(1), 0), 4);
        assert_eq!(early.reaches(ReplicaId::new(5), 0), 0, "there is a gap");
        assert_eq!(early.take(&vector([])).len(), 1, "only 4's depends on nothing");
        put(&mut early, &batch(3, 0, 1, []));
        let order: Vec<_> = early.take(&vector([])).iter().map(|b| (b.origin.get(), b.until)).collect();
        assert_eq!(order, [(3, 1), (1, 2), (1, 4), (2, 1)]);
        assert_eq!(taken(&mut early, &vector([(1, 4), (2, 1), (5, 3)])), [(5, 4)]);
        assert_eq!((early.bytes, early.is_empty()), (0, true));
    }

    #[test]
    fn a_gap_that_is_closed_late_is_seen_through() {
        let mut early = Early::default();
        let one = ReplicaId::new(1);
        put(&mut early, &batch(1, 5, 6, [(2, 1)]));
        put(&mut early, &batch(1, 3, 5, [(2, 1)]));
        assert_eq!([0, 2, 3, 5, 9].map(|from| early.reaches(one, from)), [0, 2, 6, 6, 9]);
        put(&mut early, &batch(1, 0, 3, [(2, 1)]));
        put(&mut early, &batch(1, 7, 8, []));
        assert_eq!([0, 4, 6, 7].map(|from| early.reaches(one, from)), [6, 6, 6, 8]);
        assert_eq!(taken(&mut early, &vector([(2, 1)])), [(1, 3), (1, 5), (1, 6)]);
        assert_eq!(early.reaches(one, 6), 6);
        early.clear(one);
        assert_eq!(early.reaches(one, 2), 2);
    }

    #[test]
    fn batches_that_pretend_to_depend_on_each_other_wait() {
        let mut early = Early::default();
        put(&mut early, &batch(1, 0, 2, [(2, 1)]));
        put(&mut early, &batch(2, 0, 1, [(1, 2)]));
        assert_eq!(taken(&mut early, &vector([])), []);
        assert_eq!(taken(&mut early, &vector([(1, 2)])), [(2, 1)], "what came otherwise ends it");
        assert!(early.is_empty());
    }

    #[test]
    fn what_is_here_already_goes_and_room_is_bounded() {
        let mut early = Early::default();
        put(&mut early, &batch(1, 3, 5, []));
        put(&mut early, &batch(1, 5, 6, []));
        assert!(!early.push(&batch(1, 5, 6, []), 0, usize::MAX), "it is there");
        assert!(!early.push(&batch(1, 7, 8, []), 0, early.bytes), "it is full");
        assert_eq!(taken(&mut early, &vector([(1, 5)])), [(1, 6)]);
        put(&mut early, &batch(1, 8, 9, []));
        early.clear(ReplicaId::new(1));
        assert_eq!((early.bytes, early.is_empty()), (0, true));
    }
}
