//! What the benchmarks share: two replicas of one history that have diverged by a known number of updates, and a clock.

use crdt_core::{Dotted, Merge, Replica, ReplicaId};
use g_counter::GCounter;
use lww_register::{HybridTime, LwwRegister};
use or_set::OrSet;
use pn_counter::PnCounter;
use rustix::time::{ClockId, clock_gettime};
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

/// An OR-Set of the first `n` elements, added by three writers.
///
/// # Panics
///
/// Never: the dots are far from running out.
pub fn or_set(n: u64) -> OrSet<u64> {
    let mut set = joined(3, |k, replica: &mut Replica<OrSet<u64>>| {
        let part = (k..n).step_by(3).map(mix);
        replica.update(|set, tick| set.extend(tick, part)).expect("few");
    });
    // As after a while in a mesh, where what everyone has seen is forgotten.
    set.forget_deaths(&set.version().clone());
    set
}

/// Two copies of such a set; on each side `changed` more updates, half of them adds and half removals, spread over the
/// set.
///
/// # Panics
///
/// If more is to be removed than there is: `changed` is at most `n`.
pub fn diverged(base: &OrSet<u64>, changed: u64) -> (OrSet<u64>, OrSet<u64>) {
    let n = base.len() as u64;
    assert!(changed <= n, "each element is removed once");
    let stride = n / changed.max(1);
    let side = |k: u64| {
        let mut replica = Replica::new(id(10 + k), base.clone());
        for change in 0..changed {
            replica
                .update(|set, tick| match change % 2 {
                    0 => set.add(tick, mix(n + 2 * change + k)).map(drop),
                    _ => set.remove(tick, &mix((change - 1 + k) * stride)).map(drop),
                })
                .expect("few");
        }
        replica.into_state()
    };
    (side(0), side(1))
}

/// A bijection that makes of consecutive numbers what looks random (the finaliser of `SplitMix64`).
pub fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// CPU time of this thread in nanoseconds.
pub fn thread_time() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    // The whole is far below 2^52.
    #[allow(clippy::cast_precision_loss)]
    let (seconds, nanoseconds) = (now.tv_sec as f64, now.tv_nsec as f64);
    seconds * 1e9 + nanoseconds
}

/// The middle value; the mean of the two in the middle of an even number. NaN for none.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    match (values.len(), values.len() / 2) {
        (0, _) => f64::NAN,
        (n, middle) if n % 2 == 1 => values[middle],
        (_, middle) => f64::midpoint(values[middle - 1], values[middle]),
    }
}
