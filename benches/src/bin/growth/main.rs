//! Draws how the cost of merging OR-Sets grows: with what changed, and with what is there.
//!
//! `cargo run --release -p benches --bin growth -- --check`
//!
//! Both sides have a set of n elements in common, and each has made d updates since, half of them adds and half
//! removals. One is merged into a copy of the other, by reference. The copy has just been made: of a large set, next to
//! nothing that the merge touches is in the caches.

// Numbers of elements are far below 2^52.
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

mod chart;

use benches::{diverged, median, or_set, thread_time};
use chart::{Chart, Line};
use clap::Parser;
use crdt_core::Merge as _;
use or_set::OrSet;
use std::{
    collections::BTreeMap, error::Error, fmt::Write as _, hint::black_box, path::PathBuf, process::ExitCode,
};

/// What merging OR-Sets costs, by size and by changes.
#[derive(Parser)]
struct Options {
    /// Where to put the pictures.
    #[arg(long, value_name = "DIRECTORY", default_value = "docs")]
    out: PathBuf,
    /// Exit with 1 if a goal falls short.
    #[arg(long)]
    check: bool,
}

const SIZES: [u64; 6] = [100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];
const CHANGES: [u64; 12] = [0, 1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000];
/// The lines of the picture by changes,
const DRAWN_SIZES: [u64; 4] = [100, 10_000, 1_000_000, 10_000_000];
/// and of that by size.
const DRAWN_CHANGES: [u64; 4] = [0, 1, 100, 10_000];

/// How many times longer a merge may take from the smallest to the largest size: cache misses, and nothing else.
const BOUND: f64 = 50.0;

/// Nanoseconds by size and changes.
type Times = BTreeMap<(u64, u64), f64>;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let options = Options::parse();
    let times = measure();
    by_changes(&times).draw(&options.out.join("growth-by-changes.svg"))?;
    by_size(&times).draw(&options.out.join("growth-by-size.svg"))?;
    println!("{}", markdown(&times));
    let holds = judge(&times);
    Ok(if options.check && !holds { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn measure() -> Times {
    let mut times = Times::new();
    for n in SIZES {
        eprintln!("n = {n}");
        let base = or_set(n);
        for d in CHANGES.into_iter().filter(|d| 2 * d <= n) {
            times.insert((n, d), merge(&diverged(&base, d)));
        }
    }
    times
}

/// The median time of merging the right into a copy of the left.
fn merge((left, right): &(OrSet<u64>, OrSet<u64>)) -> f64 {
    // A sample is to be long for the clock, and the copies of all sizes take as much memory.
    let copies = (20_000 / left.len()).max(1);
    let samples = if left.len() < 1_000_000 { 31 } else { 9 };
    let sample = || {
        let mut states = vec![left.clone(); copies];
        // Of a large set one merge may be shorter than asking for the time, and the first to ask finds that code
        // evicted: it is asked before, which also says how long that takes.
        let asked = [thread_time(), thread_time(), thread_time()];
        for state in &mut states {
            state.merge(black_box(right));
        }
        let took = thread_time() - asked[2];
        black_box(&states);
        (took - (asked[2] - asked[1])).max(1.0) / states.len() as f64
    };
    median(&mut (0..samples).map(|_| sample()).collect::<Vec<_>>())
}

fn by_changes(times: &Times) -> Chart {
    let line = |n: u64| Line {
        name: format!("n = {}", power(n)),
        points: times.iter().filter(|((m, d), _)| *m == n && *d > 0).map(|((_, d), t)| (*d, *t)).collect(),
    };
    Chart {
        title: "Merging two OR-Sets of n elements",
        across: "d: updates on each side since they were equal",
        lines: DRAWN_SIZES.map(line).into(),
    }
}

fn by_size(times: &Times) -> Chart {
    let line = |d: u64| Line {
        name: if d == 0 { "identical".into() } else { format!("d = {}", power(d)) },
        points: times.iter().filter(|((_, e), _)| *e == d).map(|((n, _), t)| (*n, *t)).collect(),
    };
    Chart {
        title: "Merging two OR-Sets after d updates on each side",
        across: "n: elements in the set",
        lines: DRAWN_CHANGES.map(line).into(),
    }
}

/// The same numbers as a table.
fn markdown(times: &Times) -> String {
    let mut text = format!("| d | {} |\n", SIZES.map(|n| format!("n = {}", power(n))).join(" | "));
    _ = writeln!(text, "|--:|{}", "--:|".repeat(SIZES.len()));
    for d in CHANGES {
        let cells = SIZES.map(|n| times.get(&(n, d)).map_or_else(|| "-".into(), |time| duration(*time)));
        _ = writeln!(text, "| {d} | {} |", cells.join(" | "));
    }
    text
}

/// Prints how the time grows with the size, and says whether that is within the bound.
fn judge(times: &Times) -> bool {
    let mut all = true;
    for d in [1, 100] {
        let mut sizes = times.iter().filter(|((_, e), _)| *e == d);
        let (Some(((from, _), least)), Some(((to, _), most))) = (sizes.next(), sizes.next_back()) else {
            continue;
        };
        let (ratio, holds) = (most / least, most / least <= BOUND);
        all &= holds;
        let verdict = if holds { "holds" } else { "falls short" };
        println!(
            "d = {d}: {ratio:.1}x from n = {} to {}, at most {BOUND:.0}x: {verdict}",
            power(*from),
            power(*to)
        );
    }
    all
}

/// A number as a power of ten, if it is one of the larger.
fn power(number: u64) -> String {
    let exponent = number.max(1).ilog10();
    match exponent {
        0 | 1 => number.to_string(),
        _ if 10_u64.pow(exponent) == number => {
            format!("10{}", ['²', '³', '⁴', '⁵', '⁶', '⁷'][exponent as usize - 2])
        }
        _ => number.to_string(),
    }
}

/// Nanoseconds in a readable unit.
fn duration(nanoseconds: f64) -> String {
    let (value, unit) = match nanoseconds {
        ns if ns < 1e3 => (ns, "ns"),
        ns if ns < 1e6 => (ns / 1e3, "µs"),
        ns if ns < 1e9 => (ns / 1e6, "ms"),
        ns => (ns / 1e9, "s"),
    };
    match value {
        value if value < 10.0 => format!("{value:.2} {unit}"),
        value if value < 100.0 => format!("{value:.1} {unit}"),
        value => format!("{value:.0} {unit}"),
    }
}
