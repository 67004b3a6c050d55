//! Four ways of storing an OR-Set, side by side: what the decision `docs/adr/0007-or-set-storage.md` rests on.
//!
//! `cargo run --release -p benches --bin representations`
//!
//! - *chunks* is the crate `or-set`.
//! - *birth logs* has a sorted log of adds for each replica, and a hash table of positions in them.
//! - *map* is a hash map from elements to their dots, merged as in the literature: by comparing both maps.
//! - *map and logs* adds to it, for each replica, a log that finds what is new to the other side.
//!
//! The last three are prototypes that do what is timed here and no more; whoever has logs remembers all deaths.
//! All get the same dots, and must have the same elements after random histories and after each workload. Times are
//! CPU time of the thread, medians of samples that are taken in turns; bytes are those asked of the allocator.

// Sizes and times are far below 2^52, and hashes and random numbers are cut on purpose.
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]

mod birth_logs;
mod check;
mod chunks;
mod contest;
mod logs;
mod map;
mod map_logs;
#[path = "../peers/measure.rs"]
mod measure;
mod representation;
mod table;

use birth_logs::BirthLogs;
use chunks::Chunks;
use clap::Parser;
use contest::{Bench, Case, Contestant, Expected, LARGE, Work};
use map::Map;
use map_logs::MapLogs;
use measure::{Effort, overhead};
use representation::Element;
use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::{alloc::System, hint::black_box, time::Instant};
use table::Results;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Ways of storing an OR-Set, side by side.
#[derive(Parser)]
struct Options {
    /// End within 20 seconds: fewer samples, and few workloads on sets of 10^6.
    #[arg(long)]
    quick: bool,
    /// Print JSON instead of Markdown.
    #[arg(long)]
    json: bool,
}

fn main() {
    let options = Options::parse();
    let begun = Instant::now();
    let results = measure(options.quick);
    let seconds = begun.elapsed().as_secs_f64();
    if options.json {
        println!("{:#}", json!({ "seconds": seconds, "count_ns": overhead().count, "rows": results.json() }));
    } else {
        println!("{}\n{seconds:.0} s.", results.markdown());
    }
}

/// One axis at a time is moved away from few replicas, numbers that follow each other, and clones.
fn cases(quick: bool) -> Vec<Case> {
    let base = Case { n: 100, replicas: 3, is_sparse: false, is_text: false, is_independent: false };
    let mut cases = vec![base, Case { replicas: 256, ..base }];
    for n in if quick { vec![10_000] } else { vec![10_000, LARGE] } {
        let base = Case { n, ..base };
        cases.push(base);
        if n < LARGE {
            cases.push(Case { replicas: 16, ..base });
        }
        cases.extend([
            Case { replicas: 256, ..base },
            Case { is_sparse: true, ..base },
            Case { is_text: true, ..base },
            Case { is_independent: true, ..base },
        ]);
    }
    if quick {
        cases.push(Case { n: LARGE, ..base });
    }
    cases
}

fn measure(quick: bool) -> Results {
    overhead();
    settle_allocator();
    check::histories::<u64>();
    check::histories::<String>();
    let mut results = Results::default();
    let effort = if quick { Effort::QUICK } else { Effort::FULL };
    for case in cases(quick) {
        let mut contestants =
            if case.is_text { contestants::<String>(case) } else { contestants::<u64>(case) };
        let rounds = if quick || case.n >= LARGE { 3 } else { 5 };
        for round in 0..rounds {
            for work in
                Work::ALL.into_iter().filter(|work| work.applies(case) && (round == 0 || work.is_timed()))
            {
                for contestant in &mut contestants {
                    results.add(work, case, contestant.name(), contestant.sample(work, effort));
                }
            }
            // Nobody always comes first.
            contestants.rotate_left(1);
        }
    }
    results
}

/// Frees a large vector.
///
/// glibc then keeps what is freed up to this size, instead of giving it back to the system. Until that has happened,
/// by chance, sooner or later, whoever stores a set in one piece pays for new pages with each copy.
fn settle_allocator() {
    drop(black_box(vec![1_u8; 31 << 20]));
}

fn contestants<E: Element + 'static>(case: Case) -> Vec<Box<dyn Contestant>> {
    let expected = Expected::new::<E>(case);
    vec![
        Box::new(Bench::<E, Chunks<E>>::new(case, expected)),
        Box::new(Bench::<E, BirthLogs<E>>::new(case, expected)),
        Box::new(Bench::<E, Map<E>>::new(case, expected)),
        Box::new(Bench::<E, MapLogs<E>>::new(case, expected)),
    ]
}
