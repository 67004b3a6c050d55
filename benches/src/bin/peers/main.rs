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
mod summary;
mod table;
mod version_vector;

use clap::Parser;
use measure::{Effort, overhead};
use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::{alloc::System, process::ExitCode, sync::OnceLock, time::Instant};
use table::Results;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Merges of every type against those of other crates.
#[derive(Parser)]
// Each is a flag.
#[expect(clippy::struct_excessive_bools)]
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
    /// Print one line for each of the main workloads, and the goals, instead of all tables.
    #[arg(long, conflicts_with = "json")]
    summary: bool,
    /// Run only what belongs to this type.
    #[arg(long, value_name = "NAME", value_parser = NAMES)]
    only: Option<String>,
}

const NAMES: [&str; 5] =
    [version_vector::KIND, g_counter::KIND, pn_counter::KIND, lww_register::KIND, or_set::KIND];

/// Takes one sample, itself a median, of every cell of a type.
type Round = fn(Effort, &mut Results);

/// Says on stderr what is measured from now on, after how many seconds.
fn section(name: &str) {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    eprintln!("{:6.1} s  {name}", BEGUN.get_or_init(Instant::now).elapsed().as_secs_f64());
}

fn main() -> ExitCode {
    let options = Options::parse();
    let begun = Instant::now();
    let results = measure(&options, begun);
    let goals = goals::judge(&results);
    let seconds = begun.elapsed().as_secs_f64();
    let count = overhead().count;
    if options.json {
        let tables = results.json();
        let goals = goals::json(&goals);
        println!("{:#}", json!({ "seconds": seconds, "count_ns": count, "rows": tables, "goals": goals }));
    } else {
        if options.summary {
            println!("{}", summary::markdown(&results));
        } else {
            for kind in results.kinds() {
                println!("{}", results.markdown(kind));
            }
        }
        println!("{}", goals::markdown(&goals));
        println!("{seconds:.0} s. Counting an allocator call costs {count:.1} ns, which is subtracted.");
    }
    let all_measured = options.only.is_none();
    let failed = goals.iter().any(|goal| !goal.passes(all_measured));
    if options.check && failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// What is close to a bound is measured again until so many seconds have gone.
const QUICK_LIMIT: f64 = 44.0;
const LIMIT: f64 = 900.0;
/// and at most so often.
const AGAIN: u32 = 8;

fn measure(options: &Options, begun: Instant) -> Results {
    let mut results = Results::default();
    let wanted = |name: &str| options.only.as_deref().is_none_or(|only| only == name);
    let (effort, large_rounds, limit) =
        if options.quick { (Effort::QUICK, 1, QUICK_LIMIT) } else { (Effort::FULL, 3, LIMIT) };
    // How often each is measured.
    let types: [(&str, u32, Round); 6] = [
        (version_vector::KIND, 3, version_vector::round),
        (g_counter::KIND, 3, g_counter::round),
        (pn_counter::KIND, 3, pn_counter::round),
        (lww_register::KIND, 3, lww_register::round),
        (or_set::KIND, 3, or_set::round),
        (or_set::KIND, if options.quick { 2 } else { 3 }, or_set::other_round),
    ];
    // What a call of the clock and of the counting allocator costs is found out before anything else.
    overhead();
    let round = |turn: u32, results: &mut Results| {
        for (name, _, round) in types.iter().filter(|(name, times, _)| wanted(name) && turn < *times) {
            if !results.is_focused() {
                section(name);
            }
            round(effort, results);
        }
    };
    let large_round = |results: &mut Results| {
        if wanted(or_set::KIND) {
            or_set::large_round(options.quick, effort, results);
        }
    };
    (0..3).for_each(|turn| round(turn, &mut results));
    (0..large_rounds).for_each(|_| large_round(&mut results));
    if wanted(or_set::KIND) {
        or_set::count(options.quick, &mut results);
    }
    let mut longest: f64 = 0.0;
    for _ in 0..AGAIN {
        let close = goals::close(&goals::judge(&results), &results);
        let start = begun.elapsed().as_secs_f64();
        if close.is_empty() || start + longest > limit {
            break;
        }
        section(&format!("{} times that are close to a bound, again", close.len()));
        results.focus(close);
        round(0, &mut results);
        large_round(&mut results);
        longest = longest.max(begun.elapsed().as_secs_f64() - start);
    }
    section("done");
    results
}
