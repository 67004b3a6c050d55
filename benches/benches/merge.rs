//! `cargo bench -p benches`: what merging costs, by type and by how far two replicas have diverged.

use benches::{g_counters, or_sets, pn_counters, registers, version_vectors};
use crdt_core::{Delta, Merge};
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use std::hint::black_box;

/// Merges `theirs` into a fresh copy of `ours` each time; the copy is not timed.
fn merge<S: Merge + Clone>(c: &mut Criterion, group: &str, parameter: impl std::fmt::Display, pair: &(S, S)) {
    let mut group = c.benchmark_group(group);
    group.bench_function(BenchmarkId::from_parameter(parameter), |b| {
        b.iter_batched_ref(|| pair.0.clone(), |ours| ours.merge(black_box(&pair.1)), BatchSize::LargeInput);
    });
    group.finish();
}

fn rows(c: &mut Criterion) {
    for n in [3, 16, 256, 4096] {
        merge(c, "version-vector/merge", n, &version_vectors(n));
        merge(c, "g-counter/merge", n, &g_counters(n));
        merge(c, "pn-counter/merge", n, &pn_counters(n));
    }
}

fn register(c: &mut Criterion) {
    let (older, newer) = registers();
    merge(c, "lww-register/merge", "newer", &(older.clone(), newer.clone()));
    merge(c, "lww-register/merge", "older", &(newer, older));
}

fn set(c: &mut Criterion) {
    for n in [100, 10_000, 1_000_000] {
        let (same, _) = or_sets(n, 0);
        merge(c, "or-set/merge identical", n, &(same.clone(), same));
        let sides = or_sets(n, 100.min(n / 4));
        merge(c, "or-set/merge diverged by 100", n, &sides);
        let mut group = c.benchmark_group("or-set/delta of 100");
        group.bench_function(BenchmarkId::from_parameter(n), |b| {
            b.iter(|| black_box(&sides.1).delta_since(black_box(sides.0.version())));
        });
        group.finish();
    }
}

criterion_group! {
    name = merges;
    config = Criterion::default().sample_size(20);
    targets = rows, register, set
}
criterion_main!(merges);
