//! Bytes that were damaged on their way or on the disk, and disks of others.

mod common;

use common::{Disk, Mesh, all_to_all, identity, random_bytes};
use mesh_proto::{Config, Engine, Identity, Message, Op, RecoverError, Registry, ReplicaId};
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// Messages of a real exchange, damaged in every way that a seed brings: never a panic, never a change of own counters.
#[test]
fn damaged_messages_do_no_harm() {
    let mut rng = StdRng::seed_from_u64(3);
    for round in 0..300 {
        let mut mesh = Mesh::new(round, 2, all_to_all(2), Config::default());
        (0..20).for_each(|_| mesh.random_write(0));
        (0..20).for_each(|_| mesh.random_write(1));
        mesh.converge();
        (0..6).for_each(|_| mesh.random_write(0));
        mesh.commit(0);
        mesh.commit(1);
        let session = mesh.up[&(0, 1)];
        while let Some(message) = mesh.leaders[0].engine.poll(session, mesh.now) {
            let mut bytes = message.encode();
            for _ in 0..rng.random_range(1..4) {
                match rng.random_range(0..3) {
                    0 => bytes.truncate(rng.random_range(0..=bytes.len())),
                    1 if !bytes.is_empty() => {
                        let at = rng.random_range(0..bytes.len());
                        bytes[at] = rng.random();
                    }
                    _ => {
                        let at = rng.random_range(0..=bytes.len());
                        let more = random_bytes(&mut rng, 3);
                        bytes.splice(at..at, more);
                    }
                }
            }
            let engine = &mut mesh.leaders[1].engine;
            let own = ReplicaId::new(2);
            let before = engine.version().get(own);
            if let Ok(message) = Message::decode(&bytes) {
                let _ = engine.handle(session, message, mesh.now);
            }
            mesh.commit(1);
            assert_eq!(mesh.leaders[1].engine.version().get(own), before);
        }
    }
}

/// A row may be lost whose content is in a later one, so that no value shows it.
#[test]
fn a_row_that_is_missing_between_others_is_found_out() {
    let mut mesh = Mesh::new(1, 2, all_to_all(2), Config::default());
    for _ in 0..3 {
        mesh.write(0, "n", Op::Increment(1));
        mesh.commit(0);
    }
    mesh.write(1, "n", Op::Increment(1));
    mesh.converge();
    let rows: Vec<Vec<u8>> = mesh.leaders[0].disk.0.keys().filter(|key| key[0] == b'p').cloned().collect();
    assert_eq!(rows.len(), 4, "a base and three pieces, two of this leader's own total");
    for lost in &rows[..3] {
        let mut disk = mesh.leaders[0].disk.clone();
        disk.0.remove(lost);
        let opened = Engine::recover(Config::default(), identity(1), disk.recovery(Registry::new()));
        assert!(matches!(opened, Err(RecoverError::Corrupt { .. })), "{opened:?}");
    }
}

/// Rows of a real store, damaged: recovery says so, or the damage is in what is not needed; it never panics.
#[test]
fn damaged_rows_are_found_out() {
    let mut rng = StdRng::seed_from_u64(5);
    let mut mesh = Mesh::new(1, 2, all_to_all(2), Config::default());
    for _ in 0..60 {
        mesh.random_write(0);
        mesh.random_write(1);
        mesh.commit(0);
    }
    mesh.converge();
    let sound = mesh.leaders[0].disk.clone();
    let engine = sound.open(1, &Config::default());
    let (print, vector) = (engine.fingerprint(), engine.version().clone());
    let rows: Vec<Vec<u8>> = sound.0.keys().cloned().collect();
    let mut found = 0;
    for _ in 0..2_000 {
        let mut disk = sound.clone();
        let row = &rows[rng.random_range(0..rows.len())];
        if rng.random_range(0..8) == 0 {
            disk.0.remove(row);
        } else {
            let value = disk.0.get_mut(row).unwrap();
            let at = rng.random_range(0..value.len());
            value[at] ^= 1 << rng.random_range(0..8);
        }
        match Engine::recover(Config::default(), identity(1), disk.recovery(Registry::new())) {
            Err(
                RecoverError::Corrupt { .. }
                | RecoverError::Version { .. }
                | RecoverError::OtherLeader { .. },
            ) => found += 1,
            Err(other) => drop(other.to_string()),
            // What a recovered leader shows and claims is right, or it would not have come up.
            Ok(engine) => {
                assert_eq!(engine.fingerprint(), print);
                if engine.version() != &vector {
                    found += 1;
                }
            }
        }
    }
    assert!(found > 1_000, "only {found} of 2,000 were found");
}

#[test]
fn a_store_of_another_leader_is_refused() {
    let mut disk = Disk::default();
    let mut a = disk.open(1, &Config::default());
    disk.commit(a.take_commit().unwrap());
    let other = Identity { name: "eu".into(), ..identity(1) };
    let refused = Engine::recover(Config::default(), other, disk.recovery(Registry::new())).unwrap_err();
    assert_eq!(refused.to_string(), "the data belongs to leader \"leader-1\" of cluster \"test\"");
}

/// Without them two histories under one id could not be told apart, and nothing else would be amiss.
#[test]
fn lost_or_damaged_lineages_are_found_out() {
    let mut mesh = Mesh::new(1, 2, all_to_all(2), Config::default());
    for _ in 0..10 {
        mesh.random_write(0);
        mesh.random_write(1);
    }
    mesh.converge();
    let sound = mesh.leaders[0].disk.clone();
    let row = b"lineages".to_vec();
    let whole = sound.0[&row].clone();
    let recover = |disk: &Disk| {
        Engine::recover(Config::default(), identity(1), disk.recovery(Registry::new())).map(drop)
    };
    let refused = |row_is: Option<Vec<u8>>| {
        let mut disk = sound.clone();
        disk.0.remove(&row);
        disk.0.extend(row_is.map(|value| (row.clone(), value)));
        assert!(matches!(recover(&disk), Err(RecoverError::Corrupt { .. })));
    };
    refused(None);
    for (at, bit) in (0..whole.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut value = whole.clone();
        value[at] ^= 1 << bit;
        refused(Some(value));
    }
    assert_eq!(recover(&sound), Ok(()));
}
