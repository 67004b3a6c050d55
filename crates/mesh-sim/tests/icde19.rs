//! The published runs of Enes et al., ICDE 2019, come out of this crate's simulator. A subset that takes seconds; all of
//! them are in the table of `published::compare`.

use mesh_sim::economy::{
    Protocol,
    delta::Delta,
    published::{Published, Row, TOLERANCE, compare, markdown},
    workload::Kind,
};

/// The first seed; the ratios of what is not random do not depend on it.
const SEED: u64 = 1;

fn check(least: usize, chosen: impl Fn(&Published) -> bool) {
    let rows = compare(SEED, chosen, |_| ());
    assert!(rows.len() >= least, "only {} rows", rows.len());
    assert!(rows.iter().all(Row::holds), "more than {TOLERANCE} off:\n{}", markdown(&rows));
}

fn is_bp_rr(run: &Published) -> bool {
    matches!(run.protocol, Protocol::Objects(Delta { bp: true, rr: true, .. }))
}

#[test]
fn sets_and_counters() {
    // Sending whole sets over and over takes as long as all the rest; of counters it is quick.
    let repeats = |run: &Published| {
        run.protocol == Protocol::FullState
            || matches!(run.protocol, Protocol::Objects(Delta { rr: false, .. })) && run.overlay != "tree-15"
    };
    check(20, |run| match run.kind {
        Kind::GSet { .. } => {
            ["tree-15", "partialmesh-15", "partialmesh-16"].contains(&run.overlay) && !repeats(run)
        }
        Kind::GCounter => true,
        _ => false,
    });
}

#[test]
fn maps() {
    check(7, |run| run.kind == Kind::GMap { percent: 10 } && (run.overlay == "tree-15" || is_bp_rr(run)));
}

#[test]
fn larger_meshes() {
    check(2, |run| run.overlay == "partialmesh-32");
}

#[test]
fn retwis_without_contention() {
    check(2, |run| run.kind == Kind::Retwis { zipf: 30 });
}
