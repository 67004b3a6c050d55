//! Batches that came before what they depend on.

use crate::batch::Batch;
use crdt_core::ReplicaId;
use std::{collections::BTreeMap, sync::Arc};
use version_vector::VersionVector;

/// Batches that wait for others, bounded in bytes.
///
/// A batch depends on all that its sender had when it sent it: more than its origin had, but known without a vector in
/// each batch. Two batches may so depend on each other, each sent by somebody who had the other. They are taken
/// together: what is taken is the greatest set of batches all of whose dependencies are here or in the set, and it
/// becomes visible in one step.
#[derive(Debug, Default)]
pub(crate) struct Early {
    /// By origin and last counter.
    waiting: BTreeMap<ReplicaId, BTreeMap<u64, Waiting>>,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    batch: Arc<Batch>,
    needs: Arc<VersionVector>,
}

impl Early {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a batch in; false, and nothing has happened, if there is no room for it or it is there already.
    pub(crate) fn push(&mut self, batch: &Arc<Batch>, needs: &Arc<VersionVector>, limit: usize) -> bool {
        let bytes = batch.bytes();
        if self.bytes + bytes > limit {
            return false;
        }
        let of_origin = self.waiting.entry(batch.origin).or_default();
        if of_origin.contains_key(&batch.until) {
            return false;
        }
        of_origin.insert(batch.until, Waiting { batch: batch.clone(), needs: needs.clone() });
        self.bytes += bytes;
        true
    }

    /// How far the updates of `origin` are here or waiting without a gap, from `from` on.
    pub(crate) fn reaches(&self, origin: ReplicaId, from: u64) -> u64 {
        self.chain(origin, from).last().map_or(from, |waiting| waiting.batch.until)
    }

    /// The waiting batches of `origin` that lead from `from` on without a gap.
    fn chain(&self, origin: ReplicaId, from: u64) -> impl Iterator<Item = &Waiting> {
        let mut reached = from;
        self.waiting.get(&origin).into_iter().flat_map(BTreeMap::values).filter(move |waiting| {
            let follows = waiting.batch.since <= reached && reached < waiting.batch.until;
            if follows {
                reached = waiting.batch.until;
            }
            follows
        })
    }

    /// Takes out the greatest set of batches that can become visible at once to someone who has `version`, in the order
    /// of the origins, and drops what `version` has made useless. **O(w r)** for w waiting batches and r replicas, at
    /// most as often as there are batches in the set that cannot.
    pub(crate) fn take(&mut self, version: &VersionVector) -> Vec<Arc<Batch>> {
        self.drop_until(version);
        let mut extent: BTreeMap<ReplicaId, u64> =
            self.waiting.keys().map(|id| (*id, self.reaches(*id, version.get(*id)))).collect();
        loop {
            let mut shrunk = false;
            for origin in self.waiting.keys() {
                let end = extent[origin];
                let is_met = |waiting: &&Waiting| {
                    let reach = |id| extent.get(&id).copied().unwrap_or(0).max(version.get(id));
                    waiting.needs.iter().all(|(id, counter)| counter <= reach(id))
                };
                let chain = self.chain(*origin, version.get(*origin));
                let possible = chain.take_while(|waiting| waiting.batch.until <= end).take_while(is_met);
                let new_end = possible.last().map_or(version.get(*origin), |waiting| waiting.batch.until);
                if new_end < end {
                    extent.insert(*origin, new_end);
                    shrunk = true;
                }
            }
            if !shrunk {
                break;
            }
        }
        let mut taken = Vec::new();
        for (origin, end) in &extent {
            let chain = self.chain(*origin, version.get(*origin));
            taken.extend(chain.take_while(|waiting| waiting.batch.until <= *end).map(|w| w.batch.clone()));
        }
        for batch in &taken {
            self.remove(batch.origin, batch.until);
        }
        taken
    }

    /// Forgets all of an origin.
    pub(crate) fn clear(&mut self, origin: ReplicaId) {
        let gone = self.waiting.remove(&origin).unwrap_or_default();
        self.bytes -= gone.values().map(|waiting| waiting.batch.bytes()).sum::<usize>();
    }

