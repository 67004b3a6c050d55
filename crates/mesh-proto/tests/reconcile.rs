//! Leaders that lose their causal metadata, in random histories.

mod common;

use common::{Mesh, histories};
use rand::RngExt;
use std::collections::BTreeMap;

/// Any leader may lose its metadata at any time, also again while it is getting it back. In the end all agree, no add that
/// was acknowledged is missing, and registers and counters are what the replies said.
fn run(seed: u64, seen: &mut BTreeMap<&'static str, u64>) {
    let mut mesh = Mesh::of_seed(seed);
    let leaders = mesh.leaders.len();
    let mut next = 1_000;
    for _ in 0..250 {
        let n = mesh.rng.random_range(0..leaders);
        match mesh.rng.random_range(0..100) {
            // Somebody has to have metadata.
            88..90 if n > 0 && !mesh.leaders[n].disk.0.is_empty() => {
                next += 1;
                mesh.lose_metadata(n, next);
            }
            dice => mesh.stir(n, dice),
        }
    }
    mesh.converge();
    for (what, times) in &mesh.seen {
        *seen.entry(what).or_default() += times;
    }
}

#[test]
fn metadata_is_lost_and_no_acknowledged_add_is() {
    let happens =
        ["restored", "restored with own updates", "unreachable", "went without", "read during a commit"];
    histories(300, &happens, run);
}
