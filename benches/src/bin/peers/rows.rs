//! Version vectors and counters: one number for each of n replicas.

use crate::{
    contest::{Contestant, Merge, Names, names},
    measure::{Effort, live_bytes, mix},
    table::{Results, Row, Unit},
};

/// A type that holds one number for each replica.
pub(crate) trait PerReplica: Contestant {
    /// The state in which each replica, numbered from 0, has this count; with other names for other salts.
    fn build(salt: u64, rows: &[(u64, u64)]) -> Self;
}

/// A replica's name where names are numbers: never 0, and in no order.
pub(crate) fn name(salt: u64, k: u64) -> u64 {
    mix(salt << 32 | k)
}

pub(crate) const SIZES: [u64; 4] = [3, 16, 256, 4096];
pub(crate) const HALF: Names = names!("half newer");
pub(crate) const ONE: Names = names!("d = 1");
pub(crate) const EQUAL: Names = names!("equal");
pub(crate) const NEW: Names = names!("a new replica");
pub(crate) const MEMORY: &str = "live memory";

/// What each PN-Counter counts down for each replica.
pub(crate) const DOWN: u64 = 5;

/// Times all merges of one side once. `down` is what each replica's number is lowered by in the digest.
pub(crate) fn run<C: PerReplica>(kind: &'static str, down: u64, effort: Effort, results: &mut Results) {
    for n in SIZES {
        if !results.wants_some(kind, n, C::SIDE) {
            continue;
        }
        let base: Vec<(u64, u64)> = (0..n).map(|k| (k, 10 + k % 3)).collect();
        let newer =
            |odd: u64| base.iter().map(|(k, v)| (*k, v + u64::from(k % 2 == odd))).collect::<Vec<_>>();
        let mut one = base.clone();
        one[base.len() / 2].1 += 1;
        let mut more = base.clone();
        more.push((n, 10 + n % 3));

        for (names, left, right) in [
            (HALF, newer(0), newer(1)),
            (ONE, base.clone(), one),
            (EQUAL, base.clone(), base.clone()),
            (NEW, base, more),
        ] {
            if !names.wanted(kind, n, C::SIDE, results) {
                continue;
            }
            let expected = join(&left, &right).iter().map(|v| i128::from(v - down)).sum::<i128>();
            let salts = (16_384 / n).clamp(4, 1_024);
            let pairs: Vec<(C, C)> =
                (0..salts).map(|salt| (C::build(salt, &left), C::build(salt, &right))).collect();
            Merge {
                kind,
                names,
                n,
                pairs: &pairs,
                expected: expected.cast_unsigned(),
                is_noop: names.calls == EQUAL.calls,
                most: usize::try_from((20_000 / n).min(1_024)).expect("small"),
            }
            .run(effort, results);
        }
        let rows: Vec<(u64, u64)> = (0..n).map(|k| (k, 10)).collect();
        let (bytes, _built) = live_bytes(|| C::build(0, &rows));
        let row = Row { kind, work: MEMORY, n, unit: Unit::Bytes };
        results.add(row, C::SIDE, bytes + size_of::<C>() as f64);
    }
}

/// The greater number of each replica, by the definition.
fn join(left: &[(u64, u64)], right: &[(u64, u64)]) -> Vec<u64> {
    let all = left.len().max(right.len());
    let value = |rows: &[(u64, u64)], k: usize| rows.get(k).map_or(0, |row| row.1);
    (0..all).map(|k| value(left, k).max(value(right, k))).collect()
}
