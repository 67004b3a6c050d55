//! A small part of what `mesh simulate --suite faults` runs; enough that every situation is reached.

use mesh_sim::{
    Custom, Dotted, Faults, Invariant, Merge, OwnEvent, OwnType, Planted, ReplicaId, RngExt, Sometimes, Tick,
    Topology, UpdateError, faults, schedule,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[test]
fn no_invariant_is_broken_and_every_situation_is_reached() {
    let report = faults(84, 2, true);
    assert!(report.failure.is_none(), "{report}");
    assert_eq!(report.topologies.len(), Topology::ALL.len());
    assert!(report.topologies.values().all(|tally| tally.seeds == 14 && tally.least >= 170), "{report}");
    // The rare ones need more seeds than a test has time for.
    let rare = [Sometimes::RepeatedLostWrite, Sometimes::ClosedInDelta, Sometimes::LostWithTheDisk];
    let missed: Vec<_> = report.seen.never().into_iter().filter(|what| !rare.contains(what)).collect();
    assert!(missed.is_empty(), "{missed:?}\n{report}");
}

#[test]
fn a_seed_has_one_trace_whoever_runs_it() {
    let traces = [(1, 0), (1, 0), (3, 0), (1, 12)].map(|(jobs, seed)| {
        let report = Faults { seed, seeds: 12, jobs, quick: true, planted: None }.run();
        assert!(report.holds(), "{report}");
        report.trace
    });
    assert_eq!(traces[0], traces[1], "twice the same");
    assert_eq!(traces[0], traces[2], "on three threads");
    assert_ne!(traces[0], traces[3], "other seeds");
}

#[test]
fn schedules_are_in_order_and_of_the_size_that_they_promise() {
    for seed in 0..84 {
        let schedule = schedule(seed, 500);
        assert!((3..=16).contains(&schedule.setup.leaders));
        assert!(schedule.steps.len() >= 500);
        assert!(schedule.steps.is_sorted_by_key(|step| step.at));
    }
}

#[test]
fn every_planted_bug_is_found_and_its_schedule_is_short() {
    let expected = |planted| match planted {
        Planted::SentBeforeDurable => vec![Invariant::Durability],
        Planted::AcknowledgedBeforeDurable | Planted::ForgetfulDisk => vec![Invariant::Acknowledged],
        Planted::TornCommit => vec![Invariant::Recovery],
        Planted::OldIdAfterRestore => vec![Invariant::OwnCounters],
        Planted::AddedTwice | Planted::NotMonotone | Planted::LocalTie => {
            vec![Invariant::Fingerprint, Invariant::Shows, Invariant::Join]
        }
        other => panic!("{other} has no expectation"),
    };
    for planted in Planted::ALL.iter().copied() {
        let report = Faults { seed: 0, seeds: 200, jobs: 2, quick: true, planted: Some(planted) }.run();
        let failure = report.failure.as_ref().unwrap_or_else(|| panic!("{planted} is not found"));
        assert!(expected(planted).contains(&failure.violation.invariant), "{planted}: {failure}");
        assert!(failure.schedule.steps.len() <= 12, "{planted}: {failure}");
        let text = failure.to_string();
        let repeat = format!("--seed {} --seeds 1 --quick --planted {planted}", failure.seed);
        assert!(text.contains(&repeat), "{text}");
        assert_eq!(text.lines().filter(|line| line.contains(" ms  ")).count(), failure.schedule.steps.len());
    }
}

/// Of each leader how many updates it made, and the greatest value in them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Peak<const BROKEN: bool>(BTreeMap<ReplicaId, (u64, u64)>);

impl<const BROKEN: bool> Peak<BROKEN> {
    fn reach(&mut self, tick: Tick<'_>, value: u64) -> Result<(), UpdateError> {
        let dot = tick.follows(self)?.take()?;
        let row = self.0.entry(dot.replica).or_default();
        *row = (dot.counter, row.1.max(value));
        Ok(())
    }

    fn peak(&self) -> u64 {
        self.0.values().map(|row| row.1).max().unwrap_or(0)
    }
}

impl<const BROKEN: bool> Merge for Peak<BROKEN> {
    fn merge(&mut self, other: &Self) -> bool {
        let mut grew = false;
        for (replica, theirs) in &other.0 {
            let mine = self.0.entry(*replica).or_default();
            grew |= theirs.0 > mine.0;
            *mine = if BROKEN { *theirs } else { (mine.0.max(theirs.0), mine.1.max(theirs.1)) };
        }
        grew
    }
}

impl<const BROKEN: bool> Dotted for Peak<BROKEN> {
    fn last_counter(&self, replica: ReplicaId) -> u64 {
        self.0.get(&replica).map_or(0, |row| row.0)
    }
}

impl<const BROKEN: bool> Custom for Peak<BROKEN> {
    const TYPE: &'static str = "peak";
}

fn peak<const BROKEN: bool>() -> OwnType<Peak<BROKEN>, u64, u64> {
    OwnType::new(
        |rng| rng.random_range(1..100),
        |peak: &mut Peak<BROKEN>, tick, value| peak.reach(tick, *value),
        Peak::peak,
    )
}

#[test]
fn an_own_type_passes_if_it_is_a_join_and_fails_if_it_is_not() {
    let highest = |past: &[OwnEvent<u64>]| past.iter().map(|event| event.update).max().unwrap_or(0);
    peak::<false>().model(highest).check(0..6, 100).unwrap();
    // Also without a model.
    peak::<false>().check(0..3, 100).unwrap();
    let failure = peak::<true>().check(0..20, 100).unwrap_err();
    let found = failure.violation.invariant;
    assert!([Invariant::Fingerprint, Invariant::Join].contains(&found), "{failure}");
    assert!(failure.schedule.steps.len() <= 12, "{failure}");
}

#[test]
fn a_model_that_says_something_else_is_told_so() {
    let failure = peak::<false>().model(|past| past.len() as u64).check(0..4, 100).unwrap_err();
    assert_eq!(failure.violation.invariant, Invariant::Shows, "{failure}");
    assert!(failure.schedule.steps.len() <= 3, "{failure}");
}
