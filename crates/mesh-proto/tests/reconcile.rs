//! Leaders that lose their causal metadata, in random histories.

mod common;

use common::{Mesh, all_to_all, ring, star};
use mesh_proto::Config;
use rand::RngExt;
use std::collections::BTreeMap;

/// Any leader may lose its metadata at any time, also again while it is getting it back. In the end all agree, no add that
/// was acknowledged is missing, and registers and counters are what the replies said.
fn run(seed: u64, seen: &mut BTreeMap<&'static str, u64>) {
    let leaders = 2 + (seed % 4) as usize;
    let links = match seed % 3 {
        0 => all_to_all(leaders),
        1 => ring(leaders),
        _ => star(leaders),
    };
    let links = links.into_iter().filter(|(a, b)| a != b).collect();
    let min_deaths = [0, 5, 100_000][(seed / 3 % 3) as usize];
    let part = [60, 1_000_000][(seed / 27 % 2) as usize];
    let loss = [0, 0, 20][(seed / 9 % 3) as usize];
    let ordered = loss == 0;
    let config =
        Config { patience: 20, heartbeat: 200, resend: 500, min_deaths, part, ordered, ..Config::default() };
    let mut mesh = Mesh::new(seed, leaders, links, config);
    (mesh.loss, mesh.lossy) = (loss, loss > 0);
    let mut next = 1_000;
    for _ in 0..250 {
        let n = mesh.rng.random_range(0..leaders);
        match mesh.rng.random_range(0..100) {
            0..30 if !mesh.leaders[n].engine.has_lost_metadata() => mesh.random_write(n),
            30..45 => mesh.flush(n),
            45..75 => drop(mesh.deliver(n)),
            75..82 => {
                let link = mesh.links[mesh.rng.random_range(0..mesh.links.len())];
                mesh.connect(link.0, link.1);
            }
            82..85 => {
                let link = mesh.links[mesh.rng.random_range(0..mesh.links.len())];
                mesh.disconnect(link.0, link.1);
            }
            85..88 => mesh.crash(n),
            // Somebody has to have metadata.
            88..90 if n > 0 && !mesh.leaders[n].disk.0.is_empty() => {
                next += 1;
                mesh.lose_metadata(n, next);
            }
            _ => mesh.pass(30),
        }
    }
    mesh.converge();
    for (what, times) in &mesh.seen {
        *seen.entry(what).or_default() += times;
    }
}

#[test]
fn metadata_is_lost_and_no_acknowledged_add_is() {
    let seeds = std::env::var("MESH_SEEDS").map_or(300, |n| n.parse().expect("MESH_SEEDS is a number"));
    let mut seen = BTreeMap::new();
    for seed in 0..seeds {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed, &mut seen)));
        assert!(outcome.is_ok(), "the history of seed {seed} fails");
    }
    for what in ["restored", "restored with own updates", "unreachable", "went without"] {
        assert!(seen.get(what).is_some_and(|times| *times > 0), "{what:?} never happened: {seen:?}");
    }
}