    fn drop_until(&mut self, version: &VersionVector) {
        let origins: Vec<ReplicaId> = self.waiting.keys().copied().collect();
        for origin in origins {
            let have = version.get(origin);
            while let Some((until, _)) = self.waiting.get(&origin).and_then(BTreeMap::first_key_value) {
                let until = *until;
                if until > have {
                    break;
                }
                self.remove(origin, until);
            }
        }
    }

    fn remove(&mut self, origin: ReplicaId, until: u64) {
        let Some(of_origin) = self.waiting.get_mut(&origin) else { return };
        self.bytes -= of_origin.remove(&until).map_or(0, |waiting| waiting.batch.bytes());
        if of_origin.is_empty() {
            self.waiting.remove(&origin);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Key, Kind,
        batch::{BatchPiece, Body},
    };

    fn batch(origin: u64, since: u64, until: u64) -> Arc<Batch> {
        let key = Key::new(Kind::GCounter, "n");
        let pieces = vec![BatchPiece { key, newest: until, body: Body::GCounter(until) }];
        Arc::new(Batch { origin: ReplicaId::new(origin), since, until, lineage: None, pieces })
    }

    fn vector<const N: usize>(rows: [(u64, u64); N]) -> VersionVector {
        rows.into_iter().map(|(id, counter)| (ReplicaId::new(id), counter)).collect()
    }

    fn taken(early: &mut Early, version: &VersionVector) -> Vec<(u64, u64)> {
        early.take(version).iter().map(|batch| (batch.origin.get(), batch.until)).collect()
    }

    fn put<const N: usize>(early: &mut Early, batch: &Arc<Batch>, needs: [(u64, u64); N]) {
        assert!(early.push(batch, &Arc::new(vector(needs)), usize::MAX));
    }

    #[test]
    fn batches_that_need_each_other_are_taken_together() {
        let mut early = Early::default();
        put(&mut early, &batch(1, 0, 2), [(1, 2), (2, 1)]);
        assert_eq!(taken(&mut early, &vector([])), []);
        put(&mut early, &batch(2, 0, 1), [(1, 2), (2, 1)]);
        assert_eq!(taken(&mut early, &vector([])), [(1, 2), (2, 1)]);
        assert!(early.is_empty());
    }

    #[test]
    fn one_that_lacks_something_holds_back_those_that_need_it_and_no_others() {
        let mut early = Early::default();
        put(&mut early, &batch(1, 0, 2), [(3, 1)]);
        put(&mut early, &batch(1, 2, 4), []);
        put(&mut early, &batch(2, 0, 1), [(1, 4)]);
        put(&mut early, &batch(4, 0, 1), []);
        put(&mut early, &batch(5, 3, 4), []);
        assert_eq!(early.reaches(ReplicaId::new(1), 0), 4);
        assert_eq!(early.reaches(ReplicaId::new(5), 0), 0, "there is a gap");
        assert_eq!(taken(&mut early, &vector([])), [(4, 1)]);
        assert_eq!(taken(&mut early, &vector([(3, 1), (5, 3)])), [(1, 2), (1, 4), (2, 1), (5, 4)]);
        assert_eq!(early.bytes, 0);
    }

    #[test]
    fn what_is_here_already_goes_and_room_is_bounded() {
        let mut early = Early::default();
        put(&mut early, &batch(1, 3, 5), []);
        put(&mut early, &batch(1, 5, 6), []);
        let needs = Arc::new(vector([]));
        assert!(!early.push(&batch(1, 5, 6), &needs, usize::MAX), "it is there");
        assert!(!early.push(&batch(1, 7, 8), &needs, early.bytes), "it is full");
        assert_eq!(taken(&mut early, &vector([(1, 5)])), [(1, 6)]);
        put(&mut early, &batch(1, 8, 9), []);
        early.clear(ReplicaId::new(1));
        assert_eq!((early.bytes, early.is_empty()), (0, true));
    }
}
