//! Bugs of kinds that other systems have shipped; each test says which.

mod common;

use common::{Mesh, all_to_all};
use mesh_proto::{Config, Op};
use rand::RngExt;

fn stored_bytes(mesh: &Mesh, n: usize) -> usize {
    mesh.leaders[n].disk.0.iter().map(|(key, value)| key.len() + value.len()).sum()
}

/// A down peer that makes the others retain until the disk is full: what is kept for it is state, and does not grow with
/// what it misses.
#[test]
fn a_peer_that_is_down_costs_nothing() {
    let mut bytes = Vec::new();
    for rounds in [200, 4_000] {
        let config = Config { min_deaths: 50, ..Config::default() };
        let mut mesh = Mesh::new(1, 3, all_to_all(3), config);
        mesh.converge();
        mesh.disconnect(0, 2);
        mesh.disconnect(1, 2);
        for element in (0..10u8).cycle().take(rounds) {
            let element = vec![element];
            mesh.write(0, "or-set-0", Op::Add(vec![element.clone()]));
            mesh.write(0, "or-set-0", Op::Remove(vec![element]));
            mesh.write(0, "pn-counter-0", Op::Increment(1));
            mesh.flush(0);
            while mesh.deliver(1) {}
            mesh.flush(1);
            while mesh.deliver(0) {}
        }
        bytes.push(stored_bytes(&mesh, 0).max(stored_bytes(&mesh, 1)));
        mesh.converge();
    }
    assert!(
        bytes[1] <= 2 * bytes[0] + 4_096,
        "{} bytes after 200 rounds, {} after 4,000",
        bytes[0],
        bytes[1]
    );
}

/// Rows lost while a node joins under load: a leader that starts empty while the others write gets everything.
#[test]
fn a_leader_that_joins_under_load_misses_nothing() {
    for seed in 0..40 {
        let config = Config { patience: 20, heartbeat: 200, part: 80, min_deaths: 5, ..Config::default() };
        let mut mesh = Mesh::new(seed, 4, all_to_all(4), config);
        for (a, b) in all_to_all(3) {
            mesh.connect(a, b);
        }
        let joins_at = mesh.rng.random_range(20..100);
        for step in 0..200 {
            if step == joins_at {
                (0..3).for_each(|n| mesh.connect(n, 3));
            }
            // The new one writes from its first moment on, too.
            let writer = mesh.rng.random_range(0..if step < joins_at { 3 } else { 4 });
            mesh.random_write(writer);
            let n = mesh.rng.random_range(0..4);
            mesh.flush(n);
            for _ in 0..3 {
                let n = mesh.rng.random_range(0..4);
                mesh.deliver(n);
            }
            mesh.check(3);
            mesh.pass(10);
        }
        mesh.converge();
    }
}

/// A full context with a partial delta deletes live data: what is not mentioned in a delta lives on.
#[test]
fn what_a_delta_does_not_mention_lives_on() {
    let mut mesh = Mesh::new(3, 2, all_to_all(2), Config::default());
    mesh.write(0, "or-set-0", Op::Add((0..100).map(|n| vec![n]).collect()));
    mesh.write(0, "or-set-1", Op::Add(vec![vec![1]]));
    mesh.converge();
    mesh.write(0, "or-set-0", Op::Add(vec![vec![200]]));
    mesh.converge();
    assert_eq!(mesh.leaders[1].engine.set_len("or-set-0"), 101);
    assert_eq!(mesh.leaders[1].engine.set_len("or-set-1"), 1);
}

/// A late rejoin that brings back what was removed: a peer away through thousands of forgotten removals resurrects none.
#[test]
fn nothing_removed_comes_back_with_a_peer_that_was_away() {
    let mut mesh = Mesh::new(4, 2, all_to_all(2), Config { min_deaths: 0, ..Config::default() });
    mesh.write(0, "or-set-0", Op::Add((0..50).map(|n| vec![n]).collect()));
    mesh.write(0, "or-set-1", Op::Add(vec![vec![1]]));
    mesh.converge();
    mesh.disconnect(0, 1);
    mesh.write(1, "or-set-0", Op::Add(vec![vec![99]]));
    mesh.commit(1);
    for round in 0..2_000u32 {
        let element = round.to_le_bytes().to_vec();
        mesh.write(0, "or-set-2", Op::Add(vec![element.clone()]));
        mesh.write(0, "or-set-2", Op::Remove(vec![element]));
        mesh.commit(0);
    }
    mesh.write(0, "or-set-0", Op::Remove((0..50).map(|n| vec![n]).collect()));
    mesh.write(0, "or-set-1", Op::Clear);
    mesh.write(0, "or-set-2", Op::Clear);
    mesh.converge();
    for leader in &mesh.leaders {
        assert_eq!(leader.engine.members("or-set-0"), [[99]]);
        assert_eq!(leader.engine.set_len("or-set-1") + leader.engine.set_len("or-set-2"), 0);
    }
}
