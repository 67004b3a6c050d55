//! Plants bugs, one at a time, and runs the suite `faults` until each is found.
//!
//! `RUSTFLAGS="--cfg planted" cargo run --release -p mesh-sim --target-dir target/planted --example planted`
//!
//! Without that `--cfg` there are only those around the engine and in a user's type. With names of bugs as arguments, only
//! these are planted. Prints a table, and fails if one is not found within ten minutes of a processor.

use mesh_sim::{Failure, Faults, Planted};
use std::{
    env,
    io::{self, Write},
    panic,
    process::ExitCode,
};

/// In seconds.
const LIMIT: f64 = 600.0;

/// So many seeds are run before the clock is looked at.
const SEEDS: u64 = 20;

/// Runs seeds until one fails: how long they took, in seconds of a processor, and the failure.
fn find(planted: Planted) -> (f64, Option<Failure>) {
    let (mut seed, mut cpu) = (0, 0.0);
    while cpu < LIMIT {
        let report = Faults { seed, seeds: SEEDS, jobs: 1, quick: true, planted: Some(planted) }.run();
        cpu += report.cpu_seconds;
        if report.failure.is_some() {
            return (cpu, report.failure);
        }
        seed += SEEDS;
    }
    (cpu, None)
}

fn main() -> io::Result<ExitCode> {
    let names: Vec<String> = env::args().skip(1).collect();
    if let Some(name) = names.iter().find(|name| Planted::all().all(|planted| planted.name() != **name)) {
        eprintln!("there is no bug {name} in this build");
        return Ok(ExitCode::FAILURE);
    }
    // A panic is found like anything else.
    panic::set_hook(Box::new(|_| ()));
    let is_asked = |planted: &Planted| names.is_empty() || names.iter().any(|name| name == planted.name());
    let mut out = io::stdout();
    writeln!(out, "| bug | what is wrong | seed | CPU s | steps, shrunk | what is not kept |")?;
    writeln!(out, "|---|---|---|---|---|---|")?;
    let mut all_found = true;
    for planted in Planted::all().filter(is_asked) {
        let (cpu, failure) = find(planted);
        let what = planted.description();
        if let Some(Failure { seed, violation, schedule, .. }) = failure {
            let (steps, broken) = (schedule.steps.len(), violation.invariant);
            writeln!(out, "| {planted} | {what} | {seed} | {cpu:.1} | {steps} | {broken} |")?;
        } else {
            all_found = false;
            writeln!(out, "| {planted} | {what} | | {cpu:.1} | | not found |")?;
        }
    }
    Ok(if all_found { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
