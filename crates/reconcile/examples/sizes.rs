//! What an exchange costs: `cargo run --release -p reconcile --example sizes`.
//!
//! What both sides have cancels out of every symbol, so the sizes of most exchanges are found from the differences
//! alone; a few exchanges are between sets of a million, must come to the same sizes, and are timed. Decoding is
//! timed in the others, since there it is not lost in this side's own symbols, which take as long as the other
//! side's.

#![allow(clippy::cast_precision_loss, reason = "all numbers are small")]

use reconcile::{MAX_SYMBOLS, Progress, Reconciliation, Request, Seed, Snapshot, Wire};
use std::{
    process,
    time::{Duration, Instant},
};

const COMMON: u64 = 1_000_000;
const SEEDS: u64 = 200;
const TIMED: u64 = 5;

/// One exchange.
struct Run {
    /// Request, answer, and what follows until the difference is known.
    bytes: usize,
    /// What is then asked for.
    wanted: usize,
    round_trips: usize,
    /// The other side's snapshot and symbols.
    encode: Duration,
    /// This side's symbols, and decoding.
    decode: Duration,
}

fn main() {
    println!("{COMMON} items on both sides, {SEEDS} exchanges each, sizes in bytes; median and p99\n");
    println!(
        "{:>8} {:>15} {:>15} {:>8} {:>15} {:>10} {:>10}",
        "differ", "symbols needed", "bytes", "wanted", "bytes/differ", "encode ms", "decode ms"
    );
    let mut falls_short = false;
    for differences in [1, 10, 100, 1_000, 10_000] {
        let mut needed: Vec<u32> = (0..SEEDS).map(|seed| symbols_needed(seed, differences)).collect();
        let mut runs: Vec<Run> = (0..SEEDS).map(|seed| exchange(seed, differences, 0)).collect();
        let mut timed: Vec<Run> = (0..TIMED).map(|seed| exchange(seed, differences, COMMON)).collect();
        for (alone, among_others) in runs.iter().zip(&timed) {
            assert_eq!(alone.bytes, among_others.bytes, "what both have does not count");
        }
        let later = runs.iter().filter(|run| run.round_trips > 1).count();
        needed.sort_unstable();
        timed.sort_unstable_by_key(|run| run.encode);
        let encode = timed[timed.len() / 2].encode;
        runs.sort_unstable_by_key(|run| run.decode);
        let decode = runs[runs.len() / 2].decode;
        runs.sort_unstable_by_key(|run| run.bytes);
        let (median, p99) = (&runs[runs.len() / 2], &runs[runs.len() * 99 / 100]);
        let each = |number: f64| number / differences as f64;
        println!(
            "{differences:>8} {:>7.3} {:>7.3} {:>7} {:>7} {:>8} {:>7.1} {:>7.1} {:>10.1} {:>10.2}",
            each(needed[needed.len() / 2].into()),
            each(needed[needed.len() * 99 / 100].into()),
            median.bytes,
            p99.bytes,
            median.wanted,
            each(median.bytes as f64),
            each(p99.bytes as f64),
            encode.as_secs_f64() * 1e3,
            decode.as_secs_f64() * 1e3,
        );
        if later > 0 {
            println!("{:>8} {later} of {SEEDS} took more than one round trip", "");
        }
        falls_short |= differences == 1_000
            && (median.bytes + median.wanted > 19_000 || p99.bytes + p99.wanted > 20_000);
    }
    println!(
        "\n1,000 differences in 19,000 bytes, 20,000 at p99, what is wanted included: {}",
        if falls_short { "falls short" } else { "holds" }
    );
    process::exit(falls_short.into());
}

/// The items of both sides: `differences` in all, half of them on each.
fn items(seed: u64, differences: u64, common: u64) -> (impl Iterator<Item = u64>, impl Iterator<Item = u64>) {
    let first = seed << 32;
    let half = differences / 2;
    (
        (first..first + half).chain(u64::MAX - common..u64::MAX),
        (first + half..first + differences).chain(u64::MAX - common..u64::MAX),
    )
}

fn exchange(seed: u64, differences: u64, common: u64) -> Run {
    let (ours, theirs) = items(seed, differences, common);
    let seed = Seed::new(seed);
    let mut asks = Reconciliation::new(seed, ours, MAX_SYMBOLS);
    let mut request = asks.request();
    let mut run = Run { bytes: 0, wanted: 0, round_trips: 0, encode: Duration::ZERO, decode: Duration::ZERO };
    let begun = Instant::now();
    let answers = Snapshot::new(seed, theirs);
    run.encode += begun.elapsed();
    loop {
        let begun = Instant::now();
        let answer = answers.answer(&request, MAX_SYMBOLS).expect("enough symbols for these differences");
        run.encode += begun.elapsed();
        run.bytes += request.to_bytes().len() + answer.to_bytes().len();
        run.round_trips += 1;
        let begun = Instant::now();
        let progress = asks.take(&answer).expect("an honest answer");
        run.decode += begun.elapsed();
        match progress {
            Progress::More(more) => request = more,
            Progress::Done(found) => {
                let (here, there) = (found.only_local.len() as u64, found.only_remote.len() as u64);
                assert_eq!((here, there), (differences / 2, differences - differences / 2));
                run.wanted = found.wanted().to_bytes().len();
                return run;
            }
        }
    }
}

/// How many symbols are enough, to within 1% of the differences.
fn symbols_needed(seed: u64, differences: u64) -> u32 {
    let (ours, theirs) = items(seed, differences, 0);
    let seed = Seed::new(seed);
    let (asks, answers) = (Reconciliation::new(seed, ours, MAX_SYMBOLS), Snapshot::new(seed, theirs));
    let is_enough = |symbols| {
        let request = Request::symbols(seed, 0..symbols);
        let answer = answers.answer(&request, MAX_SYMBOLS).expect("below the limit");
        matches!(asks.clone().take(&answer), Ok(Progress::Done(_)))
    };
    let differences = u32::try_from(differences).expect("a small number");
    let (mut few, mut enough) = (0, 2 * differences + 60);
    while enough - few > differences.div_ceil(100) {
        let middle = few.midpoint(enough);
        *if is_enough(middle) { &mut enough } else { &mut few } = middle;
    }
    enough
}
