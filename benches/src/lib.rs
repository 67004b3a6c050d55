//! States for the benchmarks: two replicas of one history that have diverged by a known number of updates.

use crdt_core::{Dotted, Merge, Replica, ReplicaId};
use g_counter::GCounter;
use lww_register::{HybridTime, LwwRegister};
use or_set::OrSet;
use pn_counter::PnCounter;
use version_vector::VersionVector;

fn id(n: u64) -> ReplicaId {
    ReplicaId::new(n + 1)
}

/// A replica for every writer in turn, joined into one state.
fn joined<S: Dotted + Merge + Clone + Default>(
    writers: u64,
    mut update: impl FnMut(u64, &mut Replica<S>),
) -> S {
    let mut all = S::default();
    for n in 0..writers {
        let mut writer = Replica::new(id(n), S::default());
        update(n, &mut writer);
        all.merge_owned(writer.into_state());
    }
    all
}

/// Two version vectors over the same `n` replicas, each newer in half of the entries.
pub fn version_vectors(n: u64) -> (VersionVector, VersionVector) {
    let side = |odd: u64| (0..n).map(|k| (id(k), 10 + u64::from(k % 2 == odd))).collect();
    (side(0), side(1))
}

/// Two G-Counters over the same `n` replicas, each newer in half of the rows.
///
/// # Panics
///
/// Never: the counters are far from overflowing.
pub fn g_counters(n: u64) -> (GCounter, GCounter) {
    let side = |odd: u64| {
        joined(n, |k, replica: &mut Replica<GCounter>| {
            replica
                .update(|counter, tick| counter.increment(tick, 10 + u64::from(k % 2 == odd)))
                .expect("small");
        })
    };
    (side(0), side(1))
}

/// Two PN-Counters over the same `n` replicas, each newer in half of the rows.
///
/// # Panics
///
/// Never: the counters are far from overflowing.
pub fn pn_counters(n: u64) -> (PnCounter, PnCounter) {
    let side = |odd: u64| {
        joined(n, |k, replica: &mut Replica<PnCounter>| {
            replica
                .update(|counter, tick| counter.increment(tick, 10 + u64::from(k % 2 == odd)))
                .expect("small");
            replica.update(|counter, tick| counter.decrement(tick, 5)).expect("small");
        })
    };
    (side(0), side(1))
}

/// An older and a newer register with values of 24 bytes.
///
/// # Panics
///
/// Never: the time is far from its end.
pub fn registers() -> (LwwRegister<String>, LwwRegister<String>) {
    let written = |n: u64| {
        let mut replica = Replica::new(id(n), LwwRegister::new());
        let value = format!("the value of writer {n:>4}");
        replica
            .update(|register, tick| register.set(tick, HybridTime::from_millis(n + 1), value))
            .expect("early");
        replica.into_state()
    };
    (written(0), written(1))
}

/// Two OR-Sets with `n` common elements from three writers; on each side `changed` more updates, half of them adds and
/// half removals.
///
/// # Panics
///
/// Never: the dots are far from running out.
pub fn or_sets(n: u64, changed: u64) -> (OrSet<u64>, OrSet<u64>) {
    let mut base = joined(3, |k, replica: &mut Replica<OrSet<u64>>| {
        replica.update(|set, tick| set.extend(tick, (0..n).filter(|e| e % 3 == k))).expect("few");
    });
    base.forget_deaths(&base.version().clone());
    let side = |k: u64| {
        let mut replica = Replica::new(id(10 + k), base.clone());
        for change in 0..changed {
            replica
                .update(|set, tick| match change % 2 {
                    0 => set.add(tick, n + 2 * change + k).map(drop),
                    _ => set.remove(tick, &(change * 2 + k)).map(drop),
                })
                .expect("few");
        }
        replica.into_state()
    };
    (side(0), side(1))
}
