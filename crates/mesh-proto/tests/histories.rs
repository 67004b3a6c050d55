//! Random histories: writes, crashes, cut and lossy links on several topologies. After every few steps each leader shows
//! exactly what the events in its vector make (so what it shows is causally closed, nothing is lost, counted twice, or
//! back from the dead), during a commit each key that counts as durable shows what it did before, and at the end all agree.

mod common;

use common::{Mesh, histories};
use rand::RngExt;
use std::{collections::BTreeMap, hash::Hasher};

/// Returns a hash of everything that was said.
fn run(seed: u64, seen: &mut BTreeMap<&'static str, u64>) -> u64 {
    let mut mesh = Mesh::of_seed(seed);
    let leaders = mesh.leaders.len();
    for _ in 0..250 {
        let n = mesh.rng.random_range(0..leaders);
        match mesh.rng.random_range(0..100) {
            88..94 => mesh.check(n),
            dice => mesh.stir(n, dice),
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
    let happens = ["merged", "lost", "overtaking", "unacknowledged writes lost", "read during a commit"];
    histories(600, &happens, run);
}
