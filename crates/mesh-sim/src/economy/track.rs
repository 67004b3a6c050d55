//! Which change has become visible where, and how long that took.

use super::workload::Workload;

/// One bit for each change and node, and one number for each time that passed.
#[derive(Debug)]
pub(crate) struct Tracker<'a> {
    workload: &'a Workload,
    seen: Vec<Vec<u64>>,
    times: Vec<u32>,
    missing: u64,
}

impl<'a> Tracker<'a> {
    pub(crate) fn new(workload: &'a Workload) -> Self {
        let words = workload.changes.len().div_ceil(64);
        Tracker { workload, seen: vec![vec![0; words]; workload.nodes()], times: Vec::new(), missing: 0 }
    }

    /// How many pairs of a change that was made and a node other than its own are missing.
    pub(crate) fn missing(&self) -> u64 {
        self.missing
    }

    /// A change is made, and seen by its own node; what it overwrites is then of no interest there any more.
    pub(crate) fn made(&mut self, change: usize) {
        let fact = self.workload.fact(change);
        self.seen[fact.origin][change / 64] |= 1 << (change % 64);
        self.missing += self.workload.nodes() as u64 - 1;
        if let Some(before) = fact.overwrites {
            self.visible(fact.origin, before, fact.at);
        }
    }

    /// A change, and with it all that it overwrites, is visible at a node.
    pub(crate) fn visible(&mut self, node: usize, change: usize, now: u64) {
        let mut next = Some(change);
        while let Some(change) = next {
            let word = &mut self.seen[node][change / 64];
            if *word >> (change % 64) & 1 == 1 {
                return;
            }
            *word |= 1 << (change % 64);
            let fact = self.workload.fact(change);
            self.times.push(u32::try_from(now - fact.at).unwrap_or(u32::MAX));
            self.missing -= 1;
            next = fact.overwrites;
        }
    }

    /// The middle of all times, what 99% of them do not exceed, and the greatest, in microseconds; 0 if there are none.
    pub(crate) fn finish(mut self) -> [u64; 3] {
        let count = self.times.len();
        let mut at = |rank: usize| match self.times.get(rank.min(count.saturating_sub(1))) {
            Some(_) => u64::from(*self.times.select_nth_unstable(rank.min(count - 1)).1),
            None => 0,
        };
        [at(count / 2), at(count * 99 / 100), at(count)]
    }
}
