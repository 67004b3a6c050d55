//! Runs every workload side by side with other crates and judges the goals.
//!
//! `cargo run --release -p benches --bin peers -- --quick --check`
//!
//! Times are CPU time of the thread, medians of samples that are taken in turns; bytes are those asked of the
//! allocator. A side that gives another result than the definition of the workload ends the program.

// Sizes and times are far below 2^52.
#![allow(clippy::cast_precision_loss)]

mod contest;
mod g_counter;
mod goals;
mod lww_register;
mod measure;
mod or_set;
mod pn_counter;
mod rows;
mod table;
mod version_vector;

use clap::Parser;
use measure::{Effort, overhead};
use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::{alloc::System, process::ExitCode, time::Instant};
use table::Results;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Merges of every type against those of other crates.
#[derive(Parser)]
struct Options {
    /// End within 50 seconds: fewer samples, sparse sets of 10^5, churn of 10^6 pairs.
    #[arg(long)]
    quick: bool,
    /// Exit with 1 if any goal falls short.
    #[arg(long)]
    check: bool,
    /// Print JSON instead of Markdown.
    #[arg(long)]
    json: bool,
    /// Run only what belongs to this type.
    #[arg(long, value_name = "NAME", value_parser = NAMES)]
    only: Option<String>,
}

const NAMES: [&str; 5] =
    [version_vector::KIND, g_counter::KIND, pn_counter::KIND, lww_register::KIND, or_set::KIND];

/// Takes one sample, itself a median, of every cell of a type.
type Round = fn(Effort, &mut Results);

fn main() -> ExitCode {
    let options = Options::parse();
    let begun = Instant::now();
    let results = measure(&options);
    let goals = goals::judge(&results);
    let seconds = begun.elapsed().as_secs_f64();
    let count = overhead().count;
    if options.json {
        let tables = results.json();
        let goals = goals::json(&goals);
        println!("{:#}", json!({ "seconds": seconds, "count_ns": count, "rows": tables, "goals": goals }));
    } else {
        for kind in results.kinds() {
            println!("{}", results.markdown(kind));
        }
        println!("{}", goals::markdown(&goals));
        println!("{seconds:.0} s. Counting an allocator call costs {count:.1} ns, which is subtracted.");
    }
    let all_measured = options.only.is_none();
    let failed = goals.iter().any(|goal| !goal.passes(all_measured));
    if options.check && failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn measure(options: &Options) -> Results {
    let mut results = Results::default();
    let wanted = |name: &str| options.only.as_deref().is_none_or(|only| only == name);
    let (effort, rounds, large_rounds) =
        if options.quick { (Effort::QUICK, 3, 1) } else { (Effort::FULL, 3, 3) };
    let types: [(&str, Round); 5] = [
        (version_vector::KIND, version_vector::round),
        (g_counter::KIND, g_counter::round),
        (pn_counter::KIND, pn_counter::round),
        (lww_register::KIND, lww_register::round),
        (or_set::KIND, or_set::round),
    ];
    // What a call of the clock and of the counting allocator costs is found out before anything else.
    overhead();
    for _ in 0..rounds {
        for (_, round) in types.iter().filter(|(name, _)| wanted(name)) {
            round(effort, &mut results);
        }
    }
    for _ in 0..large_rounds {
        if wanted(or_set::KIND) {
            or_set::large_round(options.quick, effort, &mut results);
        }
    }
    results
}
