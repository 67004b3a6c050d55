//! `cargo bench -p benches`: what each type costs, for comparing this workspace with itself.
//!
//! Against other crates: `cargo run --release -p benches --bin peers`.

use benches::{diverged, g_counters, mix, or_set, pn_counters, registers, version_vectors};
use crdt_core::{Delta, Merge, Replica, ReplicaId, wire::Wire};
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use or_set::OrSet;
use std::{fmt::Display, hint::black_box, time::Duration};

/// Merges `theirs` into a fresh copy of `ours` each time; the copy is not timed.
fn merge<S: Merge + Clone>(c: &mut Criterion, group: &str, parameter: impl Display, pair: &(S, S)) {
    c.benchmark_group(group).bench_function(BenchmarkId::from_parameter(parameter), |b| {
        b.iter_batched_ref(|| pair.0.clone(), |ours| ours.merge(black_box(&pair.1)), BatchSize::LargeInput);
    });
}

/// Merges what brings nothing: the state can stay.
fn merge_nothing<S: Merge + Clone>(c: &mut Criterion, group: &str, parameter: impl Display, state: &S) {
    let (mut ours, theirs) = (state.clone(), state.clone());
    c.benchmark_group(group).bench_function(BenchmarkId::from_parameter(parameter), |b| {
        b.iter(|| ours.merge(black_box(&theirs)));
    });
}

/// Makes the delta that brings `ours` up to `theirs`; and applies it to a fresh copy of `ours` each time.
fn delta<S: Delta + Clone>(c: &mut Criterion, kind: &str, parameter: impl Display, pair: &(S, S)) {
    let (ours, theirs) = pair;
    let mut group = c.benchmark_group(format!("{kind}/delta"));
    group.bench_function(BenchmarkId::new("make", &parameter), |b| {
        b.iter(|| black_box(theirs).delta_since(black_box(ours.version())));
    });
    let delta = theirs.delta_since(ours.version());
    group.bench_function(BenchmarkId::new("apply", &parameter), |b| {
        b.iter_batched_ref(
            || ours.clone(),
            |ours| ours.apply(black_box(&delta)).expect("made for it"),
            BatchSize::LargeInput,
        );
    });
}

fn rows(c: &mut Criterion) {
    for n in [3, 16, 256, 4096] {
        merge(c, "version-vector/merge", n, &version_vectors(n));
        merge(c, "g-counter/merge", n, &g_counters(n));
        merge(c, "pn-counter/merge", n, &pn_counters(n));
    }
    delta(c, "g-counter", 256, &g_counters(256));
    delta(c, "pn-counter", 256, &pn_counters(256));
}

fn register(c: &mut Criterion) {
    let (older, newer) = registers();
    delta(c, "lww-register", "newer", &(older.clone(), newer.clone()));
    merge(c, "lww-register/merge", "newer", &(older.clone(), newer.clone()));
    merge(c, "lww-register/merge", "older", &(newer, older));
}

/// Larger sets take longer to copy than to merge: they are for the programs `peers` and `growth`.
fn set_merges(c: &mut Criterion) {
    for n in [100, 10_000] {
        let base = or_set(n);
        merge_nothing(c, "or-set/merge identical", n, &base);
        merge(c, "or-set/merge d = 1", n, &diverged(&base, 1));
        if n > 100 {
            let sides = diverged(&base, 100);
            merge(c, "or-set/merge d = 100", n, &sides);
            delta(c, "or-set", n, &sides);
        }
    }
}

fn set_operations(c: &mut Criterion) {
    for n in [100, 10_000] {
        let base = or_set(n);
        let mut group = c.benchmark_group("or-set");
        let writer = || Replica::new(ReplicaId::new(99), base.clone());
        group.bench_function(BenchmarkId::new("add 100", n), |b| {
            b.iter_batched_ref(
                writer,
                |replica| {
                    for k in n..n + 100 {
                        replica.update(|set, tick| set.add(tick, mix(k))).expect("few");
                    }
                },
                BatchSize::LargeInput,
            );
        });
        group.bench_function(BenchmarkId::new("extend 100", n), |b| {
            b.iter_batched_ref(
                writer,
                |replica| {
                    replica.update(|set, tick| set.extend(tick, (n..n + 100).map(mix))).expect("few");
                },
                BatchSize::LargeInput,
            );
        });
        let asked: Vec<u64> = (0..100).map(|k| mix(mix(k) % (2 * n))).collect();
        group.bench_function(BenchmarkId::new("contains 100", n), |b| {
            b.iter(|| asked.iter().filter(|element| base.contains(black_box(*element))).count());
        });
        group.bench_function(BenchmarkId::new("iterate", n), |b| {
            b.iter(|| black_box(&base).iter().fold(0_u64, |sum, element| sum.wrapping_add(*element)));
        });
        group.bench_function(BenchmarkId::new("clone", n), |b| b.iter(|| black_box(&base).clone()));
    }
}

fn set_wire(c: &mut Criterion) {
    for n in [100, 10_000] {
        let base = or_set(n);
        let mut group = c.benchmark_group("or-set");
        let bytes = base.to_bytes();
        group.bench_function(BenchmarkId::new("encode", n), |b| b.iter(|| black_box(&base).to_bytes()));
        group.bench_function(BenchmarkId::new("decode", n), |b| {
            b.iter(|| OrSet::<u64>::from_bytes(black_box(&bytes)));
        });
        let bytes = postcard::to_allocvec(&base).expect("it is serialisable");
        group.bench_function(BenchmarkId::new("encode (postcard)", n), |b| {
            b.iter(|| postcard::to_allocvec(black_box(&base)));
        });
        group.bench_function(BenchmarkId::new("decode (postcard)", n), |b| {
            b.iter(|| postcard::from_bytes::<OrSet<u64>>(black_box(&bytes)));
        });
    }
}

criterion_group! {
    name = all;
    config = Criterion::default()
        .sample_size(20)
        // A hundred thousand would take longer than measuring.
        .nresamples(5_000)
        .without_plots()
        // Copies are not timed, but take several times as long.
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(500));
    targets = rows, register, set_merges, set_operations, set_wire
}
criterion_main!(all);
