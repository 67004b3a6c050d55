//! A single leader, or one in each region?
//!
//! Both are the engine of this workspace, in virtual time, on round trips that were measured between real regions: with a
//! single leader only one of them ever writes, and the others follow it. Clients write at the leader that is theirs, and
//! read in their own region. [`leaders`] measures how long writes take in each region, what is left of it while a region is
//! cut off, and, by the CPU time of the engines, how many writes so many leaders can take when each applies all of them.
//!
//! No failover is simulated: for a single leader it would shorten the time without writes to that of an election, and lose
//! what the old leader had acknowledged and not passed on.

mod capacity;
mod clients;
mod regions;
mod report;

pub use capacity::Capacity;
pub use clients::{Calm, Outage, Seen};
pub use regions::{REGIONS, ROUND_TRIPS};
pub use report::Report;

use crate::economy::goals::Goal;
use clients::{Observed, Scene};
use serde::Serialize;
use std::fmt;

/// What is asked for.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Of all chances; the CPU times depend on the machine, not on it.
    pub seed: u64,
    /// Whether shorter runs do.
    pub quick: bool,
    /// Is told what is about to be done.
    pub progress: &'a dyn Fn(&str),
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("seed", &self.seed)
            .field("quick", &self.quick)
            .finish_non_exhaustive()
    }
}

/// Who takes writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The leader in the first region; the others follow it.
    Single,
    /// A leader in each region, connected with each other one.
    Each,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Mode::Single => "single leader",
            Mode::Each => "leader in each",
        })
    }
}

/// Runs everything.
pub fn leaders(options: &Options<'_>) -> Report {
    let scene = Scene::new(options.seed, options.quick);
    let observed = [Mode::Single, Mode::Each].map(|mode| {
        (options.progress)(&format!("{mode}: clients in {} regions", REGIONS.len()));
        clients::observe(&scene, mode)
    });
    let capacities = capacity::measure(options);
    let [single, each] = &observed;
    let goals = goals(single, each, &capacities);
    Report {
        seed: options.seed,
        quick: options.quick,
        regions: REGIONS.map(str::to_owned).to_vec(),
        round_trips_ms: ROUND_TRIPS.map(Vec::from).to_vec(),
        calm: observed.iter().flat_map(|observed| observed.calm.clone()).collect(),
        outages: observed.iter().flat_map(|observed| observed.outages.clone()).collect(),
        capacities,
        goals,
    }
}

/// What speaks for a leader in each region has to show in the numbers.
fn goals(single: &Observed, each: &Observed, capacities: &[Capacity]) -> Vec<Goal> {
    let greatest = |numbers: &mut dyn Iterator<Item = f64>| numbers.reduce(f64::max);
    let worst_p99 = greatest(&mut each.calm.iter().map(|calm| calm.write.p99_ms));
    let furthest_p50 = greatest(&mut single.calm.iter().map(|calm| calm.write.p50_ms));
    let visible = |observed: &Observed| greatest(&mut observed.calm.iter().map(|calm| calm.visible.p99_ms));
    let ratio = |measured: Option<f64>, base: Option<f64>| Some(measured? / base?);
    let unanswered = |observed: &Observed| -> u64 {
        observed.outages.iter().map(|outage| outage.inside.unanswered() + outage.outside.unanswered()).sum()
    };
    // With as many replicas: all of them lead, or one does.
    let followed = capacities.iter().find(|row| row.followers > 0);
    let size = followed.map(|row| row.leaders + row.followers);
    let all_lead = capacities.iter().find(|row| Some(row.leaders) == size);
    let per_second = |row: Option<&Capacity>| row.map(|row| row.per_second);
    #[expect(clippy::cast_precision_loss, reason = "counts of a short run")]
    let count = |number: u64| Some(number as f64);
    let rows = [
        (
            "slowest region's write p99, leader in each",
            "of the furthest one's p50, single leader",
            0.1,
            ratio(worst_p99, furthest_p50),
        ),
        (
            "p99 until visible elsewhere, leader in each",
            "of that of a single leader",
            1.0,
            ratio(visible(each), visible(single)),
        ),
        (
            "writes unanswered while regions are cut off, leader in each",
            "writes",
            0.0,
            count(unanswered(each)),
        ),
        ("answered writes missing somewhere in the end, single leader", "writes", 0.0, count(single.missing)),
        ("answered writes missing somewhere in the end, leader in each", "writes", 0.0, count(each.missing)),
        (
            "writes a second of one leader with seven followers",
            "of those of eight leaders",
            1.1,
            ratio(per_second(followed), per_second(all_lead)),
        ),
    ];
    let goal = |(number, (what, unit, required, measured)): (usize, (&str, &str, f64, Option<f64>))| Goal {
        id: (number + 1).to_string(),
        what: what.into(),
        unit: unit.into(),
        required,
        measured,
        holds: measured.is_some_and(|measured| measured <= required),
    };
    rows.into_iter().enumerate().map(goal).collect()
}
