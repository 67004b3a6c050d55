//! Which runs of a leader's process made its updates: what tells two histories under one id apart.
//!
//! A leader whose data folder was copied, or restored and then written to, numbers new updates as another run has numbered
//! others. Vectors cannot show that. So each run draws a tag, and whoever has a leader's updates also knows which run made
//! which: two histories of one id agree exactly as far as the tags do.

use crate::codec::{decode_whole, encode};
use crdt_core::ReplicaId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use twox_hash::XxHash3_64;

/// How many runs of one leader are remembered. What older ones made counts as agreed.
const MAX_RUNS: usize = 64;

/// The runs that made the updates of one replica, the latest ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Run>")]
pub struct Lineage(Vec<Run>);

/// The updates from `first` to the next run's first were made by the run with this tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    first: u64,
    tag: u64,
}

impl TryFrom<Vec<Run>> for Lineage {
    type Error = &'static str;

    fn try_from(runs: Vec<Run>) -> Result<Self, &'static str> {
        let ascending = runs.windows(2).all(|pair| pair[0].first < pair[1].first);
        if runs.len() > MAX_RUNS || !ascending || runs.first().is_some_and(|run| run.first == 0) {
            return Err("the runs of a leader are ascending, from 1, and not too many");
        }
        Ok(Lineage(runs))
    }
}

impl Lineage {
    /// The run `tag` makes the updates from `first` on; nothing changes if it is the latest already.
    pub(crate) fn begin(&mut self, first: u64, tag: u64) {
        if self.0.last().is_none_or(|run| run.tag != tag && run.first < first) {
            self.push(Run { first, tag });
        }
    }

    /// Whether a run began after the update `since`.
    pub(crate) fn begins_after(&self, since: u64) -> bool {
        self.0.last().is_some_and(|run| run.first > since)
    }

    /// Takes over the later runs of a history that agrees with this one.
    pub(crate) fn adopt(&mut self, other: &Lineage) {
        let last = self.0.last().map_or(0, |run| run.first);
        for run in other.0.iter().filter(|run| run.first > last) {
            self.push(*run);
        }
    }

    fn push(&mut self, run: Run) {
        if self.0.len() == MAX_RUNS {
            self.0.remove(0);
        }
        self.0.push(run);
    }

    /// The first update up to `common` that the two do not owe to the same run.
    pub(crate) fn fork(&self, other: &Lineage, common: u64) -> Option<u64> {
        let start = self.0.first()?.first.max(other.0.first()?.first);
        let mut starts: Vec<u64> = self.0.iter().chain(&other.0).map(|run| run.first.max(start)).collect();
        starts.sort_unstable();
        starts.into_iter().find(|at| *at <= common && self.tag_at(*at) != other.tag_at(*at))
    }

    fn tag_at(&self, counter: u64) -> Option<u64> {
        let later = self.0.partition_point(|run| run.first <= counter);
        self.0[..later].last().map(|run| run.tag)
    }
}

pub(crate) type Lineages = BTreeMap<ReplicaId, Lineage>;

/// Lineages that are stored when they change, which is rarely, with a hash that is stored with every commit.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    all: Lineages,
    /// Of their row in the store; 0 if there is none.
    hash: u64,
    has_changed: bool,
}

impl Kept {
    /// From the row in the store.
    pub(crate) fn stored(row: &[u8]) -> Result<Self, postcard::Error> {
        Ok(Kept { all: decode_whole(row)?, hash: XxHash3_64::oneshot(row), has_changed: false })
    }

    pub(crate) fn all(&self) -> &Lineages {
        &self.all
    }

    /// Of what is in the store.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// The row, if it is to be stored, which changes the hash.
    pub(crate) fn take_changed(&mut self) -> Option<Vec<u8>> {
        let row = std::mem::take(&mut self.has_changed).then(|| encode(&self.all))?;
        self.hash = XxHash3_64::oneshot(&row);
        Some(row)
    }

    pub(crate) fn change(&mut self, id: ReplicaId, change: impl FnOnce(&mut Lineage)) {
        let mut lineage = self.all.get(&id).cloned().unwrap_or_default();
        change(&mut lineage);
        if self.all.get(&id) != Some(&lineage) {
            self.all.insert(id, lineage);
            self.has_changed = true;
        }
    }

    pub(crate) fn replace(&mut self, all: Lineages) {
        self.has_changed |= all != self.all;
        self.all = all;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lineage<const N: usize>(runs: [(u64, u64); N]) -> Lineage {
        Lineage(runs.map(|(first, tag)| Run { first, tag }).to_vec())
    }

    #[test]
    fn histories_agree_as_far_as_their_runs_do() {
        let long = lineage([(1, 7), (51, 8)]);
        assert_eq!(long.fork(&lineage([(1, 7)]), 50), None, "a prefix");
        assert_eq!(
            long.fork(&lineage([(1, 7)]), 60),
            Some(51),
            "the other went on where this one began anew"
        );
        assert_eq!(long.fork(&lineage([(1, 7), (41, 9)]), 45), Some(41));
        assert_eq!(long.fork(&lineage([(1, 7), (41, 9)]), 40), None, "not yet");
        assert_eq!(long.fork(&lineage([(1, 6)]), 1), Some(1));
        assert_eq!(
            long.fork(&lineage([(45, 7), (51, 8)]), 99),
            None,
            "what is not remembered counts as agreed"
        );
        assert_eq!(long.fork(&lineage([(45, 6), (51, 8)]), 99), Some(45));
        assert_eq!(long.fork(&Lineage::default(), 99), None);
    }

    #[test]
    fn runs_are_adopted_begun_once_and_bounded() {
        let mut ours = lineage([(1, 7)]);
        ours.adopt(&lineage([(1, 7), (51, 8)]));
        assert_eq!(ours, lineage([(1, 7), (51, 8)]));
        ours.begin(60, 8);
        assert_eq!(ours, lineage([(1, 7), (51, 8)]));
        for n in 0..200 {
            ours.begin(61 + n, 100 + n);
        }
        assert_eq!(ours.0.len(), MAX_RUNS);
        let bytes = postcard::to_allocvec(&ours).unwrap();
        assert_eq!(postcard::from_bytes::<Lineage>(&bytes).unwrap(), ours);
        for bad in [vec![2, 5, 1, 5, 1], vec![1, 0, 1], vec![2, 5, 1, 4, 1]] {
            assert!(postcard::from_bytes::<Lineage>(&bad).is_err(), "{bad:?}");
        }
    }
}
