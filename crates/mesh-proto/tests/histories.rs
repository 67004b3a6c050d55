//! Random histories: writes, crashes, cut and lossy links on several topologies. After every few steps each leader shows
//! exactly what the events in its vector make (so what it shows is causally closed, nothing is lost, counted twice, or
//! back from the dead), and at the end all agree.

mod common;

use common::{Mesh, all_to_all, ring, star};
use mesh_proto::Config;
use rand::RngExt;
use std::{collections::BTreeMap, hash::Hasher};

/// Returns a hash of everything that was said.
fn run(seed: u64, seen: &mut BTreeMap<&'static str, u64>) -> u64 {
    let leaders = 2 + (seed % 4) as usize;
    let links = match seed % 3 {
        0 => all_to_all(leaders),
        1 => ring(leaders),
        _ => star(leaders),
    };
    let links = links.into_iter().filter(|(a, b)| a != b).collect();
    // Few removals are remembered, so that forgotten ones are met all the time.
    let min_deaths = [0, 5, 100_000][(seed / 3 % 3) as usize];
    let part = [60, 1_000_000][(seed / 27 % 2) as usize];
    let loss = [0, 0, 20][(seed / 9 % 3) as usize];
    let ordered = loss == 0;
    let config =
        Config { patience: 20, heartbeat: 200, resend: 500, min_deaths, part, ordered, ..Config::default() };
    let mut mesh = Mesh::new(seed, leaders, links, config);
    mesh.loss = loss;
    mesh.lossy = mesh.loss > 0;
    for _ in 0..250 {
        let n = mesh.rng.random_range(0..leaders);
        match mesh.rng.random_range(0..100) {
            0..30 => mesh.random_write(n),
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
            88..94 => mesh.check(n),
            _ => mesh.pass(30),
        }
    }
    mesh.converge();
    for (what, times) in &mesh.seen {
        *seen.entry(what).or_default() += times;
    }
    mesh.said.finish()
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    for seed in 0..54 {
        assert_eq!(run(seed, &mut BTreeMap::new()), run(seed, &mut BTreeMap::new()), "seed {seed}");
    }
}

#[test]
fn every_leader_always_shows_what_its_vector_says() {
    let seeds = std::env::var("MESH_SEEDS").map_or(600, |n| n.parse().expect("MESH_SEEDS is a number"));
    let mut seen = BTreeMap::new();
    for seed in 0..seeds {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed, &mut seen)));
        assert!(outcome.is_ok(), "the history of seed {seed} fails");
    }
    for what in ["merged", "lost", "unacknowledged writes lost"] {
        assert!(
            seen.get(what).is_some_and(|times| *times > 0),
            "{what:?} never happened in {seeds} histories"
        );
    }
}
